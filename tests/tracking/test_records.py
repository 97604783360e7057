"""The JSON of records: what is written, what is read, and what happens to a record that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from pydantic import ValidationError

from convtrack import tracking
from convtrack.params.schema import Params
from convtrack.tracking import records
from convtrack.tracking.outbox.folder import CONTENT, REFUSED, Outbox
from convtrack.tracking.records import (
    Dataset,
    Evaluated,
    ExperimentId,
    ModelInfo,
    Payload,
    Point,
    Settlement,
    Start,
    TrialState,
)
from tests.tracking.recorded import recorded

TAG = "convtrack.run"
START = {"name": "first", "tags": {TAG: "earlier", "mlflow.user": "ann"}, "start_time": 1_000, "parent": None}
DATASET = {"name": "pets", "digest": "abc.dir", "source_type": "local", "source": "{}", "profile": "{}"}
# what the first version wrote for a run: values are text, also those that JSON has no number for
EARLIER: list[dict[str, Any]] = [
    {"start": START, "experiment": "earlier", "status": "RUNNING"},
    {"params": {"model.name": "vgg"}, "dataset": DATASET},
    {"curve": [["loss", "0.1", 1_100, 1], ["val_loss", "nan", 1_100, 1]]},
    {"curve": [["loss", "0.05", 1_200, 2], ["val_loss", "5e-324", 1_200, 2]]},
    {"metrics": [["epochs_run", "2.0", 1_300, 0]], "tags": {"training.precision": "float32"}},
    {"status": "FINISHED", "end_time": 2_000},
    {"run_id": None, "status": "RUNNING", "tags": {"a": "b"}, "start": START, "experiment": {"id": "1", "name": None}},
    {"only_if_there": True, "settle": {"state": "pruned", "reason": "slow", "end_time": 3_000}},
    {"only_if_there": True, "drop_model": True},
]


def add(run: str, documents: list[dict[str, Any]]) -> None:
    """Records with this JSON, whatever the current version would write."""
    outbox = Outbox()
    for document in documents:
        outbox.add(run, Payload())
        (outbox.records(run)[-1].path / CONTENT).write_text(json.dumps(document))


def test_every_field_comes_back_as_it_was(tmp_path: Path) -> None:
    payload = Payload(
        start=Start(name="é\n", tags={"a": "b"}, start_time=1, parent=None),
        experiment=ExperimentId(id="4", name=None),
        run_id="0" * 32,
        status="KILLED",
        end_time=2,
        params={"x": "1"},
        tags={"y": "2"},
        metrics=[Point("m", 0.1 + 0.2, 3, 0), Point("tiny", 5e-324, 3, 0)],
        curve=[Point("loss", -1e308, 3, 1)],
        dataset=Dataset.model_validate(DATASET),
        evaluated=Evaluated(
            dataset=Dataset.model_validate(DATASET), metrics=[Point("m", 0.5, 3, 0)], headline="*good*", details=""
        ),
        model=ModelInfo(name="vgg", tags={"classes": "[]"}),
        settle=Settlement(state=TrialState.PRUNED, reason="slow", end_time=4),
        drop_model=True,
        only_if_there=True,
        only_if_copy=True,
    )
    records.write(tmp_path / CONTENT, payload)
    assert set(json.loads((tmp_path / CONTENT).read_text())) == set(Payload.model_fields)
    assert records.read(tmp_path / CONTENT) == payload
    with pytest.raises(ValidationError):
        payload.end_time = 3  # type: ignore[misc]


def test_text_that_is_not_unicode_is_escaped_instead_of_ending_a_training(tmp_path: Path) -> None:
    records.write(tmp_path / CONTENT, Payload(tags={"mlflow.source.name": "caf\udce9.py"}))
    assert records.read(tmp_path / CONTENT).tags == {"mlflow.source.name": "caf\\udce9.py"}


def test_records_of_an_earlier_version_are_sent(params: Params, mlflow_client: MlflowClient) -> None:
    add("earlier", EARLIER)
    assert tracking.sync().startswith(f"{len(EARLIER)} records of 1 run sent to ")
    found = recorded(mlflow_client, "earlier")
    assert (found["status"], found["times"]) == ("FINISHED", (1_000, 3_000))
    assert found["params"] == {"model.name": "vgg"}
    assert found["inputs"] == [("pets", "abc.dir")]
    assert found["points"]["loss"] == [(1, 0.1, 1_100), (2, 0.05, 1_200)]
    assert found["points"]["val_loss"][1] == (2, 5e-324, 1_200)
    assert found["points"]["epochs_run"] == [(0, 2.0, 1_300)]
    assert found["tags"]["study.state"] == "pruned"
    assert (found["tags"]["a"], found["tags"]["training.precision"]) == ("b", "float32")


BROKEN = {
    "content.json is not valid: the document: Invalid JSON: EOF": b"{",
    "content.json is not valid: the document: Invalid JSON: expected value": b"\xff",
    "content.json is not valid: the document: Input should be an object": b"[]",
    "content.json is not valid: later: unknown key, perhaps of a later version of convtrack": b'{"later": 1}',
    "content.json is not valid: tags.a: Input should be a valid string": b'{"tags": {"a": 1}}',
    "content.json is not valid: curve.0.1: Input should be a valid number": b'{"curve": [["loss", "x", 1, 1]]}',
    "content.json is not valid: the document: Value error, status FAILED needs an end_time": b'{"status": "FAILED"}',
    "content.json is not valid: the document: Value error, start needs an": json.dumps({"start": START}).encode(),
    "content.json is missing": None,
}


def test_records_that_cannot_be_read_are_kept_aside_and_the_others_are_sent(
    params: Params, mlflow_client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    start = START | {"tags": {TAG: "broken"}}
    add("broken", [EARLIER[0] | {"start": start}, *({} for _ in BROKEN), {"tags": {"a": "b"}}])
    outbox = Outbox()
    broken = [record.path for record in outbox.records("broken")[1:-1]]
    for path, content in zip(broken, BROKEN.values(), strict=True):
        (path / "files").mkdir()
        (path / CONTENT).unlink()
        if content is not None:
            (path / CONTENT).write_bytes(content)
    tracking.sync()
    said = capsys.readouterr().err
    for path, cause in zip(broken, BROKEN, strict=True):
        assert f"convtrack cannot read a part of a run: {cause}" in said
        refused = outbox.folder / REFUSED / path.name
        assert f"It is kept in {refused}\n" in said
        assert (refused / "files").is_dir()
    assert recorded(mlflow_client, "broken")["tags"]["a"] == "b"
    assert outbox.records("broken") == []
