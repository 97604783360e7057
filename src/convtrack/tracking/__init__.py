"""The record of every pipeline run in MLflow, and the only importer of it.

`train` opens a run, `evaluate` reopens it. Local files are the truth: each number is on disk before it is sent, and a
store that is out of reach costs warnings and seconds, never a training.
"""

from convtrack.tracking.run import TrackedRun, evaluation_run, training_run
from convtrack.tracking.study import StudyRun, log_study_page, study_run
from convtrack.tracking.trials import TrialLink

__all__ = [
    "StudyRun",
    "TrackedRun",
    "TrialLink",
    "evaluation_run",
    "log_study_page",
    "study_run",
    "training_run",
]
