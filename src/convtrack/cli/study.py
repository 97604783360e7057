"""The commands of studies, where study and tracking meet."""

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
    """Search the knobs of study.space with Optuna.

    \b
    convtrack study run --trials 20 --workers 2    start a study, or go on with it
    convtrack study show                           how it stands
    convtrack study report                         all of it as one page
    convtrack study apply                          the best trial into params.yaml

    NAME is study.name of params.yaml where none is given. All studies: `optuna studies --storage STORAGE`, with the
    storage that `convtrack study show` prints.
    """


@study.command()
@click.option("--trials", type=click.IntRange(1), help="Until the study has so many finished trials in all.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Begin no trial after so many seconds.")
@click.option("--workers", type=click.IntRange(1), help="Trials at once: 1; on a cluster, as many as fit.")
@click.option("--cluster", metavar="ADDRESS", help="Run trials on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")
@click.option("--cpus", type=click.IntRange(1), help="With --cluster: cores a trial, 1 where it is not said.")
@click.option("--gpus", type=click.FloatRange(0), help="With --cluster: GPUs a trial, 0 where it is not said.")
@click.option("--name", help="Instead of study.name in params.yaml.")
@click.option("--new", is_flag=True, help="Another study, NAME-2 and so on, where there is one of that name.")
@click.option("--allow-change", is_flag=True, help="Go on with a study whose space, data or fixed knobs were others.")
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
    """Start a study, or go on with it.

    The first trial is what params.yaml holds now.

    --trials counts all finished trials of the study, from earlier commands too: after Ctrl-C, a crash or a kill the
    same command does what is missing and no more, and a larger number goes on. Finished is complete or pruned; a failed
    trial does not count, and another one takes its place. Without --trials and --timeout it goes on until Ctrl-C.

    Ctrl-C stops the trials that run and keeps their checkpoints; the next command goes on with them. A second one ends
    everything at once. Each trial is a process of its own with its share of the cores, and works in
    .convtrack/studies/NAME/trials, where its log is.

    With --cluster that holds on every machine, and the study is in a database: docs/scaling.md.
    """
    if cluster is None and (cpus is not None or gpus is not None):
        raise ConfigError(
            "--cpus and --gpus are what a Ray cluster keeps for a trial, but there is no --cluster. Nothing was run",
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

    session.check(params, content, None)  # before anything is fetched
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
    opened.conclude()


@study.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Print how study NAME stands.

    Counts, the best trials beside the first, importances, failures, and what to type next. The storage that is printed
    is what Optuna's own programs take.
    """
    _, opened, shown = _opened(name)
    from rich.console import Console

    from convtrack.study import results, terminal

    # lines that are wider than the terminal are its to wrap, so that a command can be copied as it is
    Console().print(terminal.summary(results.read(opened), shown), highlight=False, crop=False)


@study.command()
@click.argument("name", required=False)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Instead of .convtrack/studies/NAME/report.html."
)
def report(name: str | None, output: Path | None) -> None:
    """Write study NAME as one HTML page.

    It needs no network and no other file, and is kept in MLflow too. History, learning curves, importances, parallel
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
@click.option("--trial", "number", type=click.IntRange(0), help="Instead of the best one.")
@click.option("--dry-run", is_flag=True, help="Show the difference and write nothing.")
@click.option("--yes", is_flag=True, help="Don't ask, though params.yaml has changes that are not committed.")
def apply(*, name: str | None, number: int | None, dry_run: bool, yes: bool) -> None:
    """Write a trial's values into params.yaml.

    It shows the difference, and `git checkout params.yaml` takes it back. The rest of the file stays as it is, comments
    too. Of a study with several objectives, --trial says which one.
    """
    _, opened, _ = _opened(name)
    from convtrack.cli import quickstart
    from convtrack.params import editor, schema
    from convtrack.study import apply, results

    trial = apply.pick(results.read(opened), number)
    others = apply.other_parameters(opened.user_attrs, schema.resolved(schema.read_yaml(schema.PARAMS_FILE)))
    if others:
        click.echo("the trials had other values of these, which stay as they are:\n  " + "\n  ".join(others), err=True)
    if not dry_run:
        editor.confirm_overwriting(apply.apply(trial, write=False), yes=yes)
    difference = apply.apply(trial, write=not dry_run)
    click.echo(difference or f"params.yaml has the values of trial {trial.number} already", nl=not difference)
    if dry_run:
        click.echo("nothing was written (--dry-run)", err=True)
    else:
        click.echo(f"next: {quickstart.commands_prefix()}dvc repro; git checkout params.yaml takes it back", err=True)


@study.command()
@click.argument("name", required=False)
@click.option("--other-hosts", is_flag=True, help="Also trials on other hosts, which are taken for dead.")
def clean(name: str | None, other_hosts: bool) -> None:
    """Find trials whose processes are gone.

    They go back into the queue, or are marked failed. `convtrack study run` does the same before it begins.
    """
    params, opened, shown = _opened(name)
    from convtrack import tracking
    from convtrack.study import reclaim
    from convtrack.study.storage import identity

    with tracking.study_run(params, opened.study_name, identity(opened), shown) as record:
        found = reclaim.clean(opened, record, other_hosts=other_hosts)
    for line in reclaim.words(found):
        click.echo(line)


@study.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
def trial(folder: Path) -> None:
    """Train one trial in the FOLDER that was made for it.

    `convtrack study run` starts this. Its standard input is a pipe that closes with the study, and ends it then.
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
    with process.leaving_room(), interruption.deferred():
        claimed = process.Trial(params, spec, interruption)
        interruption.deliver()
        with exiting_on_signals():
            from convtrack import tracking
            from convtrack.training.native_logs import load_tensorflow_quietly

            load_tensorflow_quietly()
        link = tracking.TrialLink(spec.study, spec.study_id, spec.number, spec.parent_run)
        with tracking.training_run(params, link) as run:
            outcome = claimed.train(run.id, run.log_epoch)
            claimed.tell(outcome)
            run.log_outcome(outcome.state, outcome.reason)
            if outcome.state == "complete":
                run.log_training(outcome.training, model=claimed.is_among_the_best())
        process.leave(outcome.exit_code)  # a signal that came since has nothing left to end


def _opened(name: str | None) -> tuple[Params, Any, str]:
    """params.yaml, the optuna.Study that is there, and the address of its storage without a password."""
    go_to_root()
    from convtrack.params import schema

    params = schema.load()
    from convtrack.study import results, storage

    opened = results.load(name or params.study.name, storage.open_storage(params.study.storage, create=False))
    return params, opened, storage.shown(params.study.storage)
