"""Export a model to another format, and hold what was exported against the model.

Only rounding may make them differ. No probability of the exported model may differ from that which Keras computes in
float32 by more than ALLOWED["float32"], nor from that of the model by more than ALLOWED for the type in which the model
computes. If no probability differs by more than d, labels differ only where the two best probabilities are within 2d:
the bounds hold for labels too.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from convtrack import files
from convtrack.errors import ConfigError, ConvtrackError, ExportError, StorageError, escaped
from convtrack.inference.classifier import Classifier
from convtrack.inference.formats import FORMATS, OUTPUT, Run

ALLOWED = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.1}
MOST = 10_000  # images that are checked, evenly spread over those that there are
MADE_UP = 256  # images, where there are none
BATCH = 64
BATCHES = (1, BATCH)  # whose latency is measured
# a measurement ends after CALLS calls or SECONDS, whatever comes first, but not before LEAST calls
CALLS, SECONDS, LEAST, WARM_UP = 200, 10.0, 20, 5


@dataclass(frozen=True)
class Agreement:
    """What a model and its export say about the same images.

    images: which ones, in words. same: how many get the same label. difference: the largest between two probabilities.
    margin: the largest between the model's two best probabilities of an image whose labels differ, or None. precision:
    the type in which the model computes. float32_difference: the largest from probabilities computed in float32.
    """

    images: str
    count: int
    same: int
    difference: float
    margin: float | None
    precision: str
    float32_difference: float

    @property
    def explained(self) -> bool:
        """Whether rounding explains the differences. Not if a probability is not a number."""
        return self.difference <= ALLOWED[self.precision] and self.float32_difference <= ALLOWED["float32"]


@dataclass(frozen=True)
class Exported:
    """bytes: the sizes, and latency: milliseconds of each call by number of images, of `Keras` and of the runtime."""

    path: Path
    runtime: str
    agreement: Agreement
    bytes: dict[str, int]
    latency: dict[str, dict[int, list[float]]]


def path_of(name: str, format_name: str) -> Path:
    """Where the model that a user calls `name` is exported to, unless told otherwise."""
    form = FORMATS[format_name]
    source = files.MODEL if name == "workspace" else Path(name)
    if source.suffix == files.MODEL.suffix:
        folder, stem = source.parent, source.stem
    else:
        folder, stem = files.MODEL.parent, re.sub(r"\W+", "-", name.removeprefix("models:")).strip("-")
    return folder / (f"{stem}{form.suffix}" if form.suffix else f"{stem}_{format_name}")


def check_path(path: Path, format_name: str) -> None:
    """Raises ConfigError if `path` is no name for the format, or something else than an earlier export is there."""
    form = FORMATS[format_name]
    there = escaped(str(path))
    if form.suffix:
        if path.suffix != form.suffix:
            raise ConfigError(
                f"--out {there} does not end in {form.suffix}. Nothing was exported",
                f"--out {escaped(str(path.with_suffix(form.suffix)))}" if path.name else f"add a name to {there}",
            )
        if path.is_dir():
            raise ConfigError(f"--out {there} is a folder. Nothing was exported", "give another name")
    elif path.exists() and (not path.is_dir() or {entry.name for entry in path.iterdir()} - form.content):
        raise ConfigError(
            f"--out {there} exists, and is not an earlier export: {format_name} writes a folder, and would delete what "
            "is there. Nothing was exported",
            "give another name",
        )


def export(model: Path, format_name: str, path: Path, console: Console, processed: Path = files.PROCESSED) -> Exported:
    """Export the Keras file `model` to `path`, a file or folder; then check it, and measure both.

    processed: the folder whose test images are used, if they have the size that the network takes. Otherwise, images
    are made up. Raises ConfigError if a package is missing, StorageError or DataError if `model` is damaged or none of
    convtrack's, StorageError if `path` cannot be written, and ExportError if the conversion fails or its result does
    not agree with `model`. What was at `path` is then unchanged.
    """
    form = FORMATS[format_name]
    form.check_installed()
    console.print(f"loading {escaped(str(model))}", highlight=False, markup=False)
    classifier = Classifier.load(model)
    images, which = _images(classifier.about, processed)
    from convtrack.inference import exportable

    network, keras_run = exportable.in_float32(classifier.network), classifier.network.predict_on_batch
    with (files.atomic_write if form.suffix else files.atomic_folder)(path) as temporary:
        with _explained(format_name, temporary, 2 * model.stat().st_size):
            console.print(f"converting to {format_name}", highlight=False)
            run = form.convert(network, classifier.about, temporary)
            runs = [keras_run, lambda batch: network.predict_on_batch(batch)[OUTPUT], run]
            original, in_float32, exported = _probabilities(runs, images, console)
        agreement = compare(original, in_float32, exported, which, exportable.precision(classifier.network))
        if not agreement.explained:
            raise _disagreement(agreement, format_name)
        console.print("measuring latency", highlight=False)
        measured = {"Keras": keras_run, form.runtime: run}
        latency: dict[str, dict[int, list[float]]] = {name: {} for name in measured}
        for count in BATCHES:
            batch = np.asarray(images[np.arange(count) % len(images)])
            for name, milliseconds in latencies(measured, batch).items():
                latency[name][count] = milliseconds
        sizes = {"Keras": _bytes(model), form.runtime: _bytes(temporary)}
    return Exported(path, form.runtime, agreement, sizes, latency)


def compare(
    original: np.ndarray, in_float32: np.ndarray, exported: np.ndarray, images: str, precision: str
) -> Agreement:
    """Compare probabilities of the same images, (n, classes): of the model, of its float32 copy, of the export.

    Raises ExportError if those of the model are not finite.
    """
    if not np.isfinite(original).all():
        raise ExportError(
            "the model returns probabilities that are not finite. Nothing was exported",
            "lower train.optimizer.learning_rate, then dvc repro",
        )
    best = np.sort(original, axis=1)
    differ = original.argmax(axis=1) != exported.argmax(axis=1)
    return Agreement(
        images=images,
        count=len(original),
        same=int(np.sum(~differ)),
        difference=float(np.abs(original - exported).max()),
        margin=float((best[:, -1] - best[:, -2])[differ].max()) if differ.any() else None,
        precision=precision,
        float32_difference=float(np.abs(in_float32 - exported).max()),
    )


def latencies(runs: dict[str, Run], images: np.ndarray) -> dict[str, list[float]]:
    """Milliseconds of each call with `images`. The runs take turns, so that all of them see the same load."""
    for run in runs.values():
        for _ in range(WARM_UP):
            run(images)
    found: dict[str, list[float]] = {name: [] for name in runs}
    began = time.perf_counter()
    for call in range(CALLS):
        if call >= LEAST and time.perf_counter() - began > SECONDS:
            break
        for name, run in runs.items():
            before = time.perf_counter()
            run(images)
            found[name].append(1000 * (time.perf_counter() - before))
    return found


def _probabilities(runs: list[Run], images: np.ndarray, console: Console) -> list[np.ndarray]:
    """What each run returns for all images, (n, classes)."""
    found = []
    for start in track(range(0, len(images), BATCH), "checking", console=console):
        batch = np.asarray(images[start : start + BATCH])
        found.append([run(batch) for run in runs])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def _images(about: files.About, processed: Path) -> tuple[np.ndarray, str]:
    """The images to check with, uint8 (n, height, width, channels), and what they are."""
    try:
        dataset, images = files.read_json(processed / files.DATASET), files.read_arrays(processed, "test").images
    except StorageError:
        return _made_up(about), f"made-up images, since {processed} has no test images that can be read"
    shape = tuple(dataset["image_shape"])
    if shape != about.image_shape:
        return _made_up(about), f"made-up images, since {processed} has images of {_by(shape)}"
    same = files.About.of(dataset).data["digest"] == about.data.get("digest")
    which = f"test images of {processed}" + ("" if same else ", which is not the data of this model")
    return images[:: -(-len(images) // MOST)], which


def _made_up(about: files.About) -> np.ndarray:
    """Coarse patches of random colours with noise on them."""
    random = np.random.default_rng(0)
    height, width, channels = about.image_shape
    coarse = random.integers(0, 256, (MADE_UP, 4, 4, channels))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    noise = random.normal(0, 20, (MADE_UP, height, width, channels))
    return np.clip(coarse[:, rows][:, :, columns] + noise, 0, 255).astype(np.uint8)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _disagreement(agreement: Agreement, format_name: str) -> ExportError:
    labels = f"{agreement.count - agreement.same:,} of {agreement.count:,} labels differ"
    return ExportError(
        f"the {format_name} model does not agree with the original. Of {agreement.images}: {labels}. Probabilities "
        f"differ by up to {agreement.difference:.2g} (allowed for {agreement.precision}: "
        f"{ALLOWED[agreement.precision]:g}), and by {agreement.float32_difference:.2g} when Keras computes in float32 "
        f"(allowed: {ALLOWED['float32']:g}). It was not kept",
        "export to another format, and report this with params.yaml and the versions that convtrack doctor shows",
    )


@contextlib.contextmanager
def _explained(format_name: str, path: Path, size: int) -> Iterator[None]:
    """Turn whatever a converter or runtime raises into an ExportError, or an OSError if `size` bytes have no room."""
    try:
        yield
    except (OSError, ConvtrackError):
        raise
    except Exception as error:  # native libraries have their own exceptions, also for a full disk
        with (path / "room" if path.is_dir() else path).open("wb") as file:
            file.write(bytes(size))
        reason = str(error).strip() or type(error).__name__
        raise ExportError(
            f"the conversion to {format_name} failed: {escaped(reason.splitlines()[0][:300])}. Nothing was exported",
            f"export to another format ({', '.join(name for name in FORMATS if name != format_name)})",
        ) from error


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
