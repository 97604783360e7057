"""What does not suit a data set, and the values that do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from convtrack import datasets, files
from convtrack.datasets import Traits, recommendations
from convtrack.params import schema


def content(name: str, **train: Any) -> dict[str, Any]:
    augmentation = {"flip": train.pop("flip", "none")}
    evaluate = {"test_time_augmentation": train.pop("views", "none")}
    return {"data": {"name": name}, "train": {"augmentation": augmentation, **train}, "evaluate": evaluate}


def wanted(sections: dict[str, Any], images: int | None = None) -> dict[str, Any]:
    return {one.path: one.value for one in recommendations.recommend(sections, images)}


def test_every_source_states_what_it_asks_of_a_training() -> None:
    assert all(isinstance(datasets.traits(name), Traits) for name in datasets.SOURCES)
    assert [name for name in datasets.SOURCES if datasets.traits(name).user_images] == ["image_folder"]


def test_digits_are_not_mirrored_and_are_few() -> None:
    assert wanted(content("digits", batch_size=128)) == {}
    assert wanted(content("digits", batch_size=129, flip="random", views="mirror_shift")) == {
        "train.augmentation.flip": "none",
        "evaluate.test_time_augmentation": "none",
        "train.batch_size": 128,
    }
    assert wanted(content("cifar10", batch_size=512, flip="alternating", views="mirror"), 45_000) == {}


@pytest.mark.parametrize(
    ("images", "batch", "better"),
    [
        (6_144, 512, None),
        (6_143, 512, 256),
        (129, 16, 8),
        (1_000, 512, 64),
        (20, 4, 1),
        (3, 1, None),
        (None, 512, None),
    ],
)
def test_an_epoch_has_a_dozen_steps(images: int | None, batch: int, better: int | None) -> None:
    found = wanted(content("image_folder", batch_size=batch, flip="random"), images)
    assert found == ({} if better is None else {"train.batch_size": better})
    if better and images and images >= recommendations.MIN_STEPS:
        assert images // better >= recommendations.MIN_STEPS > images // (2 * better) or 2 * better > batch


@pytest.mark.parametrize(
    ("name", "rate", "better"),
    [("adam", 1.2, 0.001), ("sgd", 1e-4, 0.3), ("muon", 1e-4, 1.2), ("adamw", 1e-4, None), ("muon", 0.116, None)],
)
def test_a_learning_rate_that_was_meant_for_another_optimizer_is_warned_about(
    name: str, rate: float, better: float | None, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recommendations.warn(schema.parse({"train": {"optimizer": {"name": name, "learning_rate": rate}}}), "train")
    said = f"better set train.optimizer.learning_rate: {better} ({rate} is far from the usual rate of {name})"
    assert (said in capsys.readouterr().err) == (better is not None)


def test_what_suits_the_data_is_set_in_a_short_params_yaml_too() -> None:
    short: dict[str, Any] = {"data": {"name": "digits"}}
    recommendations.apply(short, "train")
    assert short["train"] == {"augmentation": {"flip": "none"}, "batch_size": 128}


def test_warnings_are_about_the_images_that_are_here(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = schema.read_yaml(schema.PARAMS_FILE)
    content["train"] |= {"batch_size": 512}  # make run has perhaps set another one
    params = schema.parse(content)
    recommendations.warn(params, "train")
    assert capsys.readouterr().err == ""
    document = {"source": {"name": "cifar10"}, "counts": {"train": {"cat": 500, "dog": 500}}}
    files.write_json(files.PROCESSED / files.DATASET, document)
    recommendations.warn(params, "train")
    assert (
        "better set train.batch_size: 64 (1,000 images in batches of 512 make 1 step per epoch;"
        in capsys.readouterr().err
    )
    recommendations.warn(params, "evaluate")
    files.write_json(files.PROCESSED / files.DATASET, document | {"source": {"name": "digits"}})
    recommendations.warn(params, "train")
    assert capsys.readouterr().err == ""
