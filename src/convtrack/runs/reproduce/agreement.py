"""Two runs that should be equal, held against each other: data, parameters, packages, machine, metrics, weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from convtrack import files
from convtrack.errors import DataError, counted, listed
from convtrack.runs.document import Block, Lines, Table
from convtrack.runs.finished import FinishedRun, probability_columns

IDENTICAL = "identical"
MEASURED = ("seconds", "images_per_second", "gflop_per_second")  # differ from run to run
MACHINE = ("threads", "replicas")  # of training.json
LONGEST = 44  # characters of a cell


@dataclass(frozen=True)
class Part:
    """One thing of both runs. difference: empty if it is identical, None if it cannot be compared."""

    kind: str
    name: str
    original: str
    again: str
    difference: str | None

    @property
    def same(self) -> bool:
        return self.difference == ""


@dataclass(frozen=True)
class Agreement:
    """Everything that was compared. folder: where the run was made again, if it was kept."""

    name: str
    parts: tuple[Part, ...]
    folder: Path | None = None

    @property
    def causes(self) -> list[str]:
        """What differs although it was not meant to, and may explain different results."""
        return [
            f"{part.name}: {part.original} in the original, {part.again} here"
            for part in self.parts
            if part.kind in {"packages", "machine", "parameters"} and part.difference
        ]

    @property
    def identical(self) -> bool:
        """Whether all results are the same, the weights included."""
        return all(part.same for part in self._results)

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        different = [part.name for part in self._results if part.difference]
        unknown = [part for part in self._results if part.difference is None]
        if different:
            return f"not identical: {listed(different, at_most=5)}"
        if unknown:
            return f"identical as far as it can be compared; not compared: {listed([part.name for part in unknown])}"
        return "identical: weights (bit for bit), predictions and metrics"

    @property
    def _results(self) -> list[Part]:
        return [part for part in self.parts if part.kind == "results"]

    def blocks(self) -> list[Block]:
        """The tables and the result."""
        rows = [[part.name, *map(_short, (part.original, part.again)), _told(part)] for part in self.parts]
        found: list[Block] = [Table("Side by side", ["", self.name, "again", ""], rows)]
        if any(part.difference for part in self._results):
            why = self.causes or [
                "nothing that is recorded differs. Older versions of the code repeat less exactly on a busy machine"
            ]
            found.append(Lines(["Likely cause:", *(f"  {cause}" for cause in why)]))
        return [*found, Lines([f"Result: {self.verdict}"], strong=True)]

    def document(self) -> dict[str, Any]:
        """The same for scripts."""
        return {
            "run": self.name,
            "identical": self.identical,
            "verdict": self.verdict,
            "differing_conditions": self.causes,
            "parts": [
                {"kind": part.kind, "name": part.name, "original": part.original, "again": part.again}
                | {"difference": part.difference}
                for part in self.parts
            ],
            "folder": str(self.folder) if self.folder else None,
        }


def _short(text: str) -> str:
    digest = re.fullmatch(r"([0-9a-f]{32})\.dir", text)
    if digest:
        return digest[1][:12]
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _told(part: Part) -> str:
    return IDENTICAL if part.same else "not compared" if part.difference is None else part.difference


def compare(a: FinishedRun, b: FinishedRun, weights: tuple[Path | None, str], again: Path) -> list[Part]:
    """Run `b` against the original `a`. weights: the Keras file of `a`, or why there is none; again: that of `b`."""
    return [
        _part("data", "data", a.data_digest, b.data_digest),  # checked before the training
        *_named("parameters", a.parameters, b.parameters),
        *_named("packages", _environment(a, "version."), _environment(b, "version.")),
        *(_part("machine", name, _machine(a).get(name), value) for name, value in _machine(b).items()),
        *_metrics(a, b),
        _curves(a.history, b.history),
        *(_predictions(a, b, split) for split in ("test", "val") if split in a.predictions or split in b.predictions),
        _weights(*weights, again),
    ]


def _part(kind: str, name: str, a: str | None, b: str | None) -> Part:
    if a is None or b is None:
        return Part(kind, name, a or "not recorded", b or "not recorded", None)
    return Part(kind, name, a, b, "" if a == b else "differs")


def _named(kind: str, a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[Part]:
    """A part for each value that differs, or one if none does. What only one run knows is no difference."""
    common = [name for name in a if name in b]
    if not common:
        yield Part(kind, kind, "not recorded" if not a else f"{len(a)} known", f"{len(b)} known", None)
        return
    differing = [name for name in common if a[name] != b[name]]
    yield from (_part(kind, name, a[name], b[name]) for name in differing)
    if not differing:
        yield Part(kind, kind, f"{len(common)} {kind}", f"{len(common)} {kind}", "")


def _environment(run: FinishedRun, start: str) -> dict[str, str]:
    return {name.removeprefix(start): value for name, value in run.environment.items() if name.startswith(start)}


def _machine(run: FinishedRun) -> dict[str, str]:
    found = _environment(run, "host.") | {name: f"{run.training[name]:g}" for name in MACHINE if name in run.training}
    return found | ({"precision": run.precision} if run.precision else {})


def _metrics(a: FinishedRun, b: FinishedRun) -> Iterator[Part]:
    first, second = (
        {name: value for name, value in run.metrics.items() if f"test_{name}" not in run.metrics} for run in (a, b)
    )
    unlike = (*MEASURED, *MACHINE)
    first, second = (
        metrics | {name: value for name, value in run.training.items() if name not in unlike}
        for metrics, run in ((first, a), (second, b))
    )
    common = [name for name in first if name in second]
    if not common:
        yield Part("results", "metrics", "none", "none", None)
    for name in common:
        difference = second[name] - first[name]
        told = "" if first[name] == second[name] else f"{difference:+.3g}"
        shown = {"parameters": "weights in the network"}.get(name, name.replace("_", " "))
        yield Part("results", shown, f"{first[name]:.6g}", f"{second[name]:.6g}", told)


def _curves(a: pd.DataFrame | None, b: pd.DataFrame | None) -> Part:
    name = "learning curves"
    if a is None or b is None:
        return Part("results", name, "not there" if a is None else "", "not there" if b is None else "", None)
    sizes = _epochs(a), _epochs(b)
    columns = [column for column in a if column in b and column not in MEASURED]
    if len(a) != len(b):
        return Part("results", name, *sizes, "another number of epochs")
    x, y = (table[columns].to_numpy(np.float64) for table in (a, b))
    differing = ~((x == y) | (np.isnan(x) & np.isnan(y)))
    if not differing.any():
        return Part("results", name, *sizes, "")
    first = int(differing.any(axis=1).argmax()) + 1
    return Part("results", name, *sizes, f"from epoch {first} on, by up to {np.nanmax(np.abs(x - y)):.2g}")


def _epochs(table: pd.DataFrame) -> str:
    return counted(len(table), "epoch")


def _predictions(a: FinishedRun, b: FinishedRun, split: files.Split) -> Part:
    name = f"{split} predictions"
    if split not in a.predictions or split not in b.predictions:
        there = [run.missing.get(split, "there") for run in (a, b)]
        return Part("results", name, there[0], there[1], None)
    first, second = a.predictions[split], b.predictions[split]
    sizes = counted(len(first), "image"), counted(len(second), "image")
    if not first[["name", "actual"]].equals(second[["name", "actual"]]):
        return Part("results", name, *sizes, "of other images")
    columns = [column for column in probability_columns(first) if column in second]
    labels = int((first["predicted"] != second["predicted"]).sum())
    largest = float(np.abs(first[columns].to_numpy(np.float64) - second[columns].to_numpy(np.float64)).max())
    if not labels and not largest:
        return Part("results", name, *sizes, "")
    return Part("results", name, *sizes, f"{labels:,} with another label; probabilities differ by up to {largest:.2g}")


def _weights(original: Path | None, why: str, again: Path) -> Part:
    if original is None:
        return Part("results", "weights", why, "", None)
    first, second = arrays(original), arrays(again)
    sizes = _size(first), _size(second)
    if first.keys() != second.keys():
        return Part("results", "weights", *sizes, "of another network")
    differing = [name for name in first if _bits(first[name]) != _bits(second[name])]
    if not differing:
        return Part("results", "weights", *sizes, "")
    shapes = [name for name in differing if first[name].shape != second[name].shape]
    if shapes:
        return Part("results", "weights", *sizes, f"other shapes: {listed(shapes, at_most=3)}")
    gaps = {name: float(np.abs(first[name].astype(np.float64) - second[name]).max()) for name in differing}
    most = max(gaps, key=lambda name: gaps[name])
    told = f"{len(differing)} of {len(first)} arrays, most of all {most}, by up to {gaps[most]:.2g}"
    return Part("results", "weights", *sizes, told)


def _size(found: dict[str, np.ndarray]) -> str:
    return f"{len(found)} arrays, {sum(array.size for array in found.values()):,} numbers"


def _bits(array: np.ndarray) -> tuple[Any, ...]:
    return array.shape, array.dtype, array.tobytes()


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The weights in a .keras file, by their place in it. Reads the numbers only and runs nothing. Raises DataError."""
    import io
    import zipfile

    import h5py  # the format of Keras's weights

    found: dict[str, np.ndarray] = {}

    def keep(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            found[name] = np.asarray(entry)

    try:
        with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            file.visititems(keep)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no Keras model: {error}", "reproduce another run") from error
    return found
