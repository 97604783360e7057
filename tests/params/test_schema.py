"""params.yaml -> Params: everything that is wrong is said, at once and in one way."""

from __future__ import annotations

import copy
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

ROOT = Path(__file__).parent.parent.parent
CONTENT = schema.read_yaml(ROOT / "params.yaml")


def paths(tree: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every section and every knob."""
    found = []
    for key, value in tree.items():
        found.append((*prefix, key))
        if isinstance(value, dict):
            found += paths(value, (*prefix, key))
    return found


def changed(*changes: tuple[tuple[str, ...], Any]) -> dict[str, Any]:
    """params.yaml's content with other values at some paths."""
    content = copy.deepcopy(CONTENT)
    for path, value in changes:
        section = content
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
    return content


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(paths(CONTENT)), anything)
def test_any_value_anywhere_is_either_valid_or_a_config_error_that_names_its_section(
    path: tuple[str, ...], value: Any
) -> None:
    try:
        said = " ".join(schema.parse(changed((path, value))).model_dump())
    except ConfigError as error:
        said = error.message
    assert path[0] in said


# what is searched is up to the user
KNOWN = [path for path in paths(CONTENT) if path[:2] != ("study", "space")]


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


def test_a_parameter_that_was_renamed_is_named_with_its_name_now() -> None:
    space = {
        "train.optimizer.muon_rate": {"type": "float", "low": 0.1, "high": 1},
        "model.dropout": {"type": "float", "low": 0.1, "high": 1, "when": {"train.optimizer.bias_rate": 3}},
    }
    content = changed(
        (("train", "optimizer", "muon_rate"), 0.1),
        (("train", "optimizer", "bias_rate"), 0.1),
        (("train", "progressive_resizing", "share"), 0.1),
        (("study", "space"), space),
    )
    for optimizer in ("muon", "adam"):
        content["train"]["optimizer"]["name"] = optimizer
        assert sorted(schema.problems(content)) == [
            "study.space.model.dropout.when.train.optimizer.bias_rate: bias_rate is now bias_learning_rate",
            "study.space.train.optimizer.muon_rate: muon_rate is now muon_learning_rate",
            "train.optimizer.bias_rate: bias_rate is now bias_learning_rate",
            "train.optimizer.muon_rate: muon_rate is now muon_learning_rate",
            "train.progressive_resizing.share: share is now fraction",
        ]


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


@given(anything)
def test_any_document_is_either_valid_or_a_config_error(document: Any) -> None:
    try:
        schema.parse(document)
    except ConfigError:
        assert document != {}
    else:
        assert document == {}


@pytest.mark.parametrize("key", ["list[", "constrained-", "function-after[x]", "[key]"])
def test_an_unknown_key_that_looks_like_a_part_of_pydantic_is_named_as_any_other(key: str) -> None:
    for content in (changed(((key,), None)), changed((("train", key), None))):
        with pytest.raises(ConfigError, match=f"{re.escape(key)}: unknown key"):
            schema.parse(content)


@given(st.text(max_size=200))
def test_any_text_in_params_yaml_is_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        schema.load(path)


def test_all_problems_are_said_at_once_with_what_was_got_and_what_is_allowed() -> None:
    content = changed((("train", "epochs"), 0), (("train", "precision"), "float8"), (("data", "seed"), "one"))
    with pytest.raises(ConfigError) as raised:
        schema.parse(content)
    message = raised.value.message
    assert "3 problems" in message
    assert "train.epochs: should be greater than or equal to 1. Received: 0 (int)" in message
    assert "'mixed_bfloat16'" in message
    assert "Received: 'float8'" in message
    assert "data.seed: should be a valid integer. Received: 'one' (str)" in message
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("path", "guess"),
    [
        (("train", "epoch"), "train.epoch: unknown key; did you mean epochs?"),
        (("trian",), "trian: unknown key; did you mean train?"),
        (("model", "dropuot"), "model.dropuot: unknown key; did you mean dropout?"),
        (("train", "early_stopping", "pateince"), "did you mean patience?"),
    ],
)
def test_an_unknown_key_gets_a_guess(path: tuple[str, ...], guess: str) -> None:
    with pytest.raises(ConfigError) as raised:
        schema.parse(changed((path, 1)))
    assert guess in raised.value.message


@pytest.mark.parametrize(
    ("preset", "key", "value"), [("fast", "block_dropout", 0.5), ("resnet", "blocks_per_stage", 2)]
)
def test_a_list_for_the_blocks_has_as_many_entries_as_there_are(preset: str, key: str, value: float) -> None:
    model = presets.sections(preset, ROOT / "presets")["model"]
    schema.parse(changed((("model",), model | {key: [value] * 3})))
    with pytest.raises(ConfigError, match=f"model: {key} has 2 values for 3 entries of filters; give one number"):
        schema.parse(changed((("model",), model | {key: [value] * 2})))


def test_an_unknown_network_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'vgg', 'reference', 'resnet'"):
        schema.parse(changed((("model", "name"), "lenet")))


@pytest.mark.parametrize("written", ["1e-3", "0.001", "1.0e-3", "1E-3"])
def test_a_number_may_be_written_with_an_exponent(written: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"rate: {written}\n")
    assert schema.read_yaml(path) == {"rate": 0.001}


@pytest.mark.parametrize("value", [True, "3", 3.5, None, [3]])
def test_nothing_is_converted_in_silence(value: Any) -> None:
    with pytest.raises(ConfigError, match="epochs"):
        schema.parse(changed((("train", "epochs"), value)))


def test_flat_names_every_knob_but_those_of_study_by_its_dotted_path() -> None:
    flat = Params().flat()
    others = ("model.conv_dropout", "model.blocks_per_stage")
    pipeline = [path for path in paths(schema.filled({})) if path[0] != "study"]
    leaves = [".".join(path) for path in pipeline if not any(other[:-1] == path for other in pipeline)]
    assert list(flat) == [path for path in leaves if path not in others]


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a\\b", "two\nlines", "x" * 101])
def test_a_study_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="study.name"):
        schema.parse(changed((("study", "name"), name)))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ann:geheim@host/db",
        "postgresql://ann:gehe/geheim@host/db",
        "mysql+pymysql://host/db?user=ann&password=geheim",
        "postgresql+psycopg://host/db?sslpassword=geheim",
    ],
)
def test_a_password_in_params_yaml_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(ConfigError, match="study.storage: has a password") as raised:
        schema.parse(changed((("study", "storage"), address)))
    assert "geheim" not in str(raised.value)


def test_a_password_in_the_address_of_the_images_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="data.path: has a password.*netrc") as raised:
        schema.parse(changed((("data", "path"), "https://ann:geheim@host/images.tar")))
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize("written", ["2024", "1.5", "2024-05-01", "0x10"])
@pytest.mark.parametrize("knob", ["path", "archive"])
def test_a_path_that_yaml_takes_for_a_number_is_named_with_the_way_out(knob: str, written: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"path: {written}\nas_text: ./{written}\n")
    content = schema.read_yaml(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match=rf"data.{knob}: should be a path.*write \./ before it\. Received: "):
        schema.parse(changed((("data", knob), content["path"])))
    assert getattr(schema.parse(changed((("data", knob), content["as_text"]))).data, knob) == f"./{written}"


@pytest.mark.parametrize("address", [None, "postgresql+psycopg://ann@host/db", "grpc://127.0.0.1:13000"])
def test_an_address_without_a_password_is_taken(address: str | None) -> None:
    assert schema.parse(changed((("study", "storage"), address))).study.storage == address


def test_objectives_that_say_the_same_twice_are_refused() -> None:
    with pytest.raises(ConfigError, match="study.objectives: each objective counts once"):
        schema.parse(changed((("study", "objectives"), ["val_loss", "val_loss"])))


def test_what_is_wrong_with_an_entry_of_the_space_is_said_as_elsewhere() -> None:
    entries = {
        None: None,
        "model.dropout": {"type": "float", "low": 0, "hihg": 1},
        "model.dense.0": {"type": "integer", "low": 0, "high": 1},
        "train.seed": {"low": 0, "high": 1},
        "model.activation": {"type": "categorical", "choices": [["relu"]], "when": {"model.name": {}}},
        "model.name": {"type": "categorical", "choices": ["vgg"], "when": {3: "vgg"}},
    }
    with pytest.raises(ConfigError) as raised:
        schema.parse(changed((("study", "space"), entries)))
    for said in (
        "study.space.model.dropout.high: missing",
        "study.space.model.dropout.hihg: unknown key; did you mean high?",
        "study.space.model.dense.0.type: should be one of 'float', 'int', 'categorical'. Received: 'integer'",
        "study.space.train.seed.type: should be one of 'float', 'int', 'categorical'. Received: None",
        "study.space.model.activation.choices.0: should be a number, a word, true, false or null. Received: ['relu']",
        "study.space.model.activation.when.model.name: should be a number",
        "study.space.None: should be a valid string. Received: None (NoneType)",
        "study.space.model.name.when.3: should be a valid string. Received: 3 (int)",
    ):
        assert said in raised.value.message


@pytest.mark.parametrize(
    "written",
    [
        "2020-13-45",
        "0x_",
        "9" * 5000,
        "!!int x",
        "!!float x",
        "!!bool x",
        pytest.param("[" * 50, id="open"),
        pytest.param("[" * 700 + "]" * 700, id="deep"),
        pytest.param("{a: " * 700 + "}" * 700, id="deep mappings"),
    ],
)
def test_what_yaml_itself_falls_over_is_a_config_error(written: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"train:\n  epochs: {written}\n")
    with pytest.raises(ConfigError, match="is not valid YAML") as raised:
        schema.load(path)
    assert len(raised.value.message) < 1000


def test_a_value_that_is_endless_when_written_out_is_shown_in_short(tmp_path: Path) -> None:
    bomb = ["x0: &x0 [a, a]", *(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 20))]
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    for instead in ("epochs: *x19", "epochs: !!omap [a: *x19]"):
        path.write_text("\n".join([*bomb, text.replace("epochs: 5 ", f"{instead} ")]))
        with pytest.raises(ConfigError) as raised:
            schema.load(path)
        assert max(map(len, raised.value.message.splitlines())) < 600


@pytest.mark.parametrize("written", ["0x" + "f" * 9000, "9" * 4000, "2147483648"])
@pytest.mark.parametrize("knob", [("train", "epochs"), ("model", "filters")])
def test_a_number_beyond_anything_is_refused_and_shown_in_short(knob: tuple[str, str], written: str) -> None:
    with pytest.raises(ConfigError, match="should be less than 2147483648") as raised:
        schema.parse(changed((knob, [int(written, 0)] if knob[1] == "filters" else int(written, 0))))
    assert len(raised.value.message) < 400


def test_what_a_terminal_would_obey_is_not_in_a_message() -> None:
    with pytest.raises(ConfigError) as raised:
        schema.parse(changed((("train", "\x1b[2J"), 1), (("data", "name"), "\x1b]0;title\x07"), (("x" * 5000,), 1)))
    lines = raised.value.message.splitlines()
    assert all(line.isprintable() and len(line) < 600 for line in lines)
    assert len(lines) == 4


def test_params_cannot_be_changed() -> None:
    params: Params = schema.load(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.train.epochs = 3  # type: ignore[misc]


def test_a_file_that_is_not_there_and_one_that_is_not_text_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not here"):
        schema.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        schema.load(tmp_path / "params.yaml")
