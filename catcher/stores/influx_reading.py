"""From the chunks of an InfluxDB's answer to a Series, or to the events that they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catcher.model.event import Event, FloatArray, Series
from catcher.model.naming import unknown_field
from catcher.model.problem import CatcherError
from catcher.model.telemetry import FieldInfo, Scalar, Where, numbered
from catcher.ports import Predicate
from catcher.stores.history_reading import seconds
from catcher.stores.history_table import IntArray
from catcher.stores.influx_wire import Chunk


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question comes down to: columns of the server, and which of them are wanted.

    `tested` are those that a predicate looks at, `texts` those that hold no numbers.
    """

    wanted: tuple[str, ...]
    tested: tuple[str, ...]
    texts: frozenset[str]
    equal: Mapping[str, Scalar]

    @property
    def columns(self) -> tuple[str, ...]:
        """What is asked of the server."""
        return tuple(dict.fromkeys((*self.wanted, *self.tested)))


def asked_of(
    topic: str, fields: Sequence[str], known: Sequence[FieldInfo], where: Predicate | None
) -> Asked:
    """Which columns answer for these fields; Unknown where there is no such field."""
    names = [one.name for one in known]
    texts = frozenset(one.name for one in known if one.type == "string")
    wanted: dict[str, None] = {}
    for name in fields:
        places = [name] if name in names else numbered(name, names)
        if not places:
            raise unknown_field(name, topic, names)
        wanted.update(dict.fromkeys(places))
    if not fields:
        wanted = dict.fromkeys(name for name in names if name not in texts)
    tested, equal = _tested(topic, names, where)
    return Asked(tuple(wanted) or tuple(names[:1]), tested, texts, equal)


def _tested(
    topic: str, names: Sequence[str], where: Predicate | None
) -> tuple[tuple[str, ...], Mapping[str, Scalar]]:
    if where is None:
        return (), {}
    if not isinstance(where, Where):
        return tuple(names), {}
    for name in where.equal:
        if name not in names:
            raise unknown_field(name, topic, names)
    if where.exact:
        return (), where.equal
    found = [place for name in sorted(where.names) for place in (name, *numbered(name, names))]
    return tuple(name for name in found if name in names), where.equal


class Gathering:
    """Puts chunks together; as it goes only arrays are kept. More rows than `most` are an error."""

    def __init__(self, topic: str, asked: Asked, where: Predicate | None, most: int) -> None:
        self._topic, self._asked, self._most = topic, asked, most
        exact = isinstance(where, Where) and where.exact
        self._where = None if exact else where
        self._times: list[IntArray] = []
        self._columns: dict[str, list[FloatArray]] = {name: [] for name in asked.wanted}
        self._rows = 0

    def take(self, chunk: Chunk) -> None:
        """Another chunk."""
        self._rows += chunk.rows
        if self._rows > self._most:
            raise CatcherError(
                f"{self._topic} has more than {self._most:,} samples in this span",
                "ask for a shorter span, or allow more: history: {influxdb: {rows: …}}",
            )
        if not chunk.rows:
            return
        keep = None if self._where is None else _passing(chunk, self._where)
        self._times.append(_kept(np.array(chunk.column("time"), dtype=np.int64), keep))
        for name, pieces in self._columns.items():
            pieces.append(_kept(self._numbers(chunk, name), keep))

    def _numbers(self, chunk: Chunk, name: str) -> FloatArray:
        if name in self._asked.texts or name not in chunk.columns:
            return np.full(chunk.rows, np.nan)
        try:
            return np.array(chunk.column(name), dtype=np.float64)
        except (TypeError, ValueError):
            # Of one name in two shards, one may hold numbers and the other text.
            return np.array([_number(cell) for cell in chunk.column(name)])

    def series(self) -> Series:
        """All that came, in time order."""
        time = np.concatenate(self._times) if self._times else np.empty(0, np.int64)
        order = None
        if np.any(np.diff(time) < 0):
            order = np.argsort(time, kind="stable")
        columns = {
            name: _kept(np.concatenate(pieces) if pieces else np.empty(0), order)
            for name, pieces in self._columns.items()
        }
        return Series(seconds(_kept(time, order)), columns, topic=self._topic)


def _kept(cells: Any, which: Any) -> Any:
    return cells if which is None else cells[which]


def _number(cell: Any) -> float:
    return float(cell) if isinstance(cell, int | float) else float("nan")


def _passing(chunk: Chunk, where: Predicate) -> IntArray:
    return np.array([n for n, row in enumerate(_rows(chunk)) if where(row)], dtype=np.int64)


def _rows(chunk: Chunk) -> Iterator[dict[str, Any]]:
    """The rows as an expression sees them: an array as a list, too."""
    arrays = {}
    for name in chunk.columns:
        base = name.rstrip("0123456789")
        if base and base != name and base not in chunk.columns and base not in arrays:
            arrays[base] = [chunk.columns.index(one) for one in numbered(base, chunk.columns)]
    for cells in zip(*chunk.plain(), strict=True):
        row = dict(zip(chunk.columns, cells, strict=True))
        for base, places in arrays.items():
            row[base] = [cells[place] for place in places]
        yield row


def events_of(topic: str, chunk: Chunk) -> list[Event]:
    """The samples as events: fields that a sample has, under the names that the store has."""
    names = [name for name in chunk.columns if name != "time"]
    columns = dict(zip(chunk.columns, chunk.plain(), strict=True))
    made = []
    for time, *cells in zip(columns["time"], *map(columns.__getitem__, names), strict=True):
        fields = {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}
        made.append(Event(topic, int(time), fields))
    return made
