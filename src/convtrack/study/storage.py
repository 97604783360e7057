"""Where studies are kept: SQLite beside the repository's other state, or a database that several machines reach."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import click
import optuna
import sqlalchemy
from filelock import lock_descriptor
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

from convtrack import errors, files
from convtrack.errors import ConfigError, StorageError
from convtrack.redact import redacted, redacted_uri
from convtrack.study.optuna_internals import Database

FILE = files.STATE / "study.db"
JOURNAL = files.STATE / "study.journal"  # where earlier versions kept studies
ID = "id"  # the user attribute that tells a study from another one of the same name
VARIABLE = "CONVTRACK_STUDY_STORAGE"
ANSWER = 10  # seconds to wait for a server when it is first asked
RETURN = 60  # seconds to wait for one that answered before, while it is started again
TURN = 120  # seconds that a process waits for others to have written to SQLite
CREATION = 2.0  # seconds from the making of a study to its having an identity
HEARTBEAT, GRACE = 30, 120  # seconds between signs of life of a trial, and without one until it counts as dead
KNOWN = (
    "sqlite:///path/to/study.db, postgresql+psycopg://user@host/database, mysql+pymysql://user@host/database "
    "or grpc://host:port"
)
MEND = "mend study.storage or CONVTRACK_STUDY_STORAGE"
COPY = """\
python -c 'import optuna
from optuna.storages import JournalStorage, journal
old = JournalStorage(journal.JournalFileBackend("{old}"))
for name in optuna.get_all_study_names(old):
    optuna.copy_study(from_study_name=name, from_storage=old, to_storage="{new}")'"""


class UnreachableError(StorageError):
    """A server that does not answer, now."""


def address(url: str | None) -> str:
    """What CONVTRACK_STUDY_STORAGE says, else `url`, else this repository's file; paths are made absolute.

    It may hold a password: hand it on by that variable, and print `shown` instead. Raises ConfigError where it is none.
    """
    chosen = os.environ.get(VARIABLE) or url
    if not chosen:
        return _sqlite(FILE)
    if chosen.startswith("grpc://"):
        return chosen
    parsed = _database_url(chosen)
    return _sqlite(Path(str(parsed.database))) if parsed.get_backend_name() == "sqlite" else chosen


def shown(url: str | None) -> str:
    """`address` without its password, as `optuna --storage` and optuna-dashboard take it."""
    chosen = address(url)
    if not chosen.startswith("grpc://"):
        _database_url(chosen)
    return redacted_uri(chosen)


def open_storage(url: str | None, *, create: bool = True) -> BaseStorage:
    """The storage at `address`; with `create`, made where there is none.

    Raises ConfigError where there is none and it is not to be made, or `url` is no address; StorageError where it
    cannot be reached, read or written, or is of another version of Optuna.
    """
    chosen = address(url)
    if chosen.startswith("grpc://"):
        return _server(chosen)
    if chosen == _sqlite(FILE) and JOURNAL.exists():
        command = COPY.format(old=JOURNAL.absolute(), new=chosen)
        click.echo(
            f"convtrack: {JOURNAL} has studies of an earlier version, which are not looked at. To copy them:\n"
            f"{command}\nThen remove or rename it.",
            err=True,
        )
    parsed = _database_url(chosen)
    if parsed.get_backend_name() != "sqlite":
        return _database(parsed, create=create)
    path = Path(str(parsed.database))
    if not path.exists():
        if not create:
            raise _nothing_in(parsed)
        with files.storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    try:
        with _alone_in(path.parent):
            return _database(parsed, create=create)
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error.strerror}", MEND) from error


def identity(study: optuna.Study) -> str:
    """What tells this study from every other one, also from one of the same name that was deleted."""
    until = time.monotonic() + CREATION
    while ID not in study.user_attrs and time.monotonic() < until:  # another command has made it in this very moment
        time.sleep(0.1)
    if ID not in study.user_attrs:
        study.set_user_attr(ID, uuid.uuid4().hex)
    return str(study.user_attrs[ID])


def what_it_said(error: BaseException) -> str:
    """The database's own words, in one line: Optuna's speak of a commit and of too long values, whatever it was."""
    cause = error.__cause__ or error
    said = redacted(str(getattr(cause, "orig", cause)), os.environ.get(VARIABLE, ""))
    return " ".join(said.split())[:300]


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


def _sqlite(path: Path) -> str:
    return URL.create("sqlite", database=str(path.absolute())).render_as_string()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """A block that one process at a time is in: two at once would make the tables of a new file twice."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock_descriptor(descriptor)  # not a lock file: the folder may be one that is only read
        yield
    finally:
        os.close(descriptor)


def _nothing_in(url: URL) -> ConfigError:
    return ConfigError(f"there are no studies in {_hidden(url)}", f"convtrack study run starts one; or {MEND}")


def _database(parsed: URL, *, create: bool) -> BaseStorage:
    try:
        _check_tables(parsed, create=create)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            storage = Database(
                _readable(parsed).render_as_string(hide_password=False),
                engine_kwargs=_engine(parsed),
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
            )
        sqlalchemy.event.listen(storage.engine, "do_connect", _connect_again)
        return storage
    except (ImportError, NoSuchModuleError) as error:
        raise StorageError(
            f"{parsed.drivername} of study.storage needs a package that is not installed: {error.__cause__ or error}",
            "pip install 'convtrack[postgres]' for postgresql+psycopg, pip install pymysql for mysql+pymysql",
        ) from None
    except SQLAlchemyError as error:
        address_of = parsed.render_as_string(hide_password=False)
        said = " ".join(redacted(str(getattr(error, "orig", error)), address_of).split())
        if parsed.get_backend_name() == "sqlite":
            raise StorageError(f"{parsed.database} cannot be used for studies: {said}", MEND) from None
        if isinstance(error, OperationalError):
            raise UnreachableError(
                f"{_hidden(parsed)} cannot be reached: {said}", f"start the server, or {MEND}; nothing was changed"
            ) from None
        raise StorageError(
            f"{_hidden(parsed)} cannot be used: {said}",
            "the user of that address must be allowed to make tables and to write",
        ) from None
    except RuntimeError as error:  # of Optuna's version manager
        raise StorageError(
            f"{_hidden(parsed)} was made by another version of Optuna: {' '.join(str(error).split())}",
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
        raise UnreachableError(
            f"grpc://{split.hostname}:{split.port} does not answer", "start Optuna's gRPC proxy, or mend study.storage"
        ) from None
    return storage


def _database_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(f"study.storage is no address.{_received(url)} Allowed: {KNOWN}", MEND) from None
    backend = parsed.get_backend_name()
    if backend not in {"sqlite", "postgresql", "mysql", "mariadb"}:
        raise ConfigError(f"study.storage: {parsed.drivername} is not for studies. Allowed: {KNOWN}", MEND)
    # in memory, or with options of SQLite, a file would be another one for each process
    if backend == "sqlite" and (parsed.host or parsed.query or parsed.database in {None, "", ":memory:"}):
        raise ConfigError(
            "study.storage: sqlite needs a file, and nothing else. Allowed: sqlite:///path/to/study.db", MEND
        )
    return parsed


def _received(url: str) -> str:
    """What was received, where it is nothing that may hold a password."""
    return f" Received: {errors.shown(url)}." if not set(url) & set("@:=") else ""


def _hidden(url: URL) -> str:
    return redacted_uri(url.render_as_string(hide_password=False))


def _engine(url: URL) -> dict[str, Any]:
    """How SQLAlchemy connects."""
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": TURN}}
    # both kinds of driver call it so; without, a machine that is off takes minutes
    patience = {} if "connect_timeout" in url.query else {"connect_timeout": ANSWER}
    return {"connect_args": patience, "pool_pre_ping": True}  # a server that was started again in mid-study


def _readable(url: URL) -> URL:
    """`url`; of a file of SQLite in a folder that may only be read, so that none is to be written beside it."""
    if url.get_backend_name() != "sqlite":
        return url
    path = Path(str(url.database))
    if os.access(path.parent, os.W_OK) or Path(f"{path}-wal").exists():
        return url
    return url.set(database=f"file:{quote(str(path))}", query={"immutable": "1", "uri": "true"})


def _check_tables(url: URL, *, create: bool) -> None:
    """Refuse a database that has no studies, unless they are to be made, and one of another program."""
    engine = sqlalchemy.create_engine(_readable(url), **_engine(url))
    try:
        tables = set(sqlalchemy.inspect(engine).get_table_names())
        if "studies" not in tables and not create:
            raise _nothing_in(url)
        if "studies" not in tables and "alembic_version" in tables:
            raise ConfigError(f"{_hidden(url)} is the database of another program, as of MLflow", MEND)
        if create and url.get_backend_name() == "sqlite" and os.access(str(url.database), os.W_OK):
            with engine.connect() as connection:  # from now on, who reads waits for nobody
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    finally:
        engine.dispose()


def _connect_again(dialect: Any, _: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connect as SQLAlchemy does, and wait for a server that has answered before."""
    until = time.monotonic() + RETURN
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.dbapi.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(1)
