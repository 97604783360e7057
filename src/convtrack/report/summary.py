"""The head of the report: the result, what guessing would give, the ids and the parameters of the run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd

from convtrack.errors import counted
from convtrack.report import tables
from convtrack.report.names import shown
from convtrack.report.results import Results

NOT_RECORDED = "not recorded"


def percent(value: float, digits: int = 1) -> str:
    """A number from 0 to 1, in percent."""
    return f"{100 * value:.{digits}f} %"


def head(found: Results, numbers: dict[str, Any], dataset: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """The headline, the tiles, the ids and the parameters; the arguments as in `page.page`."""
    accuracy, low, high = (percent(numbers[name], 2) for name in ("accuracy", "accuracy_low", "accuracy_high"))
    source = str(dataset["source"]["name"])
    source = "your own" if source == "image_folder" else shown(source, 60)
    return {
        "title": f"Test accuracy {accuracy}, {source}",
        "headline": f"Test accuracy {accuracy} on {counted(numbers['images'], 'image')} of {source}",
        "lead": [f"95 % confidence interval: {low} to {high}. {chance(found.per_class)}"],
        "tiles": _tiles(numbers, found.training),
        "ids": _ids(dataset, run, found.training),
        "parameters": _parameters(run),
    }


def chance(per_class: pd.DataFrame) -> str:
    """What guessing would give; `per_class` is the table of files.PER_CLASS."""
    largest = per_class.iloc[int(per_class["support"].argmax())]
    baseline = percent(largest["support"] / per_class["support"].sum(), 2)
    guess = percent(1 / len(per_class), 2)
    return f"Always predicting “{shown(largest['class'])}” would give {baseline}, guessing at random {guess}."


def _tiles(numbers: dict[str, Any], training: dict[str, Any]) -> list[dict[str, str]]:
    """Every number of evaluate, and a few of train."""
    remarks = tables.remarks(numbers)
    tiles = [
        {"name": f"test {name.replace('_', ' ')}", "value": f"{value:.4f}", "remark": remarks.get(name, "")}
        for name, value in numbers.items()
        if isinstance(value, float) and name not in {"accuracy_low", "accuracy_high"}
    ]
    if training["best_val_accuracy"] is not None:
        best = f"at the best epoch, {training['best_epoch']} of {training['epochs_run']}"
        gap = "train accuracy - val accuracy, at the best epoch"
        tiles += [
            {"name": "best val accuracy", "value": f"{training['best_val_accuracy']:.4f}", "remark": best},
            {"name": "gap", "value": f"{training['gap_at_best']:+.4f}", "remark": gap},
        ]
    return [*tiles, {"name": "training time", "value": duration(training["seconds"]), "remark": "h:mm:ss"}]


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def _ids(dataset: dict[str, Any], run: dict[str, Any], training: dict[str, Any]) -> list[list[str]]:
    sizes = {split: sum(counts.values()) for split, counts in dataset["counts"].items()}
    images = ", ".join(f"{size:,} {split}" for split, size in sizes.items() if size)
    commit = run.get("git.commit", NOT_RECORDED)
    changed = " with uncommitted changes" if run.get("git.dirty") == "true" else ""
    rows = [
        ["data", f"{dataset['source']['name']}: {images} images, {len(dataset['classes']):,} classes"],
        ["data digest", run.get("data_digest", NOT_RECORDED)],
        ["final fit", tables.FINAL_FIT if training["best_val_accuracy"] is None else ""],
        ["network", f"{training['parameters']:,} parameters, {training['precision']}, seed {training['seed']}"],
        ["commit", commit + changed],
        ["DVC experiment", run.get("dvc.exp_name", "")],
        ["MLflow run", run.get("run_id") or NOT_RECORDED],
        ["MLflow store", run.get("tracking_uri", "")],
        ["trained", run.get("trained", NOT_RECORDED)],
    ]
    return [row for row in rows if row[1]]


def _parameters(run: dict[str, Any]) -> dict[str, Any]:
    """The parameters that differ from the closest preset."""
    if "preset" not in run:
        return {"caption": "The parameters were not recorded.", "base": "", "rows": []}
    name, changed = run["preset"] or "the defaults", run["changed"]
    rows = [[path, *("null" if value is None else str(value) for value in values)] for path, values in changed.items()]
    rows = [row if len(row) == 3 else [*row, ""] for row in rows]  # the preset's network has no such parameter
    caption = f"These differ from {name}, the closest preset." if rows else f"All are those of {name}."
    return {"caption": caption, "base": name, "rows": rows}
