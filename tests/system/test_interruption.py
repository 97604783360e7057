"""Signals to real processes, which end by them whatever they are doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

HEAD = """
import os, signal, sys, time
from convtrack.cli import main
from convtrack.system import interruption
from convtrack.system.interruption import Interruption

def send(number):
    os.kill(os.getpid(), number)

def command(body):
    main._run_command = body
    main.main()
"""


def run(program: str) -> tuple[int, str]:
    """The exit code of a process that runs `program`, and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(program)],
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize(
    "body",
    [
        "send(number)",
        # as numpy's C code does where its import is interrupted
        """
        try:
            send(number)
        except BaseException:
            raise ImportError("numpy.core.multiarray failed to import")
        """,
        # as many an import does
        """
        try:
            send(number)
        except:
            return 0
        """,
    ],
)
def test_the_exit_code_is_that_of_the_signal_whatever_a_library_makes_of_it(body: str, number: str, code: int) -> None:
    program = f"number = signal.{number}\ndef body():\n{textwrap.indent(textwrap.dedent(body), '    ')}\ncommand(body)"
    given, said = run(program)
    assert given == code
    assert "Traceback" not in said


DROPPED = """
class Dropped:
    def __del__(self):
        send(number)
"""

# what becomes of it where TensorFlow's C++ imports something
CONVERTED = """
class Dropped:
    def __del__(self):
        try:
            send(number)
        except BaseException as error:
            raise SystemError("<built-in function __import__> returned a result with an exception set") from error
"""


@pytest.mark.parametrize("dropped", [DROPPED, CONVERTED])
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_where_python_lets_nothing_out_ends_the_process(number: str, code: int, dropped: str) -> None:
    given, said = run(f"""
        number = signal.{number}
        {textwrap.indent(dropped, " " * 8)}
        def body():
            Dropped()
            time.sleep(5)
            print("went on")
        command(body)
    """)
    assert (given, said) == (code, "convtrack: stopped\n")


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_that_comes_back_from_a_destructor_is_put_off_as_any_other(number: str, code: int) -> None:
    given, said = run(f"""
        number = signal.{number}
        {textwrap.indent(DROPPED, " " * 8)}
        def body():
            Dropped()
            with Interruption("soon").deferred():
                time.sleep(0.5)
                print("done", flush=True)
            print("went on")
        command(body)
    """)
    assert given == code
    assert said == "stopping soon; Ctrl-C again stops at once\ndone\nconvtrack: stopped\n"


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_that_was_swallowed_is_raised_before_long_work_begins(number: str, code: int) -> None:
    given, said = run(f"""
        def body():
            interruption.raise_again()
            try:
                send(signal.{number})
            except BaseException:
                pass
            interruption.raise_again()
            print("went on")
        command(body)
    """)
    assert (given, said) == (code, "convtrack: stopped\n")


def test_what_else_a_destructor_raises_is_told_as_python_tells_it() -> None:
    given, said = run("""
        class Broken:
            def __del__(self):
                raise ValueError("broken")
        command(lambda: Broken() and 0)
    """)
    assert given == 0
    assert "ValueError: broken" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["convtrack.system.interruption", "convtrack.cli.main", "click"])
def test_a_signal_while_python_loads_the_command_ends_it_without_a_word(module: str, number: int) -> None:
    given, said = run(f"""
        import runpy
        class Finder:
            def find_spec(self, name, path, target=None):
                if name == "{module}":
                    send({number})
        for name in [name for name in sys.modules if name.split(".")[0] in ("convtrack", "click")]:
            del sys.modules[name]
        sys.meta_path.insert(0, Finder())
        sys.argv = ["convtrack", "download"]
        runpy.run_module("convtrack", run_name="__main__")
    """)
    assert given in (128 + number, -number)
    assert said == ""


def test_a_signal_in_an_import_ends_the_process_where_it_stands() -> None:
    given, said = run("""
        def body():
            with interruption.exiting_on_signals():
                try:
                    send(signal.SIGTERM)
                finally:
                    print("went on")
        command(body)
    """)
    assert (given, said) == (143, "")


def test_behind_the_end_of_a_command_a_signal_still_gives_its_exit_code() -> None:
    given, said = run("""
        import atexit
        atexit.register(send, signal.SIGINT)
        command(lambda: 0)
    """)
    assert (given, said) == (130, "")


@pytest.mark.parametrize(
    ("second", "code", "said"),
    [("SIGTERM", 143, "first done\nthen\nend done\n"), ("SIGINT", 130, "convtrack: stopped\n")],
)
def test_a_second_sigterm_adds_nothing_and_ctrl_c_ends_what_was_put_off(second: str, code: int, said: str) -> None:
    given, printed = run(f"""
        def body():
            try:
                with Interruption("soon").deferred():
                    send(signal.SIGTERM)
                    send(signal.{second})
                    print("first done", flush=True)
            finally:
                if not interruption._received or interruption._received[0] == signal.SIGTERM:
                    send(signal.SIGTERM)
                    print("then", flush=True)
                    with Interruption("soon").deferred():
                        send(signal.SIGTERM)
                        print("end done", flush=True)
        command(body)
    """)
    assert given == code
    lines = printed.splitlines(keepends=True)
    assert lines[0] == "stopping soon; Ctrl-C again stops at once\n"
    assert "".join(lines[1:]).removesuffix("convtrack: stopped\n") == said.removesuffix("convtrack: stopped\n")


def test_a_signal_that_the_shell_has_ignored_for_a_background_process_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run("command(lambda: send(signal.SIGINT) or 0)") == (0, "")
    finally:
        signal.signal(signal.SIGINT, before)


ALLOWED = """
def body():
    line = Interruption("the trial")
    with line.deferred():
        {before}
        try:
            with line.immediate():
                {within}
        except BaseException as error:
            print(type(error).__name__)
        send(signal.SIGTERM)  # is put off again
        print("saved")
        os._exit(0)
command(body)
"""


@pytest.mark.parametrize(("number", "raised"), [("SIGINT", "KeyboardInterrupt"), ("SIGTERM", "SystemExit")])
@pytest.mark.parametrize(
    ("before", "within", "reached"),
    [
        ("", "send({}); print('never')", []),
        ("send({}); print('in peace')", "print('never')", ["in peace"]),
        (
            "",
            "with Interruption('').deferred(): send({}); print('written')\n                print('never')",
            ["written"],
        ),
    ],
    ids=["at once", "one that came before", "behind a write"],
)
def test_signals_that_are_put_off_may_be_allowed_for_a_block(
    before: str, within: str, reached: list[str], number: str, raised: str
) -> None:
    sent = f"signal.{number}"
    code, said = run(ALLOWED.format(before=before.format(sent), within=within.format(sent)))
    lines = [line for line in said.splitlines() if not line.startswith("stopping ")]
    assert (code, lines) == (0, [*reached, raised, "saved"])
