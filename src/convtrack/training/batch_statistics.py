"""Means and variances of batch normalization, measured for the present weights before each validation.

The moving averages that training keeps belong to the weights of earlier steps and, with progressive resizing, to
images of another size. Measured anew they are those of the model that is validated and saved ("precise BN"): Wu and
Johnson, "Rethinking 'Batch' in BatchNorm", arXiv:2105.07576.
"""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
from keras.layers import BatchNormalization

from convtrack.files import Arrays

# images of the train split, at full size and without augmentation: docs/decisions/batch-statistics.md
LEAST, MOST = 500, 1000
ONE_IN = 45
CHUNK = 500  # images in one forward pass


class MeasureBatchStatistics(keras.callbacks.Callback):
    """Measures them whenever `fit` begins to validate, on images of `arrays` that depend on `seed` alone.

    `network` is the one that is trained, not compiled yet. The weights that training changes stay as they are, and
    training itself never reads the averages.
    """

    def __init__(self, network: keras.Model, arrays: Arrays, seed: int) -> None:
        super().__init__()
        self.arrays, self.seed = arrays, seed
        self._layers = [layer for layer in network.layers if isinstance(layer, BatchNormalization)]
        self._network = _normalizing_by_batch(network) if self._layers else network

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self._layers:
            return
        momenta = [layer.momentum for layer in self._layers]
        chunks = self._chunks()
        try:
            for done, chosen in enumerate(chunks):
                for layer in self._layers:
                    layer.momentum = done / (done + 1)  # makes the moving average the mean of all chunks
                self._network(np.asarray(self.arrays.images[chosen]))
        finally:
            for layer, momentum in zip(self._layers, momenta, strict=True):
                layer.momentum = momentum

    def _chunks(self) -> list[np.ndarray]:
        """Indices of the images, in chunks of about the same size."""
        count = len(self.arrays.labels)
        wanted = min(count, max(LEAST, min(MOST, count // ONE_IN)))
        chosen = np.random.default_rng(self.seed).choice(count, wanted, replace=False)
        return [np.sort(chunk) for chunk in np.array_split(chosen, -(-len(chosen) // CHUNK))]


def _normalizing_by_batch(network: keras.Model) -> keras.Model:
    """`network` with the same layers, where batch normalization acts as in training, and all else as in inference."""

    def call(layer: Any, *arguments: Any, **keywords: Any) -> Any:
        if "training" in inspect.signature(layer.call).parameters:
            keywords["training"] = isinstance(layer, BatchNormalization)
        return layer(*arguments, **keywords)

    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)
