"""A trial's values on their way into params.yaml."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import optuna
import pytest

from convtrack.errors import ConfigError
from convtrack.params import dotted, editor, schema
from convtrack.study import apply, fingerprint, results

from .searched import empty, searched


def tried(values: dict[str, Any]) -> optuna.trial.FrozenTrial:
    """A complete trial with `values`, by the suggestions that params.yaml's own types give."""
    study = empty()
    trial = study.ask()
    for name, value in values.items():
        if isinstance(value, bool | str):
            trial.suggest_categorical(name, [value])
        elif isinstance(value, int):
            trial.suggest_int(name, value, value)
        else:
            trial.suggest_float(name, value, value)
    study.tell(trial, 0.5)
    return study.best_trial


def comments(text: str) -> list[str]:
    return re.findall(r"#.*", text)


@pytest.fixture
def vgg(workplace: Path) -> Path:
    """params.yaml with three blocks, convs_per_block and block_dropout one number for all."""
    from convtrack.params.editor import edit, put

    def change(params: Any) -> None:
        for key, value in {"filters": [32, 64, 128], "convs_per_block": 2, "block_dropout": 0.0, "dense": []}.items():
            put(params["model"], key, value)

    edit(change, "the test")
    return workplace / "params.yaml"


def test_the_values_are_in_params_yaml_and_every_comment_is_still_there(vgg: Path) -> None:
    before = vgg.read_text()
    values = {
        "model.filters.length": 2,
        "model.filters.0": 48,
        "model.filters.1": 96,
        "model.convs_per_block.1": 1,
        "model.dense.length": 1,
        "model.dense.0": 64,
        "model.dropout": 0.1234567890123456,
        "train.optimizer.learning_rate": 1.5e-05,
        "model.batch_norm": False,
        "model.initializer": "random",
    }
    expected = dotted.apply(schema.read_yaml(vgg), values)
    patch = apply.apply(tried(values), write=True)
    assert schema.read_yaml(vgg) == expected
    assert schema.read_yaml(vgg)["model"]["filters"] == [48, 96]
    assert schema.read_yaml(vgg)["model"]["convs_per_block"] == [2, 1]
    assert comments(vgg.read_text()) == comments(before)
    assert "+  dropout: 0.1234567890123456" in patch


def test_only_lines_of_changed_parameters_change(vgg: Path) -> None:
    before = vgg.read_text().splitlines()
    apply.apply(tried({"model.dropout": 0.25}), write=True)
    after = vgg.read_text().splitlines()
    assert [new for old, new in zip(before, after, strict=True) if old != new] == [
        next(line for line in after if line.startswith("  dropout: 0.25"))
    ]


def test_without_writing_the_patch_is_the_same_and_every_byte_stays(vgg: Path) -> None:
    before = vgg.read_bytes()
    trial = tried({"model.dropout": 0.25, "model.filters.0": 16})
    patch = apply.apply(trial, write=False)
    assert vgg.read_bytes() == before
    assert apply.apply(trial, write=True) == patch
    assert apply.apply(trial, write=True) == ""


def test_values_that_the_other_parameters_leave_no_place_for_are_refused(vgg: Path) -> None:
    before = vgg.read_bytes()
    with pytest.raises(ConfigError):
        apply.apply(tried({"model.conv_dropout": 0.1}), write=True)  # of another network
    assert vgg.read_bytes() == before


def test_the_best_trial_is_taken_unless_a_number_is_given() -> None:
    study = searched(empty(), 20)
    found = results.read(study)
    assert apply.pick(found, None).number == study.best_trial.number
    assert apply.pick(found, 0).number == 0
    pruned = found.of("pruned")[0].number
    assert apply.pick(found, pruned).number == pruned


def test_a_failed_trial_is_refused_with_its_reason() -> None:
    with pytest.raises(ConfigError, match="trial 7 of layers is failed: killed by SIGKILL"):
        apply.pick(results.read(searched(empty(), 9)), 7)


def test_a_number_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="has no trial 9; it has 5 trials from 0 on"):
        apply.pick(results.read(searched(empty(), 5)), 9)
    with pytest.raises(ConfigError, match="it has 0 trials"):
        apply.pick(results.read(empty()), 0)


def test_a_study_without_a_complete_trial_has_nothing_to_take() -> None:
    with pytest.raises(ConfigError, match="no complete trial yet"):
        apply.pick(results.read(empty()), None)


def test_of_several_objectives_the_number_has_to_be_given_and_the_front_is_named() -> None:
    study = searched(empty(objectives=("val_accuracy", "flops")), 20)
    found = results.read(study)
    with pytest.raises(ConfigError, match="several objectives") as refused:
        apply.pick(found, None)
    for trial in study.best_trials:
        assert f"{trial.number} (val_accuracy {trial.values[0]:.4g}, flops {trial.values[1]:.4g})" in str(refused.value)
    assert apply.pick(found, found.of("complete")[-1].number)


def test_parameters_that_the_trials_had_otherwise_are_named(vgg: Path) -> None:
    content = schema.read_yaml(vgg)
    attributes = {fingerprint.ATTRIBUTE: {"fixed": {"train.epochs": content["train"]["epochs"], "train.batch_size": 7}}}
    assert apply.other_parameters(attributes, content) == [
        f"train.batch_size: 7 then, {content['train']['batch_size']} now"
    ]
    assert apply.other_parameters({}, content) == []


def test_changes_of_params_yaml_that_git_does_not_have_are_seen(workplace: Path) -> None:
    assert not editor.uncommitted()  # no repository
    subprocess.run(["git", "init", "-q"], check=True)
    assert editor.uncommitted()
    subprocess.run(["git", "add", "."], check=True)
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *author, "commit", "-qm", "start"], check=True)
    assert not editor.uncommitted()
    with (workplace / "params.yaml").open("a") as file:
        file.write("\n")
    assert editor.uncommitted()
