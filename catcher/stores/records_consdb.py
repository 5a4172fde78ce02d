"""The Consolidated Database of an observatory, by its HTTP service: schemas and SELECTs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from catcher.model.telemetry import FieldInfo, FieldType
from catcher.model.time import Instant, Span
from catcher.ports import Row
from catcher.stores.records import moderate
from catcher.stores.records_web import DEFAULT_TIMEOUT, JsonService, as_tai, from_tai
from catcher.stores.web import checked_url

JOINS = (
    (("visit_id",), "visit1"),
    (("exposure_id",), "exposure"),
    (("day_obs", "seq_num"), "exposure"),
)
"""By which columns a table without a time finds one, and where."""


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
        checked_url(self.url)


class ConsDb:
    """`records.Tables` over ConsDB."""

    kind = "consdb"

    def __init__(self, settings: ConsDbSettings) -> None:
        self._settings = settings
        self._service = JsonService(settings.url, settings.token, settings.timeout, "ConsDB")
        self._schemas: dict[str, dict[str, Any]] = {}
        self._instruments: dict[str, str] = {}

    @property
    def who(self) -> str:
        """What and where it is."""
        return self._service.who

    def names(self) -> list[str]:
        """The tables of all instruments, with their schema."""
        told = self._settings.instruments or self._listed("/schema")
        for instrument in told:
            for table in self._listed(f"/schema/{instrument}"):
                self._instruments[table] = instrument
        return list(self._instruments)

    def fields(self, table: str) -> list[FieldInfo]:
        """The columns of a table with what ConsDB says of them."""
        return [
            FieldInfo(name, _type(str(told[0])), about=str(told[1] or ""))
            for name, told in self._schema(table).items()
        ]

    def rows(
        self, table: str, fields: Sequence[str], start: Instant, end: Instant, most: int,
        newest: bool,
    ) -> list[tuple[Instant, Row]]:  # fmt: skip
        """Rows of a span by one SELECT, whose names are ConsDB's own."""
        time, join = self._time(table)
        columns = ", ".join([f"t.{_quoted(name)}" for name in fields] + [f"{time} AS catcher_time"])
        span = f"{time} >= '{as_tai(start)}' AND {time} <= '{as_tai(end + 999)}'"
        order = "DESC" if newest else "ASC"
        statement = (
            f"SELECT {columns} FROM {_place(table)} AS t{join} WHERE {span} "
            f"ORDER BY catcher_time {order} LIMIT {most:d}"
        )
        answer = self._service.post("/query", {"query": statement})
        return list(self._found(answer, len(fields)))

    def close(self) -> None:
        """Ends the connections."""
        self._service.close()

    def _found(self, answer: Any, width: int) -> list[tuple[Instant, Row]]:
        try:
            names, rows = answer["columns"], answer["data"]
            if len(names) != width + 1 or any(len(row) != len(names) for row in rows):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise self._service.nonsense() from None
        found: list[tuple[Instant, Row]] = []
        for row in rows:
            instant = from_tai(row[-1])
            if instant is not None:
                cells = zip(names[:-1], row[:-1], strict=True)
                found.append((instant, {str(name): moderate(cell) for name, cell in cells}))
        return found

    def _time(self, table: str) -> tuple[str, str]:
        """The expression of a row's time, and the join that it needs."""
        column, own = _quoted(self._settings.time), self._schema(table)
        if self._settings.time in own:
            return f"t.{column}", ""
        schema = table.rpartition(".")[0]
        for keys, other in JOINS:
            if all(key in own for key in keys):
                names = ", ".join(map(_quoted, keys))
                place = _place(f"{schema}.{other}" if schema else other)
                return f"o.{column}", f" JOIN {place} AS o USING ({names})"
        return f"t.{column}", ""

    def _schema(self, table: str) -> dict[str, Any]:
        if table not in self._schemas:
            instrument = self._instruments.get(table) or table.removeprefix("cdb_").split(".")[0]
            told = self._service.get(f"/schema/{instrument}/{table}")
            if not isinstance(told, dict) or not all(
                isinstance(one, list) for one in told.values()
            ):
                raise self._service.nonsense()
            self._schemas[table] = told
        return self._schemas[table]

    def _listed(self, path: str) -> list[str]:
        told = self._service.get(path)
        if not isinstance(told, list):
            raise self._service.nonsense()
        return [str(one) for one in told]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _place(table: str) -> str:
    return ".".join(_quoted(part) for part in table.split("."))


def _type(sql: str) -> FieldType:
    word = sql.upper()
    if word.startswith(("INT", "BIGINT", "SMALLINT")):
        return "integer"
    if word.startswith(("DOUBLE", "REAL", "FLOAT", "NUMERIC", "DECIMAL")):
        return "float"
    return "boolean" if word.startswith("BOOL") else "string"
