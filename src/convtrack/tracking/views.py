"""A view of the runs table and charts, saved in MLflow's experiment, and the addresses that open it.

The formats of these tags and addresses are MLflow's own and undocumented: no other module knows them.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any

import click

from convtrack.tracking import store
from convtrack.tracking.records import now

if TYPE_CHECKING:
    from mlflow import MlflowClient

VERSION = "1"  # raise it when the view changes, so that existing experiments get the new one
VERSION_TAG, VIEW_TAG, NOTE_TAG = "convtrack.view", "mlflow.sharedViewState.convtrack", "mlflow.note.content"
DIFFERS_TAG = "convtrack.differs"  # of a run: its preset and what differs from it

COLUMNS = {  # with their widths in pixels; without a width, numbers are cut
    "metrics.`test_accuracy`": 120,
    "metrics.`best_val_accuracy`": 150,
    "metrics.`best_epoch`": 110,
    f"tags.`{DIFFERS_TAG}`": 320,
    "metrics.`train_seconds`": 120,
}
CURVES, NUMBERS = "convtrack-curves", "convtrack-numbers"  # sections
# the first metric of a chart is solid, the second one dashed
CHARTS = (["val_accuracy", "accuracy"], ["val_loss", "loss"], ["learning_rate"])


def address(experiment_id: str, *, saved: bool = True, charts: bool = False) -> str:
    """What follows the server's address to open the runs, with the view if it is `saved`: as a table, or as charts."""
    view = "viewStateShareKey=convtrack&" if saved else ""
    mode = "&compareRunsMode=CHART" if charts else ""
    # MLflow's page is that of language models without the workflow type
    return f"#/experiments/{experiment_id}/runs?{view}workflowType=machine_learning{mode}"


def save(client: MlflowClient, experiment_id: str) -> None:
    """Save the view in the experiment, unless it has this version.

    Links to the view are the first line of the experiment's description, unless somebody else wrote one. A store that
    rejects any of this costs a warning.
    """
    try:
        tags = client.get_experiment(experiment_id).tags
        if tags.get(VERSION_TAG) == VERSION:
            return
        client.set_experiment_tag(experiment_id, VIEW_TAG, _view())
        if tags.get(NOTE_TAG, "") in {"", tags.get(f"{VERSION_TAG}.note")}:
            note = f"convtrack: [table]({address(experiment_id)}) · [charts]({address(experiment_id, charts=True)})"
            client.set_experiment_tag(experiment_id, NOTE_TAG, note)
            client.set_experiment_tag(experiment_id, f"{VERSION_TAG}.note", note)
        client.set_experiment_tag(experiment_id, VERSION_TAG, VERSION)  # last, so that a failed attempt is repeated
    except Exception as error:  # whatever MLflow and its drivers raise: the runs do not depend on a view
        click.echo(f"convtrack: MLflow gets no view of the runs: {store.in_short(error)}", err=True)


def _view() -> str:
    columns = list(COLUMNS)
    state = {
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": COLUMNS,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "compareRunSections": [
            _section(CURVES, "Curves (train dashed)", columns=2, cardHeight=360),
            # the name of the section that MLflow puts the charts of all other metrics into
            _section(NUMBERS, "Model metrics", display=False),
        ],
        "compareRunCharts": [each for metrics in CHARTS for each in _charts(metrics)],
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": "convtrack", "createdAt": now(), "updatedAt": now(), "state": f"deflate;{packed}"})


def _section(uuid: str, name: str, *, display: bool = True, **more: int) -> dict[str, Any]:
    given = {"isReordered": False, "deleted": False, "isGenerated": False}
    return {"uuid": uuid, "name": name, "display": display, **given, **more}


def _charts(metrics: list[str]) -> list[dict[str, Any]]:
    """A chart of all `metrics`; those that MLflow would make of the second one and later ones are hidden."""
    chart = {
        "type": "LINE",
        "runsCountToCompare": 10,
        "metricSectionId": CURVES,
        "deleted": False,
        "isGenerated": True,
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
    shown = {"uuid": f"convtrack-{metrics[0]}", "metricKey": metrics[0], "selectedMetricKeys": metrics}
    hidden = [
        {"type": "LINE", "uuid": f"convtrack-{metric}", "metricSectionId": CURVES, "metricKey": metric}
        | {"deleted": True, "isGenerated": True}
        for metric in metrics[1:]
    ]
    return [chart | shown, *hidden]
