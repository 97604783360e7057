"""How the runs of a study's trials are named, tagged and ended, the same in every process."""

from __future__ import annotations

from dataclasses import dataclass

from convtrack.tracking.records import Status

PRUNED, GREY = "✂ ", "#bbbbbb"  # a pruned trial in MLflow's table and charts
LONGEST_REASON = 5000  # characters; a tag of MLflow takes 8,000

# the status of a trial's run; MLflow marks all but FINISHED as errors, and a pruned trial is none
STATUS: dict[str, Status] = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


@dataclass(frozen=True)
class TrialLink:
    """Which trial of which study a run records."""

    study: str
    study_id: str
    number: int

    @property
    def run(self) -> str:
        """convtrack's name for its run."""
        return run_of(self.study_id, self.number)

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


def outcome(state: str, reason: str, name: str) -> dict[str, str]:
    """How the trial whose run has this name ended, as tags, among them MLflow's own for the run's name and color."""
    tags = {"study.state": state, "study.reason": reason[:LONGEST_REASON]}
    if state == "pruned":
        tags |= {"mlflow.runName": PRUNED + name.removeprefix(PRUNED), "mlflow.runColor": GREY}
    return tags
