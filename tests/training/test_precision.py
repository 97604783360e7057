"""Which arithmetic is chosen, and why."""

from __future__ import annotations

import pytest

from convtrack.errors import ConfigError
from convtrack.training import precision


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2", "fma"}, "float32"),
        ({"avx512f", "avx512_vnni"}, "float32"),
        ({"avx512f", "avx512_bf16"}, "mixed_bfloat16"),
        ({"amx_bf16", "avx512_bf16"}, "mixed_bfloat16"),
        (set(), "float32"),
    ],
)
def test_bfloat16_is_chosen_only_where_the_cpu_has_it(flags, expected):
    policy, why = precision.cpu_precision(frozenset(flags))
    assert policy == expected
    assert "bf16" in why


def test_flags_are_read_from_the_first_processor(tmp_path):
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text("processor : 0\nflags\t\t: fpu avx2 amx_bf16\n\nprocessor : 1\nflags\t\t: fpu\n")
    assert precision.cpu_flags(cpu_info) == {"fpu", "avx2", "amx_bf16"}


def test_a_system_without_cpuinfo_has_no_known_flags(tmp_path):
    assert precision.cpu_flags(tmp_path / "absent") == frozenset()


def test_a_precision_that_the_machine_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset({"avx2"}))
    assert precision.choose_precision("auto")[0] == "float32"
    assert precision.choose_precision("float32")[0] == "float32"
    with pytest.raises(ConfigError, match="mixed_float16 would only be emulated"):
        precision.choose_precision("mixed_float16")
