"""Converts the chunks of an InfluxDB response to a Series, or to the original events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catcher.model.errors import CatcherError
from catcher.model.event import Event, FloatArray, Series
from catcher.model.suggestions import build_unknown_field_error
from catcher.model.telemetry import FieldInfo, PushdownPredicate, Scalar, list_numbered_columns
from catcher.ports import Predicate
from catcher.stores.history.columns import IntArray
from catcher.stores.history.influx_response import Chunk
from catcher.stores.history.merge_read import instants_to_seconds


@dataclass(frozen=True, slots=True)
class ColumnSelection:
    """What a query needs: columns of the server, and which of them are selected.

    `filter_columns` are those that a predicate reads, `text_columns` those without numbers. `equal`
    are conditions that the server checks.
    """

    selected: tuple[str, ...]
    filter_columns: tuple[str, ...]
    text_columns: frozenset[str]
    equal: Mapping[str, Scalar]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns requested from the server."""
        return tuple(dict.fromkeys((*self.selected, *self.filter_columns)))


def select_columns(
    topic: str, fields: Sequence[str], available: Sequence[FieldInfo], where: Predicate | None
) -> ColumnSelection:
    """Returns the columns for these fields. Raises an unknown-field error if one does not exist."""
    names = [info.name for info in available]
    text_columns = frozenset(info.name for info in available if info.type == "string")
    selected: dict[str, None] = {}
    for name in fields:
        matches = [name] if name in names else list_numbered_columns(name, names)
        if not matches:
            raise build_unknown_field_error(name, topic, names)
        selected.update(dict.fromkeys(matches))
    if not fields:
        selected = dict.fromkeys(name for name in names if name not in text_columns)
    filter_columns, equal = _select_filter_columns(topic, names, where)
    return ColumnSelection(tuple(selected) or tuple(names[:1]), filter_columns, text_columns, equal)


def _select_filter_columns(
    topic: str, names: Sequence[str], where: Predicate | None
) -> tuple[tuple[str, ...], Mapping[str, Scalar]]:
    if where is None:
        return (), {}
    if not isinstance(where, PushdownPredicate):
        return tuple(names), {}
    for name in where.equals:
        if name not in names:
            raise build_unknown_field_error(name, topic, names)
    if where.exact:
        return (), where.equals
    candidates = [
        column
        for name in sorted(where.names)
        for column in (name, *list_numbered_columns(name, names))
    ]
    return tuple(name for name in candidates if name in names), where.equals


class SeriesBuilder:
    """Joins chunks to a Series, holding only arrays. Raises CatcherError beyond `max_rows` rows."""

    def __init__(
        self, topic: str, selection: ColumnSelection, where: Predicate | None, max_rows: int
    ) -> None:
        self._topic, self._selection, self._max_rows = topic, selection, max_rows
        exact = isinstance(where, PushdownPredicate) and where.exact
        self._where = None if exact else where
        self._times: list[IntArray] = []
        self._columns: dict[str, list[FloatArray]] = {name: [] for name in selection.selected}
        self._row_count = 0

    def add_chunk(self, chunk: Chunk) -> None:
        """Adds a chunk."""
        self._row_count += chunk.row_count
        if self._row_count > self._max_rows:
            raise CatcherError(
                f"{self._topic} has more than {self._max_rows:,} samples in this span",
                "ask for a shorter span, or allow more: history: {influxdb: {rows: …}}",
            )
        if not chunk.row_count:
            return
        matching = None if self._where is None else _find_matching_rows(chunk, self._where)
        self._times.append(
            _select_rows(np.array(chunk.get_column("time"), dtype=np.int64), matching)
        )
        for name, arrays in self._columns.items():
            arrays.append(_select_rows(self._to_number_array(chunk, name), matching))

    def _to_number_array(self, chunk: Chunk, name: str) -> FloatArray:
        if name in self._selection.text_columns or name not in chunk.columns:
            return np.full(chunk.row_count, np.nan)
        try:
            return np.array(chunk.get_column(name), dtype=np.float64)
        except (TypeError, ValueError):
            # A name may hold numbers in one shard and text in another.
            return np.array([_number_or_nan(cell) for cell in chunk.get_column(name)])

    def build(self) -> Series:
        """Returns the series of all chunks, in time order."""
        time = np.concatenate(self._times) if self._times else np.empty(0, np.int64)
        order = None
        if np.any(np.diff(time) < 0):
            order = np.argsort(time, kind="stable")
        columns = {
            name: _select_rows(np.concatenate(arrays) if arrays else np.empty(0), order)
            for name, arrays in self._columns.items()
        }
        return Series(instants_to_seconds(_select_rows(time, order)), columns, topic=self._topic)


def _select_rows(cells: Any, indexes: Any) -> Any:
    return cells if indexes is None else cells[indexes]


def _number_or_nan(cell: Any) -> float:
    return float(cell) if isinstance(cell, int | float) else float("nan")


def _find_matching_rows(chunk: Chunk, where: Predicate) -> IntArray:
    return np.array(
        [index for index, row in enumerate(_iter_rows(chunk)) if where(row)], dtype=np.int64
    )


def _iter_rows(chunk: Chunk) -> Iterator[dict[str, Any]]:
    """Yields the rows as an expression sees them: an array also as a list."""
    arrays = {}
    for name in chunk.columns:
        base = name.rstrip("0123456789")
        if base and base != name and base not in chunk.columns and base not in arrays:
            arrays[base] = [
                chunk.columns.index(column) for column in list_numbered_columns(base, chunk.columns)
            ]
    for cells in zip(*chunk.columns_to_lists(), strict=True):
        row = dict(zip(chunk.columns, cells, strict=True))
        for base, indexes in arrays.items():
            row[base] = [cells[index] for index in indexes]
        yield row


def chunk_to_events(topic: str, chunk: Chunk) -> list[Event]:
    """Returns the samples as events, with the fields that each has, under the store's names."""
    names = [name for name in chunk.columns if name != "time"]
    columns = dict(zip(chunk.columns, chunk.columns_to_lists(), strict=True))
    events = []
    for time, *cells in zip(columns["time"], *map(columns.__getitem__, names), strict=True):
        fields = {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}
        events.append(Event(topic, int(time), fields))
    return events
