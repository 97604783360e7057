"""Early stopping on a real fit of a tiny network, its validation losses played by a table."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from convtrack.params.train import EarlyStopping
from convtrack.training.early_stopping import StopEarly


class Play(keras.callbacks.Callback):
    """Puts the given losses into the logs, and the epoch's number into the weight, before StopEarly looks."""

    def __init__(self, losses):
        super().__init__()
        self.losses = losses

    def on_epoch_end(self, epoch, logs=None):
        self.model.set_weights([np.full((1, 1), epoch + 1.0)])
        loss = self.losses[epoch]
        logs |= {"val_cross_entropy": loss, "val_accuracy": 1 - loss if math.isfinite(loss) else 0.9, "accuracy": 0.5}


def play(losses, patience=None, min_delta=0.0, restore_best=True, monitor="val_loss"):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    network.compile("sgd", "mse")
    stop = StopEarly(EarlyStopping(monitor=monitor, patience=patience, min_delta=min_delta, restore_best=restore_best))
    epochs = network.fit(
        np.zeros((1, 1)), np.zeros((1, 1)), epochs=len(losses), verbose=0, callbacks=[Play(losses), stop]
    )
    stop.restore_best(network)
    return stop, float(network.get_weights()[0].item()), len(epochs.epoch)


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_it_stops_after_patience_epochs_and_restores_the_best_all_counted_from_one(monitor):
    stop, weight, epochs = play([0.5, 0.3, 0.4, 0.35, 0.2], patience=2, monitor=monitor)
    assert (stop.best_epoch, stop.stopped_epoch, stop.restored_epoch, epochs) == (2, 4, 2, 4)
    assert weight == 2
    assert stop.best["val_loss"] == 0.3


def test_without_patience_all_epochs_run_and_the_best_is_still_restored():
    stop, weight, epochs = play([0.5, 0.3, 0.4])
    assert (stop.best_epoch, stop.stopped_epoch, stop.restored_epoch, epochs) == (2, None, 2, 3)
    assert weight == 2


def test_when_the_last_epoch_is_the_best_nothing_is_restored():
    stop, weight, _ = play([0.5, 0.4, 0.3], patience=1)
    assert (stop.best_epoch, stop.stopped_epoch, stop.restored_epoch) == (3, None, None)
    assert weight == 3


def test_an_improvement_below_min_delta_does_not_count():
    stop, _, epochs = play([0.5, 0.49, 0.48, 0.47], patience=3, min_delta=0.1)
    assert (stop.best_epoch, stop.stopped_epoch, epochs) == (1, 4, 4)


def test_restore_best_off_keeps_the_last_weights():
    stop, weight, _ = play([0.2, 0.4], restore_best=False)
    assert (stop.best_epoch, stop.restored_epoch, weight) == (1, None, 2)


def test_equal_values_keep_the_earlier_epoch():
    assert play([0.3, 0.3, 0.3])[0].best_epoch == 1


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_epoch_whose_val_loss_is_not_finite_is_never_the_best(monitor, value):
    stop, weight, _ = play([value, 0.5, value, 0.4, value], monitor=monitor)
    assert (stop.best_epoch, stop.restored_epoch, weight, stop.best["val_loss"]) == (4, 4, 4, 0.4)


def test_epochs_without_a_finite_val_loss_use_up_the_patience():
    stop, weight, epochs = play([math.nan] * 4, patience=3)
    assert (stop.best_epoch, stop.stopped_epoch, stop.restored_epoch, epochs) == (0, 3, None, 3)
    assert weight == 3
