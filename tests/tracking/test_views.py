"""The view of runs that convtrack saves in MLflow, as MLflow's own pages read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from convtrack.params.schema import Params
from convtrack.tracking import browse, store, views
from tests import parts
from tests.tracking.browser import BROWSER, browsing
from tests.tracking.recorded import evaluate, recorded, train
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


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason=parts.missing("chromium"))
def test_mlflows_pages_show_the_columns_and_the_charts_of_the_view(
    params: Params,
    result: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    metrics = [metric for chart in views.CHARTS for metric in chart]
    curves = [{"epoch": epoch, **dict.fromkeys(metrics, 0.5 / epoch)} for epoch in (1, 2)]
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "pages")
    train(params, result | RESULT, curves)
    evaluate(params)
    port = free_port()
    arguments = ("server", "--backend-store-uri", str(store.uri()))
    with serving(*arguments, port=port) as server, browsing(tmp_path) as page:
        browse.browse(server, store.experiment(params.tracking.experiment))
        address = capsys.readouterr().out.split()[-1]
        page.open(address)
        for column in views.COLUMNS:
            page.wait_for(f"{HEADS}.includes({json.dumps(column.split('`')[1])})")
        page.wait_for("document.body.innerText.includes('convtrack: table')")
        page.open(f"{address}&compareRunsMode=CHART")
        for chart in views.CHARTS:
            page.wait_for(f"document.body.innerText.includes({json.dumps(' vs '.join(chart))})")
        # a chart of two metrics has two lines, the second one dashed; each has a pale one below it
        lines = """[...document.querySelectorAll('path.js-line')].map((line) => line.style)
            .filter((style) => style.strokeOpacity == 1)"""
        page.wait_for(f"{lines}.length == {len(metrics)}")
        assert page.value(f"{lines}.filter((style) => style.strokeDasharray).length") == 2
        page.wait_for(r"/Model metrics\s+\(\d+\)/.test(document.body.innerText)")
        assert not page.value("document.body.innerText.includes('best_epoch')")  # collapsed
