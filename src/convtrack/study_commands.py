"""The commands of studies. As in cli.py, everything heavy is imported inside them; here study and tracking meet."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from convtrack.root import go_to_root


@click.group()
def study() -> None:
    """Search the knobs of study.space with Optuna.

    \b
    convtrack study run --trials 20 --workers 2
    """


@study.command()
@click.option("--trials", type=click.IntRange(1), help="Until the study has so many finished trials in all.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Begin no trial after so many seconds.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Trials at once.")
@click.option("--name", help="Instead of study.name in params.yaml.")
@click.option("--new", is_flag=True, help="Another study, NAME-2 and so on, where there is one of that name.")
@click.option("--allow-change", is_flag=True, help="Go on with a study whose space, data or fixed knobs were others.")
def run(
    *, trials: int | None, timeout: float | None, workers: int, name: str | None, new: bool, allow_change: bool
) -> None:
    """Start a study, or go on with it: the first trial is what params.yaml holds now.

    --trials counts all finished trials of the study, from earlier commands too: after Ctrl-C, a crash or a kill the
    same command does what is missing and no more, and a larger number goes on. Finished is complete or pruned; a failed
    trial does not count, and another one takes its place. Without --trials and --timeout it goes on until Ctrl-C.

    Ctrl-C stops the trials that run and keeps their checkpoints; the next command goes on with them. A second one ends
    everything at once. Each trial is a process of its own with its share of the cores, and works in
    .convtrack/studies/NAME/trials, where its log is.
    """
    go_to_root()
    from convtrack import config

    content = config.read_yaml(config.PARAMS_FILE)
    params = config.parse(content)
    if name is not None:
        content["study"]["name"] = name
        params = config.parse(content, "--name")
    from convtrack import artifacts, quickstart, tracking
    from convtrack.study import session

    session.check(params, content, None)  # before anything is fetched
    if code := quickstart.repro("preprocess"):
        sys.exit(code)
    dataset = artifacts.read_json(artifacts.PROCESSED / artifacts.DATASET)
    opened = session.open_session(params, content, dataset, new=new, allow_change=allow_change)
    opened.announce(trials, workers)
    with tracking.study_run(params, opened.name, opened.id, opened.shown) as record:
        opened.search(record, trials=trials, timeout=timeout, workers=workers)
    opened.conclude()


@study.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
def trial(folder: Path) -> None:
    """Train one trial in the FOLDER that was made for it.

    `convtrack study run` starts this. Its standard input is a pipe that closes with the study, and ends it then.
    """
    from convtrack.study import lifeline

    lifeline.end_if_alone()
    line = lifeline.Lifeline()
    os.chdir(folder)
    from convtrack import config
    from convtrack.study import folders

    params, spec = config.load(), folders.read_spec(Path())
    if spec.cores:
        os.sched_setaffinity(0, spec.cores)  # before any library starts threads
    from convtrack.study import trial as room

    with room.leaving_room(), room.Trial(params, spec, line) as claimed:
        from convtrack.training.native_logs import load_tensorflow_quietly

        load_tensorflow_quietly()
        from convtrack import tracking

        link = tracking.TrialLink(spec.study, spec.study_id, spec.number, spec.parent_run)
        with tracking.training_run(params, link) as run:
            outcome = claimed.train(run.id, run.log_epoch)
            claimed.tell(outcome)
            run.log_outcome(outcome.state, outcome.reason)
            if outcome.state == "complete":
                run.log_training(outcome.training, model=claimed.is_among_the_best())
    sys.exit(outcome.exit_code)
