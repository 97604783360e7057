"""Samplers and pruners as study asks for them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from convtrack.params import schema
from convtrack.params.schema import Params
from convtrack.study import space
from convtrack.study.sampling import directions, make_pruner, make_sampler

Content = dict[str, Any]
WithSpace = Callable[..., tuple[Params, Content]]
SAMPLERS = ["tpe", "random", "grid", "cmaes", "nsga2"]

STEPS = {
    "model.dropout": {"type": "float", "low": 0, "high": 0.2, "step": 0.1},
    "model.dense.length": {"type": "int", "low": 0, "high": 1},
    "model.dense.0": {"type": "int", "low": 32, "high": 96, "step": 32},
    "model.head": {"type": "categorical", "choices": ["max", "flatten"]},
}
POINTS = 3 * (1 + 3) * 2


def study_of(params: Params) -> optuna.Study:
    return optuna.create_study(directions=directions(params.study), pruner=make_pruner(params))


def one_more(study: optuna.Study, params: Params, content: Content) -> dict[str, Any]:
    """The next trial, of an objective that has an optimum, as the command asks for it."""
    study.sampler = make_sampler(params.study, len(study.get_trials(deepcopy=False)))
    trial = study.ask()
    values = space.suggest(trial, params.study, content)
    found = [-((values.get("model.dropout", 0) - 0.1) ** 2) for _ in params.study.objectives]
    study.sampler = (
        optuna.samplers.RandomSampler()
    )  # that of a grid wants to end a loop of Optuna's after its last point
    study.tell(trial, found)
    return values


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seeded_study_that_was_stopped_draws_what_it_would_have_drawn(sampler: str, with_space: WithSpace) -> None:
    params, content = with_space(STEPS, {"study.sampler": sampler})
    whole, stopped = study_of(params), study_of(params)
    drawn = [one_more(whole, params, content) for _ in range(16)]
    for trial in range(9):
        assert one_more(stopped, params, content) == drawn[trial]
    later = optuna.create_study(directions=directions(params.study))
    later.add_trials(stopped.get_trials())
    assert [one_more(later, params, content) for _ in range(7)] == drawn[9:]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_seed_draws_others(sampler: str, with_space: WithSpace) -> None:
    drawn = []
    for seed in (0, 1):
        params, content = with_space(STEPS, {"study.sampler": sampler, "study.seed": seed})
        study = study_of(params)
        drawn.append([one_more(study, params, content) for _ in range(8)])
    assert drawn[0] != drawn[1]


def test_trials_asked_for_at_the_same_time_are_not_alike(content: Content) -> None:
    params = schema.parse(content)
    study = study_of(params)
    drawn = []
    for number in range(8):
        study.sampler = make_sampler(params.study, number)
        drawn.append(space.suggest(study.ask(), params.study, content))
    assert len({str(values) for values in drawn}) == 8


def test_grid_goes_through_every_point_that_exists_once(with_space: WithSpace) -> None:
    params, content = with_space(STEPS, {"study.sampler": "grid"})
    study = study_of(params)
    study.enqueue_trial(space.current(params.study, content))
    assert len({str(one_more(study, params, content)) for _ in range(POINTS)}) == POINTS


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "nsga2"])
def test_several_objectives_make_a_front_and_are_not_pruned(sampler: str, with_space: WithSpace) -> None:
    objectives = ["val_accuracy", "flops"]
    params, content = with_space(STEPS, {"study.sampler": sampler, "study.objectives": objectives})
    study = study_of(params)
    for _ in range(14):
        one_more(study, params, content)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.best_trials
    assert isinstance(study.pruner, optuna.pruners.NopPruner)


def curve(study: optuna.Study, values: dict[int, float]) -> int:
    """A trial that reports `values` by percent and is stopped where the pruner says so; returns how far it came."""
    trial = study.ask()
    for percent, value in values.items():
        trial.report(value, percent)
        if percent < 100 and trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return percent
    study.tell(trial, values[100])
    return 100


def pruned(
    pruner: str,
    content: Content,
    curves: list[dict[int, float]],
    objective: str = "val_accuracy",
    resizing: dict[str, float] | None = None,
    space: dict[str, Any] | None = None,
) -> list[int]:
    """How far each trial of these curves comes; images have their full size from the beginning."""
    changed = copy.deepcopy(content)
    changed["study"] |= {"pruner": pruner, "objectives": [objective], "space": space or {}}
    changed["train"]["progressive_resizing"] = resizing or {"scale": 1.0, "fraction": 0.0}
    study = study_of(schema.parse(changed))
    return [curve(study, values) for values in curves]


GOOD, BAD = {25: 0.6, 50: 0.7, 75: 0.8, 100: 0.9}, {25: 0.1, 50: 0.2, 75: 0.3, 100: 0.4}


def test_none_prunes_nothing(content: Content) -> None:
    assert pruned("none", content, [GOOD] * 6 + [BAD]) == [100] * 7


@pytest.mark.parametrize("pruner", ["median", "halving"])
def test_what_is_behind_is_stopped_and_what_is_ahead_is_not(pruner: str, content: Content) -> None:
    better = {percent: value + 0.05 for percent, value in GOOD.items()}
    assert pruned(pruner, content, [GOOD] * 6 + [BAD, better])[-2:] == [50, 100]  # 25 is too early to tell


def test_hyperband_lets_some_of_those_behind_go_further(content: Content) -> None:
    reached = pruned("hyperband", content, [GOOD] * 6 + [BAD] * 24)[6:]
    assert min(reached) == 50
    assert len(set(reached)) > 1


def test_losses_are_pruned_where_they_are_high(content: Content) -> None:
    low, high = {p: 1 - value for p, value in GOOD.items()}, {p: 1 - value for p, value in BAD.items()}
    assert pruned("halving", content, [low] * 6 + [high], objective="val_loss")[-1] == 50


def test_a_loss_that_is_no_number_is_pruned(content: Content) -> None:
    assert pruned("halving", content, [GOOD, {25: 0.6, 50: 0.7, 75: float("nan"), 100: 0.1}])[-1] == 75


def test_schedules_of_other_lengths_are_compared_at_the_same_share(content: Content) -> None:
    """A trial of three epochs meets the first rung after one, which one of four epochs meets after two."""
    short = {33: 0.75, 66: 0.85, 100: 0.9}  # better than GOOD at its rungs
    assert pruned("halving", content, [GOOD] * 6 + [short, {33: 0.65, 66: 0.9, 100: 0.9}])[-2:] == [100, 33]


HALF = {"scale": 0.75, "fraction": 0.5}
LATE = {25: 0.1, 50: 0.2, 75: 0.85, 100: 0.95}  # behind while images are small


@pytest.mark.parametrize(
    ("resizing", "space", "expected"),
    [
        (None, {}, 50),
        (HALF, {}, 100),
        (HALF | {"fraction": 0.0}, {}, 50),
        (None, {"train.progressive_resizing.scale": {"type": "categorical", "choices": [0.5, 1.0]}}, 50),
        (HALF | {"scale": 1.0}, {"train.progressive_resizing.scale": {"type": "float", "low": 0.5, "high": 1.0}}, 100),
        (
            HALF | {"fraction": 0.0},
            {"train.progressive_resizing.fraction": {"type": "float", "low": 0.0, "high": 0.5}},
            100,
        ),
        (HALF, {"train.progressive_resizing.fraction": {"type": "categorical", "choices": [0.0, 0.6]}}, 100),
    ],
)
def test_no_trial_is_stopped_before_images_have_their_full_size(
    content: Content, resizing: dict[str, float] | None, space: dict[str, Any], expected: int
) -> None:
    for pruner in ("median", "halving", "hyperband"):
        assert pruned(pruner, content, [GOOD] * 6 + [LATE], resizing=resizing, space=space)[-1] >= expected
    assert pruned("halving", content, [GOOD] * 6 + [LATE], resizing=resizing, space=space)[-1] == expected
