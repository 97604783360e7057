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


def find(client: MlflowClient, experiment_id: str, **tags: str) -> list[Run]:
    """The runs, not deleted, with these values of `study.…` tags; the newest first."""
    wanted = " and ".join(f"tags.`study.{name}` = '{value}'" for name, value in tags.items())
    return list(client.search_runs([experiment_id], wanted))


def find_trial(client: MlflowClient, experiment_id: str, trial: TrialLink) -> str | None:
    """The id of the run that an earlier process made for `trial`."""
    runs = find(client, experiment_id, id=trial.study_id, part="trial", trial=str(trial.number))
    return str(runs[0].info.run_id) if runs else None


def set_outcome(client: MlflowClient, run_id: str, state: str, reason: str) -> None:
    """Tag a run with how its trial ended."""
    client.set_tag(run_id, "study.state", state)
    client.set_tag(run_id, "study.reason", reason[:LONGEST_REASON])
