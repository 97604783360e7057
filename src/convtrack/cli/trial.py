"""The process of one trial, which connects study and tracking."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command(hidden=True)
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
        link = tracking.TrialLink(spec.study, spec.study_id, spec.number)
        with tracking.training_run(params, link) as run:
            outcome = claimed.train(run.id, run.log_epoch)
            claimed.report(outcome)
            run.log_outcome(outcome.state, outcome.reason)
            if outcome.state == "complete":
                run.log_training(outcome.training, model=claimed.is_among_the_best())
        process.leave(outcome.exit_code)  # a signal that came since has nothing left to end
