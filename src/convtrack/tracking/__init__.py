"""The record of every pipeline run in MLflow, and the only importer of it.

`train` opens a run, `evaluate` reopens it. Local files are the truth: each number is on disk before it is sent, and a
store that is out of reach costs warnings and seconds, never a training.
"""

from convtrack.tracking.run import TrackedRun, evaluation_run, training_run

__all__ = ["TrackedRun", "evaluation_run", "training_run"]
