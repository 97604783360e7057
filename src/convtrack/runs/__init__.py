"""A finished run wherever it is: in the workspace, in a DVC revision or in MLflow."""

from convtrack.runs.finished import Code, FinishedRun
from convtrack.runs.load import load

__all__ = ["Code", "FinishedRun", "load"]
