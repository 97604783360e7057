"""CIFAR-100: 50,000 train and 10,000 test images of 32x32 in 100 classes, or in 20 groups of these."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convtrack.datasets import Traits, cifar, fetch
from convtrack.datasets.cifar import Availability, Form
from convtrack.params.data import Data

TRAITS = Traits()

# SHA-256 and size: tensorflow/datasets, tensorflow_datasets/url_checksums/cifar100.txt. The same SHA-256:
# ankane/torchvision-ruby, lib/torchvision/datasets/cifar100.rb; JuliaML/MLDatasets.jl, src/datasets/vision/cifar100.jl
BINARY = Form(
    "cifar-100-binary.tar.gz",
    (
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-100-binary.tar.gz",
        "http://datasets.openimaj.org/cifar/cifar-100-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    ),
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    size=168_513_733,
    train={"cifar-100-binary/train.bin": 50_000},
    test={"cifar-100-binary/test.bin": 10_000},
    read=functools.partial(cifar.binary_batch, labels=2, chosen=1),
    classes="cifar-100-binary/fine_label_names.txt",
)
FORMS = (BINARY,)


def write(
    data: Data, folder: Path, forms: Sequence[Form] = FORMS, limits: fetch.Limits = fetch.DEFAULT_LIMITS
) -> dict[str, Any]:
    """Write CIFAR-100 as `cifar.write` does, with the labels chosen by data.labels. Names are like train:17."""
    if data.labels == "coarse":
        read = functools.partial(cifar.binary_batch, labels=2, chosen=0)
        names = "cifar-100-binary/coarse_label_names.txt"
        forms = [dataclasses.replace(form, read=read, classes=names) for form in forms]
    return cifar.write(data, folder, forms, limits)


def availability(
    data: Data, forms: Sequence[Form] = FORMS, limits: fetch.Limits = fetch.DEFAULT_LIMITS
) -> Availability:
    """Find the source that `write` would use, as `cifar.availability` does."""
    return cifar.availability(data, forms, limits)
