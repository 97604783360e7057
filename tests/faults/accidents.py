"""What happens to files by accident, and what is asked of the error that follows."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from convtrack.errors import ConvtrackError
from tests.soak import ROUNDS

fuzzed = settings(max_examples=50 * ROUNDS, suppress_health_check=list(HealthCheck))


def is_usable(error: ConvtrackError) -> None:
    """Whether a person can read that and continue from it."""
    assert error.message.strip()
    assert error.hint.strip()
    assert "permission to read" not in error.hint, "it could be read"
    assert all(line.isprintable() for line in str(error).splitlines())
    assert max(map(len, str(error).splitlines())) < 6000
    assert "Traceback" not in str(error)


@st.composite
def changed(draw: st.DrawFn, originals: Sequence[bytes]) -> bytes:
    """One of `originals` after a few accidents, most of them near its beginning, where the headers are."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 5))):
        near = st.integers(0, min(600, len(content)))
        start = draw(st.one_of(near, st.integers(0, len(content))))
        end = min(len(content), start + draw(st.sampled_from([1, 2, 4, 8, 30, 512])))
        match draw(st.sampled_from(["byte", "number", "cut", "lose", "splice", "repeat"])):
            case "byte":
                content[start : start + 1] = bytes([draw(st.integers(0, 255))])
            case "number":
                width = draw(st.sampled_from(["<H", "<I", "<Q", ">H", ">I", ">Q"]))
                top = 2 ** (8 * struct.calcsize(width)) - 1
                number = struct.pack(width, draw(st.sampled_from([0, 1, top // 2, top // 2 + 1, top - 15, top])))
                content[start : start + len(number)] = number
            case "cut":
                del content[start:]
            case "lose":
                del content[start:end]
            case "splice":
                other = draw(st.sampled_from(originals))
                begin = draw(st.integers(0, len(other)))
                content[start:start] = other[begin : begin + draw(st.sampled_from([8, 64, 512, 1024]))]
            case "repeat":
                content[start:start] = content[start:end] * draw(st.integers(1, 40))
    return bytes(content)
