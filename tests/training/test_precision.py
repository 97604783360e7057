"""Which arithmetic is chosen, and why."""

from __future__ import annotations

import pytest

from convtrack.errors import ConfigError
from convtrack.system import processor
from convtrack.training import precision

INTEL, AMD = "GenuineIntel", "AuthenticAMD"


@pytest.mark.parametrize(
    ("flags", "vendor", "expected"),
    [
        ({"avx2", "fma"}, AMD, "float32"),
        ({"avx512f", "avx512_vnni"}, INTEL, "float32"),
        ({"avx512f", "avx512_bf16"}, AMD, "mixed_bfloat16"),
        ({"avx512f", "avx512_bf16"}, INTEL, "float32"),
        ({"amx_bf16", "avx512_bf16"}, INTEL, "mixed_bfloat16"),
        (set(), "", "float32"),
    ],
)
def test_bfloat16_is_chosen_only_where_the_cpu_has_it_and_where_it_pays(flags, vendor, expected):
    policy, why = precision.cpu_precision(frozenset(flags), vendor)
    assert policy == expected
    assert "bf16" in why


def test_a_precision_that_the_machine_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx2"}))
    assert precision.choose_precision("auto")[0] == "float32"
    assert precision.choose_precision("float32")[0] == "float32"
    with pytest.raises(ConfigError, match="can only emulate mixed_float16"):
        precision.choose_precision("mixed_float16")


def test_bfloat16_may_be_asked_for_where_the_cpu_has_it_though_it_does_not_pay(monkeypatch):
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setattr(processor, "vendor", lambda: INTEL)
    assert precision.choose_precision("auto")[0] == "float32"
    assert precision.choose_precision("mixed_bfloat16")[0] == "mixed_bfloat16"
    with pytest.raises(ConfigError, match="Allowed: auto, float32, mixed_bfloat16\n"):
        precision.choose_precision("mixed_float16")
