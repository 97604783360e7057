"""Presets in params.yaml, whose comments stay."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
from ruamel.yaml.comments import CommentedMap

from convtrack.datasets import recipe
from convtrack.errors import ConfigError
from convtrack.params import presets, schema
from convtrack.params.editor import edit

ROOT = Path(__file__).parent.parent.parent
SUIT = functools.partial(recipe.suit, section="train")
NAMES = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


def comments(text: str) -> set[str]:
    return set(re.findall(r"#.*", text))


@pytest.mark.parametrize("name", NAMES)
def test_after_use_params_has_exactly_the_sections_of_the_preset(name: str, workplace: Path) -> None:
    before = schema.read_yaml(workplace / "params.yaml")
    presets.use(name, SUIT)
    after = schema.read_yaml(workplace / "params.yaml")
    preset = schema.read_yaml(workplace / "presets" / f"{name}.yaml")
    assert (after["model"], after["train"]) == (preset["model"], preset["train"])
    others = set(before) - {"model", "train"}
    assert {section: after[section] for section in others} == {section: before[section] for section in others}
    assert list(after) == list(before)


def test_use_keeps_every_comment_outside_model_and_on_every_knob_that_stays(workplace: Path) -> None:
    before = (workplace / "params.yaml").read_text()
    presets.use("reference", SUIT)
    after = (workplace / "params.yaml").read_text()
    start, end = before.index("\nmodel:"), before.index("\ntrain:")
    assert comments(before[:start] + before[end:]) <= comments(after)


@pytest.mark.parametrize("name", NAMES)
def test_on_digits_no_preset_mirrors_them_or_makes_large_batches(name: str, workplace: Path) -> None:
    edit(lambda params: params["data"].update(name="digits"), "the test")
    preset = schema.read_yaml(workplace / "presets" / f"{name}.yaml")
    presets.use(name, SUIT)
    train = schema.load().train
    assert train.augmentation.flip == "none"
    assert train.batch_size == min(128, preset["train"]["batch_size"])
    changed = {one.path for one in recipe.unsuited(presets.applied(name))}
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


def test_a_preset_with_another_section_is_refused(workplace: Path) -> None:
    odd = workplace / "presets/odd.yaml"
    odd.write_text((workplace / "presets/reference.yaml").read_text() + "data: {}\n")
    with pytest.raises(ConfigError, match="should have the keys description, model, train"):
        presets.use("odd", SUIT)


@pytest.mark.parametrize("name", NAMES)
def test_lists_over_several_lines_give_way_to_a_preset_and_keep_their_comments(name: str, workplace: Path) -> None:
    def lists(params: CommentedMap) -> None:  # as DVC writes them
        params["model"] |= {"filters": [4, 4], "convs_per_block": [1, 1], "block_dropout": [0.0, 0.1], "dense": [3]}

    before = (workplace / "params.yaml").read_text()
    edit(lists, "the test")
    assert "\n  - 4\n" in (workplace / "params.yaml").read_text()
    presets.use(name, SUIT)
    after = schema.read_yaml(workplace / "params.yaml")
    assert after["model"] == schema.read_yaml(workplace / "presets" / f"{name}.yaml")["model"]
    if after["model"]["name"] == "vgg":
        assert comments(before) == comments((workplace / "params.yaml").read_text())
