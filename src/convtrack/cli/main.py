"""`convtrack`: the command groups, and how errors become messages and exit codes.

Each command parses its arguments and calls one function. It imports heavy modules itself, so that --help is fast and
invalid parameters are reported before TensorFlow loads.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import click

from convtrack.cli import pipeline
from convtrack.cli.demo import demo
from convtrack.cli.export import export
from convtrack.cli.predict import predict
from convtrack.cli.preset import preset
from convtrack.cli.runs import compare, promote, reproduce
from convtrack.cli.study import study
from convtrack.cli.tracking import tracking
from convtrack.errors import ConvtrackError
from convtrack.system import interruption
from convtrack.system.root import go_to_root


def main() -> NoReturn:
    """Run the command line and exit: 0 success, 1 failure, 2 invalid parameters or usage, 130 Ctrl-C, 143 SIGTERM."""
    try:
        interruption.raise_on_signals()
        code = _run_command()
        interruption.exit_on_signals()
    except BaseException:
        interruption.exit_on_signals()
        if interruption.exit_code() is None:
            raise
        code = 1  # the signal ends the process, whichever exception it caused
        click.echo("convtrack: stopped", err=True)
    sys.exit(interruption.exit_code() or code)


def _run_command() -> int:
    """Run the command; returns its exit code."""
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
    """Train and compare image classifiers, and trace every number to its data, code and parameters.

    \b
    Start here:
      convtrack run                              run the whole pipeline
      convtrack preset use fast                  switch to another network and recipe
      dvc repro                                  run the stages that a change affects
      dvc exp run --temp -S model.dropout=0.4    try a value without changing params.yaml
      dvc exp show --only-changed --drop models  list experiments with what differs
      convtrack compare workspace dropout        tell whether a run is better by more than chance
      convtrack promote workspace                make it the champion, if it is the best
      convtrack study run --trials 20            search the parameters of study.space
      convtrack predict photos/ cat.png          classify pictures with the trained model
      convtrack export onnx                      use the model elsewhere
      make ui                                    browse the runs in MLflow
      convtrack doctor                           find problems and how to fix them

    params.yaml explains every parameter. All commands work from any folder of the repository.
    """


@cli.command()
def doctor() -> None:
    """Check this machine and repository, and say how to fix what is wrong.

    Checks versions, processor, memory, disk, params.yaml, data, Git, DVC and MLflow.
    """
    go_to_root()
    from convtrack.cli.doctor import examine

    sys.exit(examine())


for command in (
    pipeline.run,
    pipeline.inspect,
    pipeline.download,
    pipeline.preprocess,
    pipeline.train,
    pipeline.evaluate,
    preset,
    study,
    compare,
    promote,
    reproduce,
    predict,
    export,
    demo,
    tracking,
):
    cli.add_command(command)
