"""Spaces that cannot be searched: everything that is wrong is said before the first trial, at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convtrack.errors import ConfigError
from convtrack.params import dotted, presets, schema
from convtrack.params.schema import Params
from convtrack.study import problems, space

Content = dict[str, Any]
WithSpace = Callable[..., tuple[Params, Content]]

FINE = {"model.dropout": {"type": "float", "low": 0.0, "high": 0.5}}


def a_float(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, **more}


def an_int(low: int, high: int, **more: Any) -> dict[str, Any]:
    return {"type": "int", "low": low, "high": high, **more}


def one_of(*choices: Any, **more: Any) -> dict[str, Any]:
    return {"type": "categorical", "choices": list(choices), **more}


WRONG = {
    "a parameter that is not there": (
        {"model.dropuot": a_float(0, 0.5)},
        "model.dropuot: is not a parameter with one value; did you mean model.dropout, ",
    ),
    "nothing like it": ({"train.zzzzzzzzz": a_float(0, 0.5)}, "did you mean train.seed, "),
    "no section": ({"modle.dropout": a_float(0, 0.5)}, "did you mean model.dropout, "),
    "another network's": ({"model.conv_dropout": a_float(0, 0.5)}, "model.conv_dropout: is not a parameter"),
    "a section": ({"train.optimizer": a_float(0, 1)}, "did you mean train.optimizer.name, "),
    "a parameter of the data": ({"preprocess.val_fraction": a_float(0.1, 0.3)}, "only parameters of model and train"),
    "the network": ({"model.name": one_of("vgg", "reference")}, "model.name: a study searches one network"),
    "a whole list": ({"model.filters": an_int(8, 16)}, "did you mean model.filters.0, model.filters.length, "),
    "an entry of one value": ({"model.dropout.0": a_float(0, 1)}, "model.dropout.0: is not a parameter"),
    "the length of what follows": (
        {"model.convs_per_block.length": an_int(1, 2)},
        "is as long as another list; search model.filters.length",
    ),
    "an entry past the end": (
        {"model.filters.3": an_int(8, 16)},
        "model.filters.3: never exists, since model.filters.length is at most 3",
    ),
    "an entry past the longest": (
        {"model.filters.length": an_int(2, 4), "model.convs_per_block.4": an_int(1, 2)},
        "model.convs_per_block.4: never exists, since model.filters.length is at most 4",
    ),
    "a whole and its entries": (
        {"model.block_dropout": a_float(0, 0.5), "model.block_dropout.0": a_float(0, 0.5)},
        "model.block_dropout: is searched as a whole and by its entries",
    ),
    "nothing to repeat": ({"model.dense.length": an_int(0, 1)}, "model.dense.0: should be a valid integer"),
    "low above high": ({"model.dropout": a_float(0.5, 0.1)}, "model.dropout: `low <= high` must hold"),
    "one point": ({"model.dropout": a_float(0.5, 0.5)}, "model.dropout: has one value only"),
    "a broken step": ({"model.kernel_size": an_int(1, 6, step=2)}, "not divisible by `step`"),
    "log in steps": ({"train.batch_size": an_int(32, 64, step=32, log=True)}, "step is 1 when `log`"),
    "one choice": ({"model.whitening": one_of(True)}, "model.whitening: has one value only"),
    "a choice twice": ({"model.whitening": one_of(True, False, True)}, "each choice must be given once. Received: ["),
    "a length that is a float": ({"model.filters.length": a_float(2, 3)}, "a length must have type int"),
    "above what the field allows": (
        {"model.dropout": a_float(0, 1.2)},
        "model.dropout: should be less than 1. Received: 1.2 (float)",
    ),
    "below what the field allows": ({"train.epochs": an_int(0, 3)}, "train.epochs: should be greater than"),
    "an entry that is too low": ({"model.filters.1": an_int(0, 3)}, "model.filters.1: should be greater than"),
    "another type": ({"train.batch_size": a_float(32, 64.5)}, "train.batch_size: should be a valid int"),
    "a choice that is none": (
        {"model.activation": one_of("relu", "rleu")},
        "model.activation: should be 'relu', 'gelu'",
    ),
    "a value that its own condition hides": (
        {
            "model.whitening": one_of(True, False),
            "model.dropout": a_float(0, 1.2, when={"model.whitening": False}),
        },
        "model.dropout: should be less than 1. Received: 1.2 (float)",
    ),
    "an entry of a list of the blocks": (
        {"model.convs_per_block.0": an_int(1, 9)},
        "model.convs_per_block.0: should be less than or equal to 8. Received: 9 (int)",
    ),
    "no blocks": ({"model.filters.length": an_int(0, 2)}, "model.filters: List should have at least 1"),
    "an unknown condition": (
        {"model.dropout": a_float(0, 0.5, when={"model.nam": "vgg"})},
        "model.dropout: when: model.nam is not a parameter with one value; did you mean model.name, ",
    ),
    "a condition on a list": ({"model.dropout": a_float(0, 0.5, when={"model.dense": 3})}, "when: model.dense is not"),
    "a condition that is never": (
        {
            "model.pooling": one_of("first", "last"),
            "model.dropout": a_float(0, 0.5, when={"model.pooling": ["middle", 3]}),
        },
        "model.dropout: when: model.pooling is never ['middle', 3] in this space",
    ),
    "conditions in a circle": (
        {
            "model.pooling": one_of("first", "last", when={"model.head": "max"}),
            "model.head": one_of("max", "flatten", when={"model.pooling": "last"}),
        },
        "the conditions form a cycle: model.pooling -> model.head -> model.pooling",
    ),
    "no entry that exists": (
        {"model.conv_dropout": a_float(0, 0.5, when={"model.name": "reference"})},
        "no entry has a `when` that is true",
    ),
    "no entry": ({}, "is empty; add a parameter of model or train"),
    "too many poolings": (
        {"model.filters.length": an_int(2, 5)},
        "model.filters.length = 5: the network needs images of 33 pixels a side. Received: 32x32",
    ),
    "too many poolings for the smaller images of the first part of a training": (
        {
            "train.progressive_resizing.scale": a_float(0.5, 1.0),
            "train.progressive_resizing.fraction": a_float(0.0, 0.5),
            "model.filters.length": an_int(2, 4),
        },
        "model.filters.length = 4: the network needs images of 17 pixels a side. Received: 16x16",
    ),
    "too many poolings with whitening alone": (
        {"model.filters.length": an_int(3, 5), "model.whitening": one_of(True, False)},
        "model.filters.length = 5, model.whitening = True: the network needs images of 33 pixels",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_space_is_refused_for(what: str, with_space: WithSpace) -> None:
    entries, said = WRONG[what]
    params, content = with_space(entries)
    with pytest.raises(ConfigError) as raised:
        problems.check(params, content, (32, 32, 3))
    assert said in raised.value.message
    lists_or_one = 2 if what == "an entry of a list of the blocks" else 1
    assert len(raised.value.message.splitlines()) == 1 + lists_or_one


def test_a_study_needs_a_val_split(with_space: WithSpace) -> None:
    params, content = with_space(FINE, {"preprocess.val_fraction": 0})
    with pytest.raises(ConfigError, match="no val split to choose a trial by") as raised:
        problems.check(params, content, None)
    assert "set preprocess.val_fraction: 0.1" in raised.value.hint


def test_all_problems_are_said_at_once(with_space: WithSpace) -> None:
    alone = (
        "too many poolings for the smaller images of the first part of a training",
        "no entry",
        "no entry that exists",
        "too many poolings with whitening alone",
        "conditions in a circle",
    )
    merged: dict[str, Any] = {}
    expected = []
    for what, (entries, said) in WRONG.items():
        if what not in alone and not merged.keys() & entries.keys():
            merged |= entries
            expected.append(said)
    params, content = with_space(merged)
    with pytest.raises(ConfigError) as raised:
        problems.check(params, content, (32, 32, 3))
    missing = [said for said in expected if said not in raised.value.message]
    assert len(expected) > 15
    # these two are other problems where model.filters.length is searched as well
    assert set(missing) == {WRONG["a whole list"][1], WRONG["an entry past the end"][1]}


def test_images_of_unknown_size_are_no_reason_to_refuse(with_space: WithSpace) -> None:
    params, content = with_space({"model.filters.length": an_int(2, 8)})
    problems.check(params, content, None)


@pytest.mark.parametrize("preset", ["fast", "reference", "resnet"])
def test_the_smallest_images_are_those_that_the_network_itself_takes(preset: str, content: Content) -> None:
    from convtrack import models

    content["model"] = presets.sections(preset, Path(__file__).parent.parent.parent / "presets")["model"]
    model = schema.parse(content).model
    side = model.smallest_side
    models.build(model, (side, side, 1), 3, [0.5], [0.2])
    with pytest.raises(ConfigError, match="too small"):
        models.build(model, (side - 1, side - 1, 1), 3, [0.5], [0.2])


def test_a_space_for_grid_needs_steps(with_space: WithSpace) -> None:
    entries = {**FINE, "model.block_dropout": a_float(0, 0.4, step=0.1)}
    params, content = with_space(entries, {"study.sampler": "grid"})
    with pytest.raises(ConfigError, match="1 problem:\n  model.dropout: study.sampler: grid needs a step"):
        problems.check(params, content, None)


def test_cmaes_is_for_one_objective(with_space: WithSpace) -> None:
    params, content = with_space(FINE, {"study.sampler": "cmaes", "study.objectives": ["val_accuracy", "flops"]})
    with pytest.raises(ConfigError, match="cmaes takes one objective. Received: val_accuracy, flops"):
        problems.check(params, content, None)


PATHS = ["model.dropout", "model.filters.length", "model.filters.1", "model.dense.length", "model.dense.0",
         "model.name", "model.block_dropout", "model.block_dropout.2", "train.epochs", "train.seed.0",
         "model.head", "x", "", "a.0",
         "model.", ".length", "model.length", "study.seed", "train.optimizer"]  # fmt: skip
numbers = st.integers(-3, 12) | st.floats(-1, 2)
conditions = st.dictionaries(st.sampled_from(PATHS), numbers | st.sampled_from(["max", [1, 2], [], True]), max_size=2)
entries = st.one_of(
    st.builds(
        lambda low, high, when: an_int(low, high, when=when), st.integers(-3, 12), st.integers(-3, 12), conditions
    ),
    st.builds(lambda low, high, when: a_float(low, high, when=when), numbers, numbers, conditions),
    st.builds(
        lambda choices, when: one_of(*choices, when=when), st.lists(numbers | st.just("max"), max_size=3), conditions
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(PATHS), entries, max_size=5))
def test_any_space_is_refused_or_gives_valid_params(with_space: WithSpace, drawn: dict[str, Any]) -> None:
    import optuna

    params, content = with_space(drawn)
    try:
        problems.check(params, content, (32, 32, 3))
    except ConfigError:
        return
    for _ in range(5):
        values = space.suggest(optuna.create_study().ask(), params.study, content)
        schema.parse(dotted.apply(content, values))
