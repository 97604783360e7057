"""`convtrack` and `python -m convtrack`."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the first imports without a traceback

from convtrack.system import interruption

interruption.exit_on_signals()  # until main() installs its own handlers

from convtrack.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
