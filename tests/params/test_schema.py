"""params.yaml -> Params: which values are valid, and what is there by default."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtrack.errors import ConfigError
from convtrack.params import presets, schema
from convtrack.params.model import Reference
from convtrack.params.schema import Params
from convtrack.params.train import Adam, Muon, Sgd
from tests.params.contents import CONTENT, ROOT, anything, changed, paths

# what is searched is up to the user
KNOWN = [path for path in paths(CONTENT) if path[:2] != ("study", "space")]


@given(st.sampled_from(paths(CONTENT)), anything)
def test_any_value_anywhere_is_either_valid_or_a_config_error_that_names_its_section(
    path: tuple[str, ...], value: Any
) -> None:
    try:
        said = " ".join(schema.parse(changed((path, value))).model_dump())
    except ConfigError as error:
        said = error.message
    assert path[0] in said


@given(anything)
def test_any_document_is_either_valid_or_a_config_error(document: Any) -> None:
    try:
        schema.parse(document)
    except ConfigError:
        assert document != {}
    else:
        assert document == {}


@given(st.sampled_from(KNOWN))
def test_whatever_is_missing_has_its_default(path: tuple[str, ...]) -> None:
    content = changed()
    section, default = content, schema.filled({})
    for key in path[:-1]:
        section, default = section[key], default[key]
    del section[path[-1]]
    full = schema.filled(content)
    assert schema.parse(full) == schema.parse(content)
    for key in path[:-1]:
        full = full[key]
    assert full[path[-1]] == default[path[-1]]


def test_params_yaml_shows_every_parameter_with_a_comment() -> None:
    assert set(KNOWN) | {("study", "space")} == set(paths(schema.filled({})))
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").partition("\n  space:")[0].splitlines()
    bare = [line for line in lines if re.match(r" +\w+: \S", line) and " # " not in line]
    assert bare == []
    (rates,) = [line for line in lines if line.startswith("    learning_rate:")]
    assert all(f"{each.usual_rate} for" in rates for each in (Muon, Sgd, Adam))


@pytest.mark.parametrize(("name", "rate"), [("adam", 0.001), ("adamw", 0.001), ("sgd", 0.3), ("muon", 1.2)])
def test_the_name_of_another_optimizer_is_all_that_it_takes(name: str, rate: float) -> None:
    content = changed((("train", "optimizer", "name"), name), (("train", "optimizer", "learning_rate"), None))
    optimizer = schema.parse(content).train.optimizer
    assert (optimizer.name, optimizer.learning_rate) == (name, rate)
    assert hasattr(optimizer, "muon_momentum") == (name == "muon")
    given = schema.parse(changed((("train", "optimizer"), {"name": name, "learning_rate": 0.02})))
    assert given.train.optimizer.learning_rate == 0.02


def test_dvc_sets_the_name_of_another_optimizer(tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    values = ("name=muon", "learning_rate=null", "momentum=0.85", "weight_decay=0.0")  # whatever is there now
    apply_overrides(path, [f"train.optimizer.{value}" for value in values])
    apply_overrides(path, ["train.optimizer.name=adam", "model.name=reference"])
    params = schema.load(path)
    assert params.train.optimizer == Adam(momentum=0.85)
    assert "train.optimizer.muon_momentum" not in params.flat()
    assert params.model.name == "reference"


def test_the_name_of_another_network_is_all_that_it_takes() -> None:
    content = changed((("model", "name"), "reference"), (("model", "kernel_size"), 99))
    model = schema.parse(content).model
    assert model == Reference(dropout=CONTENT["model"]["dropout"], conv_dropout=CONTENT["model"]["conv_dropout"])
    with pytest.raises(ConfigError, match="model.kernal_size: unknown key; did you mean kernel_size?"):
        schema.parse(changed((("model", "name"), "reference"), (("model", "kernal_size"), 3)))


def test_what_a_study_works_on_has_the_parameters_that_its_trials_can_have() -> None:
    fixed = schema.searchable({"model": {"name": "reference"}, "train": {"optimizer": {"name": "adam"}}})
    assert list(fixed["model"]) == ["name", "conv_dropout", "dropout"]
    assert fixed["train"]["optimizer"]["learning_rate"] == 0.001
    assert "muon_momentum" not in fixed["train"]["optimizer"]
    names = {"train.optimizer.name": {"type": "categorical", "choices": ["adam", "muon"]}}
    searched = schema.searchable({"train": {"optimizer": {"name": "adam"}}, "study": {"space": names}})
    assert (
        searched["train"]["optimizer"] | {"muon_momentum": 0.6, "learning_rate": None} == searched["train"]["optimizer"]
    )


@pytest.mark.parametrize(
    ("preset", "key", "value"), [("fast", "block_dropout", 0.5), ("resnet", "blocks_per_stage", 2)]
)
def test_a_list_for_the_blocks_has_as_many_entries_as_there_are(preset: str, key: str, value: float) -> None:
    model = presets.sections(preset, ROOT / "presets")["model"]
    schema.parse(changed((("model",), model | {key: [value] * 3})))
    with pytest.raises(ConfigError, match=f"model: {key} has 2 values, but filters has 3; give one number"):
        schema.parse(changed((("model",), model | {key: [value] * 2})))


@pytest.mark.parametrize("written", ["1e-3", "0.001", "1.0e-3", "1E-3"])
def test_a_number_may_be_written_with_an_exponent(written: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"rate: {written}\n")
    assert schema.read_yaml(path) == {"rate": 0.001}


def test_flat_names_every_parameter_but_those_of_study_by_its_dotted_path() -> None:
    flat = Params().flat()
    others = ("model.conv_dropout", "model.blocks_per_stage")
    pipeline = [path for path in paths(schema.filled({})) if path[0] != "study"]
    leaves = [".".join(path) for path in pipeline if not any(other[:-1] == path for other in pipeline)]
    assert list(flat) == [path for path in leaves if path not in others]


@pytest.mark.parametrize("address", [None, "postgresql+psycopg://ann@host/db", "grpc://127.0.0.1:13000"])
def test_an_address_without_a_password_is_taken(address: str | None) -> None:
    assert schema.parse(changed((("study", "storage"), address))).study.storage == address


def test_a_final_fit_has_no_val_to_stop_by() -> None:
    final = {"preprocess": {"val_fraction": 0}, "train": {"early_stopping": {"patience": 3}}}
    with pytest.raises(ConfigError) as caught:
        schema.parse(final)
    (problem,) = str(caught.value).splitlines()[1:-1]
    assert problem.strip().startswith("train.early_stopping.patience: should be null with preprocess.val_fraction: 0")
    assert schema.parse({"preprocess": {"val_fraction": 0}}).is_final_fit
    assert not schema.parse({}).is_final_fit


def test_params_cannot_be_changed() -> None:
    params: Params = schema.load(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.train.epochs = 3  # type: ignore[misc]
