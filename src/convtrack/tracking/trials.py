"""How the runs of a study's trials are named, tagged and ended, the same in every process."""

from __future__ import annotations

from dataclasses import dataclass

from convtrack.tracking.records import Status

LONGEST_REASON = 5000  # characters; a tag of MLflow takes 8,000

# the status of a trial's run; a pruned trial did not fail, it was stopped
STATUS: dict[str, Status] = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "interrupted": "KILLED"}


@dataclass(frozen=True)
class TrialLink:
    """Which trial of which study a run records. `parent` is the study's own run, None where it has none."""

    study: str
    study_id: str
    number: int
    parent: str | None

    @property
    def run(self) -> str:
        """convtrack's name for its run."""
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


def outcome(state: str, reason: str) -> dict[str, str]:
    """How a trial ended, as tags."""
    return {"study.state": state, "study.reason": reason[:LONGEST_REASON]}
