import subprocess
import zipfile
from pathlib import Path

import pytest
from dvc.repo import Repo

from convtrack import files
from convtrack.errors import ConfigError, ConvtrackError, DataError, StorageError
from convtrack.runs.models import PARTS, model_file


def write(path: Path, *parts: str) -> bytes:
    """A zip archive with these members, which nothing here loads; equal members give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in parts:
            archive.writestr(zipfile.ZipInfo(part), part * 100, zipfile.ZIP_DEFLATED)
    return path.read_bytes()


def refused(name: str) -> ConvtrackError:
    with pytest.raises(ConvtrackError) as error, model_file(name):
        pass
    return error.value


def git(*arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder is a repository with DVC whose branch has a model in DVC's cache, but not in the workspace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    git("init", "-q", "-b", "main")
    Repo.init().close()
    git("commit", "-qm", "untrained", "--allow-empty")
    git("branch", "untrained")
    write(files.MODEL, *PARTS)
    Path("dvc.yaml").write_text(f"stages:\n  train:\n    cmd: 'true'\n    outs: [{files.MODEL}]\n")
    with Repo() as repo:
        repo.commit(force=True)
    git("add", "-A")
    git("commit", "-qm", "trained")
    files.MODEL.unlink()
    return tmp_path


def test_a_file_is_itself(tmp_path: Path) -> None:
    write(tmp_path / "model.keras", *PARTS)
    with model_file(str(tmp_path / "model.keras")) as path:
        assert path == tmp_path / "model.keras"


def test_a_revision_has_its_model_from_the_cache_and_the_workspace_has_none(repository: Path) -> None:
    with model_file("main") as path:
        assert path.read_bytes() == write(Path("same.keras"), *PARTS)
        assert not files.MODEL.exists()
    assert not path.exists()
    error = refused("workspace")
    assert (error.message, error.hint) == ("models/model.keras is missing", "dvc repro creates it")


def test_a_revision_without_its_model_says_whether_there_ever_was_one(repository: Path) -> None:
    error = refused("untrained")
    assert "untrained has no models/model.keras: by its dvc.lock, train had not run there" in error.message
    for cached in (repository / ".dvc/cache/files/md5").rglob("*"):
        if cached.is_file():
            cached.unlink()
    error = refused("main")
    assert isinstance(error, DataError)
    assert "neither in DVC's cache nor in a remote" in error.message
    assert "dvc fetch --all-commits" in error.hint


def test_names_that_are_nothing_say_what_is_allowed(repository: Path) -> None:
    error = refused("mian")
    assert isinstance(error, ConfigError)
    assert "no run is called mian" in error.message
    Path("model.h5").touch()
    error = refused("model.h5")
    assert "is no run, and a file whose name does not end in .keras" in error.message
    error = refused("\u202e.keras")
    assert isinstance(error, StorageError)
    assert error.message == r"\u202e.keras is missing"
    assert "models:/NAME@ALIAS" in error.hint


def test_damaged_and_foreign_files_are_refused_with_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    whole = write(path, *PARTS)
    middle = whole.index(b"config.json") + 13
    for content, problem in [
        (b"", "is no complete Keras file: File is not a zip file"),
        (whole[:-30], "is no complete Keras file"),
        (whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], "is no complete Keras file"),
    ]:
        path.write_bytes(content)
        error = refused(str(path))
        assert problem in error.message
        assert error.hint == "copy it again, or name a run"
    write(path, "word/document.xml", "config.json")
    assert refused(str(path)).message == f"{path} is no complete Keras file: it has no model.weights.h5"
    path.unlink()
    path.mkdir()
    assert "cannot be read: Is a directory" in refused(str(path)).message
