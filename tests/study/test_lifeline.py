"""How a trial's process ends when it should."""

from __future__ import annotations

import signal
import subprocess
import sys

from convtrack.study.lifeline import STOPPED

BEGIN = """
import sys, time
from convtrack.study.lifeline import Lifeline, Stopped, end_if_alone
end_if_alone()
line = Lifeline()
def say(text): print(text, flush=True)
"""
LOOP = """
try:
    with line.cut_short():
        say("ready")
        while True: time.sleep(0.01)
except Stopped:
    say("stopped")
"""
WRITE = """
try:
    with line.cut_short():
        with line.whole():
            say("ready")
            while not line.wished: time.sleep(0.01)
            say("written")
        say("never")
except Stopped:
    say("stopped")
"""
BETWEEN = """
say("ready")
while not line.wished: time.sleep(0.01)
say("in peace")
try:
    with line.cut_short(): say("never")
except Stopped:
    say("stopped")
"""


START = """
with line.before_anything():
    say("ready")
    while True: time.sleep(0.01)
"""


def started(program: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def rest(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate()
    assert process.returncode == 0
    return output.splitlines()


def test_the_end_of_the_command_stops_a_training() -> None:
    process = started(LOOP)
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    assert rest(process) == ["stopped"]


def test_sigterm_stops_a_training() -> None:
    process = started(LOOP)
    process.send_signal(signal.SIGTERM)
    assert rest(process) == ["stopped"]


def test_a_write_is_left_in_peace_and_the_training_stopped_behind_it() -> None:
    process = started(WRITE)
    process.send_signal(signal.SIGTERM)
    assert rest(process) == ["written", "stopped"]


def test_a_wish_between_trainings_is_granted_when_one_begins() -> None:
    process = started(BETWEEN)
    process.send_signal(signal.SIGINT)
    assert rest(process) == ["in peace", "stopped"]


def test_a_process_that_has_not_begun_exits_at_once() -> None:
    process = started(START)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == STOPPED


def test_a_process_whose_command_is_gone_already_ends_before_it_begins() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + "say('never')"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (STOPPED, b"")
