"""The record of every pipeline run in MLflow, and the only importer of it.

`train` opens a run, `evaluate` reopens it. Everything goes into an outbox on this disk first, and from there into the
store, in a thread beside the work: a store that is away costs a warning.
"""

from convtrack.tracking.outbox.flusher import sync
from convtrack.tracking.run import TrackedRun, evaluation_run, training_run
from convtrack.tracking.store import load
from convtrack.tracking.study import StudyRun, log_study_page, study_run
from convtrack.tracking.trials import TrialLink

__all__ = [
    "StudyRun",
    "TrackedRun",
    "TrialLink",
    "evaluation_run",
    "load",
    "log_study_page",
    "study_run",
    "sync",
    "training_run",
]
