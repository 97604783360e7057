"""One MLflow run for each study, the parent of its trials' runs: the search space, the best values, the report."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtrack import files
from convtrack.params.schema import PARAMS_FILE, Params
from convtrack.tracking import payloads, provenance, store, trials
from convtrack.tracking.outbox.flusher import Flusher
from convtrack.tracking.records import TAG, Payload, Settlement, Start, Status, TrialState, now
from convtrack.tracking.run import check_experiment, opened

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENDED = ("complete", "pruned", "failed")


class StudyRun:
    """A study's run in MLflow. Its name is the study's own id; `id` is None until the store answers."""

    def __init__(self, params: Params, name: str, study_id: str) -> None:
        self.params, self.name, self.study_id = params, name, study_id
        self._opened = False
        self._flusher = Flusher(study_id, f"the study and {files.STATE}/studies/{name}")

    @property
    def id(self) -> str | None:
        return self._flusher.run_id

    def open(self, storage: str) -> None:
        """Continue the study's run, or start one. `storage` is Optuna's address, without a password."""
        check_experiment(self._flusher)
        self._flusher.keep(self._start(storage))
        self._opened = True
        self._flusher.keep(lambda folder: _setup(self.params, folder))
        self._flusher.flush()

    def trial_ended(self, number: int, state: str, reason: str, log: Path | None) -> None:
        """Close the run of a trial whose process is gone. `state` is a TrialState; a failed trial's `log` is kept."""
        settlement = Settlement(state=TrialState(state), reason=reason, end_time=now())
        payload = Payload(settle=settlement, only_if_there=True)
        has_log = state == TrialState.FAILED and log is not None and log.exists()
        content = payloads.with_file(log, payload) if log and has_log else payload
        self._flusher.keep(content, trials.run_of(self.study_id, number))

    def unsettled(self) -> list[int]:
        """The numbers of the trials whose runs are still RUNNING; empty if the store does not answer."""
        return self._flusher.ask(self._running)

    def progress(self, counts: dict[str, int], best: dict[str, float]) -> None:
        """Log the number of trials in each state of `ENDED`, and each objective's best value so far, as curves.

        Not as best_…: a metric that one run logs by steps is drawn as lines for all runs.
        """
        finished = counts["complete"] + counts["pruned"]
        values = {f"trials_{state}": float(counts[state]) for state in ENDED}
        values |= {f"running_best_{name}": value for name, value in best.items()}
        self._flusher.keep(Payload(metrics=payloads.points(values, finished)))

    def drop_model(self, number: int) -> None:
        """Delete the model of a trial that is no longer among the best; its run keeps everything else."""
        self._flusher.keep(Payload(drop_model=True, only_if_there=True), trials.run_of(self.study_id, number))

    def log_report(self, page: Path) -> None:
        """Log a file that describes the whole study."""
        self._flusher.keep(payloads.with_file(page, Payload()))

    def end(self, status: Status) -> None:
        """Close the run; a later command may continue it."""
        if self._opened:
            self._flusher.keep(Payload(status=status, end_time=now()))
            self._flusher.close()

    def _start(self, storage: str) -> Payload:
        tags = {
            "study.part": "study",
            "study.name": self.name,
            "study.id": self.study_id,
            "study.storage": storage,
            "mlflow.note.content": f"Study `{self.name}`: `convtrack study show {self.name}`",
            TAG: self.study_id,
        }
        tags = payloads.with_context(provenance.collect() | tags)
        return Payload(
            start=Start(name=self.name, tags=tags, start_time=now(), parent=None),
            experiment=store.experiment(self.params.tracking.experiment),
            status="RUNNING",
        )

    def _running(self, client: MlflowClient) -> list[int]:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        wanted = f"tags.`study.id` = '{self.study_id}' and tags.`study.part` = 'trial' and status = 'RUNNING'"
        return [int(run.data.tags["study.trial"]) for run in client.search_runs(experiments, wanted)]


@contextlib.contextmanager
def study_run(params: Params, name: str, study_id: str, storage: str) -> Iterator[StudyRun]:
    """The run of a study, open until the block ends: FINISHED, FAILED by an exception, KILLED by Ctrl-C or SIGTERM.

    `study_id` is unique to the study, whatever its name; `storage` the address that is shown for it.
    """
    run = StudyRun(params, name, study_id)
    with opened(lambda: run.open(storage), run.end):
        yield run


def log_study_page(study_id: str, page: Path) -> None:
    """Log a file that describes a study, if the study has a run. The status of that run stays as it is."""
    flusher = Flusher(study_id, str(page))
    flusher.keep(payloads.with_file(page, Payload(only_if_there=True)))
    flusher.close()


def _setup(params: Params, folder: Path) -> Payload:
    """The study's settings and search space as params, params.yaml as a file."""
    payloads.attach(PARAMS_FILE, folder)
    settings: dict[str, Any] = params.study.model_dump()
    space = settings.pop("space")
    values = {f"study.{name}": value for name, value in settings.items() if name != "storage"}  # may have a password
    values |= {
        f"space.{path}": json.dumps({name: value for name, value in entry.items() if value is not None})
        for path, entry in space.items()
    }
    return Payload(params=payloads.as_params(values))
