"""Whether two searches are one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from convtrack.params import dotted, schema
from convtrack.study import space
from convtrack.study.fingerprint import differences, fingerprint, obstacles

Content = dict[str, Any]
DATA = {"train_images.npy": "a" * 64, "val_images.npy": "b" * 64}


def changed(content: Content, path: str, value: Any) -> Content:
    other = copy.deepcopy(content)
    *sections, name = path.split(".")
    section = other
    for key in sections:
        section = section[key]
    section[name] = value
    return other


def difference(content: Content, other: Content) -> list[str]:
    return differences(fingerprint(content, DATA), fingerprint(other, DATA))


def test_the_same_params_and_data_have_the_same_fingerprint(content: Content) -> None:
    assert difference(content, copy.deepcopy(content)) == []


def test_a_trials_values_written_into_params_are_no_difference(content: Content) -> None:
    """So that a study can be resumed after its best trial was applied."""
    values = space.current(schema.parse(content).study, content)
    gone = {"model.filters.2", "model.convs_per_block.2"}
    kept = {path: value for path, value in values.items() if path not in gone}
    applied = dotted.apply(content, kept | {"model.filters.length": 2, "model.dropout": 0.3})
    assert applied != content
    assert difference(content, applied) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("train.epochs", 9, "train.epochs: was 4, is 9"),
        ("model.activation", "relu", "model.activation: was 'gelu', is 'relu'"),
        ("train.seed", 1, "train.seed: was 0, is 1"),
        ("study.objectives", ["val_loss"], "objectives: was ['val_accuracy'], is ['val_loss']"),
        (
            "study.objectives",
            ["val_accuracy", "flops"],
            "objectives: was ['val_accuracy'], is ['val_accuracy', 'flops']",
        ),
    ],
)
def test_what_is_not_searched_must_be_the_same(path: str, value: Any, said: str, content: Content) -> None:
    assert difference(content, changed(content, path, value)) == [said]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.dropout", 0.4),
        ("train.optimizer.muon_learning_rate", 0.2),
        ("model.filters", [16, 32]),
        ("study.sampler", "random"),
        ("study.pruner", "none"),
        ("study.seed", 9),
        ("study.keep_models", 3),
        ("study.name", "other"),
        ("evaluate.calibration_bins", 9),
        ("tracking.experiment", "other"),
    ],
)
def test_what_is_searched_and_how_may_be_another(path: str, value: Any, content: Content) -> None:
    assert difference(content, changed(content, path, value)) == []


def test_of_a_list_that_is_searched_in_part_the_rest_must_be_the_same(content: Content) -> None:
    content["study"]["space"] = {"model.filters.0": {"type": "int", "low": 8, "high": 64}}
    assert difference(content, changed(content, "model.filters", [8, 64, 128])) == []
    assert difference(content, changed(content, "model.filters", [8, 64, 100])) == ["model.filters.2: was 128, is 100"]
    assert difference(content, changed(content, "model.filters", [8, 64])) == [
        "model.filters.2: was 128, is absent",
        "model.filters.length: was 3, is 2",
    ]


def test_other_data_are_named_by_the_beginning_of_their_hash(content: Content) -> None:
    other = {"train_images.npy": "c" * 64, "val_images.npy": "b" * 64}
    said = differences(fingerprint(content, DATA), fingerprint(content, other))
    assert said == ["data.train_images.npy: was aaaaaaaaaaaa, is cccccccccccc"]


def test_changes_of_the_space_are_said_and_optuna_refuses_some(content: Content) -> None:
    entries = content["study"]["space"]
    entries["train.optimizer.learning_rate"] = {"type": "float", "low": 0.1, "high": 0.6, "log": True}
    old = fingerprint(content, DATA)
    entries["model.dropout"]["high"] = 0.4
    entries["model.block_dropout"] = {"type": "categorical", "choices": [0.0, 0.1]}
    entries["train.optimizer.learning_rate"]["log"] = False
    del entries["model.filters.3"]
    entries["train.label_smoothing"] = {"type": "float", "low": 0, "high": 0.3}
    new = fingerprint(content, DATA)
    assert differences(old, new) == [
        "space.model.filters.3.type: was 'int', is absent",
        "space.model.filters.3.low: was 64, is absent",
        "space.model.filters.3.high: was 256, is absent",
        "space.model.filters.3.step: was 64, is absent",
        "space.model.filters.3.log: was False, is absent",
        "space.model.block_dropout.type: was 'float', is 'categorical'",
        "space.model.block_dropout.low: was 0.0, is absent",
        "space.model.block_dropout.high: was 0.3, is absent",
        "space.model.block_dropout.log: was False, is absent",
        "space.model.dropout.high: was 0.5, is 0.4",
        "space.train.optimizer.learning_rate.log: was True, is False",
        "train.label_smoothing: was 0.2, is absent",
        "space.model.block_dropout.choices: was absent, is [0.0, 0.1]",
        "space.train.label_smoothing.type: was absent, is 'float'",
        "space.train.label_smoothing.low: was absent, is 0.0",
        "space.train.label_smoothing.high: was absent, is 0.3",
        "space.train.label_smoothing.log: was absent, is False",
    ]
    assert list(obstacles(old, new)) == [
        "model.block_dropout: Cannot set different distribution kind to the same parameter name.",
        "train.optimizer.learning_rate: Cannot set different log configuration to the same parameter name.",
    ]


def test_where_trials_choose_the_optimizer_the_parameters_of_all_must_be_the_same(content: Content) -> None:
    names = {"train.optimizer.name": {"type": "categorical", "choices": ["adam", "muon"]}}
    content = changed(changed(content, "study.space", names), "train.optimizer", {"name": "adam"})
    before, after = (
        schema.searchable(changed(content, "train.optimizer.muon_momentum", value)) for value in (0.6, 0.5)
    )
    assert difference(before, after) == ["train.optimizer.muon_momentum: was 0.6, is 0.5"]
    own = schema.searchable(changed(content, "train.optimizer.learning_rate", 0.001))
    assert difference(schema.searchable(content), own) == ["train.optimizer.learning_rate: was None, is 0.001"]
