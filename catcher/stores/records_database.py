"""A database of others, such as a scheduler's, by its SQLAlchemy URL: read, never written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Column, Engine, MetaData, Table, create_engine, inspect, select, types
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from catcher.model.problem import CatcherError
from catcher.model.telemetry import FieldInfo, FieldType
from catcher.model.text import plain
from catcher.model.time import (
    DAY,
    MICROSECOND,
    SECOND,
    Instant,
    parse_instant,
    tai_to_utc,
    utc_to_tai,
)
from catcher.ports import Row, StoreAway
from catcher.stores.records import moderate

Form = Literal["auto", "mjd", "seconds", "text"]
MJD_EPOCH = 40_587
"""1970-01-01 as a modified Julian date."""
ROUNDED = 10 * MICROSECOND
"""What an MJD in float64 is good to."""


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """The database, and the column with a row's time: a date, an MJD or seconds since 1970.

    `tables` are all that have that column where none is named.
    """

    url: str = field(repr=False)
    time: str = "time"
    form: Form = "auto"
    scale: Literal["utc", "tai"] = "utc"
    tables: tuple[str, ...] = ()
    timeout: int = 30


class Database:
    """`records.Tables` over a database."""

    kind = "database"

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        url = _address(settings.url)
        self.who = f"the database {url.render_as_string(hide_password=True)}"
        try:
            self._engine = _read_only(url, settings.timeout)
        except (SQLAlchemyError, ImportError) as error:
            raise CatcherError(
                f"{self.who} cannot be opened: {_words(error)}", "see to `url` and its driver"
            ) from None
        self._tables: dict[str, Table] = {}

    def names(self) -> list[str]:
        """The tables and views that have the column."""
        try:
            found = inspect(self._engine)
            names = self._settings.tables or (*found.get_table_names(), *found.get_view_names())
            return [name for name in names if self._settings.time in self._table(name).c]
        except SQLAlchemyError as error:
            raise self._away(error) from None

    def fields(self, table: str) -> list[FieldInfo]:
        """The columns of a table."""
        return [
            FieldInfo(column.name, _type(column.type), about=column.comment or "")
            for column in self._table(table).c
        ]

    def rows(
        self, table: str, fields: Sequence[str], start: Instant, end: Instant, most: int,
        newest: bool,
    ) -> list[tuple[Instant, Row]]:  # fmt: skip
        """Rows of a span by one SELECT."""
        columns = self._table(table).c
        time: Column[Any] = columns[self._settings.time]
        form = self._form(time)
        wanted = [columns[name] for name in fields]
        statement = (
            select(time.label("catcher_time"), *wanted)
            .where(
                time >= self._written(start - ROUNDED, form),
                time <= self._written(end + ROUNDED, form),
            )
            .order_by(time.desc() if newest else time)
            .limit(most)
        )
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(statement).fetchall()
        except SQLAlchemyError as error:
            raise self._away(error) from None
        found: list[tuple[Instant, Row]] = []
        for when, *cells in rows:
            instant = self._read(when, form)
            if instant is not None:
                names = zip(fields, cells, strict=True)
                found.append((instant, {name: moderate(cell) for name, cell in names}))
        return found

    def close(self) -> None:
        """Ends the connections."""
        self._engine.dispose()

    def _table(self, name: str) -> Table:
        if name not in self._tables:
            try:
                self._tables[name] = Table(name, MetaData(), autoload_with=self._engine)
            except SQLAlchemyError as error:
                raise self._away(error) from None
        return self._tables[name]

    def _form(self, column: Column[Any]) -> str:
        """How a time stands there: as it is said, or as its type and name suggest."""
        if self._settings.form != "auto":
            return self._settings.form
        if isinstance(column.type, types.DateTime | types.Date):
            return "date"
        if isinstance(column.type, types.String):
            return "text"
        return "mjd" if "mjd" in column.name.lower() else "seconds"

    def _written(self, instant: Instant, form: str) -> Any:
        """An instant as the column has it."""
        shown = utc_to_tai(instant) if self._settings.scale == "tai" else instant
        if form == "mjd":
            return shown / DAY + MJD_EPOCH
        if form == "seconds":
            return shown / SECOND
        moment = datetime.fromtimestamp(max(0, min(shown, 2**62)) / SECOND, UTC)
        moment = moment.replace(tzinfo=None)
        return moment if form == "date" else moment.isoformat()

    def _read(self, value: Any, form: str) -> Instant | None:
        try:
            if form == "mjd":
                shown = round((float(value) - MJD_EPOCH) * (DAY / ROUNDED)) * ROUNDED
            else:
                shown = parse_instant(float(value) if form == "seconds" else value)
            return tai_to_utc(shown) if self._settings.scale == "tai" else shown
        except (TypeError, ValueError, OverflowError):
            return None

    def _away(self, error: Exception) -> StoreAway:
        return StoreAway(f"{self.who} did not answer: {_words(error)}", "see to the database")


def _address(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise CatcherError(
            "the address of the database cannot be read", "write it like postgresql://HOST/NAME"
        ) from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    return url


def _read_only(url: URL, timeout: int) -> Engine:
    """An engine whose connections can write nothing."""
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        if not url.database or not path.is_file():
            raise CatcherError(f"there is no database {str(path)!r}", "see to the path in `url`")
        place = f"file:{path.absolute()}"
        url = url.set(database=place, query={**url.query, "mode": "ro", "uri": "true"})
        return create_engine(url, connect_args={"timeout": timeout})
    options: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        limits = f"-c default_transaction_read_only=on -c statement_timeout={timeout}s"
        own = str(url.query.get("options", ""))
        url = url.difference_update_query(["options"])
        options = {"options": f"{own} {limits}".strip(), "connect_timeout": timeout}
    return create_engine(url, connect_args=options, pool_pre_ping=True)


def _type(kind: types.TypeEngine[Any]) -> FieldType:
    if isinstance(kind, types.Boolean):
        return "boolean"
    if isinstance(kind, types.Integer):
        return "integer"
    return "float" if isinstance(kind, types.Numeric | types.Float) else "string"


def _words(error: Exception) -> str:
    """What the driver said, in one line, without the statement."""
    said = getattr(error, "orig", None) or error
    if isinstance(error, NoSuchModuleError | ImportError):
        return "its driver is not installed"
    return plain(str(said).split("\n")[0], 200)
