"""The handwritten digits that scikit-learn bundles: real images that need no network.

1,797 images of 8x8 in 17 shades of grey, from E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits,
UCI Machine Learning Repository (1998), its test set.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from convtrack import files
from convtrack.datasets import Traits
from convtrack.datasets.arrays import write_array
from convtrack.datasets.split import held_out
from convtrack.params.data import Data

# a mirrored 2 is not a digit; 1,293 training images make ten steps per epoch
TRAITS = Traits(mirrorable=False, max_batch_size=128)
SCALE = 4  # 8x8 to 32x32, each pixel repeated: exact on every machine


def write(data: Data, folder: Path) -> dict[str, Any]:
    """Write the digits as grey images, uint8 of shape (n, 32, 32, 1), and split off test by data.test_fraction and
    data.seed. Names are like digits:17, the index in `load_digits`. Returns the content of source.json.
    """
    shades, labels = _bundled()
    images = ((shades * 255 + 8) // 16).astype(np.uint8)
    images = images.repeat(SCALE, axis=1).repeat(SCALE, axis=2)[..., np.newaxis]
    classes = [str(number) for number in range(10)]
    test = held_out(labels, classes, data.test_fraction, data.seed)
    masks: dict[files.Split, np.ndarray] = {"train": ~test, "test": test}
    for split, chosen in masks.items():
        write_array(files.images_path(folder, split), images[chosen])
        write_array(files.labels_path(folder, split), labels[chosen])
        files.write_names(folder, split, (f"digits:{number}" for number in np.flatnonzero(chosen)))
    return {
        "name": "digits",
        "classes": classes,
        "counts": {"train": int((~test).sum()), "test": int(test.sum())},
        "image_shape": list(images.shape[1:]),
        "files": [
            {
                "name": "scikit-learn's digits: shades and labels",
                "sha256": hashlib.sha256(shades.astype("<i8").tobytes() + labels.astype("<i8").tobytes()).hexdigest(),
            }
        ],
        "left_out": {},
    }


def _bundled() -> tuple[np.ndarray, np.ndarray]:
    """Shades 0..16 of shape (n, 8, 8) and labels of shape (n,), int64, as `load_digits` gives them.

    Read from its file, because importing scikit-learn takes longer than all else that download does.
    """
    file = importlib.metadata.distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    rows = np.loadtxt(str(file), delimiter=",").astype(np.int64)
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
