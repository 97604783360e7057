"""The view of runs that convtrack saves in MLflow, as MLflow's own pages read it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from PIL import Image

from convtrack import files, tracking
from convtrack.params.schema import Params
from convtrack.tracking import payloads, store, views
from convtrack.tracking.outbox.folder import MODEL, Outbox, Record
from tests import parts
from tests.tracking.browser import BROWSER, browsing
from tests.tracking.recorded import EVALUATION, SCALARS, evaluate, recorded, runs, train
from tests.tracking.servers import free_port, serving

RESULT = {"best_epoch": 2, "best_val_accuracy": 0.75, "seconds": 3.5}
HEADS = "[...document.querySelectorAll('[role=columnheader]')].map((head) => head.innerText.trim()).join('|')"


@pytest.fixture
def experiment_id(params: Params, result: dict[str, Any], mlflow_client: MlflowClient) -> str:
    """An experiment with a run."""
    train(params, result)
    return str(mlflow_client.get_experiment_by_name(params.tracking.experiment).experiment_id)


def test_a_view_is_saved_once_for_each_version_and_a_description_by_somebody_else_stays(
    experiment_id: str, mlflow_client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tags() -> dict[str, str]:
        return dict(mlflow_client.get_experiment(experiment_id).tags)

    first = tags()
    assert len(first[views.VIEW_TAG]) < 20_000  # MLflow's limit
    assert f"({views.address(experiment_id)})" in first[views.NOTE_TAG].splitlines()[0]
    views.save(mlflow_client, experiment_id)
    assert tags() == first

    monkeypatch.setattr(views, "VERSION", "later")
    monkeypatch.setattr(views, "COLUMNS", {"metrics.`loss`": 100})
    mlflow_client.set_experiment_tag(experiment_id, views.NOTE_TAG, "Ours.")
    views.save(mlflow_client, experiment_id)
    assert tags()[views.VIEW_TAG] != first[views.VIEW_TAG]
    assert tags()[views.NOTE_TAG] == "Ours."


def test_a_store_that_rejects_the_view_costs_one_warning(
    params: Params,
    result: dict[str, Any],
    mlflow_client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def reject(*_: object) -> None:
        raise MlflowException("no edit permission")

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", reject)
    monkeypatch.setattr(views, "VERSION", "rejected")
    run = recorded(mlflow_client, train(params, result))
    assert (run["status"], len(run["points"]["loss"])) == ("FINISHED", 4)
    assert capsys.readouterr().err == (
        "convtrack: MLflow gets no view of the runs: MlflowException: no edit permission\n"
    )


@pytest.fixture
def logging_models(params: Params, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Parameters that log the model, which is no network but only MLflow's description of one."""

    def write(folder: Path) -> None:
        (folder / MODEL).mkdir()
        Model().save(str(folder / MODEL / "MLmodel"))

    monkeypatch.setattr(payloads, "model", write)
    return params.model_copy(update={"tracking": params.tracking.model_copy(update={"log_model": True})})


HEADLINE = "**Test accuracy 50.00 %** on 2 images (95 % interval: 9.00 % to 91.00 %)."
DETAILS = "Val 75.00 %. Best epoch 1 of 2. Most confused: `cat` predicted as `dog`, 1 of 1 image (100.0 %)."


def test_an_evaluation_puts_its_result_above_the_description_and_a_later_one_replaces_it(
    params: Params, result: dict[str, Any], mlflow_client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = train(params, result)
    run_id = runs(mlflow_client, name)[0].info.run_id

    def note() -> str:
        return str(mlflow_client.get_run(run_id).data.tags[views.NOTE_TAG])

    def is_evaluated(accuracy: float) -> None:
        monkeypatch.setitem(EVALUATION, "accuracy", accuracy)
        evaluate(params)

    before = note()
    is_evaluated(0.5)
    first = note()
    assert first.startswith(f"{HEADLINE} [")
    assert f"\n\n{DETAILS}\n\n" in first
    assert first.endswith(f"\n\n{before}")
    for command in ("compare {} workspace", "predict --model {} PICTURE", "reproduce {}"):
        assert f"\nconvtrack {command.format(run_id[:12])}\n" in first
    mlflow_client.set_tag(run_id, views.NOTE_TAG, f"Mine.\n\n{first}\n\nMine too.")
    is_evaluated(0.25)
    assert note() == f"Mine.\n\n{first.replace('50.00', '25.00')}\n\nMine too."
    changed = note().replace("25.00 %", "hardly anything")
    mlflow_client.set_tag(run_id, views.NOTE_TAG, changed)
    is_evaluated(0.75)
    assert note() == changed


def test_the_model_has_a_name_its_classes_and_the_result_on_test_however_often_it_is_sent(
    logging_models: Params,
    result: dict[str, Any],
    mlflow_client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remove = Outbox.remove

    def keep_copy(box: Outbox, record: Record) -> None:
        shutil.copytree(record.path, tmp_path / record.path.name)
        remove(box, record)

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "remove", keep_copy)
        name = train(logging_models, result)
        evaluate(logging_models)
    found = recorded(mlflow_client, name)
    ((called, status, values),) = found["models"]
    assert (called, status) == ("vgg-cifar10", "READY")
    on_test = {key: value for key, value, _, data in values if data == "pets (test)"}
    assert on_test == {f"test_{key}": value for key, value in SCALARS.items()}
    assert {key for key, _, _, data in values if not data} == {"epochs_run", "best_epoch", "train_seconds"}
    assert [data for data, _ in found["inputs"]] == ["pets", "pets (test)"]
    (run,) = runs(mlflow_client, name)
    (model,) = mlflow_client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert json.loads(model.tags["classes"]) == ["cat", "dog"]
    assert model.tags[views.NOTE_TAG].startswith(f"{HEADLINE}\n\n{DETAILS}\n\n")

    sent = list(tmp_path.iterdir())
    for record in sent:
        record.rename(Outbox().folder / record.name)
    assert tracking.sync().startswith(f"{len(sent)} records of 1 run sent to ")
    assert recorded(mlflow_client, name) == found


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason=parts.missing("chromium"))
def test_mlflows_pages_show_what_convtrack_writes_for_them(
    logging_models: Params,
    result: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    params, metrics = logging_models, [metric for chart in views.CHARTS for metric in chart]
    curves = [{"epoch": epoch, **dict.fromkeys(metrics, 0.5 / epoch)} for epoch in (1, 2)]
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "pages")
    files.PICTURES.mkdir(parents=True)
    Image.new("RGB", (1600, 800)).save(files.PICTURES / "confusion.png")
    files.PAGE.write_text("<h1>What a report</h1>")
    train(params, result | RESULT, curves)
    evaluate(params)
    port = free_port()
    arguments = ("server", "--backend-store-uri", str(store.uri()), "--serve-artifacts")
    with serving(*arguments, port=port) as server, browsing(tmp_path) as page:
        views.browse(server, store.experiment(params.tracking.experiment))
        address = capsys.readouterr().out.split()[-1]

        def wait_for_text(text: str) -> None:
            page.wait_for(f"document.body.innerText.includes({json.dumps(text)})")

        page.open(address)
        for column in views.COLUMNS:
            page.wait_for(f"{HEADS}.includes({json.dumps(column.split('`')[1])})")
        wait_for_text("convtrack: table")
        (name, width), *_ = views.NAME_COLUMN.items()
        head = json.dumps(f"[role=columnheader][col-id='{name}']")
        page.wait_for(f"document.querySelector({head}).offsetWidth == {width}")

        page.open(f"{address}&compareRunsMode=CHART")
        for chart in views.CHARTS:
            wait_for_text(" vs ".join(chart))
        # a chart of two metrics has two lines, the second one dashed; each has a pale one below it
        lines = """[...document.querySelectorAll('path.js-line')].map((line) => line.style)
            .filter((style) => style.strokeOpacity == 1)"""
        page.wait_for(f"{lines}.length == {len(metrics)}")
        assert page.value(f"{lines}.filter((style) => style.strokeDasharray).length") == 2
        page.wait_for(r"/Model metrics\s+\(\d+\)/.test(document.body.innerText)")
        assert not page.value("document.body.innerText.includes('best_epoch')")  # collapsed
        section = "[...document.querySelectorAll('*')].findLast((one) => one.innerText == 'Confusion matrices')"
        loaded = f"[...document.images].some((image) => image.naturalWidth == {views.THUMBNAIL})"
        page.wait_for(f"({section}?.scrollIntoView(), {loaded})")
        assert not page.value("document.body.innerText.includes('train.batch_size')")  # params beside the picture

        run_id, experiment_id = files.read_json(files.RUN)["run_id"], address.split("/")[-2]
        page.open(f"{server}/#/experiments/{experiment_id}/runs/{run_id}")
        wait_for_text("Test accuracy 50.00 %")
        assert not page.value(f"document.body.innerText.includes({json.dumps(views.LAST_TAG)})")
        links = {
            text: page.wait_for(f"[...document.links].find((link) => link.innerText == {json.dumps(text)})?.href")
            for text in ("Train and val in one chart", "report")
        }
        page.open(links["Train and val in one chart"])
        page.wait_for(f"{lines}.length == 2 && {lines}[1].strokeDasharray")
        page.open(links["report"])
        page.wait_for("!!document.querySelector('iframe')")
        wait_for_text("reports/index.html")

        page.ask("Emulation.setDeviceMetricsOverride", width=3000, height=800, deviceScaleFactor=1, mobile=False)
        page.open(f"{server}/#/experiments/{experiment_id}/models")
        wait_for_text("vgg-cifar10")
        wait_for_text("pets (test)")
        wait_for_text("test_accuracy")
