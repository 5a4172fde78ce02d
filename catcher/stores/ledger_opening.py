"""Opening a ledger: how its database is connected, judged, brought up to date and kept apart.

Nothing is written into a file before it is known to be a ledger of a version that this Catcher
understands, or empty.
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

from catcher.model.portion import Portion
from catcher.model.problem import CatcherError
from catcher.model.time import MILLISECOND, SECOND, Span
from catcher.ports import StoreAway
from catcher.stores import schema, schema_columns
from catcher.stores.ledger_files import MEND, is_frozen, is_full

CHECKED_BYTES = 64 * 2**20
"""A SQLite file up to this size is checked whole when it is opened."""
HALTED = 2 * SECOND
"""After so long a server ends a transaction in which its engine asks for nothing more."""
OWN = frozenset(schema_columns.metadata.tables) | {"alembic_version"}


def address(url: str) -> URL:
    """The address of a ledger: `sqlite` with a path (without one: in memory) or `postgresql`."""
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


def file_of(url: URL) -> Path | None:
    """The file of a SQLite ledger, None for one in memory or on a server."""
    name = url.database or ""
    named = url.get_backend_name() == "sqlite" and name not in ("", ":memory:")
    return Path(name) if named else None


def connect(url: URL, *, full: bool, patience: Span, reader: bool) -> Engine:
    """The database engine for one thread; a reader cannot write."""
    if url.get_backend_name() == "postgresql":
        return _connect_server(url, patience, reader)
    options: dict[str, Any] = {"hide_parameters": True}
    options["connect_args"] = {"timeout": patience / SECOND, "check_same_thread": False}
    file = file_of(url)
    if file is None:
        options["poolclass"] = StaticPool
    if reader and file is not None and is_frozen(file):
        frozen = {"mode": "ro", "immutable": "1", "uri": "true"}
        url = url.set(database=file.absolute().as_uri()).update_query_dict(frozen)
    engine = create_engine(url, **options)
    event.listen(engine, "connect", _prepare(full, reader))
    begin = "BEGIN" if reader else "BEGIN IMMEDIATE"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _connect_server(url: URL, patience: Span, reader: bool) -> Engine:
    """A server that is cut off is noticed within seconds, here and at its end.

    There a transaction whose engine was stopped in its midst would hold the lease's row, and
    with it back the engine that stands by; so it is ended before the lease runs out.
    """
    milliseconds = patience // MILLISECOND
    arguments = {
        "connect_timeout": max(2, patience // SECOND),
        "tcp_user_timeout": milliseconds,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "application_name": "catcher",
    }
    settings = {
        "idle_in_transaction_session_timeout": HALTED // MILLISECOND,
        "lock_timeout": milliseconds,
        "client_min_messages": "warning",
    }
    if reader:
        settings["default_transaction_read_only"] = "on"
    # What the address says itself goes before.
    told = {name: value for name, value in arguments.items() if name not in url.query}
    try:
        engine = create_engine(
            url, hide_parameters=True, poolclass=NullPool, connect_args=told,
            isolation_level="REPEATABLE READ" if reader else "READ COMMITTED",
        )  # fmt: skip
    except (ImportError, NoSuchModuleError):
        raise CatcherError(
            "the driver for PostgreSQL is not installed", "pip install 'psycopg[binary]'"
        ) from None

    def prepare(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute(f"SET {name} = {value}")
        connection.commit()

    event.listen(engine, "connect", prepare)
    return engine


def _prepare(full: bool, reader: bool) -> Callable[[Any, Any], None]:
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        # The driver would begin transactions by its own rules; the engine's hook does it.
        connection.isolation_level = None
        if reader:
            connection.execute("PRAGMA query_only = ON")
            return
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")

    return prepare


def lock(file: Path) -> IO[bytes]:
    """Holds a ledger's file for one engine, for as long as the answer is open.

    The lock is the operating system's, so that it ends with the process, however that ends.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        held = file.with_name(file.name + ".lock").open("wb")
    except OSError as error:
        raise CatcherError(
            f"the ledger {file} cannot be written: {error.strerror}",
            "choose another folder with --data, or give this user the right to write there",
        ) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise CatcherError(
            f"another engine works on the ledger {file}",
            "stop that one first, or give this one a folder of its own with --data",
        ) from None
    return held


def refuse_portion(portion: Portion, name: str) -> None:
    """A ledger that one engine holds alone is for all rules."""
    if portion.name or portion.shared:
        raise CatcherError(
            f"{name} is held by one engine, which carries all rules",
            "several engines want one that all reach: stores: {ledger: postgresql://…}",
        )


def judge(connection: Connection, name: str) -> str:
    """The schema's version, empty for an empty database; CatcherError for what is no ledger."""
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
    if pages * size > CHECKED_BYTES:
        return
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise CatcherError(f"{name} is damaged: {found}", MEND)


def upgrade(connection: Connection, version: str) -> None:
    """Brings the schema from a version (empty: none) to the present one."""
    if version == schema.VERSION:
        return
    if not version:
        schema_columns.metadata.create_all(connection)
        connection.execute(_VERSION_TABLE)
        connection.execute(text("INSERT INTO alembic_version VALUES (:v)"), {"v": schema.VERSION})
        return
    migrate(connection)


_VERSION_TABLE = text(
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
"""As Alembic makes it."""


def migrate(connection: Connection) -> None:
    """Runs every migration that the database has not seen."""
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


def explained(error: SQLAlchemyError | sqlite3.Error, name: str, url: URL) -> CatcherError:
    """What a failure of the database means to whoever runs Catcher; never its parameters."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    words = str(cause).splitlines()[0] if str(cause) else type(error).__name__
    file = file_of(url)
    if "disk I/O" in words and file is not None and is_full(file):
        words = "is full"  # SQLite has no better words where its shared memory cannot grow.
    if "malformed" in words or "not a database" in words:
        return CatcherError(f"{name} is damaged or no ledger: {words}", MEND)
    for sign, meaning, hint in _SIGNS:
        if sign in words and not _state(error):
            return StoreAway(f"{name} {meaning}", hint)
    if isinstance(error, DataError):
        return CatcherError(f"{name} cannot keep a value: {words}")
    if isinstance(error, DBAPIError) and _passing(error):
        return StoreAway(f"{name} does not answer: {words}", _hint_for(error))
    return CatcherError(f"{name} refused a statement: {words}")


_SIGNS = (
    ("locked", "is locked by another program", "end it; the write is tried again"),
    ("is full", "cannot grow: the disk is full", "free some space; the write is tried again"),
    ("readonly", "cannot be written: it is read-only", "give this user the right to write"),
    ("unable to open", "cannot be opened", "see that its folder is there and may be written"),
    ("disk I/O", "cannot be read or written: the disk fails", "see to the disk"),
)


def _state(error: Exception) -> str:
    """PostgreSQL's code of an error (SQLSTATE), empty where there is none."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def _passing(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later: by the class of PostgreSQL's code."""
    state = _state(error)
    if state:
        return state[:2] in _PASSING or state in _PASSING_STATES
    lost = error.connection_invalidated or isinstance(error, InterfaceError)
    return lost or isinstance(error, OperationalError)


_PASSING = ("08", "40", "53", "55", "57", "58")
"""Connection, rollback of a transaction, resources, locks, an operator's hand, the system."""
_PASSING_STATES = ("25P02", "25P03", "25006")
"""A transaction that was ended for idling, and a server that only reads (a replica)."""


def _hint_for(error: DBAPIError) -> str:
    if "authentication failed" in str(error.orig):
        return "see to the user and password of `stores: ledger:`"
    state = _state(error)
    return _HINTS.get(state, _HINTS.get(state[:2], ""))


_HINTS = {
    "25006": "the server only reads: name the one that takes writes",
    "53100": "its disk is full: free some space",
    "53300": "it has no connection left: raise its max_connections",
}


def require_present(version: str, name: str) -> None:
    """Refuses a ledger that a reader cannot bring up to date."""
    if version != schema.VERSION:
        found = f"has the schema {version} of an older Catcher" if version else "is empty"
        raise CatcherError(f"{name} {found}", "`catcher run` brings it up to date")
