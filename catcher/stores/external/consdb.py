"""The Consolidated Database of an observatory, through its HTTP service: schemas and SELECTs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from catcher.model.telemetry import FieldInfo, FieldType
from catcher.model.time import Instant, Span
from catcher.ports import Row
from catcher.stores.external.json_service import DEFAULT_TIMEOUT, JsonService, format_tai, parse_tai
from catcher.stores.external.tables import to_json_value
from catcher.transport.http import normalize_url

JOINS = (
    (("visit_id",), "visit1"),
    (("exposure_id",), "exposure"),
    (("day_obs", "seq_num"), "exposure"),
)
"""The columns by which a table without a time is joined to one that has it, and that table."""


@dataclass(frozen=True, slots=True)
class ConsDbSettings:
    """The service's address (`…/consdb`) and token.

    `time` is the column with a row's time, in TAI; a table without it is joined with its visit or
    exposure. `instruments` are all where none is named.
    """

    url: str
    token: str = field(default="", repr=False)
    instruments: tuple[str, ...] = ()
    time: str = "obs_start"
    timeout: Span = DEFAULT_TIMEOUT

    def __post_init__(self) -> None:
        normalize_url(self.url)


class ConsDb:
    """`tables.ExternalTableClient` over ConsDB."""

    kind = "consdb"

    def __init__(self, settings: ConsDbSettings) -> None:
        self._settings = settings
        self._service = JsonService(settings.url, settings.token, settings.timeout, "ConsDB")
        self._schemas: dict[str, dict[str, Any]] = {}
        self._instruments: dict[str, str] = {}

    @property
    def display_name(self) -> str:
        """The service's name and address."""
        return self._service.display_name

    def list_tables(self) -> list[str]:
        """Returns the tables of all instruments, with their schema."""
        instruments = self._settings.instruments or self._fetch_names("/schema")
        for instrument in instruments:
            for table in self._fetch_names(f"/schema/{instrument}"):
                self._instruments[table] = instrument
        return list(self._instruments)

    def list_columns(self, table: str) -> list[FieldInfo]:
        """Returns the columns of a table with ConsDB's descriptions."""
        return [
            FieldInfo(name, _parse_field_type(str(column[0])), about=str(column[1] or ""))
            for name, column in self._fetch_table_schema(table).items()
        ]

    def read_rows(
        self, table: str, fields: Sequence[str], start: Instant, end: Instant, max_rows: int,
        newest_first: bool,
    ) -> list[tuple[Instant, Row]]:  # fmt: skip
        """Returns rows of a time range by one SELECT, with ConsDB's column names."""
        time, join = self._build_time_and_join(table)
        columns = ", ".join(
            [f"t.{_quote_name(name)}" for name in fields] + [f"{time} AS catcher_time"]
        )
        span = f"{time} >= '{format_tai(start)}' AND {time} <= '{format_tai(end + 999)}'"
        order = "DESC" if newest_first else "ASC"
        statement = (
            f"SELECT {columns} FROM {_quote_table(table)} AS t{join} WHERE {span} "
            f"ORDER BY catcher_time {order} LIMIT {max_rows:d}"
        )
        response = self._service.post_json("/query", {"query": statement})
        return list(self._parse_rows(response, len(fields)))

    def close(self) -> None:
        """Closes the connections."""
        self._service.close()

    def _parse_rows(self, response: Any, column_count: int) -> list[tuple[Instant, Row]]:
        try:
            names, rows = response["columns"], response["data"]
            if len(names) != column_count + 1 or any(len(row) != len(names) for row in rows):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise self._service.invalid_response_error() from None
        samples: list[tuple[Instant, Row]] = []
        for row in rows:
            instant = parse_tai(row[-1])
            if instant is not None:
                cells = zip(names[:-1], row[:-1], strict=True)
                samples.append((instant, {str(name): to_json_value(cell) for name, cell in cells}))
        return samples

    def _build_time_and_join(self, table: str) -> tuple[str, str]:
        """Returns the expression of a row's time, and the join that it needs."""
        column, columns = _quote_name(self._settings.time), self._fetch_table_schema(table)
        if self._settings.time in columns:
            return f"t.{column}", ""
        schema = table.rpartition(".")[0]
        for keys, joined_name in JOINS:
            if all(key in columns for key in keys):
                names = ", ".join(map(_quote_name, keys))
                joined_table = _quote_table(f"{schema}.{joined_name}" if schema else joined_name)
                return f"o.{column}", f" JOIN {joined_table} AS o USING ({names})"
        return f"t.{column}", ""

    def _fetch_table_schema(self, table: str) -> dict[str, Any]:
        if table not in self._schemas:
            instrument = self._instruments.get(table) or table.removeprefix("cdb_").split(".")[0]
            schema = self._service.get_json(f"/schema/{instrument}/{table}")
            if not isinstance(schema, dict) or not all(
                isinstance(column, list) for column in schema.values()
            ):
                raise self._service.invalid_response_error()
            self._schemas[table] = schema
        return self._schemas[table]

    def _fetch_names(self, path: str) -> list[str]:
        names = self._service.get_json(path)
        if not isinstance(names, list):
            raise self._service.invalid_response_error()
        return [str(name) for name in names]


def _quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quote_table(table: str) -> str:
    return ".".join(_quote_name(part) for part in table.split("."))


def _parse_field_type(sql: str) -> FieldType:
    type_name = sql.upper()
    if type_name.startswith(("INT", "BIGINT", "SMALLINT")):
        return "integer"
    if type_name.startswith(("DOUBLE", "REAL", "FLOAT", "NUMERIC", "DECIMAL")):
        return "float"
    return "boolean" if type_name.startswith("BOOL") else "string"
