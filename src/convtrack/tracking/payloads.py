"""What a run gets: names, params, curves, scalars, tables, files, the data and the model. Nothing is sent here."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtrack import files
from convtrack.evaluation import bounds
from convtrack.params.schema import PARAMS_FILE, Params
from convtrack.tracking import names, provenance, records, store, views
from convtrack.tracking.changes import Changes
from convtrack.tracking.outbox.folder import FILES, MODEL, Fill
from convtrack.tracking.records import Dataset, Evaluated, ModelInfo, Payload, Point
from convtrack.tracking.trials import TrialLink

if TYPE_CHECKING:
    import pandas as pd

LONGEST_PARAM, LONGEST_TAG = 6000, 8000  # MLflow's limits

# evaluate can run again on the same training, and MLflow's params are written once: its parameters are tags
MUTABLE = ("evaluate.", "tracking.")
UNCHANGED = Changes()
SERVED_WITH = ("tensorflow", "keras", "numpy", "pandas", "pillow")  # and MLflow, which names itself
NOT_METRICS = ("seed", "threads", "replicas")  # of training.json: nobody needs a chart of them


def with_context(tags: dict[str, str]) -> dict[str, str]:
    """`tags` and those that `mlflow.start_run` adds: user, source, and whatever MLflow's plugins know."""
    store.set_patience()
    from mlflow.tracking.context.registry import resolve_tags

    return {name: str(value) for name, value in resolve_tags(tags).items()}


def setup(params: Params, folder: Path, changes: Changes = UNCHANGED) -> Payload:
    """Everything that is known before a training: params, the data, and the state of the code."""
    project = provenance.project()
    for file in (PARAMS_FILE, project / "dvc.yaml", project / files.LOCK, files.PROCESSED / files.DATASET):
        if file.exists():
            attach(file, folder)
    if changes.patch:
        _files(folder).joinpath("uncommitted.patch").write_bytes(changes.patch)
    if changes.left_out:
        text = "".join(f"{line}\n" for line in changes.left_out)
        _files(folder).joinpath("uncommitted_left_out.txt").write_text(text, encoding="utf-8")
    return Payload(params=parameters(params), dataset=dataset())


def parameters(params: Params) -> dict[str, str]:
    """The params of a run, which MLflow accepts once."""
    return as_params({name: value for name, value in params.flat().items() if not name.startswith(MUTABLE)})


def evaluation_setup(params: Params) -> dict[str, str]:
    """The parameters of evaluate and the state of its code, as tags that a later evaluation replaces."""
    own = {name: str(value) for name, value in params.flat().items() if name.startswith("evaluate.")}
    state = {f"evaluate.{name}": value for name, value in (provenance.git() | provenance.dvc()).items()}
    return {name: value[:LONGEST_TAG] for name, value in (own | state).items()}


def as_params(values: dict[str, Any]) -> dict[str, str]:
    return {name: str(value)[:LONGEST_PARAM] for name, value in values.items()}


def points(values: dict[str, Any], step: int, at: int | None = None) -> list[Point]:
    """A point for each value that is a finite number, with the time `at` (milliseconds since 1970), or now."""
    at = records.now() if at is None else at
    finite = {name: value for name, value in values.items() if isinstance(value, int | float) and math.isfinite(value)}
    return [Point(name, float(value), at, step) for name, value in finite.items()]


def row(values: dict[str, float]) -> Payload:
    """A row of models/history.csv, its epoch as the step."""
    return Payload(curve=points({name: values[name] for name in values if name != "epoch"}, int(values["epoch"])))


def training(result: dict[str, Any], folder: Path, at: int | None = None) -> Payload:
    """training.json: measured numbers as metrics (of the time `at`, or now), the rest as tags; and the files."""
    # a curve has these names already
    renamed = {"seconds": "train_seconds", "images_per_second": "train_images_per_second"}
    words = {name: value for name, value in result.items() if isinstance(value, str) or name in NOT_METRICS}
    for file in (files.HISTORY, files.TRAINING):
        attach(file, folder)
    return Payload(
        metrics=points({renamed.get(name, name): result[name] for name in result if name not in words}, 0, at),
        tags={f"training.{name}": str(value)[:LONGEST_TAG] for name, value in words.items()},
    )


def model(folder: Path) -> None:
    """models/model.keras as an MLflow model that takes pictures: served.py, without loading TensorFlow.

    Its signature names no input: MLflow allows either a table or an array there, and the model takes both.
    Raises StorageError, and DataError for a model file that does not name its classes.
    """
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    classes = files.read_about(files.MODEL).classes
    numbers = ["probability", *(f"{files.PROBABILITY}{name}" for name in classes)]
    outputs = Schema([ColSpec("string", "label"), *(ColSpec("float", name) for name in numbers)])
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # it says that it validates the example
    here = Path(__file__)
    mlflow.pyfunc.save_model(
        str(folder / MODEL),
        python_model=str(here.with_name("served.py")),
        artifacts={"model": str(files.MODEL), "images": str(here.parents[1] / "datasets/images.py")},
        signature=ModelSignature(outputs=outputs),
        input_example=_example(),
        # named, because MLflow would load the model in another process to find them
        pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in SERVED_WITH],
    )


def _example() -> pd.DataFrame:
    """An input of the model: the first train image as a PNG file."""
    import io

    import pandas as pd
    from PIL import Image

    pixels = files.read_arrays(files.PROCESSED, "train").images[0]
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return pd.DataFrame({"image": [file.getvalue()]})


def model_info(params: Params, trial: TrialLink | None) -> ModelInfo:
    """The name of a run's model, its classes, and what it is."""
    classes = files.read_json(files.PROCESSED / files.DATASET)["classes"]
    tags = {"classes": json.dumps(classes, ensure_ascii=False)} if len(classes) <= bounds.ALL_CLASSES else {}
    note = names.description(params, trial, UNCHANGED, "")
    return ModelInfo(name=names.of_model(params, trial), tags=tags | {views.NOTE_TAG: note})


def evaluation(metrics: dict[str, Any], folder: Path) -> Payload:
    """evaluation.json as `test_…` metrics, the confusion matrix as a table, and all of reports/.

    Metrics by class are left out where there are many classes.
    """
    classes = files.read_json(files.PROCESSED / files.DATASET)["classes"]
    flat = {f"test_{name}": value for name, value in metrics.items() if not isinstance(value, dict)}
    for name, by_class in metrics.items():
        if isinstance(by_class, dict) and len(classes) <= bounds.ALL_CLASSES:
            flat |= {
                f"test_{name}_{label}": value
                for label, value in zip(_metric_names(by_class), by_class.values(), strict=True)
            }
    reports = files.METRICS.parent
    for file in reports.rglob("*"):
        if file.is_file():
            attach(file, folder, "reports" / file.relative_to(reports))
    # MLflow's `log_table` would append to the table of an earlier evaluation
    table = confusion_table(classes).to_json(orient="split", index=False)
    _files(folder).joinpath("confusion.json").write_text(table, encoding="utf-8")
    tables = json.dumps([{"path": "confusion.json", "type": "table"}])
    tags = {"mlflow.loggedArtifacts": tables}  # the tag that makes it a table
    if left_out := bounds.left_out(len(classes)):
        tags["evaluate.left_out"] = left_out
    tags |= views.attach_confusion(files.PICTURES / "confusion.png", _files(folder))
    of_all, data = points(flat, 0), dataset()
    evaluated = Evaluated(
        dataset=data.model_copy(update={"name": f"{data.name} (test)"}),
        metrics=[point for point in of_all if point.name.removeprefix("test_") in metrics],
        headline=names.headline(metrics),
        details=names.details(),
    )
    return Payload(metrics=of_all, tags=tags, evaluated=evaluated)


def with_file(file: Path, payload: Payload) -> Fill:
    """`payload`, with `file` as an artifact."""

    def fill(folder: Path) -> Payload:
        attach(file, folder)
        return payload

    return fill


def attach(file: Path, folder: Path, name: Path | None = None) -> None:
    """Copy `file` to the artifacts of the record in `folder`, there called `name`."""
    target = _files(folder) / (name or file.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target)


def _files(folder: Path) -> Path:
    path = folder / FILES
    path.mkdir(exist_ok=True)
    return path


def confusion_table(classes: list[str]) -> pd.DataFrame:
    """Counts from reports/confusion.csv: a row for each actual class, a column for each predicted one.

    Of many classes, only the most confused.
    """
    import pandas as pd

    images = files.read_table(files.CONFUSION, text=("actual", "predicted"))
    if len(classes) > bounds.ALL_CLASSES:
        from convtrack.evaluation import metrics

        labels, predicted = (pd.Categorical(images[name], classes).codes for name in ("actual", "predicted"))
        most = metrics.most_confused(labels, predicted, len(classes), bounds.MOST_CONFUSED)
        classes = [classes[number] for number in most]
        images = images[images["actual"].isin(classes) & images["predicted"].isin(classes)]
    counts = pd.crosstab(images["actual"], images["predicted"])
    matrix = counts.reindex(index=classes, columns=classes, fill_value=0)
    return matrix.reset_index(names="actual \\ predicted")


def dataset() -> Dataset:
    """data/processed as an input of the run, identified by DVC's hash; the arrays are not read."""
    document = files.read_json(files.PROCESSED / files.DATASET)
    profile = {name: document[name] for name in ("classes", "image_shape", "counts")}
    return Dataset(
        name=document["source"]["name"],
        digest=provenance.data_digest(),
        source_type="local",
        source=json.dumps({"uri": str(files.PROCESSED)}),
        profile=json.dumps(profile),
    )


def _metric_names(classes: Any) -> list[str]:
    """Class names as MLflow accepts them: letters, digits, spaces and `_ - . :`; a number keeps equal ones apart."""
    names: list[str] = []
    for name in classes:
        allowed = re.sub(r"[^\w\-. :]", "_", name)[:200].strip(". ") or "_"
        own, number = allowed, len(names)
        while own in names:
            own, number = f"{allowed}-{number}", number + 1
        names.append(own)
    return names
