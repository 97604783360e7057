"""The commands of the pipeline: all of it, and each stage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from convtrack.system.interruption import nothing_to_tidy
from convtrack.system.root import go_to_root

if TYPE_CHECKING:
    from convtrack.params.schema import Params


@click.command()
def run() -> None:
    """Run the whole pipeline, and say where to look next.

    Where CIFAR-10 cannot be reached, it says so and sets data.name to digits in params.yaml: handwritten digits that
    need no network. After that it is `dvc repro`: only what changed runs again.
    """
    go_to_root()
    from convtrack.cli import quickstart

    quickstart.run()


@click.command()
def inspect() -> None:
    """Stage 0: take note of the images at data.path -> data/inspected.json.

    So that stage 1 runs again when they change. A data set that is fetched needs nothing there."""
    params = _begin("inspect")
    with nothing_to_tidy():
        from convtrack.stages import inspect as stage

    stage.run(params.data)


@click.command()
def download() -> None:
    """Stage 1: fetch or read the images -> data/raw.

    \b
    In params.yaml:
      data.name: cifar10         60,000 photographs of ten classes, 32x32
      data.name: cifar100        60,000 of a hundred classes, or of twenty (data.labels: coarse)
      data.name: digits          1,797 handwritten digits, no network needed
      data.name: image_folder    your own images, at data.path
    """
    params = _begin("download")
    with nothing_to_tidy():
        from convtrack.stages import download as stage

    stage.run(params.data)


@click.command()
def preprocess() -> None:
    """Stage 2: split off val, look for duplicates -> data/processed."""
    params = _begin("preprocess")
    with nothing_to_tidy():
        from convtrack.stages import preprocess as stage

    stage.run(params.preprocess)


@click.command()
def train() -> None:
    """Stage 3: train the network -> models, and an MLflow run.

    A training that was stopped goes on after its last saved step, and with its run."""
    params = _begin("train")
    _warn(params, "train")
    with nothing_to_tidy():
        from convtrack.training.native_logs import load_tensorflow_quietly

        load_tensorflow_quietly()
        from convtrack import tracking
        from convtrack.stages import train as stage
        from convtrack.training.checkpoint import finish

    checkpoints = stage.checkpoints(params.model, params.train)
    with tracking.training_run(params, beside=checkpoints) as run:
        run.log_training(stage.run(params.model, params.train, on_epoch=run.log_epoch, keep_checkpoints=True))
    finish(checkpoints)  # the run has its end by now: a kill before this one lets both go on


@click.command()
def evaluate() -> None:
    """Stage 4: judge the network on test -> reports, and print the results.

    The results also go into the MLflow run of its training, which is opened again. A store without that run gets a new
    one with the training's record."""
    params = _begin("evaluate")
    _warn(params, "evaluate")
    with nothing_to_tidy():
        from convtrack.training.native_logs import load_tensorflow_quietly

        load_tensorflow_quietly()
        from convtrack import tracking
        from convtrack.report import pictures, tables
        from convtrack.stages import evaluate as stage

    with tracking.evaluation_run(params) as run:
        metrics = stage.run(params.evaluate)
        pictures.draw(params.evaluate)
        run.log_evaluation(metrics)
    tables.show()


def _warn(params: Params, section: str) -> None:
    """Say what in `section` does not suit the images. A warning is in no result, so no stage depends on its code."""
    from convtrack.datasets import recipe

    recipe.warn(params, section)


def _begin(stage: str) -> Params:
    """What every stage begins with: the repository, params.yaml, and nobody else at the same work."""
    go_to_root()
    from convtrack import files
    from convtrack.params import schema
    from convtrack.system import stage_lock, watchdog

    params = schema.load()
    if "DVC_STAGE" in os.environ:
        watchdog.end_with_dvc()
    with files.storage_errors(files.STATE):
        stage_lock.take(stage, files.STATE)
    return params
