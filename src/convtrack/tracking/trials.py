"""How the runs of a study find each other in MLflow: by tags, so that a process that was killed leaves no loose end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LONGEST_REASON = 5000  # characters; a tag of MLflow takes 8,000

# how a run ends whose trial ended so: a pruned trial did not fail, it was stopped
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "interrupted": "KILLED"}


@dataclass(frozen=True)
class TrialLink:
    """Which trial of which study a run records. `parent` is the study's own run, None where it has none."""

    study: str
    study_id: str
    number: int
    parent: str | None

    @property
    def run(self) -> str:
        """What convtrack calls its run, in all processes that have to do with it."""
        return run_of(self.study_id, self.number)

    @property
    def name(self) -> str:
        return f"{self.study}-{self.number}"

    def tags(self) -> dict[str, str]:
        return {
            "study.part": "trial",
            "study.name": self.study,
            "study.id": self.study_id,
            "study.trial": str(self.number),
            "study.state": "running",
        }


def run_of(study_id: str, number: int) -> str:
    return f"{study_id}-{number}"


def find(client: MlflowClient, experiments: list[str], **tags: str) -> list[Run]:
    """The runs in these experiments (by id), not deleted, with these values of `study.…` tags; the newest first."""
    wanted = " and ".join(f"tags.`study.{name}` = '{value}'" for name, value in tags.items())
    return list(client.search_runs(experiments, wanted))


def outcome(state: str, reason: str) -> dict[str, str]:
    """Tags that tell how a trial ended."""
    return {"study.state": state, "study.reason": reason[:LONGEST_REASON]}
