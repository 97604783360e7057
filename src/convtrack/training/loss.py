"""The loss that training minimizes, and the losses and accuracies that it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

CROSS_ENTROPY = "cross_entropy"


def smoothed_cross_entropy(label_smoothing: float) -> Callable[[Any, Any], Any]:
    """Cross-entropy of integer labels and logits with label smoothing (Szegedy et al., arXiv:1512.00567)."""

    def cross_entropy(labels: Any, logits: Any) -> Any:
        # Keras's loss for integer labels has no smoothing
        target = ops.one_hot(ops.reshape(labels, (-1,)), logits.shape[-1])
        return keras.losses.categorical_crossentropy(target, logits, from_logits=True, label_smoothing=label_smoothing)

    return cross_entropy


def metrics() -> list[Any]:
    """The metrics to compile a network with, for `reported`."""
    return ["accuracy", keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name=CROSS_ENTROPY)]


def reported(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """loss, accuracy and, after an epoch, val_loss and val_accuracy, from Keras's `logs`.

    The losses are cross-entropies in nats without label smoothing, so that they are comparable with each other, with
    test_loss and with other values of label_smoothing. Keras's `loss` includes the smoothing.
    """
    logs = logs or {}
    names = {"loss": CROSS_ENTROPY, "accuracy": "accuracy"}
    names |= {"val_loss": f"val_{CROSS_ENTROPY}", "val_accuracy": "val_accuracy"}
    return {name: float(logs[theirs]) for name, theirs in names.items() if theirs in logs}
