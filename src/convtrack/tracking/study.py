"""One MLflow run for each study, the parent of its trials' runs: the space, the best so far, and the report."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtrack import artifacts
from convtrack.config import PARAMS_FILE, Params
from convtrack.tracking import contents, facts, store, trials
from convtrack.tracking.attempts import Attempts

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENDED = ("complete", "pruned", "failed")


class StudyRun:
    """A study's run in MLflow, as far as the store answers. `id` is None where there is no run to write to."""

    def __init__(self, params: Params, name: str, study_id: str) -> None:
        self.params, self.name, self.study_id = params, name, study_id
        self.id: str | None = None
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._attempt = Attempts(f"the study and {artifacts.STATE}/studies/{name}")

    def open(self, storage: str) -> None:
        """Go on with the run that the study has, or start one. `storage` is Optuna's address, without a password."""
        store.uri()  # a wrong address is the user's to mend
        self._attempt.first(lambda: self._start(storage))

    def trial_ended(self, number: int, state: str, reason: str, log: Path | None) -> None:
        """See to it that the run of a trial whose process is gone says how the trial ended.

        `state` is a key of `trials.STATUS`; the `log` of a failed trial goes with its run.
        """

        def settle() -> None:
            client = self._connected()
            for run in trials.find(client, self._experiment_id, id=self.study_id, part="trial", trial=str(number)):
                run_id = run.info.run_id
                if run.info.status == "RUNNING" or run.data.tags.get("study.state") != state:
                    trials.set_outcome(client, run_id, state, reason)
                    client.set_terminated(run_id, trials.STATUS[state])
                if state == "failed" and log is not None and log.exists():
                    client.log_artifact(run_id, str(log))

        self._attempt(settle)

    def unsettled(self) -> list[int]:
        """The numbers of the trials whose runs are still RUNNING."""
        found: list[int] = []

        def look() -> None:
            client = self._connected()
            for run in trials.find(client, self._experiment_id, id=self.study_id, part="trial"):
                if run.info.status == "RUNNING":
                    found.append(int(run.data.tags["study.trial"]))

        self._attempt(look)
        return found

    def progress(self, counts: dict[str, int], best: dict[str, float]) -> None:
        """How many trials ended in which of `ENDED`, and each objective's best value so far, as points of curves."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        finished = counts["complete"] + counts["pruned"]
        values = {f"trials_{state}": float(counts[state]) for state in ENDED}
        values |= {f"best_{name}": value for name, value in best.items() if math.isfinite(value)}
        points = [Metric(name, value, now, finished) for name, value in values.items()]
        self._attempt(lambda: self._connected().log_batch(self._run_id(), metrics=points))

    def drop_model(self, number: int) -> None:
        """Delete the model of a trial that is no longer among the best; its run keeps everything else."""

        def drop() -> None:
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            client = self._connected()
            for run in trials.find(client, self._experiment_id, id=self.study_id, part="trial", trial=str(number)):
                for output in run.outputs.model_outputs if run.outputs else []:
                    model = client.get_logged_model(output.model_id)
                    get_artifact_repository(model.artifact_location).delete_artifacts()
                    client.delete_logged_model(output.model_id)

        self._attempt(drop)

    def log_report(self, page: Path) -> None:
        """A file that tells of the whole study."""
        self._attempt(lambda: self._connected().log_artifact(self._run_id(), str(page)))

    def end(self, status: str) -> None:
        """Close the run; a later command goes on with it."""

        self._attempt(lambda: self._connected().set_terminated(self._run_id(), status), at_once=True)

    def _start(self, storage: str) -> None:
        client = store.connect()
        from mlflow.tracking.context.registry import resolve_tags  # user and source, as mlflow.start_run finds them

        experiment = store.experiment_id(client, self.params.tracking.experiment)
        earlier = trials.find(client, experiment, id=self.study_id, part="study")
        if earlier:
            run_id = earlier[0].info.run_id
            client.update_run(run_id, status="RUNNING")
        else:
            tags = {
                "study.part": "study",
                "study.name": self.name,
                "study.id": self.study_id,
                "study.storage": storage,
                "mlflow.note.content": f"Study `{self.name}`: `convtrack study show {self.name}`",
            }
            # no run of this process: a process has one at a time
            run = client.create_run(experiment, tags=resolve_tags(facts.collect() | tags), run_name=self.name)
            run_id = run.info.run_id
            _log_setup(client, run_id, self.params)
        self._client, self.id, self._experiment_id = client, run_id, experiment

    def _connected(self) -> MlflowClient:
        if self._client is None:
            raise RuntimeError("the run was not opened")
        return self._client

    def _run_id(self) -> str:
        if self.id is None:
            raise RuntimeError("the run was not opened")
        return self.id


@contextlib.contextmanager
def study_run(params: Params, name: str, study_id: str, storage: str) -> Iterator[StudyRun]:
    """The run of a study, open until the block ends: FINISHED, FAILED by an exception, KILLED by Ctrl-C or SIGTERM.

    `study_id` is unique to the study, whatever its name; `storage` the address that is shown for it.
    """
    run = StudyRun(params, name, study_id)
    run.open(storage)
    status = "KILLED"
    try:
        yield run
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        run.end(status)


def log_study_page(params: Params, study_id: str, page: Path) -> None:
    """Put a file that tells of a study into its run, where it has one; whether that run goes on is left as it is."""

    def send() -> None:
        client = store.connect()
        experiment = store.experiment_id(client, params.tracking.experiment)
        for run in trials.find(client, experiment, id=study_id, part="study")[:1]:
            client.log_artifact(run.info.run_id, str(page))

    store.uri()  # a wrong address is the user's to mend
    Attempts(str(page)).first(send)


def _log_setup(client: MlflowClient, run_id: str, params: Params) -> None:
    """What the study searches, and how: the entries of its space as params, all of params.yaml as a file."""
    from mlflow.entities import Param

    settings: dict[str, Any] = params.study.model_dump()
    space = settings.pop("space")
    knobs = {f"study.{name}": value for name, value in settings.items() if name != "storage"}  # it may have a password
    knobs |= {
        f"space.{path}": json.dumps({name: value for name, value in entry.items() if value is not None})
        for path, entry in space.items()
    }
    batch = [Param(name, str(value)[: contents.LONGEST_PARAM]) for name, value in knobs.items()]
    for start in range(0, len(batch), contents.MOST_PARAMS):
        client.log_batch(run_id, params=batch[start : start + contents.MOST_PARAMS])
    client.log_artifact(run_id, str(PARAMS_FILE))
