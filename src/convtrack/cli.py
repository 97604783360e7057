"""The commands: each parses, calls one function, and turns what went wrong into a message and an exit code.

Everything heavy is imported inside the commands, so that --help answers at once and wrong parameters are reported
before TensorFlow is loaded. This is the only place that knows stages, tracking and report together.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from convtrack.errors import ConvtrackError
from convtrack.root import go_to_root
from convtrack.study_commands import study
from convtrack.system import interruption
from convtrack.system.interruption import nothing_to_tidy

if TYPE_CHECKING:
    from convtrack.params.schema import Params


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong parameters or usage, 130 Ctrl-C, 143 terminated."""
    try:
        interruption.raise_on_signals()
        code = _run_command()
        interruption.exit_on_signals()
    except BaseException:
        interruption.exit_on_signals()
        if interruption.exit_code() is None:
            raise
        code = 1  # whatever a signal broke on its way, it is what ends the process
        click.echo("convtrack: stopped", err=True)
    sys.exit(interruption.exit_code() or code)


def _run_command() -> int:
    """The exit code of the command that was typed."""
    try:
        return cli.main(prog_name="convtrack", standalone_mode=False) or 0
    except ConvtrackError as error:
        click.echo(f"convtrack: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("convtrack: stopped", err=True)
        return 128 + signal.SIGINT


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="convtrack")
def cli() -> None:
    """Train and compare image-classifying convnets, every number traced to its data, code and parameters.

    \b
    Start here:
      convtrack run                          the whole pipeline, and where to look next
      convtrack preset use fast              swap in another network and recipe
      dvc repro                              run again what changed, and only that
      dvc exp run --temp -S model.dropout=0.4  try an idea, and leave params.yaml as it is
      dvc exp show --only-changed            compare what was tried
      convtrack study run --trials 20        search the knobs of study.space
      make ui                                the runs in MLflow
      convtrack doctor                       what is wrong here, and how to mend it

    Every knob is in params.yaml, with its explanation. All commands work from any folder of the repository.
    """


@cli.command()
def run() -> None:
    """Run the whole pipeline, and say where to look next.

    Where CIFAR-10 cannot be reached, it says so and sets data.name to digits in params.yaml: handwritten digits that
    need no network. After that it is `dvc repro`: only what changed runs again.
    """
    go_to_root()
    from convtrack import quickstart

    quickstart.run()


@cli.command("inspect")
def inspect() -> None:
    """Stage 0: take note of the images at data.path -> data/inspected.json.

    So that stage 1 runs again when they change. A data set that is fetched needs nothing there."""
    params = _begin("inspect")
    with nothing_to_tidy():
        from convtrack.stages import inspect as stage

    stage.run(params.data)


@cli.command()
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


@cli.command()
def preprocess() -> None:
    """Stage 2: split off val, look for duplicates -> data/processed."""
    params = _begin("preprocess")
    with nothing_to_tidy():
        from convtrack.stages import preprocess as stage

    stage.run(params.preprocess)


@cli.command()
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


@cli.command()
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


@cli.group()
def preset() -> None:
    """List, show or use a network with its recipe.

    \b
    convtrack preset list
    convtrack preset show reference
    convtrack preset use reference && dvc repro
    """


@preset.command("list")
def list_() -> None:
    """Name the presets, and what each is for."""
    go_to_root()
    from convtrack.params import presets

    for name, description in presets.descriptions().items():
        click.echo(f"{name:12} {description}")


@preset.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the model and train sections of preset NAME."""
    go_to_root()
    from convtrack.params import presets

    click.echo(presets.text(name), nl=False)


@preset.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Don't ask, though params.yaml has changes that are not committed.")
def use(*, name: str, yes: bool) -> None:
    """Write preset NAME's model and train sections into params.yaml, and show the difference.

    The rest of params.yaml stays as it is, comments too, and what does not suit the data set is set to what does.
    `git checkout params.yaml` takes it back.
    """
    go_to_root()
    from convtrack.datasets import recipe
    from convtrack.params import editor as editing
    from convtrack.params import presets
    from convtrack.params import schema as config

    suit = functools.partial(recipe.suit, section="train")
    editing.confirm_overwriting(presets.use(name, suit, write=False), yes=yes)
    difference = presets.use(name, suit)
    click.echo(difference or f"params.yaml has the model and train sections of {name} already", nl=not difference)
    for one in recipe.unsuited(presets.applied(name)):
        if one.path.startswith("train."):
            click.echo(f"other than in {name}, {one}", err=True)
    recipe.warn(config.load(), "train")


cli.add_command(study)


@cli.group("tracking")
def tracking_group() -> None:
    """See to it that MLflow has everything."""


@tracking_group.command()
def sync() -> None:
    """Send MLflow what it missed while it was away, and nothing twice.

    Commands that record a run do the same beside their work. What waits is in .convtrack/tracking.
    """
    go_to_root()
    from convtrack import tracking

    click.echo(tracking.sync())


@tracking_group.command(hidden=True)
def follow() -> None:
    """Have MLflow look for artifacts where this repository is now, as `make ui` does first."""
    go_to_root()
    from convtrack.tracking import store

    store.follow_repository()


@cli.command()
def doctor() -> None:
    """Say what is wrong here, and how to mend it.

    Looks at versions, the processor, cores, memory, disk, data, stores and this repository.
    """
    go_to_root()
    from convtrack import doctor as room

    sys.exit(room.examine())


def _warn(params: Params, section: str) -> None:
    """Say what in `section` does not suit the images. A warning is in no result, so no stage depends on its code."""
    from convtrack.datasets import recipe

    recipe.warn(params, section)


def _begin(stage: str) -> Params:
    """What every stage begins with: the repository, params.yaml, and nobody else at the same work."""
    go_to_root()
    from convtrack import artifacts
    from convtrack.params import schema as config
    from convtrack.system import stage_lock, watchdog

    params = config.load()
    if "DVC_STAGE" in os.environ:
        watchdog.end_with_dvc()
    with artifacts.storage_errors(artifacts.STATE):
        stage_lock.take(stage, artifacts.STATE)
    return params
