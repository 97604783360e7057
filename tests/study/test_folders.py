"""What a trial finds in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from convtrack import files
from convtrack.params import schema
from convtrack.study import folders
from convtrack.study.folders import Spec


def spec(study_id: str = "one") -> Spec:
    return Spec("mine", study_id, 7, 3, 1)


def prepared(workplace: Path, study_id: str = "one") -> Path:
    folder = workplace / folders.trial_folder("mine", 3)
    folders.prepare(folder, spec(study_id), schema.read_yaml(schema.PARAMS_FILE))
    return folder


def test_a_folder_has_params_data_and_what_the_process_is_told(workplace: Path) -> None:
    (workplace / files.PROCESSED).mkdir(parents=True)
    (workplace / files.PROCESSED / "here").touch()
    folder = prepared(workplace)
    assert schema.load(folder / schema.PARAMS_FILE) == schema.load()
    assert (folder / files.PROCESSED / "here").exists()
    assert folders.read_spec(folder) == spec()


def test_a_folder_has_the_data_of_its_repository_wherever_it_is_made_from(
    workplace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / files.PROCESSED).mkdir(parents=True)
    (workplace / files.PROCESSED / "here").touch()
    content = schema.read_yaml(schema.PARAMS_FILE)
    folder = workplace / folders.trial_folder("mine", 3)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))  # as a worker of a cluster is
    folders.prepare(folder, spec(), content)
    assert (folder / files.PROCESSED / "here").exists()


def test_values_survive_the_file_bit_for_bit(workplace: Path) -> None:
    content = schema.read_yaml(schema.PARAMS_FILE)
    content["train"]["optimizer"]["learning_rate"] = 1.0000000000000002e-05
    folder = workplace / "there"
    folders.prepare(folder, spec(), content)
    assert schema.load(folder / schema.PARAMS_FILE).train.optimizer.learning_rate == 1.0000000000000002e-05


def test_an_interrupted_trial_keeps_its_checkpoints(workplace: Path) -> None:
    folder = prepared(workplace)
    checkpoint = folder / files.STATE / "checkpoints/x.npz"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    prepared(workplace)
    assert checkpoint.exists()
    folders.remove_checkpoints(folder)
    assert not checkpoint.exists()


def test_what_a_deleted_study_of_the_same_name_left_goes(workplace: Path) -> None:
    folder = prepared(workplace, "deleted")
    (folder / files.STATE).mkdir()
    prepared(workplace)
    assert not (folder / files.STATE).exists()


def test_the_last_line_of_a_log_is_what_went_wrong_rather_than_advice(tmp_path: Path) -> None:
    assert folders.last_line(tmp_path) == ""
    (tmp_path / folders.LOG).write_text("epoch 1\nconvtrack: the disk is full\n  next: make room\n\n")
    assert folders.last_line(tmp_path) == "convtrack: the disk is full"
