"""What doctor finds wrong, and that it says how to mend it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from convtrack.cli import doctor
from convtrack.cli.doctor import Finding
from convtrack.params import editor, schema
from convtrack.stages import inspect
from convtrack.system import processor
from convtrack.tracking import store


def findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor.findings()}


@pytest.fixture
def healthy(workplace: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder is a repository in which nothing is wrong."""
    editor.edit(lambda params: params["data"].__setitem__("name", "digits"), "the test")
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "params.yaml"], [*identity, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], check=True)
    for least in ("MIN_MEMORY", "MIN_DISK"):  # other tests may be taking what there is
        monkeypatch.setattr(doctor, least, 0)
    (workplace / ".dvc").mkdir()
    shutil.copy(root / ".dvc/config", workplace / ".dvc")  # DVC sends no statistics about its use
    (workplace / "data/images").mkdir(parents=True)
    (workplace / "src").symlink_to(root / "src")
    return workplace


def test_where_nothing_is_wrong_the_exit_code_is_0(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.examine() == 0
    said = capsys.readouterr().out
    assert "Nothing is wrong." in said
    for name in ("Python", "tensorflow", "instructions", "cores", "memory", "disk", "git", "pipeline", "MLflow"):
        assert name in said
    assert f"sqlite:///{healthy / 'mlflow.db'}, made by the first run" in " ".join(said.split())
    assert "digits: not imported yet" in said


def test_instruction_sets_are_named_as_their_makers_do(monkeypatch):
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx2", "avx512f"}))
    assert doctor._instructions().value.startswith("has AVX2 and AVX-512; lacks AVX-512 BF16 and AMX; ")
    monkeypatch.setattr(processor, "flags", frozenset)
    assert doctor._instructions().value.startswith("lacks AVX2, AVX-512, AVX-512 BF16 and AMX; ")


def test_what_is_wrong_comes_with_a_remedy_and_exit_code_1(
    healthy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert doctor.examine() == 1
    said = capsys.readouterr().out
    assert "MLflow, next: start that server, or unset MLFLOW_TRACKING_URI" in said


def test_a_broken_params_yaml_a_missing_folder_of_images_and_no_git_are_found(
    healthy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(healthy / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(healthy.parent))
    params = healthy / "params.yaml"
    valid = params.read_text()
    params.write_text(valid.replace("epochs:", "epoch:"))
    found = findings()
    assert "git init" in found["git"].remedy
    assert "did you mean epochs?" in found["params.yaml"].value
    assert found["params.yaml"].remedy
    params.write_text(
        valid.replace("name: digits", "name: image_folder").replace("path: data/images", "path: /nowhere")
    )
    data = findings()["data"]
    assert "data.path: /nowhere does not exist" in data.value
    assert "set data.path in params.yaml" in data.remedy


def test_a_link_to_images_on_a_disk_that_is_gone_is_found(healthy: Path) -> None:
    editor.edit(lambda params: params["data"].__setitem__("name", "image_folder"), "the test")
    (healthy / "data/images").rmdir()
    (healthy / "disk/train/cat").mkdir(parents=True)
    (healthy / "data/images").symlink_to(healthy / "disk")
    inspect.run(schema.load().data)
    entry = {"path": f"{inspect.WATCHED}/data/images", "hash": "md5", "md5": "0" * 32 + ".dir"}
    cmd = YAML(typ="safe").load(healthy / "dvc.yaml")["vars"][0]["convtrack"] + " inspect"
    lock = {"schema": "2.0", "stages": {"inspect": {"cmd": cmd, "outs": [entry]}}}
    (healthy / "dvc.lock").write_text(json.dumps(lock))
    assert not doctor._dvc().remedy
    (healthy / "disk").rename(healthy / "unmounted")
    found = doctor._dvc()
    assert "a link whose target does not exist" in found.value
    assert "mount the disk" in found.remedy


def test_an_experiment_that_the_store_does_not_have_is_found(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "4711")
    assert "made by the first run" in doctor._mlflow()
    store.connect()
    found = doctor._checked("MLflow", doctor._mlflow)
    assert "MLFLOW_EXPERIMENT_ID is 4711" in found.value
    assert "unset MLFLOW_EXPERIMENT_ID" in found.remedy


def test_a_path_in_which_dvc_runs_no_temporary_experiments_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, found in {"C#": "#", "a?b": "?", "été": "é", "it's, [x]": ""}.items():
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        note = f"; dvc exp run --temp and --queue do not work in a path with {found}" if found else ""
        assert doctor._folder() == Finding("folder", f"{tmp_path / name}{note}")


LOCK = """schema: '2.0'
stages:
  download:
    cmd: echo
    outs:
    - path: data/raw
      md5: 0123456789abcdef0123456789abcdef.dir
"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("dvc.lock", LOCK[: LOCK.index(end) + 2]) for end in ("download:", "path")),
        pytest.param("dvc.lock", LOCK[: LOCK.index("md5:") + 2], marks=pytest.mark.slow),
        (".dvc/tmp/rwlock", '{"write": {"da'),
    ],
    ids=["lock in a stage's name", "lock in a key", "lock in a hash", "rwlock"],
)
def test_a_file_of_dvcs_that_a_kill_has_cut_is_told_from_other_troubles(healthy: Path, name: str, content: str) -> None:
    (healthy / ".dvc/tmp").mkdir()
    (healthy / name).write_text(content)
    found = doctor._dvc()
    assert f"DVC cannot read {name}" in found.value
    assert f"rm {name}" in found.remedy


def test_a_whole_lock_of_dvcs_is_no_trouble(healthy: Path) -> None:
    (healthy / "dvc.lock").write_text(LOCK)
    (healthy / ".dvc/tmp").mkdir()
    (healthy / ".dvc/tmp/rwlock").write_text("{}")
    assert not doctor._dvc().remedy
