"""The state of a training between two steps, on disk, so that a later start goes on as if nothing had happened.

Weights, the random state of every dropout, the optimizer's variables, the sums behind the epoch's loss and accuracy,
early stopping and the history: batches need no state, since training/batches.py draws each from (seed, epoch, batch).
Whole or absent, two kept, and found again only by the same data, parameters and code.
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
DONE = "done"  # in the folder of a training that came to its end: the MD5 of what it left
DAYS = 14  # after which checkpoints that nobody has gone on with are deleted
SECONDS = 60.0  # of training that a kill may cost, where an epoch takes longer
CODE = ("files.py", "models", "training", "stages/train.py")  # relative to the package; what a training runs


class Checkpoint(keras.callbacks.Callback):
    """Saves into `folder` after every `every` epochs, every SECONDS within them, and before a signal is answered.

    Must stand behind `history` and `stop` in fit's callbacks; an epoch has `steps`. The folder should be FOLDER /
    checkpoint_key(...). Behind the end of the training it is for `finish`.
    """

    def __init__(
        self, folder: Path, *, every: int, steps: int, history: History, stop: StopEarly, interruption: Interruption
    ) -> None:
        super().__init__()
        self.folder, self.every, self.steps = folder, every, steps
        self.history, self.stop, self.interruption = history, stop, interruption
        self._sums: list[np.ndarray] = []  # of the epoch that a resumed training is in the middle of
        self._fit_began = self._epoch_began = 0  # steps of the whole training before this `fit` and before its epoch
        self._saved = time.monotonic()

    def resume(self, network: keras.Model, batch: tuple[np.ndarray, np.ndarray]) -> int:
        """Put the newest whole checkpoint into `network`, its optimizer, history and early stopping.

        `network` is compiled, `batch` any of its batches. Returns the number of steps that are done, 0 where there is
        no checkpoint.
        """
        network.optimizer.build(network.trainable_variables)
        for path in sorted(self.folder.glob("*.npz"), reverse=True):
            try:
                with np.load(path, allow_pickle=False) as file:
                    arrays = dict(file)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # an older one may be whole
                continue
            state = json.loads(str(arrays["state"]))
            self._sums = [arrays[f"sum/{index}"] for index in range(state["sums"])]
            if self._sums:
                network.test_on_batch(*batch)  # makes the variables that hold them
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
        # Keras has just set them to 0
        for value, variable in zip(self._sums, self.model.metrics_variables if self._sums else [], strict=True):
            variable.assign(value)
        self._sums = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.interruption.wished is None and time.monotonic() - self._saved < SECONDS:
            return
        step = self._epoch_began + batch + 1  # not the optimizer's, which leaves out those that overflowed in float16
        if step % self.steps:  # behind an epoch's last step comes its validation, which belongs to it
            self._save(step, [keras.ops.convert_to_numpy(variable) for variable in self.model.metrics_variables])
            self.interruption.answer()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        wished = self.interruption.wished is not None
        if not self.model.stop_training and ((epoch + 1) % self.every == 0 or wished):
            self._save((epoch + 1) * self.steps, [])
        self.interruption.answer()

    def _save(self, step: int, sums: list[np.ndarray]) -> None:
        stop, best = self.stop.state()
        state = {"step": step, "rows": self.history.rows, "seconds": self.history.spent() if sums else 0.0}
        state |= {"sums": len(sums), "stop": stop, "best_weights": len(best)}
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in _variables(self.model)}
        arrays["state"] = np.array(json.dumps(state))
        arrays |= {f"sum/{index}": value for index, value in enumerate(sums)}
        arrays |= {f"best/{index}": weights for index, weights in enumerate(best)}
        size = sum(array.nbytes for array in arrays.values())
        with files.atomic_write(self.folder / f"{step:09d}.npz") as temporary, files.taking(size, "it"):
            np.savez(temporary, **arrays)
        for old in sorted(self.folder.glob("*.npz"))[:-KEPT]:
            old.unlink()
        self._saved = time.monotonic()


def checkpoint_key(*parts: Any) -> str:
    """A name of 32 characters for the training that these JSON-like parts and the present code make."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    package = Path(convtrack.__file__).parent
    for entry in CODE:
        path = package / entry
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def finish(folder: Path) -> None:
    """Delete the checkpoints in `folder`, whose training has come to its end: models/ is written, and MLflow has it.

    A stage of DVC leaves that to `forget`. DVC has yet to take over models/, and where a signal, a kill or another
    command of DVC prevents that, the stage is begun again and models/ emptied.
    """
    if "DVC_STAGE" not in os.environ:
        shutil.rmtree(folder, ignore_errors=True)
        return
    with files.atomic_write(folder / DONE) as temporary:
        temporary.write_text(hashlib.md5(files.TRAINING.read_bytes(), usedforsecurity=False).hexdigest())


def forget(folder: Path) -> None:
    """Delete the checkpoints of trainings that DVC has taken over, and those beside `folder` from before DAYS."""
    lock = files.LOCK.read_text(encoding="utf-8") if files.LOCK.exists() else ""
    for found in folder.parent.iterdir() if folder.parent.exists() else ():
        done = found / DONE
        old = found != folder and found.stat().st_mtime < time.time() - DAYS * 24 * 3600
        if old or (done.exists() and done.read_text() in lock):
            shutil.rmtree(found, ignore_errors=True)


def _variables(network: keras.Model) -> Iterator[tuple[str, Any]]:
    """Every variable that the next step reads, by a name that the same network gives again."""
    reset_each_epoch = {id(variable) for variable in network.metrics_variables}
    kept = [variable for variable in network.variables if id(variable) not in reset_each_epoch]
    for owner, variables in (("network", kept), ("optimizer", network.optimizer.variables)):
        for index, variable in enumerate(variables):
            yield f"{owner}/{index}", variable
