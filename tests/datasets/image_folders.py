"""A folder or an archive of images, read by image_folder."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from convtrack import files
from convtrack.datasets import image_folder
from convtrack.errors import DataError

from .samples import as_folder, data


def written(tmp_path, images=None, name="out", **changes):
    """Lay `images` out in images/, write, and read back: the arrays of train and test, and source.json."""
    if images is not None:
        as_folder(images, tmp_path / "images")
    target = tmp_path / name
    target.mkdir(exist_ok=True)
    source = image_folder.write(data(**changes), target)
    assert sorted(file.name for file in target.iterdir()) == [
        "test_images.npy",
        "test_labels.npy",
        "test_names.jsonl",
        "train_images.npy",
        "train_labels.npy",
        "train_names.jsonl",
    ]
    return files.read_arrays(target, "train"), files.read_arrays(target, "test"), source


def refused(tmp_path, files=None, **changes):
    """Write, which must fail with a message of one screen; the message."""
    with pytest.raises(DataError) as raised:
        written(tmp_path, files, **changes)
    assert raised.value.hint
    assert raised.value.message.count("\n") < 20
    return raised.value.message


def original(content):
    return np.asarray(Image.open(BytesIO(content)))
