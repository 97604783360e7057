"""What dvc.lock says of a run: the parameters that its stages had, and the MD5 of what they made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convtrack import files
from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.tracking import payloads


def stages(folder: Path) -> dict[str, Any]:
    """The entries of dvc.lock in `folder`, by stage; none where it has none. Raises ConfigError where it is damaged."""
    path = folder / files.LOCK
    found = schema.read_yaml(path).get("stages") if path.is_file() else None
    return found if isinstance(found, dict) else {}


def md5(locked: dict[str, Any], path: Path) -> str | None:
    """The MD5 of an out; None where no stage has made it."""
    outs = [out for stage in locked.values() for out in stage.get("outs", [])]
    return next((str(out["md5"]) for out in outs if out.get("path") == str(path) and "md5" in out), None)


def parameters(folder: Path, locked: dict[str, Any]) -> dict[str, str]:
    """The parameters by dotted path: those that the stages had, by `locked`; what it lacks, from params.yaml."""
    sections: dict[str, Any] = {}
    for stage in locked.values():
        sections |= stage.get("params", {}).get(schema.PARAMS_FILE.name, {})
    path = folder / schema.PARAMS_FILE
    content = (schema.read_yaml(path) if path.is_file() else {}) | sections
    try:  # dvc.lock also has what other networks and optimizers would take, and leaves out defaults
        flat = schema.parse(content, str(files.LOCK)).flat()
    except ConfigError:  # of another version
        flat = dict(schema.flatten({name: value for name, value in content.items() if name != "study"}))
    return payloads.as_params({name: value for name, value in flat.items() if not name.startswith("tracking.")})
