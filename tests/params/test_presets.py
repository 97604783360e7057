"""Presets in params.yaml, whose comments stay."""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from convtrack.datasets import recommendations
from convtrack.errors import ConfigError
from convtrack.params import presets, schema
from convtrack.params.editor import edit
from convtrack.params.model import Vgg
from convtrack.params.schema import Params
from convtrack.params.train import Adam

ROOT = Path(__file__).parent.parent.parent
SUIT = functools.partial(recommendations.apply, section="train")
NAMES = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


def comments(text: str) -> set[str]:
    return set(re.findall(r"#.*", text))


@pytest.mark.parametrize("name", NAMES)
def test_after_use_params_has_exactly_the_sections_of_the_preset(name: str, workplace: Path) -> None:
    before = schema.read_yaml(workplace / "params.yaml")
    presets.use(name, SUIT)
    after = schema.read_yaml(workplace / "params.yaml")
    assert {section: after[section] for section in ("model", "train")} == presets.sections(name)
    others = set(before) - {"model", "train"}
    assert {section: after[section] for section in others} == {section: before[section] for section in others}
    assert list(after) == list(before)


def test_use_keeps_every_comment(workplace: Path) -> None:
    before = (workplace / "params.yaml").read_text()
    presets.use("reference", SUIT)
    assert comments((workplace / "params.yaml").read_text()) == comments(before)


@pytest.mark.parametrize("name", NAMES)
def test_on_digits_no_preset_mirrors_them_or_makes_large_batches(name: str, workplace: Path) -> None:
    edit(lambda params: params["data"].update(name="digits"), "the test")
    preset = presets.sections(name)
    presets.use(name, SUIT)
    train = schema.load().train
    assert train.augmentation.flip == "none"
    assert train.batch_size == min(128, preset["train"]["batch_size"])
    changed = {one.path for one in recommendations.recommend(presets.applied(name))}
    assert ("train.augmentation.flip" in changed) == (preset["train"]["augmentation"]["flip"] != "none")
    assert ("train.batch_size" in changed) == (preset["train"]["batch_size"] > 128)
    assert presets.use(name, SUIT) == ""


def test_use_there_and_back_gives_the_same_values(workplace: Path) -> None:
    presets.use("fast", SUIT)
    before = schema.load()
    presets.use("reference", SUIT)
    assert schema.load() != before
    presets.use("fast", SUIT)
    assert schema.load() == before
    assert presets.use("fast", SUIT) == ""


def test_sections_stay_apart_by_an_empty_line(workplace: Path) -> None:
    presets.use("reference", SUIT)
    text = (workplace / "params.yaml").read_text()
    for section in list(schema.read_yaml(workplace / "params.yaml"))[1:]:
        assert f"\n\n{section}:" in text


def test_a_preset_that_is_not_valid_leaves_params_yaml_as_it_was(workplace: Path) -> None:
    before = (workplace / "params.yaml").read_bytes()
    broken = workplace / "presets/broken.yaml"
    broken.write_text((workplace / "presets/reference.yaml").read_text().replace("epochs: ", "epochs: -"))
    with pytest.raises(ConfigError, match=r"presets/broken\.yaml has 1 problem:\n  train\.epochs"):
        presets.use("broken", SUIT)
    assert (workplace / "params.yaml").read_bytes() == before


def test_an_unknown_preset_gets_a_guess(workplace: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean reference"):
        presets.use("refrence", SUIT)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("description: odd\ndata: {}\n", "may have extends, model, train. Received: description, data"),
        ("model: {name: vgg}\n", "should have a description"),
        ("description: odd\nextends: fsat\n", "unknown preset 'fsat'.*did you mean fast"),
        ("description: odd\nextends: [fast]\n", r"unknown preset \['fast'\]"),
        ("description: odd\nextends: odd\n", "presets/odd.yaml extends itself: odd -> odd"),
        ("description: odd\nextends: fast\nmodel: 3\n", "presets/odd.yaml has 1 problem:\n  model: "),
        ("description: odd\nextends: other\n", "presets/other.yaml has 1 problem:\n  train.epochs: "),
    ],
)
def test_a_preset_that_is_written_wrongly_is_rejected(written: str, said: str, workplace: Path) -> None:
    (workplace / "presets/odd.yaml").write_text(written)
    (workplace / "presets/other.yaml").write_text("description: other\ntrain: {epochs: 0}\n")
    with pytest.raises(ConfigError) as raised:
        presets.use("odd", SUIT)
    assert re.search(said, str(raised.value), re.DOTALL)


def test_presets_that_extend_each_other_are_rejected(workplace: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        (workplace / f"presets/{name}.yaml").write_text(f"description: x\nextends: {other}\n")
    with pytest.raises(ConfigError, match="one -> two -> one"):
        presets.use("one", SUIT)


def test_a_preset_has_what_it_states_over_what_it_extends_over_the_defaults(workplace: Path) -> None:
    (workplace / "presets/low.yaml").write_text(
        "description: low\nmodel: {filters: [8, 8], dense: [4]}\ntrain: {optimizer: {name: sgd, momentum: 0.5}}\n"
    )
    (workplace / "presets/high.yaml").write_text(
        "description: high\nextends: low\nmodel: {filters: [3]}\ntrain: {optimizer: {name: adam}, epochs: 9}\n"
    )
    presets.use("high", SUIT)
    found, default = schema.load(), Params()
    assert found.model == Vgg(filters=[3], dense=[4])
    assert found.train.optimizer == Adam(momentum=0.5)
    assert found.train.epochs == 9
    assert found.train.schedule == default.train.schedule
    shown = YAML(typ="safe").load(presets.text("high"))
    assert shown["model"]["filters"] == [3]
    assert shown["train"]["optimizer"] == {
        "name": "adam", "learning_rate": 0.001, "momentum": 0.5, "weight_decay": 0.0
    }  # fmt: skip


def test_the_preset_fast_is_what_the_defaults_are() -> None:
    assert schema.parse(presets.sections("fast", ROOT / "presets")) == Params()


def test_use_fills_a_short_params_yaml_and_keeps_its_comments(workplace: Path) -> None:
    (workplace / "params.yaml").write_text("model:\n  dropout: 0.4  # mine\n\ndata: {name: digits}\n")
    presets.use("sprint", SUIT)
    text = (workplace / "params.yaml").read_text()
    assert re.search("dropout: 0.0 +# mine", text)
    content = schema.read_yaml(workplace / "params.yaml")
    expected = presets.sections("sprint")
    expected["train"] |= {"batch_size": 128}
    expected["train"]["augmentation"]["flip"] = "none"  # digits
    assert {section: content[section] for section in ("model", "train")} == expected


@pytest.mark.parametrize("name", NAMES)
def test_lists_over_several_lines_give_way_to_a_preset_and_keep_their_comments(name: str, workplace: Path) -> None:
    def lists(params: CommentedMap) -> None:  # as DVC writes them
        params["model"] |= {"filters": [4, 4], "convs_per_block": [1, 1], "block_dropout": [0.0, 0.1], "dense": [3]}

    before = (workplace / "params.yaml").read_text()
    edit(lists, "the test")
    assert "\n  - 4\n" in (workplace / "params.yaml").read_text()
    presets.use(name, SUIT)
    assert schema.read_yaml(workplace / "params.yaml")["model"] == presets.sections(name)["model"]
    assert comments(before) == comments((workplace / "params.yaml").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_the_nearest_to_itself(name: str) -> None:
    params = schema.parse(presets.sections(name, ROOT / "presets"))
    assert presets.nearest(params, ROOT / "presets") == (name, {})


def test_of_two_presets_that_are_equally_near_it_is_the_one_nearer_to_the_defaults(tmp_path: Path) -> None:
    for name, epochs in (("far", 8), ("usual", 6)):
        (tmp_path / f"{name}.yaml").write_text(f"description: none\ntrain: {{epochs: {epochs}}}\n")
    params = schema.parse({"train": {"epochs": 4}})
    assert presets.nearest(params, tmp_path) == ("usual", {"train.epochs": [4, 6]})


def test_what_differs_from_the_nearest_preset_has_both_values(tmp_path: Path) -> None:
    folder = tmp_path / "presets"
    shutil.copytree(ROOT / "presets", folder)
    (folder / "broken.yaml").write_text("description: none\nmodel: {filters: 0}\n")
    changed = {"model": {"dropout": 0.5}, "train": {"early_stopping": {"patience": 3}}, "data": {"name": "digits"}}
    params = schema.parse(schema.merged(presets.sections("resnet", folder), changed))
    expected = {"data.name": ["digits", "cifar10"], "model.dropout": [0.5, 0.0]}
    assert presets.nearest(params, folder) == ("resnet", expected | {"train.early_stopping.patience": [3, None]})
    shutil.rmtree(folder)
    name, found = presets.nearest(params, folder)  # the defaults, whose network is another one
    assert name == ""
    assert found["model.name"] == ["resnet", "vgg"]
    assert found["model.blocks_per_stage"] == [params.model_dump()["model"]["blocks_per_stage"]]
