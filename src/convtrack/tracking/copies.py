"""A training's run made again from its files, for a store without that run.

The store may be another one than during the training, or that of a clone whose models/ came by `dvc pull`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convtrack import files
from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.schema import PARAMS_FILE, Params
from convtrack.redact import redacted_uri
from convtrack.tracking import names, payloads, provenance
from convtrack.tracking.outbox.replay import COPIED, ORIGINAL
from convtrack.tracking.records import TAG, Payload, Start


def start(params: Params, name: str, document: dict[str, Any], trained: int) -> Start:
    """What the new run begins with. `name` is convtrack's name for the training's run.

    `document` is models/run.json, `trained` when the training ended, in milliseconds since 1970.
    """
    uri = redacted_uri(str(document.get("tracking_uri") or "a store that models/run.json does not name"))
    original = {ORIGINAL: str(document["run_id"])} if document.get("run_id") else {}
    # who made this run, but not the commit, which may differ from that of the training
    own = {name: value for name, value in payloads.with_context({}).items() if "git" not in name}
    note = f"`convtrack evaluate` made this run from the files in models/. The training itself was recorded in {uri}."
    return Start(
        name=names.of_run(params, *_origin(params, document), str(document.get("dvc.exp_name", ""))),
        tags=own | original | {TAG: name, COPIED: uri, "mlflow.note.content": note},
        start_time=trained - int(1000 * float(_result().get("seconds", 0))),
        parent=None,
    )


def _origin(params: Params, document: dict[str, Any]) -> tuple[str, dict[str, list[Any]]]:
    """The closest preset and what differs from it; an earlier version did not record these in models/run.json."""
    if "preset" in document:
        return document["preset"], document["changed"]
    return provenance.nearest_preset(params)


def training(params: Params, folder: Path, trained: int) -> Payload:
    """What the files say about a training: params, data, curves, scalars, and the files themselves.

    All points have the time `trained`, so that a second evaluation adds none.
    """
    for file in (provenance.project() / files.LOCK, files.PROCESSED / files.DATASET):
        if file.exists():
            payloads.attach(file, folder)
    found = Payload()
    curves = []
    if files.TRAINING.exists() and files.HISTORY.exists():
        found = payloads.training(_result(), folder, trained)
        for row in files.read_table(files.HISTORY).to_dict("records"):
            curve = {str(name): value for name, value in row.items() if name != "epoch"}
            curves += payloads.points(curve, int(row["epoch"]), trained)
    return Payload(
        params=_params(params),
        tags=found.tags,
        metrics=found.metrics + curves,
        dataset=payloads.dataset(),
        only_if_copy=True,
    )


def _params(params: Params) -> dict[str, str]:
    """Those of the training, from dvc.lock if it describes this model; else from params.yaml."""
    stages = provenance.locked_stages()
    locked: dict[str, Any] = {}
    if provenance.md5(files.RUN.read_bytes()) in {out.get("md5") for out in _entry(stages, "train").get("outs", [])}:
        for stage in ("download", "preprocess", "train"):
            locked |= _entry(stages, stage).get("params", {}).get(PARAMS_FILE.name, {})
    try:  # dvc.lock also has parameters of networks and optimizers that were not chosen
        return payloads.parameters(schema.parse(schema.read_yaml(PARAMS_FILE) | locked, str(files.LOCK)))
    except ConfigError:  # dvc.lock is of an earlier version
        return payloads.parameters(params) | payloads.as_params(dict(schema.flatten(locked)))


def _entry(stages: dict[str, Any], stage: str) -> dict[str, Any]:
    return stages.get(stage) or {}


def _result() -> dict[str, Any]:
    return files.read_json(files.TRAINING) if files.TRAINING.exists() else {}
