"""One MLflow run for each study, the parent of its trials' runs: the space, the best so far, and the report."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtrack import files
from convtrack.params.schema import PARAMS_FILE, Params
from convtrack.tracking import payloads, provenance, store, trials
from convtrack.tracking.flusher import Flusher
from convtrack.tracking.replay import TAG
from convtrack.tracking.run import check_experiment, opened

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENDED = ("complete", "pruned", "failed")


class StudyRun:
    """A study's run in MLflow, which has the study's own id as its name. `id` is None until the store has told it."""

    def __init__(self, params: Params, name: str, study_id: str) -> None:
        self.params, self.name, self.study_id = params, name, study_id
        self._opened = False
        self._sender = Flusher(study_id, f"the study and {files.STATE}/studies/{name}")

    @property
    def id(self) -> str | None:
        return self._sender.run_id

    def open(self, storage: str) -> None:
        """Go on with the run that the study has, or start one. `storage` is Optuna's address, without a password."""
        check_experiment(self._sender)
        start = self._start(storage)
        self._sender.keep(lambda _: start)
        self._opened = True
        self._sender.keep(lambda folder: _setup(self.params, folder))
        self._sender.flush()

    def trial_ended(self, number: int, state: str, reason: str, log: Path | None) -> None:
        """See to it that the run of a trial whose process is gone says how the trial ended.

        `state` is a key of `trials.STATUS`; the `log` of a failed trial goes with its run.
        """
        settle = {"settle": {"state": state, "reason": reason, "end_time": _now()}, "only_if_there": True}
        kept = log if state == "failed" and log is not None and log.exists() else None
        self._sender.keep(
            lambda folder: settle | (payloads.attached(kept, folder) if kept else {}),
            trials.run_of(self.study_id, number),
        )

    def unsettled(self) -> list[int]:
        """The numbers of the trials whose runs are still RUNNING, as far as the store answers."""
        return self._sender.ask(self._running)

    def progress(self, counts: dict[str, int], best: dict[str, float]) -> None:
        """How many trials ended in which of `ENDED`, and each objective's best value so far, as points of curves."""
        finished = counts["complete"] + counts["pruned"]
        values = {f"trials_{state}": float(counts[state]) for state in ENDED}
        values |= {f"best_{name}": value for name, value in best.items() if math.isfinite(value)}
        self._sender.keep(lambda _: {"metrics": payloads.points(values, finished)})

    def drop_model(self, number: int) -> None:
        """Delete the model of a trial that is no longer among the best; its run keeps everything else."""
        self._sender.keep(lambda _: {"drop_model": True, "only_if_there": True}, trials.run_of(self.study_id, number))

    def log_report(self, page: Path) -> None:
        """A file that tells of the whole study."""
        self._sender.keep(lambda folder: payloads.attached(page, folder))

    def end(self, status: str) -> None:
        """Close the run; a later command goes on with it."""
        if not self._opened:
            return
        end = _now()
        self._sender.keep(lambda _: {"status": status, "end_time": end})
        self._sender.close()

    def _start(self, storage: str) -> dict[str, Any]:
        store.set_patience()
        from mlflow.tracking.context.registry import resolve_tags  # user and source, as mlflow.start_run finds them

        tags = {
            "study.part": "study",
            "study.name": self.name,
            "study.id": self.study_id,
            "study.storage": storage,
            "mlflow.note.content": f"Study `{self.name}`: `convtrack study show {self.name}`",
            TAG: self.study_id,
        }
        start = {
            "name": self.name,
            "tags": resolve_tags(provenance.collect() | tags),
            "start_time": _now(),
            "parent": None,
        }
        return {"start": start, "experiment": store.experiment(self.params.tracking.experiment), "status": "RUNNING"}

    def _running(self, client: MlflowClient) -> list[int]:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        found = trials.find(client, experiments, id=self.study_id, part="trial")
        return [int(run.data.tags["study.trial"]) for run in found if run.info.status == "RUNNING"]


@contextlib.contextmanager
def study_run(params: Params, name: str, study_id: str, storage: str) -> Iterator[StudyRun]:
    """The run of a study, open until the block ends: FINISHED, FAILED by an exception, KILLED by Ctrl-C or SIGTERM.

    `study_id` is unique to the study, whatever its name; `storage` the address that is shown for it.
    """
    run = StudyRun(params, name, study_id)
    with opened(lambda: run.open(storage), run.end):
        yield run


def log_study_page(study_id: str, page: Path) -> None:
    """Put a file that tells of a study into its run, where it has one; whether that run goes on is left as it is."""
    sender = Flusher(study_id, str(page))
    sender.keep(lambda folder: payloads.attached(page, folder) | {"only_if_there": True})
    sender.close()


def _setup(params: Params, folder: Path) -> dict[str, Any]:
    """What the study searches, and how: the entries of its space as params, all of params.yaml as a file."""
    settings: dict[str, Any] = params.study.model_dump()
    space = settings.pop("space")
    knobs = {f"study.{name}": value for name, value in settings.items() if name != "storage"}  # it may have a password
    knobs |= {
        f"space.{path}": json.dumps({name: value for name, value in entry.items() if value is not None})
        for path, entry in space.items()
    }
    return {"params": payloads.as_params(knobs)} | payloads.attached(PARAMS_FILE, folder)


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
