"""Which trial new seeds confirm, and that no training is done twice; the trainings here train nothing."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from rich.console import Console

from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.schema import Params
from convtrack.study import confirmation, results, run, session, storage
from convtrack.study.apply import pick
from convtrack.study.folders import Spec
from convtrack.study.run import Search
from convtrack.study.session import Session
from convtrack.study.terminal import View
from convtrack.study.workers import Ended

from .test_commands_at_once import FIXED, Nobody

Content = dict[str, Any]
SPACE = {"model.dropout": {"type": "float", "low": 0.0, "high": 0.5}}
LUCK = [0.0, 0.004, -0.003, 0.001, -0.002]  # of seeds 1 to 5


class Workers:
    """One training at once, whose val accuracy `value` tells from its params; None: it fails."""

    def __init__(self, study: optuna.Study, value: Callable[[Params], float | None]) -> None:
        self.study, self.value = study, value
        self.at_work: dict[int, Params] = {}
        self.trained: list[tuple[float, int]] = []

    @property
    def running(self) -> list[int]:
        return list(self.at_work)

    @property
    def free(self) -> int:
        return 1 - len(self.at_work)

    def start(self, spec: Spec, content: Content) -> None:
        params = self.at_work[spec.number] = schema.parse(content)
        self.trained.append((params.model.dropout, params.train.seed))

    def ended(self) -> list[Ended]:
        gone = [Ended(number, 0) for number in self.at_work]
        for number, params in self.at_work.items():
            value = self.value(params)
            self.study.tell(number, value, None if value is not None else TrialState.FAIL)
        self.at_work.clear()
        return gone

    def stop(self, number: int) -> None:
        raise AssertionError("nothing is left to be stopped")

    def kill(self) -> None:
        pass


@pytest.fixture
def made(
    workplace: Path, with_space: Callable[..., tuple[Params, Content]], monkeypatch: pytest.MonkeyPatch
) -> Session:
    """A study with trials 0 to 4, whose dropouts are 0.0 to 0.4, and of which the last is the best."""
    monkeypatch.setattr(run, "POLL", 0.0)
    monkeypatch.setattr(run, "LOOK", 0.0)
    params, content = with_space(SPACE, {"study.sampler": "random", "model.dropout": 0.0, "train.seed": 0})
    study = session.open_study(params, InMemoryStorage(), FIXED)
    for number in range(5):
        study.enqueue_trial({"model.dropout": number / 10})
        trial = study.ask()
        trial.suggest_float("model.dropout", 0.0, 0.5)
        study.tell(trial, 0.8 + number / 100)
    return Session(study, params, content)


def train(queued: Session, value: Callable[[Params], float | None]) -> list[tuple[float, int]]:
    """Do the trainings that wait; returns the dropout and seed of each."""
    waiting = len(queued.study.get_trials(deepcopy=False))
    view = View(["val_accuracy"], waiting, Console(file=io.StringIO()))
    workers = Workers(queued.study, value)
    how: dict[str, Any] = {"trials": waiting, "timeout": None, "workers": workers, "record": Nobody(), "view": view}
    Search(queued.study, queued.params, queued.content, **how).run()
    return workers.trained


def accuracy(gain: float) -> Callable[[Params], float]:
    """Val accuracy that rises by `gain` with each tenth of dropout, and that the seed changes."""
    return lambda params: 0.8 + 10 * gain * params.model.dropout + LUCK[params.train.seed - 1]


def test_the_best_trials_and_trial_0_are_trained_with_new_seeds_and_none_twice(made: Session) -> None:
    queued = confirmation.queue(made, 2, 2)
    first = train(queued, accuracy(0.01))
    assert first == [(0.4, 1), (0.3, 1), (0.0, 1), (0.4, 2), (0.3, 2), (0.0, 2)]
    assert train(confirmation.queue(made, 2, 2), accuracy(0.01)) == []
    more = train(confirmation.queue(made, 1, 3), accuracy(0.01))
    assert more == [(0.4, 3), (0.0, 3)]
    assert len(made.study.trials) == 5  # the study itself has no more


def test_a_trial_is_confirmed_that_beats_trial_0_by_more_than_chance(made: Session) -> None:
    train(confirmation.queue(made, 3, 5), accuracy(0.01))
    found = confirmation.read(made.study)
    assert found is not None
    assert found.chosen == 4
    assert pick(results.read(made.study), None, found.chosen).number == 4
    said = confirmation.notes(made.study, results.read(made.study))
    assert said[0].startswith("confirmed: trial 4 is better over seeds: +4.00 points")
    assert [row[0] for row in found.table()[1:]] == ["trial 4", "trial 3", "trial 2", "trial 0"]


def test_trial_0_is_kept_if_seeds_cannot_tell_and_says_so(made: Session) -> None:
    train(confirmation.queue(made, 3, 5), accuracy(0.0001))
    found = confirmation.read(made.study)
    assert found is not None
    assert found.chosen == 0
    kept, why = found.sentences()
    assert kept.startswith("no trial is better than trial 0")
    assert why.startswith("trial 4: no difference that 5 and 5 seeds can show: +0.04 points")


def test_what_is_better_by_chance_only_is_named(made: Session) -> None:
    gains = {0.0: 0.0, 0.2: 0.02, 0.3: 0.05, 0.4: 0.0501}
    train(
        confirmation.queue(made, 3, 5), lambda params: 0.8 + gains[params.model.dropout] + LUCK[params.train.seed - 1]
    )
    found = confirmation.read(made.study)
    assert found is not None
    assert found.chosen == 4
    assert found.sentences()[1] == "these seeds cannot tell it from trial 3"


def test_a_training_that_fails_is_not_replaced_by_another_and_is_done_by_the_next_call(made: Session) -> None:
    def once(params: Params) -> float | None:
        return None if (params.model.dropout, params.train.seed) == (0.4, 2) else accuracy(0.01)(params)

    train(confirmation.queue(made, 1, 3), once)
    found = confirmation.read(made.study)
    assert found is not None
    assert (found.unfinished, found.lost) == (0, {4: 1, 0: 0})
    first = found.table()[1]
    assert (first[:4], first[-1]) == (["trial 4", "2", "0.8385 ± 0.0021", "+3.82"], "1")
    assert train(confirmation.queue(made, 1, 3), accuracy(0.01)) == [(0.4, 2)]


def test_an_unfinished_confirmation_confirms_nothing(made: Session) -> None:
    confirmation.queue(made, 1, 2)
    found = confirmation.read(made.study)
    assert found is not None
    assert found.chosen is None
    assert found.sentences() == ["unfinished in its confirmation: 4 trainings; convtrack study confirm resumes"]


def test_a_trial_that_is_better_since_then_is_named(made: Session) -> None:
    train(confirmation.queue(made, 1, 2), accuracy(0.01))
    trial = made.study.ask()
    trial.suggest_float("model.dropout", 0.0, 0.5)
    made.study.tell(trial, 0.99)
    said = confirmation.notes(made.study, results.read(made.study))
    assert said[-1] == "trial 5 is better in the study, and not confirmed yet"


def test_a_study_of_the_same_name_does_not_get_the_confirmation_of_a_deleted_one(made: Session) -> None:
    train(confirmation.queue(made, 1, 2), accuracy(0.01))
    made.study.set_user_attr(storage.ID, "another")
    assert confirmation.read(made.study) is None
    with pytest.raises(ConfigError, match="an earlier study of the same name") as refused:
        confirmation.queue(made, 1, 2)
    assert "optuna delete-study" in refused.value.hint


def test_the_table_has_the_means_and_the_next_command(made: Session) -> None:
    train(confirmation.queue(made, 3, 5), accuracy(0.01))
    found = confirmation.read(made.study)
    assert found is not None
    console = Console(file=io.StringIO(), width=160)
    console.print(confirmation.shown(made.name, found), highlight=False)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "0.8400 ± 0.0027" in shown
    assert f"convtrack study apply {made.name}" in shown


@pytest.mark.parametrize("objectives", [["val_accuracy", "flops"], ["val_loss"]])
def test_other_objectives_are_refused(
    objectives: list[str], workplace: Path, with_space: Callable[..., tuple[Params, Content]]
) -> None:
    params, content = with_space(SPACE, {"study.objectives": objectives})
    study = session.open_study(params, InMemoryStorage(), FIXED | {"objectives": objectives})
    with pytest.raises(ConfigError, match=r"val accuracy alone. Nothing was trained"):
        confirmation.queue(Session(study, params, content), 3, 5)


def test_trial_0_alone_is_nothing_to_confirm(made: Session) -> None:
    study = session.open_study(made.params, InMemoryStorage(), FIXED)
    trial = study.ask()
    trial.suggest_float("model.dropout", 0.0, 0.5)
    study.tell(trial, 0.5)
    with pytest.raises(ConfigError, match="no complete trial besides trial 0"):
        confirmation.queue(Session(study, made.params, made.content), 3, 5)
