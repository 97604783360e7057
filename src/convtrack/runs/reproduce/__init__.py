"""A finished run made again from its commit, changes, parameters and data, and held against the original."""

from convtrack.runs.reproduce.agreement import Agreement
from convtrack.runs.reproduce.rerun import reproduce

__all__ = ["Agreement", "reproduce"]
