"""What is said of a params.yaml that is not valid: everything that is wrong, at once and in one way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtrack.errors import ConfigError
from convtrack.params import schema
from tests.params.contents import ROOT, changed

ADDRESSES = [
    "postgresql://ann:geheim@host/db",
    "postgresql://ann:gehe/geheim@host/db",
    "mysql+pymysql://host/db?user=ann&password=geheim",
    "postgresql+psycopg://host/db?sslpassword=geheim",
]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("train", "epoch"), 1, "train.epoch: unknown key; did you mean epochs?"),
        (("trian",), 1, "trian: unknown key; did you mean train?"),
        (("model", "dropuot"), 1, "model.dropuot: unknown key; did you mean dropout?"),
        (("train", "early_stopping", "pateince"), 1, "did you mean patience?"),
        # keys that look like parts of pydantic
        *(
            (("train", key), 1, f"{key}: unknown key")
            for key in ("list[", "constrained-", "function-after[x]", "[key]")
        ),
        *(((key,), 1, f"{key}: unknown key") for key in ("list[", "constrained-", "function-after[x]", "[key]")),
        (("model", "name"), "lenet", "'vgg', 'reference', 'resnet'"),
        *((("train", "epochs"), value, "train.epochs: ") for value in (True, "3", 3.5, None, [3])),
        *((("study", "name"), name, "study.name: ") for name in ("", "a/b", "..", ".a", "a\\b", "a\nb", "x" * 101)),
        (("study", "objectives"), ["val_loss", "val_loss"], "study.objectives: should have each objective once"),
        *((("study", "storage"), address, "study.storage: contains a password") for address in ADDRESSES),
        (("data", "path"), "https://ann:geheim@host/images.tar", "data.path: contains a password"),
    ],
)
def test_a_value_that_is_not_valid_is_rejected_with_its_path(path: tuple[str, ...], value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        schema.parse(changed((path, value)))
    assert said in raised.value.message
    assert "geheim" not in str(raised.value)


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


@pytest.mark.parametrize("written", ["2024", "1.5", "2024-05-01", "0x10"])
@pytest.mark.parametrize("parameter", ["path", "archive"])
def test_a_path_that_yaml_takes_for_a_number_is_named_with_the_way_out(
    parameter: str, written: str, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(f"path: {written}\nas_text: ./{written}\n")
    content = schema.read_yaml(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match=rf"data.{parameter}: should be a path.*put \./ in front of it\. Received: "):
        schema.parse(changed((("data", parameter), content["path"])))
    assert getattr(schema.parse(changed((("data", parameter), content["as_text"]))).data, parameter) == f"./{written}"


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
        "study.space.model.activation.choices.0: should be a number, a string, true, false or null. Received: ['relu']",
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
@pytest.mark.parametrize("parameter", [("train", "epochs"), ("model", "filters")])
def test_a_number_beyond_anything_is_refused_and_shown_in_short(parameter: tuple[str, str], written: str) -> None:
    with pytest.raises(ConfigError, match="should be less than 2147483648") as raised:
        schema.parse(changed((parameter, [int(written, 0)] if parameter[1] == "filters" else int(written, 0))))
    assert len(raised.value.message) < 400


def test_what_a_terminal_would_obey_is_not_in_a_message() -> None:
    with pytest.raises(ConfigError) as raised:
        schema.parse(changed((("train", "\x1b[2J"), 1), (("data", "name"), "\x1b]0;title\x07"), (("x" * 5000,), 1)))
    lines = raised.value.message.splitlines()
    assert all(line.isprintable() and len(line) < 600 for line in lines)
    assert len(lines) == 4


def test_a_file_that_is_not_there_and_one_that_is_not_text_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        schema.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        schema.load(tmp_path / "params.yaml")
