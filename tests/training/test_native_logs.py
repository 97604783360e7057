"""What TensorFlow's libraries say at their start."""

from __future__ import annotations

import subprocess
import sys

import pytest

from convtrack.training.native_logs import stderr_buffered

LOAD = "from convtrack.training.native_logs import load_tensorflow_quietly as load; load()"


@pytest.mark.slow
def test_tensorflow_starts_without_a_word_and_without_libraries_that_only_unused_parts_of_it_want():
    check = "assert not {'sklearn', 'scipy', 'matplotlib'} & set(sys.modules); import sklearn, matplotlib"
    command = [sys.executable, "-c", f"import sys; {LOAD}; {check}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_what_was_said_is_shown_when_the_start_fails(capfd):
    def fail_to_start():
        with stderr_buffered():
            sys.stderr.write("a library is missing")
            raise ImportError

    with pytest.raises(ImportError):
        fail_to_start()
    assert "a library is missing" in capfd.readouterr().err
