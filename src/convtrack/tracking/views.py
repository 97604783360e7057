"""A view of the runs table and charts, saved in MLflow's experiment, and the addresses that open it.

The formats of these tags and addresses are MLflow's own and undocumented: no other module knows them.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convtrack import files
from convtrack.tracking import store
from convtrack.tracking.records import now

if TYPE_CHECKING:
    from mlflow import MlflowClient

VERSION = "2"  # raise it when the view changes, so that existing experiments get the new one
VERSION_TAG, VIEW_TAG, NOTE_TAG = "convtrack.view", "mlflow.sharedViewState.convtrack", "mlflow.note.content"
LAST_TAG, LONGEST_NOTE = "mlflow.note.convtrack", 8000  # our text in a description; MLflow's pages hide the tag
SHORT_ID = 12  # characters of a run's id, which `convtrack` takes for the run
DIFFERS_TAG = "convtrack.differs"  # of a run: its preset and what differs from it

NAME_COLUMN = {"attributes.`Run Name`": 240}  # shown in any case; MLflow's width cuts it after 15 characters
COLUMNS = {  # with their widths in pixels; without a width, numbers are cut
    "metrics.`test_accuracy`": 120,
    "metrics.`best_val_accuracy`": 150,
    "metrics.`best_epoch`": 100,
    "metrics.`train_seconds`": 115,
    f"tags.`{DIFFERS_TAG}`": 320,
}
CURVES, IMAGES, NUMBERS = "convtrack-curves", "convtrack-images", "convtrack-numbers"  # sections
CONFUSION, THUMBNAIL = "confusion", 350  # the key of the pictures, and their pixels: two fit beside each other
# the first metric of a chart is solid, the second one dashed
PATIENCE = 120.0  # seconds that a server may take to start
CHARTS = (["val_accuracy", "accuracy"], ["val_loss", "loss"], ["learning_rate"])


def address(experiment_id: str, *, saved: bool = True, charts: bool = False) -> str:
    """What follows the server's address to open the runs, with the view if it is `saved`: as a table, or as charts."""
    view = "viewStateShareKey=convtrack&" if saved else ""
    mode = "&compareRunsMode=CHART" if charts else ""
    # MLflow's page is that of language models without the workflow type
    return f"#/experiments/{experiment_id}/runs?{view}workflowType=machine_learning{mode}"


def curves(experiment_id: str, run_id: str) -> str:
    """The address of a chart with the accuracies of one run on train and val."""
    values = {"runs": [run_id], "metric": "val_accuracy", "experiments": [experiment_id]}
    values |= {"plot_metric_keys": ["val_accuracy", "accuracy"]}
    packed = {name: json.dumps(value, separators=(",", ":")) for name, value in values.items()}
    return f"#/metric?{urllib.parse.urlencode(packed)}"


def describe(client: MlflowClient, run_id: str, headline: str, details: str) -> None:
    """Put a result above the description of a run, with links and the next commands, in place of an earlier one.

    MLflow folds up what follows the links and two lines.
    """
    from mlflow.entities import RunTag

    run = client.get_run(run_id)
    experiment_id, short = run.info.experiment_id, run_id[:SHORT_ID]
    report = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{files.PAGE}"
    links = f"[Train and val in one chart]({curves(experiment_id, run_id)}) · [report]({report})"
    commands = [f"convtrack {each}" for each in (f"compare {short} workspace", f"predict --model {short} PICTURE")]
    commands.append(f"convtrack reproduce {short}")
    text = "\n".join([f"{headline} {links}\n\n{details}\n\n```", *commands, "```"])
    client.log_batch(run_id, tags=[RunTag(*each) for each in renewed(run.data.tags, text).items()])


def renewed(tags: dict[str, str], text: str) -> dict[str, str]:
    """The tags that put `text` above a description, in place of the text of an earlier call.

    What others wrote stays. Where they changed our text or deleted it, that stays as well, and there are no tags.
    """
    note, last = tags.get(NOTE_TAG, ""), tags.get(LAST_TAG, "")
    if last not in note:
        return {}
    new = note.replace(last, text, 1) if last else f"{text}\n\n{note}".strip()
    return {NOTE_TAG: new, LAST_TAG: text} if len(new) <= LONGEST_NOTE else {}


def attach_confusion(image: Path, folder: Path) -> dict[str, str]:
    """Add the picture of two confusion matrices to the artifacts in `folder`; returns the tag that it needs.

    Charts show the left matrix beside those of other runs, and both after a click. That of a later evaluation replaces
    it. Nothing is done where there is no such file.
    """
    from PIL import Image, features

    if not image.exists() or not features.check("webp"):
        return {}
    target = folder / f"images/{CONFUSION}+step+0+timestamp+0+{uuid.uuid5(uuid.NAMESPACE_OID, CONFUSION)}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(image, target)
    with Image.open(image) as opened:
        left = opened.convert("RGB").crop((0, 0, opened.width // 2, opened.height))
        left.thumbnail((THUMBNAIL, THUMBNAIL))
        left.save(target.with_name(f"{target.stem}+compressed.webp"), quality=90)
    return {"mlflow.loggedImages": "True"}


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
    state = {
        "selectedColumns": list(COLUMNS),
        "columnOrder": [*NAME_COLUMN, *COLUMNS],
        "columnWidths": NAME_COLUMN | COLUMNS,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "compareRunSections": [
            _section(CURVES, "Curves (train dashed)", columns=2, cardHeight=360),
            _section(IMAGES, "Confusion matrices", columns=1, cardHeight=500),
            # the name of the section that MLflow puts the charts of all other metrics into
            _section(NUMBERS, "Model metrics", display=False),
        ],
        "compareRunCharts": [*(each for metrics in CHARTS for each in _charts(metrics)), _images()],
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": "convtrack", "createdAt": now(), "updatedAt": now(), "state": f"deflate;{packed}"})


def _section(uuid: str, name: str, *, display: bool = True, **more: int) -> dict[str, Any]:
    given = {"isReordered": False, "deleted": False, "isGenerated": False}
    return {"uuid": uuid, "name": name, "display": display, **given, **more}


def _images() -> dict[str, Any]:
    """A chart of the confusion matrices of all runs, without their parameters, which would take most of its space."""
    shown = {"type": "IMAGE", "uuid": IMAGES, "metricSectionId": IMAGES, "imageKeys": [CONFUSION], "step": 0}
    return shown | {"deleted": False, "isGenerated": True, "runsCountToCompare": 10, "showRunParams": False}


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


def browse(server: str, experiment: store.Experiment) -> None:
    """Print the address of the view in `experiment`, and open it in a browser where there is a display."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(urllib.error.URLError, http.client.HTTPException, OSError):
            address = f"{server}/{_of_view(server, experiment)}"
            click.echo(f"\nconvtrack: open {address}\n")
            if sys.platform in {"darwin", "win32"} or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
                click.launch(address)
            return
        time.sleep(0.5)


def _of_view(server: str, experiment: store.Experiment) -> str:
    """The view's address on the server; without a view that of the runs, without any runs that of MLflow's home."""
    chosen = {"experiment_name": experiment} if isinstance(experiment, str) else {"experiment_id": experiment.id}
    method = "get-by-name" if isinstance(experiment, str) else "get"
    query = f"{server}/api/2.0/mlflow/experiments/{method}?{urllib.parse.urlencode(chosen)}"
    try:
        with urllib.request.urlopen(query, timeout=10) as answer:
            found = json.load(answer)["experiment"]
    except urllib.error.HTTPError:  # it has no such experiment yet
        return ""
    saved = VIEW_TAG in {tag["key"] for tag in found.get("tags", [])}
    return address(found["experiment_id"], saved=saved)
