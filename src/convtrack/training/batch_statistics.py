"""Measure the means and variances of batch normalization before each validation, for the current weights.

The moving averages of the training belong to the weights of earlier steps and, with progressive resizing, to smaller
images. The measured ones belong to the model that is validated and saved ("precise BN"): Wu and Johnson, "Rethinking
'Batch' in BatchNorm", arXiv:2105.07576.
"""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
from keras.layers import BatchNormalization

from convtrack.files import Arrays

# one in ONE_IN images of the train split, within these bounds: docs/decisions/batch-statistics.md
LEAST, MOST = 500, 1000
ONE_IN = 45
WITHOUT_VAL = 10_000  # images for the only measurement of a training that has no val split
CHUNK = 500  # images per forward pass


class MeasureBatchStatistics(keras.callbacks.Callback):
    """Measures them when `fit` starts to validate, on images of `arrays` chosen by `seed`, at full size.

    network: the trained one, not compiled yet. Training is not affected, since it never reads the averages.
    """

    def __init__(self, network: keras.Model, arrays: Arrays, seed: int) -> None:
        super().__init__()
        self.arrays, self.seed = arrays, seed
        self._layers = [layer for layer in network.layers if isinstance(layer, BatchNormalization)]
        self._network = _normalizing_by_batch(network) if self._layers else network

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.measure(max(LEAST, min(MOST, len(self.arrays.labels) // ONE_IN)))

    def measure(self, images: int = WITHOUT_VAL) -> None:
        """Measure them now on that many images, or on all if there are fewer."""
        if not self._layers:
            return
        momenta = [layer.momentum for layer in self._layers]
        try:
            for done, chosen in enumerate(self._chunks(images)):
                for layer in self._layers:
                    layer.momentum = done / (done + 1)  # the moving average is then the mean of all chunks
                self._network(np.asarray(self.arrays.images[chosen]))
        finally:
            for layer, momentum in zip(self._layers, momenta, strict=True):
                layer.momentum = momentum

    def _chunks(self, images: int) -> list[np.ndarray]:
        """Indices of the images, in chunks of about equal size."""
        count = len(self.arrays.labels)
        chosen = np.random.default_rng(self.seed).choice(count, min(count, images), replace=False)
        return [np.sort(chunk) for chunk in np.array_split(chosen, -(-len(chosen) // CHUNK))]


def _normalizing_by_batch(network: keras.Model) -> keras.Model:
    """`network` with batch normalization in training mode and all other layers in inference mode."""

    def call(layer: Any, *arguments: Any, **keywords: Any) -> Any:
        if "training" in inspect.signature(layer.call).parameters:
            keywords["training"] = isinstance(layer, BatchNormalization)
        return layer(*arguments, **keywords)

    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)
