"""What sets a run apart, in words: the closest preset, and the parameters that differ from it."""

from __future__ import annotations

from typing import Any


def differences(preset: str, changed: dict[str, list[Any]]) -> str:
    """What `presets.nearest` found, as in "fast, model.dropout=0.4"."""
    return ", ".join([preset or "defaults", *(f"{path}={_shown(values[0])}" for path, values in changed.items())])


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else "null" if value is None else str(value)
