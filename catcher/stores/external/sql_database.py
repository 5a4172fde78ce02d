"""An external database, such as a scheduler's, by its SQLAlchemy URL; read-only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Column, Engine, MetaData, Table, create_engine, inspect, select, types
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from catcher.model.errors import CatcherError
from catcher.model.telemetry import FieldInfo, FieldType
from catcher.model.text import sanitize_single_line
from catcher.model.time import (
    DAY,
    MICROSECOND,
    SECOND,
    Instant,
    parse_instant,
    tai_to_utc,
    utc_to_tai,
)
from catcher.ports import Row, StoreUnavailable
from catcher.stores.external.tables import to_json_value

TimeFormat = Literal["auto", "mjd", "seconds", "text"]
MJD_EPOCH = 40_587
"""1970-01-01 as a modified Julian date."""
MJD_PRECISION = 10 * MICROSECOND
"""Precision of an MJD in float64."""


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """The database, and the column with a row's time: a date, an MJD or seconds since 1970.

    `tables` are all that have that column where none is named.
    """

    url: str = field(repr=False)
    time: str = "time"
    form: TimeFormat = "auto"
    scale: Literal["utc", "tai"] = "utc"
    tables: tuple[str, ...] = ()
    timeout: int = 30


class SqlDatabaseTables:
    """`tables.ExternalTableClient` over a database."""

    kind = "database"

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        url = _parse_url(settings.url)
        self.display_name = f"the database {url.render_as_string(hide_password=True)}"
        try:
            self._engine = _create_read_only_engine(url, settings.timeout)
        except (SQLAlchemyError, ImportError) as error:
            raise CatcherError(
                f"{self.display_name} cannot be opened: {_error_text(error)}",
                "see to `url` and its driver",
            ) from None
        self._tables: dict[str, Table] = {}

    def list_tables(self) -> list[str]:
        """Returns the tables and views that have the time column."""
        try:
            inspector = inspect(self._engine)
            names = self._settings.tables or (
                *inspector.get_table_names(),
                *inspector.get_view_names(),
            )
            return [name for name in names if self._settings.time in self._reflect_table(name).c]
        except SQLAlchemyError as error:
            raise self._unavailable_error(error) from None

    def list_columns(self, table: str) -> list[FieldInfo]:
        """Returns the columns of a table."""
        return [
            FieldInfo(column.name, _sql_type_to_field_type(column.type), about=column.comment or "")
            for column in self._reflect_table(table).c
        ]

    def read_rows(
        self, table: str, fields: Sequence[str], start: Instant, end: Instant, max_rows: int,
        newest_first: bool,
    ) -> list[tuple[Instant, Row]]:  # fmt: skip
        """Returns rows of a time range by one SELECT."""
        columns = self._reflect_table(table).c
        time: Column[Any] = columns[self._settings.time]
        time_format = self._detect_time_format(time)
        selected = [columns[name] for name in fields]
        statement = (
            select(time.label("catcher_time"), *selected)
            .where(
                time >= self._instant_to_column_value(start - MJD_PRECISION, time_format),
                time <= self._instant_to_column_value(end + MJD_PRECISION, time_format),
            )
            .order_by(time.desc() if newest_first else time)
            .limit(max_rows)
        )
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(statement).fetchall()
        except SQLAlchemyError as error:
            raise self._unavailable_error(error) from None
        samples: list[tuple[Instant, Row]] = []
        for time_value, *cells in rows:
            instant = self._column_value_to_instant(time_value, time_format)
            if instant is not None:
                names = zip(fields, cells, strict=True)
                samples.append((instant, {name: to_json_value(cell) for name, cell in names}))
        return samples

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    def _reflect_table(self, name: str) -> Table:
        if name not in self._tables:
            try:
                self._tables[name] = Table(name, MetaData(), autoload_with=self._engine)
            except SQLAlchemyError as error:
                raise self._unavailable_error(error) from None
        return self._tables[name]

    def _detect_time_format(self, column: Column[Any]) -> str:
        """Returns a column's time format: as configured, or as its type and name suggest."""
        if self._settings.form != "auto":
            return self._settings.form
        if isinstance(column.type, types.DateTime | types.Date):
            return "date"
        if isinstance(column.type, types.String):
            return "text"
        return "mjd" if "mjd" in column.name.lower() else "seconds"

    def _instant_to_column_value(self, instant: Instant, time_format: str) -> Any:
        """Converts an instant to the column's format."""
        scaled = utc_to_tai(instant) if self._settings.scale == "tai" else instant
        if time_format == "mjd":
            return scaled / DAY + MJD_EPOCH
        if time_format == "seconds":
            return scaled / SECOND
        moment = datetime.fromtimestamp(max(0, min(scaled, 2**62)) / SECOND, UTC)
        moment = moment.replace(tzinfo=None)
        return moment if time_format == "date" else moment.isoformat()

    def _column_value_to_instant(self, value: Any, time_format: str) -> Instant | None:
        try:
            if time_format == "mjd":
                scaled = round((float(value) - MJD_EPOCH) * (DAY / MJD_PRECISION)) * MJD_PRECISION
            else:
                scaled = parse_instant(float(value) if time_format == "seconds" else value)
            return tai_to_utc(scaled) if self._settings.scale == "tai" else scaled
        except (TypeError, ValueError, OverflowError):
            return None

    def _unavailable_error(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.display_name} did not answer: {_error_text(error)}", "see to the database"
        )


def _parse_url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise CatcherError(
            "the address of the database cannot be read", "write it like postgresql://HOST/NAME"
        ) from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    return url


def _create_read_only_engine(url: URL, timeout: int) -> Engine:
    """Returns an engine with read-only connections."""
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        if not url.database or not path.is_file():
            raise CatcherError(f"there is no database {str(path)!r}", "see to the path in `url`")
        uri = f"file:{path.absolute()}"
        url = url.set(database=uri, query={**url.query, "mode": "ro", "uri": "true"})
        return create_engine(url, connect_args={"timeout": timeout})
    options: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        limits = f"-c default_transaction_read_only=on -c statement_timeout={timeout}s"
        existing_options = str(url.query.get("options", ""))
        url = url.difference_update_query(["options"])
        options = {"options": f"{existing_options} {limits}".strip(), "connect_timeout": timeout}
    return create_engine(url, connect_args=options, pool_pre_ping=True)


def _sql_type_to_field_type(column_type: types.TypeEngine[Any]) -> FieldType:
    if isinstance(column_type, types.Boolean):
        return "boolean"
    if isinstance(column_type, types.Integer):
        return "integer"
    return "float" if isinstance(column_type, types.Numeric | types.Float) else "string"


def _error_text(error: Exception) -> str:
    """Returns the driver's message in one line, without the statement."""
    cause = getattr(error, "orig", None) or error
    if isinstance(error, NoSuchModuleError | ImportError):
        return "its driver is not installed"
    return sanitize_single_line(str(cause).split("\n")[0], 200)
