"""Where studies are kept: SQLite in the repository's .convtrack folder, or a database that several machines reach."""

from __future__ import annotations

import contextlib
import errno
import os
import re
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
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

from convtrack import errors, files
from convtrack.errors import ConfigError, ConvtrackError, StorageError
from convtrack.redact import in_one_line, redacted_uri
from convtrack.study.optuna_internals import Database

FILE = files.STATE / "study.db"
JOURNAL = files.STATE / "study.journal"  # where earlier versions kept studies
ID = "id"  # user attribute: identifies a study, also among deleted ones of the same name
VARIABLE = "CONVTRACK_STUDY_STORAGE"
# seconds: for the first answer of a server, for a server that restarts, for other writers to SQLite, and for another
# command to set the ID of a study that it has just created
ANSWER, RETURN, BUSY, CREATION = 10, 60, 120, 2.0
HEARTBEAT, GRACE = 30, 120  # seconds between heartbeats of a trial, and without one until it counts as dead
SQLITE = "sqlite:///path/to/study.db"
KNOWN = f"{SQLITE}, postgresql+psycopg://user@host/database, mysql+pymysql://user@host/database or grpc://host:port"
# a password with @ in it, of which SQLAlchemy would take one part for the password and show another as the host
AMBIGUOUS = re.compile(r"[^:]+://[^:/]*:[^@]*@[^?]*@")
MEND = "correct study.storage or CONVTRACK_STUDY_STORAGE"


class UnreachableError(StorageError):
    """A server that does not answer now."""


def address(url: str | None) -> str:
    """The address in CONVTRACK_STUDY_STORAGE, else `url`, else the repository's SQLite file; paths are made absolute.

    It may hold a password: pass it on in that variable only, and print `shown` instead. Raises ConfigError.
    """
    chosen = os.environ.get(VARIABLE) or url
    if not chosen:
        return _sqlite(FILE)
    if chosen.startswith("grpc://"):
        return chosen
    parsed = _parsed(chosen)
    return _sqlite(Path(str(parsed.database))) if parsed.get_backend_name() == "sqlite" else chosen


def shown(url: str | None) -> str:
    """`address` without its password, as `optuna --storage` and optuna-dashboard take it."""
    return redacted_uri(address(url))


def open_storage(url: str | None, *, create: bool = True) -> BaseStorage:
    """Open the storage at `address`; with `create`, create it if it does not exist.

    Raises ConfigError if `url` is invalid or the storage does not exist; StorageError if it cannot be used.
    """
    chosen = address(url)
    if chosen.startswith("grpc://"):
        return _server(chosen)
    if chosen == _sqlite(FILE) and JOURNAL.exists():
        said = f"convtrack: {JOURNAL} has studies of an earlier version, which are ignored"
        click.echo(f"{said}; CHANGELOG.md says how to copy them", err=True)
    parsed = _parsed(chosen)
    if parsed.get_backend_name() != "sqlite":
        return _database(parsed, create=create)
    path = Path(str(parsed.database))
    if not path.exists():
        if not create:
            raise _no_studies(parsed)
        with files.storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    try:
        with _locked(path.parent):
            return _database(parsed, create=create)
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error.strerror}", MEND) from error


def identity(study: optuna.Study) -> str:
    """The ID of a study, which is set first if nobody has done so."""
    until = time.monotonic() + CREATION
    while ID not in study.user_attrs and time.monotonic() < until:  # another command may just have created it
        time.sleep(0.1)
    if ID not in study.user_attrs:
        study.set_user_attr(ID, uuid.uuid4().hex)
    return str(study.user_attrs[ID])


def cause_of(error: BaseException) -> str:
    """The database's own message in one line; Optuna's talks of a commit, whatever the cause."""
    cause = error.__cause__ or error
    return in_one_line(str(getattr(cause, "orig", cause)), os.environ.get(VARIABLE, ""))


@contextlib.contextmanager
def failed_writes() -> Iterator[None]:
    """Raise StorageError if the study cannot be written: the database fails or refuses, or the disk is full."""
    try:
        yield
    except (OSError, StorageInternalError) as error:
        if isinstance(error, OSError) and not is_disk_full(error):
            raise
        raise StorageError(
            f"the study cannot be written: {cause_of(error)}. Earlier results are kept, and unfinished trials wait",
            "free disk space, start the database or let its user write, then run the same command again",
        ) from error


def is_disk_full(error: BaseException | None) -> bool:
    """Whether `error` or one of its causes is a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return True
        error = error.__cause__ or error.__context__
    return False


def _sqlite(path: Path) -> str:
    return URL.create("sqlite", database=str(path.absolute())).render_as_string()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock `folder`: two processes must not create the tables of a new file at once."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock_descriptor(descriptor)  # not a lock file, since the folder may be read-only
        yield
    finally:
        os.close(descriptor)


def _no_studies(url: URL) -> ConfigError:
    return ConfigError(f"there are no studies in {_hidden(url)}", f"convtrack study run starts one; or {MEND}")


def _database(url: URL, *, create: bool) -> BaseStorage:
    try:
        _check_tables(url, create=create)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            storage = Database(
                _readable(url).render_as_string(hide_password=False),
                engine_kwargs=_engine(url),
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
            )
    except (ImportError, SQLAlchemyError, RuntimeError) as error:
        raise _problem(url, error) from None
    sqlalchemy.event.listen(storage.engine, "do_connect", _connect_again)
    return storage


def _problem(url: URL, error: Exception) -> ConvtrackError:
    """The error of ours for one of SQLAlchemy, a driver or Optuna."""
    where, secret = _hidden(url), url.render_as_string(hide_password=False)
    said = in_one_line(str(getattr(error, "orig", error)), secret)
    if isinstance(error, ImportError | NoSuchModuleError):
        return StorageError(
            f"{url.drivername} in study.storage needs a package that is not installed: {error.__cause__ or error}",
            "pip install 'convtrack[postgres]' for postgresql+psycopg, pip install pymysql for mysql+pymysql",
        )
    if isinstance(error, OperationalError) and url.get_backend_name() != "sqlite":
        return UnreachableError(f"{where} cannot be reached: {said}", f"start the server, or {MEND}")
    if isinstance(error, SQLAlchemyError):
        return StorageError(f"{where} cannot be used for studies: {said}", f"let its user create tables, or {MEND}")
    return StorageError(  # a RuntimeError of Optuna's version manager
        f"{where} was made by another version of Optuna: {said}",
        f"make a copy, then optuna storage upgrade --storage {where}",
    )


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
        where = f"grpc://{split.hostname}:{split.port}"
        raise UnreachableError(f"{where} does not answer", f"start Optuna's gRPC proxy, or {MEND}") from None
    return storage


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        received = f" Received: {errors.shown(url)}." if not set(url) & set("@:=") else ""  # no part is a password
        raise ConfigError(f"study.storage is no address.{received} Allowed: {KNOWN}", MEND) from None
    backend = parsed.get_backend_name()
    if backend not in {"sqlite", "postgresql", "mysql", "mariadb"}:
        raise ConfigError(f"study.storage: {parsed.drivername} is not for studies. Allowed: {KNOWN}", MEND)
    if backend != "sqlite" and AMBIGUOUS.match(url):
        raise ConfigError(
            "study.storage: its password has an @ that is not escaped, so where the host begins is unclear",
            "write @ as %40, / as %2F and % as %25 in the password",
        )
    # each process would open another file if it were in memory or had options
    if backend == "sqlite" and (parsed.host or parsed.query or parsed.database in {None, "", ":memory:"}):
        raise ConfigError(f"study.storage: sqlite needs a file, and nothing else. Allowed: {SQLITE}", MEND)
    return parsed


def _hidden(url: URL) -> str:
    return redacted_uri(url.render_as_string(hide_password=False))


def _engine(url: URL) -> dict[str, Any]:
    """Arguments of sqlalchemy.create_engine."""
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY}}
    # both drivers have this argument; without it, an unreachable machine takes minutes
    patience = {} if "connect_timeout" in url.query else {"connect_timeout": ANSWER}
    return {"connect_args": patience, "pool_pre_ping": True}  # pre-ping: the server may restart during a study


def _readable(url: URL) -> URL:
    """`url`; for a SQLite file in a read-only folder, one with which SQLite writes no other file beside it."""
    path = Path(str(url.database))
    if url.get_backend_name() != "sqlite" or os.access(path.parent, os.W_OK) or Path(f"{path}-wal").exists():
        return url
    return url.set(database=f"file:{quote(str(path))}", query={"immutable": "1", "uri": "true"})


def _check_tables(url: URL, *, create: bool) -> None:
    """Raise ConfigError for a database of another program, and for one without studies unless `create`."""
    engine = sqlalchemy.create_engine(_readable(url), **_engine(url))
    try:
        tables = set(sqlalchemy.inspect(engine).get_table_names())
        if "studies" not in tables and not create:
            raise _no_studies(url)
        if "studies" not in tables and "alembic_version" in tables:
            raise ConfigError(f"{_hidden(url)} is the database of another program, such as MLflow", MEND)
        if create and url.get_backend_name() == "sqlite" and os.access(str(url.database), os.W_OK):
            with engine.connect() as connection:  # so that readers never wait
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    finally:
        engine.dispose()


def _connect_again(dialect: Any, _: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connect as SQLAlchemy does, and wait for a server that restarts."""
    until = time.monotonic() + RETURN
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.dbapi.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(1)
