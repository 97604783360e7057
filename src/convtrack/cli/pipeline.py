"""The commands that run the pipeline: `run`, and one per stage."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from convtrack.system.interruption import exiting_on_signals
from convtrack.system.root import go_to_root

if TYPE_CHECKING:
    from convtrack.params.schema import Params


@click.command()
def run() -> None:
    """Run the whole pipeline, print the results and suggest the next commands.

    Runs `dvc repro`, so only the stages that changed run again. If CIFAR-10 cannot be downloaded, sets data.name to
    digits in params.yaml (handwritten digits that need no network) and says so.
    """
    go_to_root()
    from convtrack.cli import quickstart

    quickstart.run()


@click.command()
def inspect() -> None:
    """Stage 0: record a digest of the images at data.path -> data/inspected.json.

    Stage 1 runs again when the digest changes. Other data sets ignore data.path."""
    params = _begin("inspect")
    with imports():
        from convtrack.stages import inspect as stage

    stage.run(params.data)


@click.command()
def download() -> None:
    """Stage 1: download or read the images -> data/raw.

    \b
    In params.yaml:
      data.name: cifar10         60,000 photographs of ten classes, 32x32
      data.name: cifar100        60,000 of a hundred classes, or of twenty (data.labels: coarse)
      data.name: digits          1,797 handwritten digits, no network needed
      data.name: image_folder    your own images, at data.path
    """
    params = _begin("download")
    with imports():
        from convtrack.stages import download as stage

    stage.run(params.data)


@click.command()
def preprocess() -> None:
    """Stage 2: split off val and count duplicates -> data/processed."""
    params = _begin("preprocess")
    with imports():
        from convtrack.stages import preprocess as stage

    stage.run(params.preprocess)


@click.command()
def train() -> None:
    """Stage 3: train the network -> models, and an MLflow run.

    An interrupted training resumes from its last checkpoint, in the same MLflow run."""
    params = _begin("train")
    _warn(params, "train")
    with imports():
        from convtrack.training.native_logs import load_tensorflow_quietly

        load_tensorflow_quietly()
        from convtrack import tracking

        tracking.load()
        from convtrack.stages import train as stage
        from convtrack.training.checkpoint import finish

    checkpoints = stage.checkpoints(params.model, params.train)
    with tracking.training_run(params, beside=checkpoints) as run:
        run.log_training(stage.run(params.model, params.train, on_epoch=run.log_epoch, keep_checkpoints=True))
    finish(checkpoints)  # only after the run has ended: a kill before this line resumes both


@click.command()
def evaluate() -> None:
    """Stage 4: evaluate the network on test -> reports, and print the results.

    The results are added to the MLflow run of the training. If the store lacks that run, a new one is made."""
    params = _begin("evaluate")
    _warn(params, "evaluate")
    with imports():
        from convtrack.training.native_logs import load_tensorflow_quietly

        load_tensorflow_quietly()
        from convtrack import tracking

        tracking.load()
        from convtrack.datasets import terms
        from convtrack.report import card, page, pictures, results, tables
        from convtrack.stages import evaluate as stage

    with tracking.evaluation_run(params) as run:
        metrics = stage.run(params.evaluate)
        found = results.read()
        pictures.draw(found, params.evaluate)
        page.write(found, params.evaluate)
        card.write(terms.of)
        run.log_evaluation(metrics)
    tables.show()


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """A block that imports large libraries: signals exit the process at once, and the garbage collector is off.

    Imported modules live until the process ends. Searching them for garbage takes a sixth of the time of the imports.
    """
    gc.disable()
    try:
        with exiting_on_signals():
            yield
    finally:
        gc.freeze()  # later collections skip what was imported
        gc.enable()


def _warn(params: Params, section: str) -> None:
    """Warn about parameters of `section` that do not suit the images. No stage depends on this: results don't."""
    from convtrack.datasets import recommendations

    recommendations.warn(params, section)


def _begin(stage: str) -> Params:
    """Change to the repository, load params.yaml and take the stage lock."""
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
