"""`convtrack`: its groups of commands, and what becomes of an error.

Each command parses, calls one function, and has everything heavy imported inside it, so that --help answers at once and
wrong parameters are reported before TensorFlow is loaded. Only here do stages, tracking and report meet.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import click

from convtrack.cli import pipeline
from convtrack.cli.preset import preset
from convtrack.cli.study import study
from convtrack.cli.tracking import tracking
from convtrack.errors import ConvtrackError
from convtrack.system import interruption
from convtrack.system.root import go_to_root


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
def doctor() -> None:
    """Say what is wrong here, and how to mend it.

    Looks at versions, the processor, cores, memory, disk, data, stores and this repository.
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
    tracking,
):
    cli.add_command(command)
