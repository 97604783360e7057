"""The MLflow model of a run: pictures in, labels with probabilities out.

MLflow keeps this file with the model and runs it where the model is loaded or served ("models from code"), without
convtrack. Beside it are the Keras file and a copy of convtrack.datasets.images, which decodes pictures.

The input is a table with the column `image`: bytes of image files, their base64 text (as in JSON), or uint8 pixels. It
may also be one array of pixels, uint8 (n, height, width, channels). Pictures of another size are resized.
"""

import base64
import binascii
import importlib.util
import json
import logging
import math
import os
import sys
import warnings
import zipfile
from io import BytesIO
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in convtrack; TensorFlow reads these when it is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel

BATCH = 256  # images that the network gets at once
SERVING = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # MLflow's server sets it
COLUMN = "image"
TAKES = "bytes of an image file, their base64 text, or uint8 pixels (height, width, channels)"


class BadInput(MlflowException):
    """What is wrong with the input: the server answers 400 with the message.

    Where MLflow's server would put the whole input in front of the message, the message remains as it is.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)
        self._message = message

    @property
    def message(self) -> str:
        return self._message

    @message.setter
    def message(self, value: object) -> None:
        pass


class PictureClassifier(PythonModel):
    """The network of a run with the names of its classes."""

    def load_context(self, context: Any) -> None:
        """Load the network. The first prediction is made here, since it takes much longer than later ones."""
        import keras
        import tensorflow as tf

        warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow could read in spite of
        self.images = _module("convtrack_served_images", context.artifacts["images"])
        with zipfile.ZipFile(context.artifacts["model"]) as archive:
            about = json.loads(archive.read("metadata.json"))["convtrack"]
        self.classes, self.shape = about["classes"], tuple(about["image_shape"])
        self.columns = ["label", "probability", *(f"probability_{name}" for name in self.classes)]
        network = keras.saving.load_model(context.artifacts["model"], compile=False, safe_mode=True)
        takes = tf.TensorSpec((None, *self.shape), tf.uint8)
        self.network = tf.function(lambda images: network(images, training=False), input_signature=[takes])
        self.probabilities(np.zeros((1, *self.shape), dtype=np.uint8))

    # the input may be an array, too; with no hint at all, MLflow warns each time it loads the model
    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        """A row for each picture: label, probability, and `probability_CLASS` for each class.

        A table, or in MLflow's server a list of dictionaries, which become the same JSON.

        Raises MlflowException, INVALID_PARAMETER_VALUE for input that is wrong.
        """
        try:
            probabilities = self._classified(_pictures(model_input))
        except MlflowException:
            raise
        except Exception as error:
            # MLflow's server would send any other exception with its stack trace
            logging.getLogger(__name__).exception("a prediction failed")
            raise MlflowException(f"the model failed: {type(error).__name__}", error_code=INTERNAL_ERROR) from error
        best = probabilities.argmax(axis=1)
        labels, highest = [self.classes[number] for number in best], probabilities.max(axis=1)
        if os.environ.get(SERVING):  # the rows of the answer at once: a table takes longer than the network
            values = zip(labels, highest.tolist(), probabilities.tolist(), strict=True)
            return [dict(zip(self.columns, (label, high, *each), strict=True)) for label, high, each in values]
        return pd.DataFrame(dict(zip(self.columns, (labels, highest, *probabilities.T), strict=True)))

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """float32 (n, classes) for uint8 `images` (n, height, width, channels)."""
        return np.asarray(self.network(images), dtype=np.float32)

    def _classified(self, pictures: Any) -> np.ndarray:
        """float32 (n, classes)."""
        parts = []
        for start in range(0, len(pictures), BATCH):
            batch = enumerate(pictures[start : start + BATCH], start)
            parts.append(self.probabilities(np.stack([self._pixels(number, picture) for number, picture in batch])))
        return np.concatenate(parts)

    def _pixels(self, number: int, picture: Any) -> np.ndarray:
        """uint8 (height, width, channels) as the network takes them, by the code of download."""
        height, width, channels = self.shape
        try:
            if isinstance(picture, str):
                picture = base64.b64decode("".join(picture.split()), validate=True)
            if isinstance(picture, bytes | bytearray):
                return self.images.decode(BytesIO(picture), (height, width)).array(channels)
            if isinstance(picture, list):
                picture = _whole_numbers(picture)
            if isinstance(picture, np.ndarray):
                return self.images.from_array(_as_bytes(picture), (height, width)).array(channels)
        except (binascii.Error, ValueError, self.images.UnreadableImageError) as error:
            what = f"no base64 text: {error}" if isinstance(picture, str) else str(error)
            raise BadInput(f"{_named(number)}: {what}") from None
        missing = picture is None or (isinstance(picture, float) and math.isnan(picture))
        raise BadInput(f"{_named(number)}: received {'nothing' if missing else _short(picture)}. Allowed: {TAKES}")


def _pictures(given: Any) -> Any:
    """The pictures in what the model was given: a sequence with at least one. Raises BadInput."""
    if isinstance(given, pd.DataFrame | dict):
        names = [str(name) for name in given]
        if names.count(COLUMN) != 1:
            shown = ", ".join(map(_short, names[:10])) or "none"
            raise BadInput(f"the input needs one column {COLUMN!r} ({TAKES}). Received columns: {shown}")
        given = given[COLUMN]
    if isinstance(given, pd.Series):
        given = given.tolist()
    if isinstance(given, list) and given and all(isinstance(row, dict) for row in given):
        given = [_scalar(row.get(COLUMN)) for row in given]
    if isinstance(given, np.ndarray) and given.dtype.kind not in "biuf":
        given = given.reshape(-1).tolist()
    if isinstance(given, str | bytes):
        given = [given]
    if isinstance(given, np.ndarray) and given.ndim != 4:
        raise BadInput(f"an array of shape {given.shape}. Allowed: (n, height, width, channels)")
    if not isinstance(given, list | np.ndarray):
        raise BadInput(f"received {_short(given)}. Allowed: a table with a column {COLUMN!r} ({TAKES})")
    if len(given) == 0:
        raise BadInput(f"the input has no picture. Allowed: a table with a column {COLUMN!r} and at least one row")
    return given


def _scalar(value: Any) -> Any:
    """What MLflow made an array without dimensions of, such as a text; other values as they are."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _whole_numbers(pixels: list[Any]) -> np.ndarray:
    try:
        return np.array(pixels)
    except ValueError:
        raise ValueError("its rows differ in length") from None


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    """JSON's whole numbers from 0 to 255 as uint8; other arrays as they are."""
    if pixels.dtype.kind in "iu" and pixels.size and pixels.min() >= 0 and pixels.max() <= 255:
        return pixels.astype(np.uint8)
    if pixels.dtype.kind in "iu" and pixels.size:
        raise ValueError(f"pixels from {pixels.min()} to {pixels.max()} (allowed: 0 to 255)")
    return pixels


def _named(number: int) -> str:
    return f"image {number}, counted from 0"


def _short(value: Any) -> str:
    text = repr(value)[:50]
    return f"{type(value).__name__} {text}"


def _module(name: str, path: str) -> Any:
    """The Python file at `path` as a module that no import finds."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


mlflow.models.set_model(PictureClassifier())
