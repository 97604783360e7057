"""A space as Optuna's suggestions, and trials as params."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from convtrack.errors import ConfigError
from convtrack.params import dotted, presets, schema
from convtrack.params.schema import Params
from convtrack.study import problems, space

Content = dict[str, Any]
WithSpace = Callable[..., tuple[Params, Content]]

CONDITIONAL = {
    "train.optimizer.momentum": {
        "type": "float", "low": 0.5, "high": 0.9, "when": {"train.optimizer.name": ["sgd", "adam"]}
    },
    "train.optimizer.weight_decay": {
        "type": "float", "low": 0.001, "high": 0.1, "log": True, "when": {"train.optimizer.momentum": 0.5}
    },
    "train.optimizer.name": {"type": "categorical", "choices": ["sgd", "muon"]},
    "model.batch_norm_momentum": {"type": "float", "low": 0.5, "high": 0.9, "when": {"model.batch_norm": True}},
    "model.block_dropout.1": {"type": "float", "low": 0.1, "high": 0.3, "step": 0.1},
}  # fmt: skip


def trials(params: Params, content: Content, count: int) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask(), params.study, content) for _ in range(count)]


def test_every_trial_of_the_default_space_is_valid_params_and_leads_back_to_itself(content: Content) -> None:
    params = schema.parse(content)
    for values in trials(params, content, 100):
        changed = dotted.apply(content, values)
        schema.parse(changed)
        assert space.current(params.study, changed) == values
        assert dotted.apply(changed, values) == changed


def test_the_default_space_searches_dropout_and_layer_sizes_and_starts_where_params_are(content: Content) -> None:
    params = schema.parse(content)
    problems.check(params, content, (32, 32, 3))
    start = space.current(params.study, content)
    assert {"model.dropout", "model.block_dropout", "model.filters.length", "model.dense.length"} <= set(start)
    network, recipe = schema.parse(dotted.apply(content, start)).model, params.train
    as_lists = params.model.model_dump() | {"convs_per_block": [2, 2, 2]}
    assert network.model_dump() == as_lists
    assert schema.parse(dotted.apply(content, start)).train == recipe


def test_the_stages_of_a_resnet_are_searched_like_the_blocks_of_a_vgg(with_space: WithSpace) -> None:
    entries = {
        "model.filters.length": {"type": "int", "low": 2, "high": 4},
        "model.filters.2": {"type": "int", "low": 8, "high": 32},
        "model.blocks_per_stage.2": {"type": "int", "low": 2, "high": 3},
    }
    preset = schema.read_yaml(Path(__file__).parent.parent.parent / "presets/resnet.yaml")
    params, content = with_space(entries, {"model": preset["model"]})
    problems.check(params, content, (32, 32, 3))
    shapes = set()
    for values in trials(params, content, 30):
        model = schema.parse(dotted.apply(content, values)).model.model_dump()
        blocks = model["blocks_per_stage"]
        shapes.add((len(model["filters"]), *(blocks if isinstance(blocks, list) else [])))
    assert shapes == {(2,), (3, 1, 1, 2), (3, 1, 1, 3), (4, 1, 1, 2, 1), (4, 1, 1, 3, 1)}


def test_the_name_in_optuna_is_the_path(content: Content) -> None:
    params = schema.parse(content)
    study = optuna.create_study()
    trial = study.ask()
    values = space.suggest(trial, params.study, content)
    assert trial.params == values


def test_entries_of_a_list_exist_only_where_it_is_that_long(content: Content) -> None:
    params = schema.parse(content)
    lengths = set()
    for values in trials(params, content, 50):
        lengths.add(length := values["model.filters.length"])
        for base in ("model.filters", "model.convs_per_block"):
            assert {path for path in values if path.startswith(f"{base}.") and path[-1].isdecimal()} == {
                f"{base}.{index}" for index in range(length)
            }
        assert ("model.dense.0" in values) == (values["model.dense.length"] > 0)
    assert lengths == {2, 3, 4}


def test_an_entry_with_when_exists_only_with_those_values_whatever_order_they_are_written_in(
    with_space: WithSpace,
) -> None:
    params, content = with_space(CONDITIONAL)
    drawn = trials(params, content, 50)
    assert {values["train.optimizer.name"] for values in drawn} == {"sgd", "muon"}
    for values in drawn:
        assert ("train.optimizer.momentum" in values) == (values["train.optimizer.name"] == "sgd")
        assert "train.optimizer.weight_decay" not in values  # momentum is hardly ever 0.5
        assert "model.batch_norm_momentum" in values
        assert values["model.block_dropout.1"] in {0.1, 0.2, 0.30000000000000004, 0.3}


def test_when_a_fixed_parameter_is_another_the_entry_does_not_exist(with_space: WithSpace) -> None:
    params, content = with_space(CONDITIONAL, {"model.batch_norm": False})
    assert all("model.batch_norm_momentum" not in values for values in trials(params, content, 10))


def test_current_leaves_out_what_the_space_does_not_reach(with_space: WithSpace) -> None:
    entries = {
        "model.filters.0": {"type": "int", "low": 16, "high": 64, "step": 16},
        "model.filters.1": {"type": "int", "low": 16, "high": 66, "step": 10},
        "model.filters.2": {"type": "int", "low": 16, "high": 64},
        "model.dropout": {"type": "float", "low": 0, "high": 0.5},
        "train.early_stopping.patience": {"type": "categorical", "choices": [None, 3]},
        "model.initializer": {"type": "categorical", "choices": ["random", "other"]},
        "model.whitening": {"type": "categorical", "choices": [True, False]},
    }
    params, content = with_space(entries, {"model.filters": [32, 64, 128]})
    assert space.current(params.study, content) == {
        "model.filters.0": 32,
        "model.dropout": 0.0,
        "train.early_stopping.patience": None,
        "model.whitening": True,
    }


def test_current_asks_conditions_of_the_value_that_is_there_even_one_out_of_reach(with_space: WithSpace) -> None:
    entries = {
        "train.optimizer.name": {"type": "categorical", "choices": ["adam", "sgd"]},
        "train.optimizer.muon_learning_rate": {
            "type": "float",
            "low": 0.1,
            "high": 1,
            "when": {"train.optimizer.name": "muon"},
        },
    }
    params, content = with_space(entries)
    assert space.current(params.study, content) == {"train.optimizer.muon_learning_rate": 0.12}


def test_trials_may_choose_the_optimizer_and_each_has_its_own_rate(with_space: WithSpace) -> None:
    muon = {"train.optimizer.name": "muon"}
    entries: dict[str, Any] = {
        "train.optimizer.name": {"type": "categorical", "choices": ["adam", "muon"]},
        "train.optimizer.muon_momentum": {"type": "float", "low": 0.1, "high": 0.9, "when": muon},
    }
    params, content = with_space(entries, {"train.optimizer": {"name": "adam"}})
    problems.check(params, content, (32, 32, 3))
    for name, rate in (("adam", 0.001), ("muon", 1.2)):
        trial = schema.parse(dotted.apply(content, {"train.optimizer.name": name}))
        assert trial.train.optimizer.learning_rate == rate
    entries |= {"train.optimizer.learning_rate": {"type": "float", "low": 1e-4, "high": 3.0, "log": True}}
    params, content = with_space(entries, {"train.optimizer": {"name": "adam"}})
    assert space.current(params.study, content) == {
        "train.optimizer.name": "adam",
        "train.optimizer.learning_rate": 0.001,
    }


def test_a_parameter_of_an_optimizer_that_no_trial_has_is_rejected(with_space: WithSpace) -> None:
    entries = {"train.optimizer.muon_momentum": {"type": "float", "low": 0.1, "high": 0.9}}
    params, content = with_space(entries, {"train.optimizer.name": "adam"})
    with pytest.raises(ConfigError, match="train.optimizer.muon_momentum: is not a parameter"):
        problems.check(params, content, (32, 32, 3))


def test_current_can_be_enqueued_and_is_the_first_trial(content: Content) -> None:
    params = schema.parse(content)
    study = optuna.create_study()
    study.enqueue_trial(space.current(params.study, content))
    assert space.suggest(study.ask(), params.study, content) == space.current(params.study, content)


@pytest.mark.parametrize("network", ["fast", "reference"])
def test_entries_for_another_network_take_no_part(network: str, with_space: WithSpace) -> None:
    preset = presets.sections(network, Path(__file__).parent.parent.parent / "presets")
    entries = {
        "model.dropout": {"type": "float", "low": 0.0, "high": 0.5},
        "model.filters.0": {"type": "int", "low": 16, "high": 32, "when": {"model.name": "vgg"}},
        "model.conv_dropout": {"type": "float", "low": 0.0, "high": 0.5, "when": {"model.name": "reference"}},
    }
    params, content = with_space(entries, {"model": preset["model"]})
    problems.check(params, content, (32, 32, 3))
    other = "model.filters.0" if network == "fast" else "model.conv_dropout"
    assert all(set(values) == {"model.dropout", other} for values in trials(params, content, 5))
