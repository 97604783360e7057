"""`convtrack study clean`: trials that nobody is at work on any more, and their runs."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.trial import TrialState

from convtrack.study import inside, telling
from convtrack.study.reclaim import Reclaimed, reclaim
from convtrack.study.run import WORDS, Record
from convtrack.study.storage import refused_writes


@refused_writes()
def clean(study: optuna.Study, record: Record, *, other_hosts: bool) -> Reclaimed:
    """End or put back into the queue every trial whose processes are gone, and tell `record`, as the next run would.

    With `other_hosts` also those of which this host cannot know. StorageError.
    """
    reader = telling.load(study.study_name, inside.storage_of(study), optuna.pruners.NopPruner())
    found = reclaim(reader, Path.cwd(), [], other_hosts=other_hosts)
    for number in record.unsettled():
        trial = reader.get_trials(deepcopy=False)[number]
        if trial.state != TrialState.RUNNING:
            word = WORDS.get(trial.state, "interrupted")
            record.trial_ended(number, word, str(trial.user_attrs.get("reason", "")), None)
    return found


def words(found: Reclaimed) -> list[str]:
    """What was done, a line each."""
    said = {
        "back in the queue": found.waiting,
        "had ended, and are told of now": found.told,
        "at work": found.elsewhere,
        "on other hosts, where nobody here can see them; --other-hosts takes them for dead": found.unknown,
    }
    lines = [f"trials {', '.join(map(str, numbers))}: {what}" for what, numbers in said.items() if numbers]
    return lines or ["no trial is running"]
