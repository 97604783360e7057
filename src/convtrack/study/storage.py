"""Where studies are kept: a journal beside the repository's other state, or a database that several machines reach."""

from __future__ import annotations

import contextlib
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import BaseStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

from convtrack import artifacts
from convtrack.config import Params
from convtrack.errors import ConfigError, StorageError
from convtrack.study import fingerprint as fingerprints
from convtrack.study.journal import open_journal
from convtrack.study.sampling import directions

JOURNAL = artifacts.STATE / "study.journal"
ID = "id"  # the user attribute that tells a study from another one of the same name
VARIABLE = "CONVTRACK_STUDY_STORAGE"
ANSWER = 10  # seconds to wait for a server
HEARTBEAT, GRACE = 30, 120  # seconds between signs of life of a trial, and without one until it counts as dead
KNOWN = "a path, postgresql+psycopg://user@host/database, mysql+pymysql://user@host/database or grpc://host:port"


def address(url: str | None) -> str:
    """What CONVTRACK_STUDY_STORAGE says, else `url`, else this repository's journal; paths are made absolute.

    It may hold a password: hand it on by that variable, and print `shown` instead.
    """
    chosen = os.environ.get(VARIABLE) or url or str(JOURNAL)
    return chosen if "://" in chosen else str(Path(chosen).absolute())


def shown(url: str | None) -> str:
    """`address` without its password, as `optuna --storage` and optuna-dashboard take it."""
    chosen = address(url)
    if "://" not in chosen or chosen.startswith("grpc://"):
        return chosen
    return _hidden(_database_url(chosen))


def open_storage(url: str | None) -> BaseStorage:
    """The storage at `address`, made where there is none.

    Raises StorageError where it cannot be reached, read or written, or is of another version of Optuna.
    """
    chosen = address(url)
    if "://" not in chosen:
        return open_journal(Path(chosen))
    return _server(chosen) if chosen.startswith("grpc://") else _database(chosen)


def what_it_said(error: BaseException) -> str:
    """The database's own words, in one line: Optuna's speak of a commit and of too long values, whatever it was."""
    cause = error.__cause__ or error
    return " ".join(str(getattr(cause, "orig", cause)).split())[:300]


@contextlib.contextmanager
def refused_writes() -> Iterator[None]:
    """A block of writes, all of one command, that a database may refuse (StorageError)."""
    try:
        yield
    except optuna.exceptions.StorageInternalError as error:
        raise StorageError(
            f"the study cannot be written: {what_it_said(error)}. What was there before is untouched",
            "the user of study.storage or CONVTRACK_STUDY_STORAGE must be allowed to write, and the database take it",
        ) from error


@refused_writes()
def open_study(
    params: Params,
    storage: BaseStorage,
    fingerprint: dict[str, Any],
    *,
    new: bool = False,
    allow_change: bool = False,
) -> optuna.Study:
    """The study that study.name names, made where there is none yet; with `new` always another one, `name-2` and so on.

    Raises ConfigError where the study there is one of another `fingerprint`, unless `allow_change` and Optuna allow it;
    StorageError where it cannot be written.
    """
    name = params.study.name
    known = set(optuna.get_all_study_names(storage))
    if new and name in known:
        name = next(other for number in range(2, len(known) + 3) if (other := f"{name}-{number}") not in known)
    try:  # who makes a study also names it, so that commands which begin it at once agree on its name
        study = optuna.create_study(storage=storage, study_name=name, directions=directions(params.study))
        study.set_user_attr(ID, uuid.uuid4().hex)
    except DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name)
    before = study.user_attrs.get(fingerprints.ATTRIBUTE)
    if before == fingerprint:
        return study
    _refuse_other_directions(study, params)
    if before is not None:
        _refuse_another_search(study, before, fingerprint, allow_change)
    elif study.get_trials(deepcopy=False) and not allow_change:
        raise ConfigError(
            f"study {name} was not made by convtrack, so that nobody knows what its trials have in common",
            f"{_start_another(name)}; --allow-change goes on with it",
        )
    study.set_user_attr(fingerprints.ATTRIBUTE, fingerprint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(params.study.objectives))
    return study


def _refuse_other_directions(study: optuna.Study, params: Params) -> None:
    has, wanted = [one.name.lower() for one in study.directions], directions(params.study)
    if has != wanted:
        raise ConfigError(
            f"study {study.study_name} is to {', '.join(has)}, and study.objectives "
            f"({', '.join(params.study.objectives)}) to {', '.join(wanted)}",
            _start_another(study.study_name),
        )


def _refuse_another_search(
    study: optuna.Study, before: dict[str, Any], now: dict[str, Any], allow_change: bool
) -> None:
    name = study.study_name
    different = "\n".join(f"  {line}" for line in fingerprints.differences(before, now))
    if not allow_change:
        raise ConfigError(
            f"study {name} searched something else:\n{different}",
            f"{_start_another(name)}; --allow-change goes on with this one where Optuna can; or take the changes back",
        )
    if obstacles := fingerprints.obstacles(before, now):
        lines = "\n".join(f"  {line}" for line in obstacles)
        raise ConfigError(
            f"study {name} cannot go on with these changes, which Optuna refuses:\n{lines}", _start_another(name)
        )


def _start_another(name: str) -> str:
    return f"convtrack study run --new starts another study than {name}, or set study.name to another name"


def _database(url: str) -> BaseStorage:
    parsed = _database_url(url)
    hide = _without_password(parsed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return optuna.storages.RDBStorage(
                _with_timeout(parsed).render_as_string(hide_password=False),
                engine_kwargs={"pool_pre_ping": True},  # a server that was started again in mid-study
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
            )
    except (ImportError, NoSuchModuleError) as error:
        raise StorageError(
            f"{parsed.drivername} of study.storage needs a package that is not installed: {error.__cause__ or error}",
            "pip install 'convtrack[postgres]' for postgresql+psycopg, pip install pymysql for mysql+pymysql",
        ) from None
    except OperationalError as error:
        raise StorageError(
            f"{_hidden(parsed)} cannot be reached: {hide(str(error.orig))}",
            "start the server, or mend study.storage or CONVTRACK_STUDY_STORAGE; nothing was changed",
        ) from None
    except SQLAlchemyError as error:
        raise StorageError(
            f"{_hidden(parsed)} cannot be used: {hide(str(getattr(error, 'orig', error)))}",
            "the user of that address must be allowed to make tables and to write",
        ) from None
    except RuntimeError as error:  # of Optuna's version manager
        raise StorageError(
            f"{_hidden(parsed)} was made by another version of Optuna: {hide(str(error))}",
            f"make a copy, then optuna storage upgrade --storage {_hidden(parsed)}",
        ) from None


def _server(url: str) -> BaseStorage:
    split = urlsplit(url)
    try:
        if not split.hostname or not split.port:
            raise ValueError
    except ValueError:
        raise ConfigError("study.storage: grpc needs a host and a port", "as grpc://127.0.0.1:13000") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = optuna.storages.GrpcStorageProxy(host=split.hostname, port=split.port)
    try:
        storage.wait_server_ready(timeout=ANSWER)
    except ConnectionError:
        raise StorageError(
            f"grpc://{split.hostname}:{split.port} does not answer", "start Optuna's gRPC proxy, or mend study.storage"
        ) from None
    return storage


def _database_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            f"study.storage is no address. Allowed: {KNOWN}", "mend study.storage or CONVTRACK_STUDY_STORAGE"
        ) from None
    if parsed.get_backend_name() not in {"postgresql", "mysql", "mariadb"}:
        raise ConfigError(
            f"study.storage: {parsed.drivername} is not for studies. Allowed: {KNOWN}",
            "set study.storage to null for a file of this repository, see docs/decisions/study-storage.md",
        )
    return parsed


def _hidden(url: URL) -> str:
    return (url.update_query_dict({"password": "***"}) if "password" in url.query else url).render_as_string()


def _with_timeout(url: URL) -> URL:
    # both kinds of driver call it so; without, a machine that is off takes minutes
    return url if "connect_timeout" in url.query else url.update_query_dict({"connect_timeout": str(ANSWER)})


def _without_password(url: URL) -> Callable[[str], str]:
    """A function that takes the password of `url`, as it is and as it stands in an address, out of a text."""
    secrets = {str(url.password or ""), str(url.query.get("password", ""))}
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))} - {""}

    def hide(text: str) -> str:
        for form in forms:
            text = text.replace(form, "***")
        return " ".join(text.split())

    return hide
