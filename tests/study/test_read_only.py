"""Storages that may be read and not written: what is asked of them is done or refused in words, and they stay."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from convtrack.errors import StorageError
from convtrack.params import schema
from convtrack.study import reporting, results, session, storage
from convtrack.study.fingerprint import fingerprint
from convtrack.study.storage import failed_writes

from .searched import empty, searched
from .test_commands_at_once import Nobody

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
# in a process of its own, since nothing is read-only for root
AS_NOBODY = """
import os, sys
import optuna
optuna.storages.RDBStorage("sqlite://")  # imports what nobody may not
from convtrack.cli import main, study
from convtrack.params import schema
from convtrack.errors import ConvtrackError
from convtrack.study import apply, pages, results, session, storage, terminal
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
content = schema.read_yaml(schema.PARAMS_FILE)
params = schema.parse(content)
for command in sys.argv[1:]:
    try:
        if command == "show":
            found = results.read(results.load(params.study.name, storage.open_storage(None)))
            print(len(found.trials), found.best[0].number)
        else:
            dataset = {"image_shape": [32, 32, 3], "digests": {}}
            session.open_session(params, content, dataset, new=False, allow_change=False)
    except ConvtrackError as error:
        print(f"{command}: {type(error).__name__}: {error}")
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others may look into, as pytest's own are not, with params.yaml and a folder for studies."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        (folder / ".convtrack").mkdir()
        yield folder


def as_nobody(place: Path, *commands: str) -> str:
    """What the commands print, one after the other, for a user who may not write."""
    process = [sys.executable, "-c", AS_NOBODY, *commands]
    done = subprocess.run(process, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_read_only_file_is_shown_and_not_resumed(place: Path) -> None:
    file = place / ".convtrack/study.db"
    name = schema.load(place / "params.yaml").study.name
    study = searched(empty(name, storage=storage.open_storage(f"sqlite:///{file}")), 4)
    best = str(study.best_trial.number)
    assert as_nobody(place, "show").split() == ["4", best]  # beside a command that is at work
    kept: Any = study._storage
    kept._backend.engine.dispose()
    file.chmod(0o444)
    before = file.read_bytes()
    shown, refused, *advice = as_nobody(place, "show", "run").splitlines()
    assert shown.split() == ["4", best]
    assert refused.startswith("run: StorageError: the study cannot be written: attempt to write a readonly database")
    assert "next: " in "".join(advice)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_takes_no_file_is_named(place: Path) -> None:
    (place / ".convtrack").chmod(0o555)
    refused = as_nobody(place, "show", "run")
    assert refused.count("study.db cannot be written: Permission denied") == 2
    assert list((place / ".convtrack").iterdir()) == []


def test_a_read_only_database_is_shown_and_not_resumed(
    new_database: Callable[[], str], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = schema.read_yaml(schema.PARAMS_FILE)
    params, prints = schema.parse(content), fingerprint(content, {})
    address = new_database()
    monkeypatch.setenv(storage.VARIABLE, address)
    study = searched(session.open_study(params, storage.open_storage(None), prints), 3)
    study.set_user_attr("id", "0" * 32)
    study.ask()  # by a command that is gone
    monkeypatch.setattr(reporting, "UNSIGNED", 0.0)
    monkeypatch.setenv(storage.VARIABLE, f"{address}&options=-c%20default_transaction_read_only%3Don")
    opened = results.load(params.study.name, storage.open_storage(None))
    assert len(results.read(opened).trials) == 4
    for new in (False, True):
        with pytest.raises(StorageError, match="cannot be written") as refused:
            session.open_study(params, storage.open_storage(None), prints | {"fixed": {}}, new=new, allow_change=True)
        assert "read-only transaction" in str(refused.value)
    with pytest.raises(StorageError, match="read-only transaction"), failed_writes():
        opened.ask()
    with pytest.raises(StorageError, match="read-only transaction"):
        reporting.clean(opened, Nobody(), other_hosts=False)
    monkeypatch.setenv(storage.VARIABLE, address)
    assert len(optuna.get_all_study_names(storage.open_storage(None))) == 1
