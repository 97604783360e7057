"""The state of a training after an epoch, on disk, so that a later start goes on as if nothing had happened.

Weights, the random state of every dropout, the optimizer's variables, early stopping and the history: batches need no
state, since training/batches.py draws each from (seed, epoch, batch). Whole or absent, two kept, and found again only
by the same data, parameters and code.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

import convtrack
from convtrack import artifacts
from convtrack.training.early_stopping import StopEarly
from convtrack.training.history import History

FOLDER = artifacts.STATE / "checkpoints"
KEPT = 2
CODE = ("artifacts.py", "models", "training", "stages/train.py")  # relative to the package; what a training runs


class Checkpoint(keras.callbacks.Callback):
    """Saves after every `every` epochs into `folder`; must stand behind `history` and `stop` in fit's callbacks.

    The folder should be FOLDER / checkpoint_key(...). Who has written the result of the training deletes it.
    """

    def __init__(self, folder: Path, every: int, history: History, stop: StopEarly) -> None:
        super().__init__()
        self.folder = folder
        self.every, self.history, self.stop = every, history, stop

    def resume(self, network: keras.Model) -> int:
        """Put the newest whole checkpoint into `network`, its optimizer, history and early stopping.

        `network` is compiled. Returns the number of epochs that are done, 0 where there is no checkpoint.
        """
        network.optimizer.build(network.trainable_variables)
        for path in sorted(self.folder.glob("*.npz"), reverse=True):
            try:
                with np.load(path, allow_pickle=False) as file:
                    arrays = dict(file)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # an older one may be whole
                continue
            for name, variable in _variables(network):
                variable.assign(arrays[name])
            state = json.loads(str(arrays["state"]))
            self.history.rows = state["rows"]
            self.stop.restore(state["stop"], [arrays[f"best/{index}"] for index in range(state["best_weights"])])
            return len(self.history.rows)
        return 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every or self.model.stop_training:
            return
        stop, best = self.stop.state()
        state = {"rows": self.history.rows, "stop": stop, "best_weights": len(best)}
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in _variables(self.model)}
        arrays["state"] = np.array(json.dumps(state))
        arrays |= {f"best/{index}": weights for index, weights in enumerate(best)}
        with artifacts.whole_file(self.folder / f"{epoch + 1:06d}.npz") as temporary:
            np.savez(temporary, **arrays)
        for old in sorted(self.folder.glob("*.npz"))[:-KEPT]:
            old.unlink()


def checkpoint_key(*parts: Any) -> str:
    """A name of 32 characters for the training that these JSON-like parts and the present code make."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    package = Path(convtrack.__file__).parent
    for entry in CODE:
        path = package / entry
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _variables(network: keras.Model) -> Iterator[tuple[str, Any]]:
    """Every variable that the next step reads, by a name that the same network gives again."""
    reset_each_epoch = {id(variable) for variable in network.metrics_variables}
    kept = [variable for variable in network.variables if id(variable) not in reset_each_epoch]
    for owner, variables in (("network", kept), ("optimizer", network.optimizer.variables)):
        for index, variable in enumerate(variables):
            yield f"{owner}/{index}", variable
