"""Opening a ledger: connecting, checking the version, migrating the schema and locking.

Nothing is written to a file before it is known to be empty or a ledger of a version that this
Catcher understands.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool, StaticPool

from catcher.model.errors import CatcherError
from catcher.model.rule_subset import RuleSubset
from catcher.model.time import MILLISECOND, SECOND, Span
from catcher.ports import StoreUnavailable
from catcher.stores.ledger import schema
from catcher.stores.ledger import schema as schema_columns
from catcher.stores.ledger.sqlite_files import RECOVERY_HINT, is_disk_full, is_folder_read_only

MAX_CHECKED_BYTES = 64 * 2**20
"""A SQLite file up to this size is fully checked when it is opened."""
IDLE_TRANSACTION_TIMEOUT = 2 * SECOND
"""A server ends a transaction that its engine leaves idle for this long."""
OWN_TABLES = frozenset(schema_columns.metadata.tables) | {"alembic_version"}


def parse_ledger_url(url: str) -> URL:
    """Parses a ledger's URL: `sqlite` with a path (without one: in memory) or `postgresql`."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise CatcherError(
            "the ledger's address is no database URL", "write sqlite:///FILE or postgresql://…"
        ) from None
    kind = parsed.get_backend_name()
    if kind == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise CatcherError(f"a ledger cannot be kept in {kind}", "use sqlite or postgresql")
    return parsed


def get_sqlite_path(url: URL) -> Path | None:
    """Returns the file of a SQLite ledger, None for one in memory or on a server."""
    name = url.database or ""
    has_file = url.get_backend_name() == "sqlite" and name not in ("", ":memory:")
    return Path(name) if has_file else None


def create_database_engine(
    url: URL, *, full_sync: bool, lock_timeout: Span, read_only: bool
) -> Engine:
    """Returns the database engine for one thread; a reader cannot write."""
    if url.get_backend_name() == "postgresql":
        return _create_server_engine(url, lock_timeout, read_only)
    options: dict[str, Any] = {"hide_parameters": True}
    options["connect_args"] = {"timeout": lock_timeout / SECOND, "check_same_thread": False}
    file = get_sqlite_path(url)
    if file is None:
        options["poolclass"] = StaticPool
    if read_only and file is not None and is_folder_read_only(file):
        parameters = {"mode": "ro", "immutable": "1", "uri": "true"}
        url = url.set(database=file.absolute().as_uri()).update_query_dict(parameters)
    engine = create_engine(url, **options)
    event.listen(engine, "connect", _build_sqlite_configurer(full_sync, read_only))
    begin_statement = "BEGIN" if read_only else "BEGIN IMMEDIATE"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin_statement))
    return engine


def _create_server_engine(url: URL, lock_timeout: Span, read_only: bool) -> Engine:
    """Returns an engine that detects a lost connection within seconds, on both ends.

    On the server, a transaction whose engine was stopped halfway would keep the lease's row locked
    and so block the standby engine; the server therefore ends it before the lease expires.
    """
    milliseconds = lock_timeout // MILLISECOND
    arguments = {
        "connect_timeout": max(2, lock_timeout // SECOND),
        "tcp_user_timeout": milliseconds,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "application_name": "catcher",
    }
    settings = {
        "idle_in_transaction_session_timeout": IDLE_TRANSACTION_TIMEOUT // MILLISECOND,
        "lock_timeout": milliseconds,
        "client_min_messages": "warning",
    }
    if read_only:
        settings["default_transaction_read_only"] = "on"
    # Settings in the URL take precedence.
    connect_args = {name: value for name, value in arguments.items() if name not in url.query}
    try:
        engine = create_engine(
            url, hide_parameters=True, poolclass=NullPool, connect_args=connect_args,
            isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
        )  # fmt: skip
    except (ImportError, NoSuchModuleError):
        raise CatcherError(
            "the driver for PostgreSQL is not installed", "pip install 'psycopg[binary]'"
        ) from None

    def configure_connection(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute(f"SET {name} = {value}")
        connection.commit()

    event.listen(engine, "connect", configure_connection)
    return engine


def _build_sqlite_configurer(full_sync: bool, read_only: bool) -> Callable[[Any, Any], None]:
    def configure_connection(connection: sqlite3.Connection, _: object) -> None:
        # The driver would begin transactions by its own rules; the engine's hook does it.
        connection.isolation_level = None
        if read_only:
            connection.execute("PRAGMA query_only = ON")
            return
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if full_sync else 'NORMAL'}")

    return configure_connection


def acquire_file_lock(file: Path) -> IO[bytes]:
    """Locks a ledger's file for one engine, for as long as the returned stream is open.

    It is a lock of the operating system, so it ends with the process, however that ends.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.with_name(file.name + ".lock").open("wb")
    except OSError as error:
        raise CatcherError(
            f"the ledger {file} cannot be written: {error.strerror}",
            "choose another folder with --data, or give this user the right to write there",
        ) from None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise CatcherError(
            f"another engine works on the ledger {file}",
            "stop that one first, or give this one a folder of its own with --data",
        ) from None
    return stream


def reject_rule_subset(rule_subset: RuleSubset, name: str) -> None:
    """Raises CatcherError if a ledger that one engine locks is opened for a subset of the rules."""
    if rule_subset.name or rule_subset.shared:
        raise CatcherError(
            f"{name} is held by one engine, which carries all rules",
            "several engines want one that all reach: stores: {ledger: postgresql://…}",
        )


def check_schema_version(connection: Connection, name: str) -> str:
    """Returns the schema version, empty for an empty database. Raises CatcherError if it is no
    ledger.
    """
    if connection.dialect.name == "sqlite":
        _check_integrity(connection, name)
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return ""
    if "alembic_version" not in tables or not tables & set(schema_columns.metadata.tables):
        raise CatcherError(
            f"{name} is a database of something else",
            "give the ledger a file or a database of its own",
        )
    version = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
    if version > schema.VERSION:
        raise CatcherError(
            f"{name} was written by a newer Catcher (schema {version}; "
            f"this one knows up to {schema.VERSION})",
            "upgrade Catcher; nothing was changed",
        )
    return version


def _check_integrity(connection: Connection, name: str) -> None:
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    if pages * size > MAX_CHECKED_BYTES:
        return
    result = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if result != "ok":
        raise CatcherError(f"{name} is damaged: {result}", RECOVERY_HINT)


def upgrade_schema(connection: Connection, version: str) -> None:
    """Migrates the schema from a version (empty: none) to the current one."""
    if version == schema.VERSION:
        return
    if not version:
        schema_columns.metadata.create_all(connection)
        connection.execute(_VERSION_TABLE)
        connection.execute(text("INSERT INTO alembic_version VALUES (:v)"), {"v": schema.VERSION})
        return
    run_migrations(connection)


_VERSION_TABLE = text(
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
"""As Alembic creates it."""


def run_migrations(connection: Connection) -> None:
    """Runs every migration that has not been applied yet."""
    from alembic import command  # Slow to import, and only an old ledger needs it.
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise CatcherError(f"the ledger cannot be brought up to date: {error}") from None


def translate_error(error: SQLAlchemyError | sqlite3.Error, name: str, url: URL) -> CatcherError:
    """Translates a database error into one for users; it never contains statement parameters."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    error_text = str(cause).splitlines()[0] if str(cause) else type(error).__name__
    file = get_sqlite_path(url)
    if "disk I/O" in error_text and file is not None and is_disk_full(file):
        error_text = "is full"  # SQLite is not more specific if its shared memory cannot grow.
    if "malformed" in error_text or "not a database" in error_text:
        return CatcherError(f"{name} is damaged or no ledger: {error_text}", RECOVERY_HINT)
    for fragment, description, hint in _SQLITE_ERRORS:
        if fragment in error_text and not _get_sqlstate(error):
            return StoreUnavailable(f"{name} {description}", hint)
    if isinstance(error, DataError):
        return CatcherError(f"{name} cannot keep a value: {error_text}")
    if isinstance(error, DBAPIError) and _is_transient(error):
        return StoreUnavailable(f"{name} does not answer: {error_text}", _get_error_hint(error))
    return CatcherError(f"{name} refused a statement: {error_text}")


_SQLITE_ERRORS = (
    ("locked", "is locked by another program", "end it; the write is tried again"),
    ("is full", "cannot grow: the disk is full", "free some space; the write is tried again"),
    ("readonly", "cannot be written: it is read-only", "give this user the right to write"),
    ("unable to open", "cannot be opened", "see that its folder is there and may be written"),
    ("disk I/O", "cannot be read or written: the disk fails", "see to the disk"),
)


def _get_sqlstate(error: Exception) -> str:
    """Returns PostgreSQL's code of an error (SQLSTATE), empty if it has none."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def _is_transient(error: DBAPIError) -> bool:
    """True if the same statement may succeed later, judged by the class of its SQLSTATE."""
    sqlstate = _get_sqlstate(error)
    if sqlstate:
        return sqlstate[:2] in _TRANSIENT_CLASSES or sqlstate in _TRANSIENT_CODES
    is_lost = error.connection_invalidated or isinstance(error, InterfaceError)
    return is_lost or isinstance(error, OperationalError)


_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57", "58")
"""Connection, transaction rollback, resources, locks, operator intervention, system error."""
_TRANSIENT_CODES = ("25P02", "25P03", "25006")
"""A transaction ended for idling, and a read-only server (a replica)."""


def _get_error_hint(error: DBAPIError) -> str:
    if "authentication failed" in str(error.orig):
        return "see to the user and password of `stores: ledger:`"
    sqlstate = _get_sqlstate(error)
    return _SQLSTATE_HINTS.get(sqlstate, _SQLSTATE_HINTS.get(sqlstate[:2], ""))


_SQLSTATE_HINTS = {
    "25006": "the server only reads: name the one that takes writes",
    "53100": "its disk is full: free some space",
    "53300": "it has no connection left: raise its max_connections",
}


def require_current_version(version: str, name: str) -> None:
    """Raises CatcherError if the schema is not current, which a reader cannot migrate."""
    if version != schema.VERSION:
        problem = f"has the schema {version} of an older Catcher" if version else "is empty"
        raise CatcherError(f"{name} {problem}", "`catcher run` brings it up to date")
