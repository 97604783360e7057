"""A training's record made again from its files, for a store without its run.

That is another store than the one in use while it was trained, or that of a clone whose models/ came by `dvc pull`.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from convtrack import files
from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.schema import PARAMS_FILE, Params
from convtrack.redact import redacted_uri
from convtrack.tracking import payloads, provenance, store
from convtrack.tracking.replay import COPIED, ORIGINAL, TAG


def start(params: Params, name: str, document: dict[str, Any], trained: int) -> dict[str, Any]:
    """What a new run begins with, by the name that the training's run has.

    `document` is models/run.json, `trained` when the training ended, in milliseconds since 1970.
    """
    store.set_patience()
    from mlflow.tracking.context.registry import resolve_tags

    place = redacted_uri(str(document.get("tracking_uri") or "a store that models/run.json does not name"))
    original = {ORIGINAL: str(document["run_id"])} if document.get("run_id") else {}
    # who made this run, but not the commit: that of the training may be another one
    own = {name: value for name, value in resolve_tags().items() if "git" not in name}
    note = f"`convtrack evaluate` made this run from the files in models/. The training itself was recorded in {place}."
    seconds = float(_result().get("seconds", 0))
    return {
        "name": payloads.run_name(params, datetime.fromtimestamp(trained / 1000, UTC).astimezone()),
        "tags": own | original | {TAG: name, COPIED: place, "mlflow.note.content": note},
        "start_time": trained - int(1000 * seconds),
        "parent": None,
    }


def training(params: Params, folder: Path, trained: int) -> dict[str, Any]:
    """What the files tell of a training: params, data, curves, scalars, and these files.

    All points have the time `trained`, so that a second evaluation adds none.
    """
    for file in (provenance.project() / files.LOCK, files.PROCESSED / files.DATASET):
        if file.exists():
            payloads.attached(file, folder)
    content: dict[str, Any] = {"metrics": []}
    if files.TRAINING.exists() and files.HISTORY.exists():
        content = payloads.training(_result(), folder, trained)
        for row in files.read_table(files.HISTORY).to_dict("records"):
            curve = {str(name): value for name, value in row.items() if name != "epoch"}
            content["metrics"] += payloads.points(curve, int(row["epoch"]), trained)
    return content | {"only_if_copy": True, "params": _params(params), "dataset": payloads.dataset()}


def _params(params: Params) -> dict[str, str]:
    """Those of the training: dvc.lock has them where models/ is what it names; else what params.yaml says now."""
    lock = provenance.project() / files.LOCK
    stages = schema.read_yaml(lock).get("stages", {}) if lock.exists() else {}
    locked: dict[str, Any] = {}
    if _md5(files.RUN) in {out.get("md5") for out in stages.get("train", {}).get("outs", [])}:
        for stage in ("download", "preprocess", "train"):
            locked |= stages.get(stage, {}).get("params", {}).get(PARAMS_FILE.name, {})
    try:  # what other networks and optimizers would take stands in dvc.lock too, and is no parameter of the run
        return payloads.knobs(schema.parse(schema.read_yaml(PARAMS_FILE) | locked, str(files.LOCK)))
    except ConfigError:  # of an earlier version
        return payloads.knobs(params) | payloads.as_params(dict(schema.flatten(locked)))


def _result() -> dict[str, Any]:
    return files.read_json(files.TRAINING) if files.TRAINING.exists() else {}


def _md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
