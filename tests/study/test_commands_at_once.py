"""Two commands on one study, in a real SQLite; their trials train nothing."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from convtrack.params.schema import Params
from convtrack.study import run, session, storage
from convtrack.study.folders import Spec
from convtrack.study.run import Search
from convtrack.study.terminal import View
from convtrack.study.workers import Ended
from convtrack.system.processes import this_process

Content = dict[str, Any]
SPACE = {"model.dropout": {"type": "float", "low": 0.0, "high": 0.5}}
FIXED = {"objectives": ["val_accuracy"], "space": {}, "fixed": {}, "data": {}}


class Rival:
    """Another command, which takes a trial in the very moment between a look at the study and the asking."""

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self.trial: optuna.Trial | None = None

    def ask(self) -> None:
        self.trial = self.study.ask()
        self.trial.set_user_attr("command", this_process())

    def finish(self) -> None:
        if self.trial is not None:
            self.study.tell(self.trial, 0.25)
            self.trial = None


class Workers:
    """One trial at once, complete as soon as it is looked at; the `rival` asks before the `moment`th trial begins."""

    def __init__(self, study: optuna.Study, rival: Rival | None, moment: int) -> None:
        self.study, self.rival, self.moment = study, rival, moment
        self.running: list[int] = []
        self.asked_for = 0
        self.value: Callable[[], float] = lambda: 0.5

    @property
    def free(self) -> int:
        if not self.running:
            if self.rival is not None and self.asked_for == self.moment:
                self.rival.ask()
            self.asked_for += 1
        return 1 - len(self.running)

    def start(self, spec: Spec, content: Content) -> None:
        self.running.append(spec.number)

    def ended(self) -> list[Ended]:
        ended = [Ended(number, 0) for number in self.running]
        for number in self.running:
            self.study.tell(number, self.value())
        self.running.clear()
        if self.rival is not None and not ended:
            self.rival.finish()
        return ended

    def stop(self, number: int) -> None:
        raise AssertionError("nothing is left to be stopped")

    def kill(self) -> None:
        pass


class Nobody:
    """Hears of a study and keeps nothing."""

    def trial_ended(self, number: int, state: str, reason: str, log: Path | None) -> None:
        pass

    def unsettled(self) -> list[int]:
        return []

    def progress(self, counts: dict[str, int], best: dict[str, float]) -> None:
        pass

    def drop_model(self, number: int) -> None:
        pass


@pytest.fixture(autouse=True)
def _at_once(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "POLL", 0.0)
    monkeypatch.setattr(run, "LOOK", 0.0)


def study(params: Params, path: str) -> optuna.Study:
    return session.open_study(params, storage.open_storage(path), FIXED)


def searched(params: Params, content: Content, path: str, trials: int, moment: int | None = None) -> optuna.Study:
    """The study in `path` after a command that had a rival before its `moment`th trial."""
    mine = study(params, path)
    workers = Workers(study(params, path), None if moment is None else Rival(study(params, path)), moment or 0)
    view = View(["val_accuracy"], trials, Console(file=io.StringIO()))
    Search(mine, params, content, trials=trials, timeout=None, workers=workers, record=Nobody(), view=view).run()
    return mine


@pytest.fixture
def made(with_space: Callable[..., tuple[Params, Content]]) -> tuple[Params, Content]:
    return with_space(SPACE, {"study.sampler": "random", "model.dropout": 0.125})


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_trial_that_another_command_took_meanwhile_is_not_done_twice(
    made: tuple[Params, Content], moment: int
) -> None:
    found = searched(*made, "sqlite:///two.db", 3, moment).trials
    assert sum(trial.state == TrialState.COMPLETE for trial in found) == 3
    # what was asked for too much has no values yet, and is the first that a larger number begins with
    assert [(trial.number, trial.params) for trial in found if trial.state == TrialState.WAITING] in ([], [(3, {})])
    more = searched(*made, "sqlite:///two.db", 4).trials
    assert [trial.state for trial in more] == [TrialState.COMPLETE] * 4


@pytest.mark.parametrize(("objective", "best"), [("val_accuracy", [0, 2]), ("val_loss", [0, 1])])
def test_a_trial_that_is_the_best_so_far_is_marked(
    with_space: Callable[..., tuple[Params, Content]], objective: str, best: list[int]
) -> None:
    settings = {"study.sampler": "random", "study.objectives": [objective]}
    params, content = with_space(SPACE, settings)
    values = iter((0.5, 0.25, 0.75))
    made = session.open_study(params, storage.open_storage("sqlite:///best.db"), FIXED | {"objectives": [objective]})
    workers = Workers(made, None, 0)
    workers.value = lambda: next(values)
    said = io.StringIO()
    view = View([objective], 3, Console(file=said, width=200))
    Search(made, params, content, trials=3, timeout=None, workers=workers, record=Nobody(), view=view).run()
    lines = [line for line in said.getvalue().splitlines() if "complete" in line]
    assert [number for number, line in enumerate(lines) if "best so far" in line] == best


def test_nor_is_it_in_a_database(made: tuple[Params, Content], new_database: Callable[[], str]) -> None:
    address = new_database()
    found = searched(*made, address, 3, 2).trials
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 3 + [TrialState.WAITING]
    more = searched(*made, address, 4).trials
    assert [trial.state for trial in more] == [TrialState.COMPLETE] * 4


def test_two_commands_draw_what_one_would_have_drawn(made: tuple[Params, Content]) -> None:
    alone = [trial.params for trial in searched(*made, "sqlite:///alone.db", 4).trials]
    assert alone[0] == {"model.dropout": 0.125}
    assert len({str(params) for params in alone}) == 4
    crossed = searched(*made, "sqlite:///two.db", 4, 2).trials
    assert [trial.params for trial in crossed if trial.number != 2] == [alone[0], alone[1], alone[3]]


def test_a_grid_without_a_point_left_is_not_begun_again(with_space: Callable[..., tuple[Params, Content]]) -> None:
    params, content = with_space(
        {"model.convs_per_block.0": {"type": "int", "low": 1, "high": 2}}, {"study.sampler": "grid"}
    )
    for _ in range(2):
        found = searched(params, content, "sqlite:///grid.db", 10).trials
        assert sorted(trial.params["model.convs_per_block.0"] for trial in found) == [1, 2]
