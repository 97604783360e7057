"""Checkpoints: the complete state of a training between two steps, from which it resumes exactly.

A checkpoint has the weights, the random state of dropout, the optimizer's variables, the sums behind the epoch's loss
and accuracy, the state of early stopping, and the history. Batches need no state, since training/batches.py derives
each from (seed, epoch, batch). Checkpoints are written atomically, the last two are kept, and they are used only with
the same data, parameters and code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

import convtrack
from convtrack import files
from convtrack.system.interruption import Interruption
from convtrack.training.early_stopping import StopEarly
from convtrack.training.history import History

FOLDER = files.STATE / "checkpoints"
KEPT = 2
DONE = "done"  # a file in the folder of a finished training, with the MD5 of its training.json
DAYS = 14  # after which unused checkpoints are deleted
SECONDS = 60.0  # between checkpoints within an epoch: how much training a kill may cost
CODE = ("files.py", "models", "training", "stages/train.py")  # the code that affects a training, within the package


class Checkpoint(keras.callbacks.Callback):
    """Saves to `folder` after every `every` epochs, every SECONDS within an epoch, and before a signal is delivered.

    folder: FOLDER / checkpoint_key(...); `finish` deletes it. steps: per epoch. Must come after `history` and `stop` in
    the callbacks of fit.
    """

    def __init__(
        self, folder: Path, *, every: int, steps: int, history: History, stop: StopEarly, interruption: Interruption
    ) -> None:
        super().__init__()
        self.folder, self.every, self.steps = folder, every, steps
        self.history, self.stop, self.interruption = history, stop, interruption
        self._sums: list[np.ndarray] = []  # the metric sums of a partial epoch to resume
        self._fit_began = self._epoch_began = 0  # steps of the training before this `fit`, and before this epoch
        self._saved = time.monotonic()

    def resume(self, network: keras.Model) -> int:
        """Restore the newest complete checkpoint into `network`, its optimizer, the history and early stopping.

        network: compiled, with all variables of its optimizer and metrics. Returns the number of finished steps, 0
        without a checkpoint.
        """
        for path in sorted(self.folder.glob("*.npz"), reverse=True):
            try:
                with np.load(path, allow_pickle=False) as file:
                    arrays = dict(file)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # an older one may be complete
                continue
            state = json.loads(str(arrays["state"]))
            self._sums = [arrays[f"sum/{index}"] for index in range(state["sums"])]
            for name, variable in _variables(network):
                variable.assign(arrays[name])
            self._fit_began = int(state["step"])
            self.history.restore(state["rows"], state["seconds"], self._fit_began % self.steps)
            self.stop.restore(state["stop"], [arrays[f"best/{index}"] for index in range(state["best_weights"])])
            return self._fit_began
        return 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._saved = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch_began = max(epoch * self.steps, self._fit_began)
        # Keras has just reset them to 0
        for value, variable in zip(self._sums, self.model.metrics_variables if self._sums else [], strict=True):
            variable.assign(value)
        self._sums = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.interruption.pending is None and time.monotonic() - self._saved < SECONDS:
            return
        step = self._epoch_began + batch + 1  # the optimizer does not count steps that overflowed in float16
        if step % self.steps:  # after the last step, on_epoch_end saves, when the validation is done
            self._save(step, [keras.ops.convert_to_numpy(variable) for variable in self.model.metrics_variables])
            self.interruption.deliver()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        pending = self.interruption.pending is not None
        if not self.model.stop_training and ((epoch + 1) % self.every == 0 or pending):
            self._save((epoch + 1) * self.steps, [])
        self.interruption.deliver()

    def _save(self, step: int, sums: list[np.ndarray]) -> None:
        stop, best = self.stop.state()
        state = {"step": step, "rows": self.history.rows, "seconds": self.history.spent() if sums else 0.0}
        state |= {"sums": len(sums), "stop": stop, "best_weights": len(best)}
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in _variables(self.model)}
        arrays["state"] = np.array(json.dumps(state))
        arrays |= {f"sum/{index}": value for index, value in enumerate(sums)}
        arrays |= {f"best/{index}": weights for index, weights in enumerate(best)}
        size = sum(array.nbytes for array in arrays.values())
        with files.atomic_write(self.folder / f"{step:09d}.npz") as temporary, files.noting_size(size, "a checkpoint"):
            np.savez(temporary, **arrays)
        for old in sorted(self.folder.glob("*.npz"))[:-KEPT]:
            old.unlink()
        self._saved = time.monotonic()


def checkpoint_key(*parts: Any) -> str:
    """A hash of 32 characters of the JSON-like `parts` and the training code."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    package = Path(convtrack.__file__).parent
    for entry in CODE:
        path = package / entry
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def finish(folder: Path) -> None:
    """Delete the checkpoints of a finished training, or in a stage of DVC, mark them as done for `delete_obsolete`.

    DVC saves models/ only after the stage has ended. If that fails, the stage runs again and needs the checkpoints.
    """
    if "DVC_STAGE" not in os.environ:
        shutil.rmtree(folder, ignore_errors=True)
        return
    with files.atomic_write(folder / DONE) as temporary:
        temporary.write_text(hashlib.md5(files.TRAINING.read_bytes(), usedforsecurity=False).hexdigest())


def delete_obsolete(folder: Path) -> None:
    """Delete checkpoints whose results are in dvc.lock, and those older than DAYS except `folder`."""
    lock = files.LOCK.read_text(encoding="utf-8") if files.LOCK.exists() else ""
    for found in folder.parent.iterdir() if folder.parent.exists() else ():
        done = found / DONE
        old = found != folder and found.stat().st_mtime < time.time() - DAYS * 24 * 3600
        if old or (done.exists() and done.read_text() in lock):
            shutil.rmtree(found, ignore_errors=True)


def _variables(network: keras.Model) -> Iterator[tuple[str, Any]]:
    """Every variable that the next step reads, by a stable name."""
    reset_each_epoch = {id(variable) for variable in network.metrics_variables}
    kept = [variable for variable in network.variables if id(variable) not in reset_each_epoch]
    for owner, variables in (("network", kept), ("optimizer", network.optimizer.variables)):
        for index, variable in enumerate(variables):
            yield f"{owner}/{index}", variable
