"""The model card, reports/model_card.md: Markdown with the metadata of Hugging Face's model cards on top.

The fields are those of https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any, Protocol

import jinja2
import pandas as pd
from markupsafe import Markup
from ruamel.yaml import YAML

from convtrack import files
from convtrack.errors import counted
from convtrack.evaluation import bounds
from convtrack.report import results, summary
from convtrack.report.names import in_markdown, shown
from convtrack.report.summary import NOT_RECORDED, percent
from convtrack.report.tables import remarks

MOST_ROWS = 5  # of classes and pairs
MOST_CHANGED = 20  # parameters
LONGEST = 80  # characters of a value or a name
METADATA_METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "tta_accuracy": "accuracy"}  # ids of Hugging Face


class Terms(Protocol):
    """As datasets.terms.Terms."""

    @property
    def title(self) -> str: ...
    @property
    def words(self) -> str: ...
    @property
    def license(self) -> str: ...
    @property
    def hub(self) -> str: ...


def write(terms_of: Callable[[str], Terms]) -> None:
    """Write files.CARD from what preprocess, train and evaluate wrote, whole or not at all.

    terms_of: gives the terms of a data set by its name. Raises StorageError where one of those files is missing, or
    there is no room.
    """
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    text = render(
        terms_of(str(dataset["source"]["name"])),
        numbers=files.read_json(files.EVALUATION),
        dataset=dataset,
        training=files.read_json(files.TRAINING),
        run=files.read_json(files.RUN) if files.RUN.exists() else {},
        per_class=files.read_table(files.PER_CLASS, text=("class",)),
    )
    with files.atomic_write(files.CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")


def body(card: str, longest: int) -> str:
    """A card without its metadata and heading, for a page with its own; at most `longest` characters.

    It begins with the test accuracy.
    """
    text = card.partition("\n# ")[2].partition("\n")[2].strip()
    if len(text) <= longest:
        return text
    rest = f"\n\nThe rest is in {files.CARD}, an artifact of the run."
    return text[: longest - len(rest)].rpartition("\n\n")[0] + rest


def render(
    terms: Terms,
    *,
    numbers: dict[str, Any],
    dataset: dict[str, Any],
    training: dict[str, Any],
    run: dict[str, Any],
    per_class: pd.DataFrame,
) -> str:
    """The card as text. The arguments are `terms` of the data set, and the content of the files that `write` reads."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("convtrack.report"),
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else in_markdown(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    data = str(dataset["source"]["name"])
    shape, classes = dataset["image_shape"], [str(one) for one in dataset["classes"]]
    val = sum(dataset["counts"].get("val", {}).values())
    worst = _worst(per_class)
    return environment.get_template("model_card.md").render(
        metadata=Markup(_metadata(terms, data, numbers)),
        title=terms.title,
        result=_result(numbers, terms.title),
        parameters=f"{training['parameters']:,}",
        takes=f"images of {shape[0]}x{shape[1]} pixels, {'grey' if shape[2] == 1 else 'in colour'} (uint8),",
        shape=", ".join(map(str, shape)),
        classes=f"{len(classes):,}",
        names=_listed(classes),
        data=_data(terms.title, dataset),
        terms=Markup(terms.words),
        no_val=not val,
        images=counted(numbers["images"], "test image"),
        metrics=_metrics(numbers, training, val),
        baseline=summary.chance(per_class),
        worst=worst,
        worst_caption=f"The {len(worst)} classes with the lowest recall.",
        pairs=_pairs(),
        model=Markup(data),
        made=_made(run, training),
        preset=run.get("preset") or "the defaults",
        changed=_changed(run),
    )


def _metadata(terms: Terms, data: str, numbers: dict[str, Any]) -> str:
    """The block of YAML, between two lines of dashes."""
    measured = [
        {"type": kind, "value": round(numbers[name], 4), "name": f"test {name.replace('_', ' ')}"}
        for name, kind in METADATA_METRICS.items()
        if name in numbers and math.isfinite(numbers[name])
    ]
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"type": terms.hub or data, "name": terms.title, "split": "test"},
        "metrics": measured,
    }
    content = {
        "license": terms.license,
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "keras", "convtrack"],
        **({"datasets": [terms.hub]} if terms.hub else {}),
        "metrics": sorted({str(one["type"]) for one in measured}),
        "model-index": [{"name": f"{data}-classifier", "results": [result]}],
    }
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(content, stream)
    return f"---\n{stream.getvalue()}---\n"


def _result(numbers: dict[str, Any], title: str) -> str:
    low, high = (percent(numbers[name], 2) for name in ("accuracy_low", "accuracy_high"))
    accuracy, images = percent(numbers["accuracy"], 2), counted(numbers["images"], "test image")
    return f"Test accuracy {accuracy} (95 % interval {low} to {high}) on {images} of {title}."


def _listed(names: list[str]) -> str:
    rest = len(names) - bounds.ALL_CLASSES
    listed = ", ".join(shown(name) for name in names[: bounds.ALL_CLASSES if rest > 0 else None])
    return f"{listed} and {rest:,} more" if rest > 0 else listed


def _data(title: str, dataset: dict[str, Any]) -> str:
    counts = {split: sum(of_split.values()) for split, of_split in dataset["counts"].items()}
    *parts, last = [f"{count:,} {split}" for split, count in counts.items() if count]
    return f"{' and '.join([', '.join(parts), last] if parts else [last])} images of {title}."


def _metrics(numbers: dict[str, Any], training: dict[str, Any], val: int) -> list[dict[str, str]]:
    beside = remarks(numbers) | {"tta_accuracy": "averaged over views of each image"}
    rows = [
        {"name": f"test {name.replace('_', ' ')}", "value": f"{value:.4f}", "remark": beside.get(name, "")}
        for name, value in numbers.items()
        if isinstance(value, float) and name not in {"accuracy_low", "accuracy_high"}
    ]
    accuracy = training.get("best_val_accuracy")
    if val and accuracy is not None:
        rows.append({"name": "best val accuracy", "value": f"{accuracy:.4f}", "remark": "at the best epoch"})
    return rows


def _worst(per_class: pd.DataFrame) -> list[dict[str, str]]:
    """The classes with the lowest recall, those without test images left out."""
    table = per_class[per_class["support"] > 0].sort_values("recall", kind="stable").head(MOST_ROWS)
    return [
        {
            "name": shown(str(row["class"])),
            "recall": _rate(row["recall"]),
            "precision": _rate(row["precision"]),
            "support": f"{row['support']:,}",
        }
        for row in table.to_dict("records")
    ]


def _rate(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _pairs() -> list[dict[str, str]]:
    return [
        {
            "actual": shown(pair.actual),
            "predicted": shown(pair.predicted),
            "count": f"{pair.count:,}",
            "support": f"{round(pair.count / pair.share):,}",
            "share": percent(pair.share),
        }
        for pair in results.read_pairs()[:MOST_ROWS]
    ]


def _made(run: dict[str, Any], training: dict[str, Any]) -> list[tuple[str, str]]:
    changes = " with uncommitted changes" if run.get("git.dirty") == "true" else ""
    versions = [(name, run.get(f"version.{name}")) for name in ("convtrack", "keras", "tensorflow")]
    rows = [
        ("commit", run.get("git.commit", NOT_RECORDED) + changes),
        ("MLflow run", run.get("run_id")),
        ("DVC experiment", run.get("dvc.exp_name")),
        ("data digest", run.get("data_digest")),
        ("trained", run.get("trained")),
        ("closest preset", run.get("preset", "") or None),
        ("machine", run.get("host.cpu", NOT_RECORDED)),
        ("packages", ", ".join(f"{name} {version}" for name, version in versions if version)),
        ("training time", f"{training['seconds']:,.1f} seconds"),
        ("epochs", str(training["epochs_run"])),
        ("seed", str(training["seed"])),
        ("precision", str(training["precision"])),
        ("cost", f"{training['pflop']:.3g} PFLOP"),
    ]
    return [(name, shown(str(value), LONGEST)) for name, value in rows if value]


def _changed(run: dict[str, Any]) -> list[list[str]]:
    changed = run.get("changed", {})
    rows = [
        [path, *(shown("null" if value is None else str(value), LONGEST) for value in values)]
        for path, values in list(changed.items())[:MOST_CHANGED]
    ]
    rows = [row if len(row) == 3 else [*row, ""] for row in rows]  # the preset's network has no such parameter
    rest = len(changed) - MOST_CHANGED
    return [*rows, [f"and {rest} more", "", ""]] if rest > 0 else rows
