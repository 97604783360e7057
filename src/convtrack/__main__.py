"""`convtrack` and `python -m convtrack`."""

from convtrack import interruption

interruption.exit_on_signals()  # while Python still loads what the command needs

from convtrack.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
