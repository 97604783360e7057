"""Where studies are kept, and which study is resumed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages._grpc.server import make_server

from convtrack.errors import ConfigError, ConvtrackError, StorageError
from convtrack.params import schema
from convtrack.study import space, storage
from convtrack.study.fingerprint import fingerprint
from convtrack.study.session import open_study
from convtrack.study.storage import VARIABLE, address, open_storage, shown

Content = dict[str, Any]
SECRET = "ge:h@im/ö %"  # as it is, and as it stands in an address
QUOTED = "ge%3Ah%40im%2F%C3%B6%20%25"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that nothing answers at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def go_on(content: Content, **how: Any) -> optuna.Study:
    params = schema.parse(content)
    return open_study(params, open_storage(None), fingerprint(content, {"train_images.npy": "a" * 64}), **how)


def test_studies_are_kept_in_this_repository_unless_told_otherwise(tmp_path: Path) -> None:
    open_storage(None)
    assert (tmp_path / ".convtrack/study.db").is_file()
    assert shown(None) == f"sqlite:///{tmp_path}/.convtrack/study.db"
    assert address("sqlite:///other/s.db") == f"sqlite:///{tmp_path}/other/s.db"


def test_the_environment_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sqlite:///elsewhere.db")
    open_storage("postgresql+psycopg://ann@host/db")
    assert (tmp_path / "elsewhere.db").is_file()
    assert shown(None) == f"sqlite:///{tmp_path}/elsewhere.db"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        (f"postgresql+psycopg://ann:{QUOTED}@host:5432/db", "postgresql+psycopg://ann:***@host:5432/db"),
        (f"mysql+pymysql://host/db?user=ann&password={QUOTED}", "mysql+pymysql://host/db?user=ann&password=***"),
        ("postgresql+psycopg://ann@host/db", "postgresql+psycopg://ann@host/db"),
        (f"postgresql+psycopg://ann@corp:{QUOTED}@host/d%40b", "postgresql+psycopg://ann@corp:***@host/d%40b"),
        (f"postgresql+psycopg://host/db?sslpassword={QUOTED}", "postgresql+psycopg://host/db?sslpassword=***"),
        ("grpc://127.0.0.1:13000", "grpc://127.0.0.1:13000"),
        ("grpc://ann:geheim@127.0.0.1:13000", "grpc://127.0.0.1:13000"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, url)
    assert address(None) == url
    assert shown(None) == seen


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql+psycopg://ann:{QUOTED}@127.0.0.1:PORT/db", "cannot be reached"),
        (f"postgresql+psycopg://127.0.0.1:PORT/db?user=ann&password={QUOTED}", "cannot be reached"),
        (f"postgresql+nosuchdriver://ann:{QUOTED}@127.0.0.1/db", "needs a package that is not installed"),
        (f"mysql+mysqlconnector://ann:{QUOTED}@127.0.0.1/db", "needs a package that is not installed"),
        (f"sqlite:///{QUOTED}.db?key={QUOTED}", "sqlite needs a file"),
        (f"sqlite://ann:{QUOTED}@host/study.db", "sqlite needs a file"),
        (f"mssql://ann:{QUOTED}@host/db", "mssql is not for studies"),
        (f"postgresql:ann:{QUOTED}@host", "study.storage is no address"),
        (f"postgresql://ann:{QUOTED}@host:{QUOTED}/db", "study.storage is no address"),
        (f"://{QUOTED}", "study.storage is no address"),
        ("postgresql://ann:ge@h@im/@127.0.0.1:PORT/db", "an @ that is not escaped"),
        ("mysql+pymysql://ann:ge?@h@im/x@127.0.0.1:PORT/db", "an @ that is not escaped"),
        ("grpc://127.0.0.1", "grpc needs a host and a port"),
        ("grpc://127.0.0.1:99999999", "grpc needs a host and a port"),
    ],
)
def test_a_storage_that_cannot_be_used_is_an_error_without_the_password(
    url: str, said: str, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, url.replace("PORT", str(closed_port)))
    with pytest.raises(ConvtrackError, match=said) as raised:
        open_storage(None)
    for secret in (SECRET, QUOTED, "h@im", "im%2F"):
        assert secret not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_grpc_server_that_does_not_answer_is_an_error(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "ANSWER", 1)
    with pytest.raises(StorageError, match=f"grpc://127.0.0.1:{closed_port} does not answer"):
        open_storage(f"grpc://127.0.0.1:{closed_port}")


def test_studies_can_be_reached_through_optunas_grpc_proxy() -> None:
    served = open_storage(None)
    optuna.create_study(storage=served, study_name="s")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = make_server(served, "127.0.0.1", port)
    server.start()
    try:
        assert optuna.get_all_study_names(open_storage(f"grpc://127.0.0.1:{port}")) == ["s"]
    finally:
        server.stop(None).wait()


def test_a_study_is_created_once_and_resumed_after_that(content: Content) -> None:
    study = go_on(content)
    study.enqueue_trial(space.current(schema.parse(content).study, content))
    again = go_on(content)
    assert again.study_name == study.study_name == "layers-and-dropout"
    assert len(again.trials) == 1
    assert again.metric_names == ["val_accuracy"]
    assert [direction.name for direction in again.directions] == ["MAXIMIZE"]


def test_another_search_under_the_same_name_is_refused_with_the_differences(content: Content) -> None:
    before = go_on(content).user_attrs
    content["train"]["epochs"] = 9
    content["study"]["space"]["model.dropout"]["high"] = 0.4
    with pytest.raises(ConfigError) as raised:
        go_on(content)
    assert "train.epochs: was 4, is 9" in raised.value.message
    assert "space.model.dropout.high: was 0.5, is 0.4" in raised.value.message
    assert "--new starts another study" in raised.value.hint
    assert optuna.load_study(study_name="layers-and-dropout", storage=open_storage(None)).user_attrs == before


def test_allowed_changes_resume_the_study_and_replace_the_fingerprint(content: Content) -> None:
    first = go_on(content)
    first.tell(ask(first, content), 0.5)
    content["study"]["space"]["model.dropout"]["high"] = 0.4
    go_on(content, allow_change=True)
    study = go_on(content)
    study.tell(ask(study, content), 0.5)
    assert len(study.trials) == 2


def test_changes_that_optuna_does_not_allow_are_rejected_all_the_same(content: Content) -> None:
    study = go_on(content)
    study.tell(ask(study, content), 0.5)
    content["study"]["space"]["model.dropout"] = {"type": "categorical", "choices": [0.0, 0.1]}
    with pytest.raises(ConfigError, match="which Optuna does not allow:\n  model.dropout: Cannot set different"):
        go_on(content, allow_change=True)
    with pytest.raises(ValueError, match="different distribution kind"):  # what it would have come to
        ask(study, content)


def test_other_objectives_are_refused_even_if_allowed(content: Content) -> None:
    go_on(content)
    content["study"]["objectives"] = ["val_loss"]
    with pytest.raises(ConfigError, match=r"is to maximize; val_loss in study.objectives: minimize"):
        go_on(content, allow_change=True)
    content["study"]["objectives"] = ["val_accuracy", "flops"]
    with pytest.raises(ConfigError, match="is to maximize; .* maximize, minimize"):
        go_on(content, allow_change=True)


def test_objectives_of_the_same_directions_are_refused_too(content: Content) -> None:
    content["study"]["objectives"] = ["val_loss"]
    go_on(content)
    content["study"]["objectives"] = ["flops"]
    with pytest.raises(
        ConfigError, match=r"which Optuna does not allow:\n  objectives: was \['val_loss'\], is \['flops'\]"
    ):
        go_on(content, allow_change=True)


def test_a_study_made_with_the_optuna_command_to_minimize_is_not_filled_with_accuracies(content: Content) -> None:
    optuna.create_study(storage=open_storage(None), study_name="layers-and-dropout")
    with pytest.raises(ConfigError, match="layers-and-dropout is to minimize"):
        go_on(content)


def test_new_studies_get_a_number_behind_their_name(content: Content) -> None:
    names = [go_on(content, new=True).study_name for _ in range(3)]
    assert names == ["layers-and-dropout", "layers-and-dropout-2", "layers-and-dropout-3"]


def test_a_study_with_trials_that_others_made_is_not_mixed_with_ours(content: Content) -> None:
    optuna.create_study(storage=open_storage(None), study_name="layers-and-dropout", direction="maximize").ask()
    with pytest.raises(ConfigError, match="were not made by convtrack"):
        go_on(content)
    assert len(go_on(content, allow_change=True).trials) == 1


def test_a_study_made_empty_with_the_optuna_command_is_taken(content: Content) -> None:
    optuna.create_study(storage=open_storage(None), study_name="layers-and-dropout", direction="maximize")
    assert go_on(content).user_attrs


def ask(study: optuna.Study, content: Content) -> optuna.Trial:
    trial = study.ask()
    space.suggest(trial, schema.parse(content).study, content)
    return trial
