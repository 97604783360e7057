"""What runs, trials and models are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dvc.repo.experiments.utils import gen_random_name
from mlflow.utils.validation import _validate_logged_model_name

from convtrack import files
from convtrack.params import presets, schema
from convtrack.params.schema import Params
from convtrack.tracking import TrialLink, names
from convtrack.tracking.changes import Changes


def chosen(root: Path, preset: str, **values: Any) -> Params:
    """A preset with other values, by path with __ for dots."""
    content: dict[str, Any] = presets.sections(preset, root / presets.FOLDER)
    for path, value in values.items():
        part = content
        *parents, last = path.split("__")
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    return schema.parse(content)


NAMES: list[tuple[str, dict[str, Any], str]] = [
    ("fast", {}, "fast"),
    ("fast", {"model__dropout": 0.4}, "fast drop=0.4"),
    ("fast", {"model__dropout": 0.123456, "train__seed": 3}, "fast drop=0.123 seed=3"),
    ("sprint", {"model__filters": [16, 32], "model__batch_norm": False}, "sprint 16-32 batch_norm=false"),
    ("resnet", {"train__epochs": 3, "preprocess__seed": 7}, "resnet epochs=3 val_seed=7"),
    # what suits the data comes last, whatever else differs first
    (
        "fast",
        {"data__name": "digits", "train__augmentation__flip": "none", "train__epochs": 2, "data__seed": 1},
        "fast epochs=2 digits test_seed=1 flip=none",
    ),
    ("fast", {"data__name": "cifar100", "data__labels": "coarse"}, "fast cifar100-coarse"),
    ("fast", {"data__name": "image_folder", "data__path": "~/my pets.tar.gz"}, "fast my pets"),
]


@pytest.mark.parametrize(("preset", "values", "name"), NAMES, ids=[each[2] for each in NAMES])
def test_a_run_is_named_after_its_preset_and_what_differs_from_it(
    preset: str, values: dict[str, Any], name: str, root: Path
) -> None:
    params = chosen(root, preset, **values)
    assert names.of_run(params, *presets.nearest(params, root / presets.FOLDER)) == name


def test_without_presets_a_run_is_named_after_its_network_and_a_long_name_is_cut(tmp_path: Path, root: Path) -> None:
    params = chosen(root, "reference")
    name = names.of_run(params, *presets.nearest(params, tmp_path))
    assert name.startswith("reference conv_drop")
    assert len(name) <= names.LONGEST
    assert name.endswith(" …")


def test_the_name_of_a_dvc_experiment_is_kept_unless_dvc_made_it_up(root: Path) -> None:
    params = chosen(root, "fast")
    for named in ("quick-fox", "big-drop", "fully-made", "bonny-more2"):
        assert names.of_run(params, "fast", {}, named) == named
    for _ in range(20):
        assert names.of_run(params, "fast", {}, gen_random_name()) == "fast"


def test_a_trial_is_named_after_its_number_and_the_values_that_it_tries(root: Path) -> None:
    drop = {"type": "float", "low": 0.0, "high": 0.5}
    blocks = {"type": "int", "low": 8, "high": 64}
    space = {"model.filters.0": blocks, "model.filters.1": blocks, "model.dropout": drop}
    content = {"model": {"filters": [16, 32], "dropout": 0.2123}, "study": {"space": space}}
    assert names.of_trial(schema.parse(content), 7) == "#7 16-32 drop=0.212"


@pytest.mark.parametrize("path", ["data/cats & dogs", "a.b/c:d%'\".zip", "données", ".", "/"])
def test_a_model_is_named_after_network_and_data_as_mlflow_accepts_it(path: str) -> None:
    assert names.of_model(Params()) == "vgg-cifar10"
    assert names.of_model(Params(), TrialLink("layers", "", 3)) == "vgg-cifar10-layers-3"
    own = schema.parse({"data": {"name": "image_folder", "path": path}})
    _validate_logged_model_name(names.of_model(own, TrialLink("what: a study.", "", 0)))


def test_the_description_of_a_final_fit_says_so() -> None:
    final = Params.model_validate({"preprocess": {"val_fraction": 0.0}, "train": {"epochs": 9}})
    first, second = names.description(final, None, Changes(), "").split("\n\n")
    assert first == "`vgg` on `cifar10`, 9 epochs."
    assert second == "Final fit: trained on train and val together, so nothing is measured on val."
    assert "Final fit" not in names.description(Params(), None, Changes(), "")


@pytest.mark.parametrize(
    ("few", "words"), [({"val_accuracy": 0.75}, "Val 75.00 %. Best epoch 1 of 2."), ({}, "No val split.")]
)
def test_the_details_of_a_run_without_mistakes(
    few: dict[str, float], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_json(files.METRICS, few)
    files.write_json(files.TRAINING, {"best_epoch": 1, "epochs_run": 2})
    files.CONFUSED_PAIRS.write_text("actual,predicted,count,share\n")
    assert names.details() == words
