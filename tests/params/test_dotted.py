"""Parameters by dotted path, lists included."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from convtrack.errors import ConfigError
from convtrack.params import dotted, schema

Content = dict[str, Any]


@pytest.fixture
def content(root: Path) -> Content:
    content = schema.searchable(schema.read_yaml(root / "params.yaml"))
    content["model"]["filters"] = [32, 64, 128]
    return content


def lists(content: Content) -> tuple[Any, Any, Any]:
    model = schema.parse(content).model.model_dump()
    return model["filters"], model["convs_per_block"], model["block_dropout"]


def test_a_value_is_found_by_its_path(content: Content) -> None:
    content["model"] |= {"filters": [8, 16], "convs_per_block": 2, "block_dropout": [0.1, 0.2]}
    found = {
        path: dotted.value(content, path)
        for path in (
            "train.optimizer.name",
            "model.filters.length",
            "model.filters.1",
            "model.convs_per_block.1",
            "model.convs_per_block.length",
            "model.block_dropout.0",
        )
    }
    assert list(found.values()) == ["muon", 2, 16, 2, 2, 0.1]


@pytest.mark.parametrize("path", ["model.depth", "model.filters.3", "train.seed.x", "modle.filters", "model.depth.0"])
def test_a_path_to_nothing_is_a_key_error(content: Content, path: str) -> None:
    with pytest.raises(KeyError):
        dotted.value(content, path)


def test_what_is_applied_leaves_the_content_alone(content: Content) -> None:
    before = copy.deepcopy(content)
    dotted.apply(content, {"model.filters.length": 2, "model.filters.0": 7, "model.dropout": 0.5})
    assert content == before


def test_a_list_grows_by_repeating_its_last_entry_and_shrinks_from_its_end(content: Content) -> None:
    content["model"]["filters"] = [8, 16]
    assert lists(dotted.apply(content, {"model.filters.length": 4}))[0] == [8, 16, 16, 16]
    assert lists(dotted.apply(content, {"model.filters.length": 3, "model.filters.1": 5}))[0] == [8, 5, 5]
    assert lists(dotted.apply(content, {"model.filters.length": 1}))[0] == [8]


def test_the_order_of_values_does_not_matter(content: Content) -> None:
    values = {"model.filters.3": 5, "model.convs_per_block.3": 3, "model.filters.length": 4}
    backwards = dict(reversed(values.items()))
    assert dotted.apply(content, values) == dotted.apply(content, backwards)
    assert lists(dotted.apply(content, values))[:2] == ([32, 64, 128, 5], [2, 2, 2, 3])


def test_lists_of_the_blocks_follow_their_number(content: Content) -> None:
    content["model"] |= {"convs_per_block": [1, 2, 3], "block_dropout": 0.1}
    assert lists(dotted.apply(content, {"model.filters.length": 2})) == ([32, 64], [1, 2], 0.1)
    grown = dotted.apply(content, {"model.filters.length": 4, "model.block_dropout.1": 0.3})
    assert lists(grown) == ([32, 64, 128, 128], [1, 2, 3, 3], [0.1, 0.3, 0.1, 0.1])


def test_one_number_for_all_blocks_takes_the_place_of_a_list(content: Content) -> None:
    content["model"]["convs_per_block"] = [1, 2, 3]
    assert lists(dotted.apply(content, {"model.convs_per_block": 4, "model.filters.length": 2}))[1] == 4


def test_the_old_name_of_a_parameter_is_named_with_its_name_now(content: Content) -> None:
    with pytest.raises(ConfigError, match="train.optimizer.muon_rate; muon_rate is now muon_learning_rate"):
        dotted.apply(content, {"train.optimizer.muon_rate": 0.2})


def test_an_empty_list_can_be_filled(content: Content) -> None:
    assert content["model"]["dense"] == []
    filled = dotted.apply(content, {"model.dense.length": 2, "model.dense.0": 64})
    assert schema.parse(filled).model.model_dump()["dense"] == [64, 64]


@pytest.mark.parametrize("path", ["model.depth", "model.filters.3", "model.depth.length", "train.seed.0", "x.y"])
def test_a_value_at_a_path_that_does_not_exist_is_a_config_error(content: Content, path: str) -> None:
    with pytest.raises(ConfigError, match=f"no parameter {path}"):
        dotted.apply(content, {path: 1})
