"""The commands of studies, which connect study and tracking."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convtrack.cli.trial import trial
from convtrack.errors import ConfigError, counted
from convtrack.system.root import go_to_root

if TYPE_CHECKING:
    from convtrack.params.schema import Params
    from convtrack.study.session import Session


@click.group()
def study() -> None:
    """Search the parameters of study.space with Optuna.

    \b
    convtrack study run --trials 20 --workers 2    start a study, or continue it
    convtrack study show                           print its state
    convtrack study report                         write all of it as one page
    convtrack study confirm                        train the best trials with new seeds
    convtrack study apply                          write the confirmed or best trial into params.yaml

    NAME is study.name of params.yaml by default. All studies: `optuna studies --storage STORAGE`, with the storage that
    `convtrack study show` prints.
    """


PLACES = (
    click.option("--workers", type=click.IntRange(1), help="Trials at once. Default: 1; on a cluster, as many as fit."),
    click.option("--cluster", metavar="ADDRESS", help="Use a Ray cluster: auto, HOST:PORT or ray://HOST:PORT."),
    click.option("--cpus", type=click.IntRange(1), help="With --cluster: cores per trial. Default: 1."),
    click.option("--gpus", type=click.FloatRange(0), help="With --cluster: GPUs per trial. Default: 0."),
)


def with_places(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where trials run, and check them."""

    @functools.wraps(command)
    def checked(*, workers: int | None, cluster: str | None, cpus: int | None, gpus: float | None, **rest: Any) -> None:
        if cluster is None and (cpus is not None or gpus is not None):
            raise ConfigError(
                "--cpus and --gpus need --cluster. Nothing was run",
                "leave them out, and --workers trials share the cores of this machine; or add --cluster ADDRESS",
            )
        command(place=(workers, (cluster, cpus or 1, gpus or 0.0) if cluster else None), **rest)

    return functools.reduce(lambda decorated, option: option(decorated), reversed(PLACES), checked)


Place = tuple[int | None, tuple[str, int, float] | None]  # workers; address, cores and GPUs of a cluster


@study.command()
@click.option("--trials", type=click.IntRange(1), help="Stop when the study has this many finished trials in all.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Start no trial after this many seconds.")
@with_places
@click.option("--name", help="Replaces study.name in params.yaml.")
@click.option("--new", is_flag=True, help="Start another study, NAME-2 and so on, if there is one of that name.")
@click.option("--allow-change", is_flag=True, help="Continue a study with another space, data or fixed parameters.")
def run(
    *,
    trials: int | None,
    timeout: float | None,
    place: Place,
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
    go_to_root()
    opened = _session(name, new=new, allow_change=allow_change)
    opened.announce(trials, None if place[1] else place[0])
    _search(opened, place, trials, timeout)


@study.command()
@click.argument("name", required=False)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Best trials, besides trial 0.")
@click.option("--seeds", type=click.IntRange(2), default=5, show_default=True, help="Trainings of each trial.")
@with_places
def confirm(name: str | None, top: int, seeds: int, place: Place) -> None:
    """Train the best trials with new seeds.

    The best of many trials is ahead by luck in part: of its seed, and of the val images. This trains the best trials of
    study NAME and trial 0, which has the values that params.yaml had, with the seeds after train.seed. Then it compares
    their mean val accuracies: Welch's test for each pair, corrected for the number of pairs (Holm). A trial that beats
    trial 0 by more than chance is confirmed, and `convtrack study apply` takes it; otherwise trial 0.

    Test images are not used. All trials are compared on the same val images, which also chose them.

    The trainings are trials of a study NAME-confirmation. After Ctrl-C, a crash or a kill, the same command trains what
    is missing; with more --seeds or another --top, it adds to what it has.

    \b
    convtrack study confirm                      4 trials with 5 seeds: 20 trainings
    convtrack study confirm --top 1 --seeds 3    6 trainings
    """
    known = _opened(name)[1]
    from rich.console import Console

    from convtrack.study import confirmation

    hint = "set these parameters to what they were: the trials are trained again with the rest of params.yaml"
    searched = _session(known.study_name, hint=hint)
    queued = confirmation.queue(searched, top, seeds)
    trials = [trial for trial in queued.study.get_trials(deepcopy=False) if trial.state.name != "FAIL"]
    ended = sum(trial.state.is_finished() for trial in trials)
    click.echo(f"convtrack: study {queued.name} has {ended} of {counted(len(trials), 'training')}", err=True)
    _search(queued, place, len(trials), None)
    if found := confirmation.read(known):
        Console().print(confirmation.shown(known.study_name, found), highlight=False)


@study.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Print the state of study NAME.

    Counts, the best trials beside the first, importances, failures, and the next commands. Optuna's own programs take
    the storage that it prints.
    """
    _, opened, shown = _opened(name)
    from rich.console import Console

    from convtrack.study import confirmation, results, terminal

    found = results.read(opened)
    # a terminal wraps long lines itself, so that a command can be copied as it is
    Console().print(
        terminal.summary(found, shown, confirmation.notes(opened, found)), highlight=False, crop=False, soft_wrap=True
    )


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
@click.option("--trial", "number", type=click.IntRange(0), help="Default: the confirmed one, or else the best.")
@click.option("--dry-run", is_flag=True, help="Show the difference and write nothing.")
@click.option("--yes", is_flag=True, help="Don't ask if params.yaml has changes that are not committed.")
def apply(*, name: str | None, number: int | None, dry_run: bool, yes: bool) -> None:
    """Write a trial's values into params.yaml.

    Prints the difference; `git checkout params.yaml` undoes it. The rest of the file stays as it is, comments included.
    Takes the trial that `convtrack study confirm` has confirmed, or else the best one. A study with several objectives
    needs --trial.
    """
    _, opened, _ = _opened(name)
    from convtrack.cli import quickstart
    from convtrack.params import editor, schema
    from convtrack.study import apply, confirmation, results

    found, confirmed = results.read(opened), confirmation.read(opened)
    trial = apply.pick(found, number, confirmed.chosen if confirmed else None)
    notes = confirmation.notes(opened, found) if number is None else []
    click.echo("\n".join([f"trial {trial.number}", *notes]), err=True)
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


study.add_command(trial)


def _opened(name: str | None) -> tuple[Params, Any, str]:
    """params.yaml, the existing optuna.Study, and the address of its storage without a password."""
    go_to_root()
    from convtrack.params import schema

    params = schema.load()
    from convtrack.study import results, storage

    opened = results.load(name or params.study.name, storage.open_storage(params.study.storage, create=False))
    return params, opened, storage.shown(params.study.storage)


def _session(name: str | None, **how: Any) -> Session:
    """The study `name` (default: that of params.yaml), opened as `how` says, with data/processed made first."""
    from convtrack.params import schema

    content = schema.searchable(schema.read_yaml(schema.PARAMS_FILE))
    if name is not None:
        content["study"]["name"] = name
    params = schema.parse(content, "--name" if name else str(schema.PARAMS_FILE))
    from convtrack import files
    from convtrack.cli import quickstart
    from convtrack.datasets import recommendations
    from convtrack.study import session, storage

    session.check(params, content, None)  # before anything is downloaded
    storage.address(params.study.storage)
    if code := quickstart.repro("preprocess"):
        sys.exit(code)
    recommendations.warn(params, "train")
    return session.open_session(params, content, files.read_json(files.PROCESSED / files.DATASET), **how)


def _search(opened: Session, place: Place, trials: int | None, timeout: float | None) -> None:
    """Run the trials of a study, in MLflow and with its page at the end."""
    from convtrack import tracking
    from convtrack.study import pages, session

    workers, cluster = place
    team = opened.workers(workers, session.Cluster(*cluster) if cluster else None)
    with tracking.study_run(opened.params, opened.name, opened.id, opened.shown) as record:
        opened.search(record, trials=trials, timeout=timeout, workers=team)
        page = pages.default_path(opened.name)
        pages.write(opened.study, page)
        record.log_report(page)
