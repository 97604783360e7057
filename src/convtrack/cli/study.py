"""The commands of studies, which connect study and tracking."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convtrack.errors import ConfigError
from convtrack.system.root import go_to_root

if TYPE_CHECKING:
    from convtrack.params.schema import Params


@click.group()
def study() -> None:
    """Search the parameters of study.space with Optuna.

    \b
    convtrack study run --trials 20 --workers 2    start a study, or continue it
    convtrack study show                           print its state
    convtrack study report                         write all of it as one page
    convtrack study apply                          write the best trial into params.yaml

    NAME is study.name of params.yaml by default. All studies: `optuna studies --storage STORAGE`, with the storage that
    `convtrack study show` prints.
    """


@study.command()
@click.option("--trials", type=click.IntRange(1), help="Stop when the study has this many finished trials in all.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Start no trial after this many seconds.")
@click.option("--workers", type=click.IntRange(1), help="Trials at once. Default: 1; on a cluster, as many as fit.")
@click.option("--cluster", metavar="ADDRESS", help="Run trials on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")
@click.option("--cpus", type=click.IntRange(1), help="With --cluster: cores per trial. Default: 1.")
@click.option("--gpus", type=click.FloatRange(0), help="With --cluster: GPUs per trial. Default: 0.")
@click.option("--name", help="Replaces study.name in params.yaml.")
@click.option("--new", is_flag=True, help="Start another study, NAME-2 and so on, if there is one of that name.")
@click.option("--allow-change", is_flag=True, help="Continue a study with another space, data or fixed parameters.")
def run(
    *,
    trials: int | None,
    timeout: float | None,
    workers: int | None,
    cluster: str | None,
    cpus: int | None,
    gpus: float | None,
    name: str | None,
    new: bool,
    allow_change: bool,
) -> None:
    """Start a study, or continue it.

    The first trial has the values that params.yaml has now.

    --trials counts all finished trials of the study, from earlier commands too: after Ctrl-C, a crash or a kill, the
    same command runs what is missing and no more. Finished means complete or pruned; a failed trial does not count, and
    another one replaces it. Without --trials and --timeout, the study runs until Ctrl-C.

    Ctrl-C stops the running trials and keeps their checkpoints; the next command resumes them. A second Ctrl-C ends
    everything at once. Each trial is a process with its share of the cores. Its log is in its folder, in
    .convtrack/studies/NAME/trials.

    With --cluster, this applies to every machine, and the study must be in a database: see docs/scaling.md.
    """
    if cluster is None and (cpus is not None or gpus is not None):
        raise ConfigError(
            "--cpus and --gpus need --cluster. Nothing was run",
            "leave them out, and --workers trials share the cores of this machine; or add --cluster ADDRESS",
        )
    go_to_root()
    from convtrack.params import schema

    content = schema.searchable(schema.read_yaml(schema.PARAMS_FILE))
    params = schema.parse(content)
    if name is not None:
        content["study"]["name"] = name
        params = schema.parse(content, "--name")
    from convtrack import files, tracking
    from convtrack.cli import quickstart
    from convtrack.datasets import recommendations
    from convtrack.study import pages, session, storage

    session.check(params, content, None)  # before anything is downloaded
    storage.address(params.study.storage)
    if code := quickstart.repro("preprocess"):
        sys.exit(code)
    recommendations.warn(params, "train")
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    opened = session.open_session(params, content, dataset, new=new, allow_change=allow_change)
    opened.announce(trials, None if cluster else workers)
    team = opened.workers(workers, session.Cluster(cluster, cpus or 1, gpus or 0.0) if cluster else None)
    with tracking.study_run(params, opened.name, opened.id, opened.shown) as record:
        opened.search(record, trials=trials, timeout=timeout, workers=team)
        page = pages.default_path(opened.name)
        pages.write(opened.study, page)
        record.log_report(page)


@study.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Print the state of study NAME.

    Counts, the best trials beside the first, importances, failures, and the next commands. Optuna's own programs take
    the storage that it prints.
    """
    _, opened, shown = _opened(name)
    from rich.console import Console

    from convtrack.study import results, terminal

    # a terminal wraps long lines itself, so that a command can be copied as it is
    Console().print(terminal.summary(results.read(opened), shown), highlight=False, crop=False)


@study.command()
@click.argument("name", required=False)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: .convtrack/studies/NAME/report.html."
)
def report(name: str | None, output: Path | None) -> None:
    """Write study NAME as one HTML page.

    It needs no network and no other file, and is copied to MLflow. History, learning curves, importances, parallel
    coordinates, slices, contours, Pareto front, timeline, all trials.
    """
    started_in = Path.cwd()
    _, opened, _ = _opened(name)
    from convtrack import tracking
    from convtrack.study import pages
    from convtrack.study.storage import identity

    path = started_in / output if output else pages.default_path(opened.study_name)
    pages.write(opened, path)
    click.echo(path)
    tracking.log_study_page(identity(opened), path)


@study.command()
@click.argument("name", required=False)
@click.option("--trial", "number", type=click.IntRange(0), help="Default: the best one.")
@click.option("--dry-run", is_flag=True, help="Show the difference and write nothing.")
@click.option("--yes", is_flag=True, help="Don't ask if params.yaml has changes that are not committed.")
def apply(*, name: str | None, number: int | None, dry_run: bool, yes: bool) -> None:
    """Write a trial's values into params.yaml.

    Prints the difference; `git checkout params.yaml` undoes it. The rest of the file stays as it is, comments included.
    A study with several objectives needs --trial.
    """
    _, opened, _ = _opened(name)
    from convtrack.cli import quickstart
    from convtrack.params import editor, schema
    from convtrack.study import apply, results

    trial = apply.pick(results.read(opened), number)
    others = apply.other_parameters(opened.user_attrs, schema.resolved(schema.read_yaml(schema.PARAMS_FILE)))
    if others:
        click.echo("other parameters differ from those of the trials, and stay:\n  " + "\n  ".join(others), err=True)
    if not dry_run:
        editor.confirm_overwriting(apply.apply(trial, write=False), yes=yes)
    difference = apply.apply(trial, write=not dry_run)
    click.echo(difference or f"params.yaml has the values of trial {trial.number} already", nl=not difference)
    if dry_run:
        click.echo("nothing was written (--dry-run)", err=True)
    else:
        click.echo(f"next: {quickstart.commands_prefix()}dvc repro; git checkout params.yaml undoes this", err=True)


@study.command()
@click.argument("name", required=False)
@click.option("--other-hosts", is_flag=True, help="Take trials on other hosts for dead.")
def clean(name: str | None, other_hosts: bool) -> None:
    """Find trials whose processes are gone.

    They return to the queue, or are marked failed. `convtrack study run` does this before it begins.
    """
    params, opened, shown = _opened(name)
    from convtrack import tracking
    from convtrack.study import reporting
    from convtrack.study.storage import identity

    with tracking.study_run(params, opened.study_name, identity(opened), shown) as record:
        lines = reporting.clean(opened, record, other_hosts=other_hosts)
    click.echo("\n".join(lines))


@study.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
def trial(folder: Path) -> None:
    """Train one trial in the FOLDER that was prepared for it.

    `convtrack study run` starts this. It ends when its standard input, a pipe from the study, closes.
    """
    from convtrack.study.workers import PATIENCE
    from convtrack.system import watchdog
    from convtrack.system.interruption import Interruption, exiting_on_signals

    watchdog.end_with_standard_input(PATIENCE)
    os.chdir(folder)
    from convtrack.params import schema
    from convtrack.study import folders

    params, spec = schema.load(), folders.read_spec(Path())
    from convtrack.study import trial as process

    interruption = Interruption("the trial, whose checkpoint is kept")
    with process.exit_codes(), interruption.deferred():
        claimed = process.Trial(params, spec, interruption)
        interruption.deliver()
        with exiting_on_signals():
            from convtrack import tracking
            from convtrack.training.native_logs import load_tensorflow_quietly

            load_tensorflow_quietly()
        link = tracking.TrialLink(spec.study, spec.study_id, spec.number, spec.parent_run)
        with tracking.training_run(params, link) as run:
            outcome = claimed.train(run.id, run.log_epoch)
            claimed.report(outcome)
            run.log_outcome(outcome.state, outcome.reason)
            if outcome.state == "complete":
                run.log_training(outcome.training, model=claimed.is_among_the_best())
        process.leave(outcome.exit_code)  # a signal that came since has nothing left to end


def _opened(name: str | None) -> tuple[Params, Any, str]:
    """params.yaml, the existing optuna.Study, and the address of its storage without a password."""
    go_to_root()
    from convtrack.params import schema

    params = schema.load()
    from convtrack.study import results, storage

    opened = results.load(name or params.study.name, storage.open_storage(params.study.storage, create=False))
    return params, opened, storage.shown(params.study.storage)
