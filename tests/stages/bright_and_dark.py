"""A training that takes a second: two kinds of 8x8 images, and a network and a recipe that tell them apart."""

from __future__ import annotations

from convtrack.params.model import Vgg
from convtrack.params.train import Adam, Augmentation, EarlyStopping, ProgressiveResizing, Schedule, Train

MODEL = Vgg(
    name="vgg",
    filters=[4],
    convs_per_block=1,
    kernel_size=3,
    pooling="last",
    batch_norm=True,
    batch_norm_momentum=0.9,
    activation="relu",
    block_dropout=0.1,
    head="flatten",
    dense=[],
    dropout=0.1,
    logit_scale=1.0,
    initializer="random",
    whitening=False,
)
TRAIN = Train(
    seed=1,
    epochs=3,
    batch_size=16,
    optimizer=Adam(learning_rate=0.01),
    schedule=Schedule(name="constant", warmup=0.0),
    label_smoothing=0.1,
    augmentation=Augmentation(flip="alternating", shift=1),
    progressive_resizing=ProgressiveResizing(scale=1.0, fraction=0.0),
    precision="auto",
    early_stopping=EarlyStopping(monitor="val_loss", patience=None, min_delta=0.0, restore_best=True),
    checkpoint_every=1,
)


def changed(section, **values):
    return type(section).model_validate(section.model_dump() | values)


def rate(value):
    return TRAIN.optimizer.model_dump() | {"learning_rate": value}
