"""From blocks and the samples not yet in one to a Series: in time order, each sample once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from catcher.model.event import FloatArray, Series
from catcher.model.time import SECOND, Instant
from catcher.ports import Predicate
from catcher.stores.history_block import Block
from catcher.stores.history_table import IntArray, Table, number

Part = Block | Table
_NUMBERED = re.compile(r"(.*?)(\d+)", re.DOTALL)


def series_of(
    topic: str,
    parts: Sequence[Part],
    fields: Sequence[str],
    start: Instant,
    end: Instant,
    where: Predicate | None,
) -> Series:
    """The samples with start <= time <= end that pass `where`, sorted by time.

    A field that is named but held by no sample is a column of NaN; one that was a list is all
    the columns it was flattened into.
    """
    chosen: list[tuple[Part, IntArray]] = []
    for part in parts:
        time = part.time
        inside = np.flatnonzero((time >= start) & (time <= end))
        if where is not None and len(inside):
            inside = _passing(part, inside, where)
        if len(inside):
            chosen.append((part, inside))
    time = _joined([part.time[rows] for part, rows in chosen], np.int64)
    prints = _joined([part.prints[rows] for part, rows in chosen], np.uint32)
    order = _order(time, prints)
    columns = {
        name: _column(name, chosen)[order] for name in _wanted(fields, [part for part, _ in chosen])
    }
    return Series(seconds(time[order]), columns, topic=topic)


def seconds(time: IntArray) -> FloatArray:
    """Seconds since the epoch, rounded once: whole seconds and the rest apart."""
    whole, rest = np.divmod(time, SECOND)
    return np.asarray(whole + rest / SECOND, dtype=np.float64)


def _joined(pieces: list[npt.NDArray[Any]], dtype: type) -> npt.NDArray[Any]:
    return np.concatenate(pieces) if pieces else np.empty(0, dtype)


def _order(time: IntArray, prints: npt.NDArray[np.uint32]) -> IntArray:
    """By time, then arrival, without those that came before at the same time with one print."""
    order = np.argsort(time, kind="stable")
    if not np.any(np.diff(time[order]) == 0):
        return order
    alike = np.lexsort((np.arange(len(time)), prints, time))
    again = (np.diff(time[alike]) == 0) & (np.diff(prints[alike]) == 0)
    first = np.ones(len(time), dtype=bool)
    first[alike[1:][again]] = False
    return order[first[order]]


def _wanted(fields: Sequence[str], parts: Sequence[Part]) -> list[str]:
    numeric = dict.fromkeys(name for part in parts for name in part.numeric)
    if not fields:
        other = {name for part in parts for name in part.other}
        return [name for name in numeric if name not in other or _has_numbers(name, parts)]
    wanted: dict[str, None] = {}
    for name in fields:
        places = [] if name in numeric else _places(name, numeric)
        wanted.update(dict.fromkeys(places or [name]))
    return list(wanted)


def _places(name: str, known: Mapping[str, None]) -> list[str]:
    """`name0 … nameN`, in the order of their numbers."""
    found = []
    for column in known:
        match = _NUMBERED.fullmatch(column)
        if match and match[1] == name:
            found.append((int(match[2]), column))
    return [column for _, column in sorted(found)]


def _has_numbers(name: str, parts: Sequence[Part]) -> bool:
    """Whether a column that also held something else was a number at least once."""
    holding = [part for part in parts if name in part.numeric]
    return any(bool(np.any(~np.isnan(part.number(name)))) for part in holding)


def _column(name: str, chosen: Sequence[tuple[Part, IntArray]]) -> FloatArray:
    pieces = []
    for part, rows in chosen:
        if name in part.numeric:
            pieces.append(part.number(name)[rows])
        elif name in part.other:
            values = part.value(name)
            pieces.append(np.array([number(values[row]) for row in rows], dtype=np.float64))
        else:
            pieces.append(np.full(len(rows), np.nan))
    return _joined(pieces, np.float64)


def _passing(part: Part, rows: IntArray, where: Predicate) -> IntArray:
    sample = _Sample(part)
    passing = []
    for row in rows.tolist():
        sample.row = row
        if where(sample):
            passing.append(row)
    return np.array(passing, dtype=np.int64)


class _Sample(Mapping[str, Any]):
    """One sample of a part as a row of fields; a column is unpacked when it is first asked for."""

    def __init__(self, part: Part) -> None:
        self.row = 0
        self._part = part
        self._numeric = part.numeric
        self._other = part.other
        self._columns: dict[str, Sequence[Any]] = {}

    def __getitem__(self, name: str) -> Any:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._unpacked(name)
        return column[self.row]

    def __iter__(self) -> Iterator[str]:
        yield from self._numeric
        yield from self._other

    def __len__(self) -> int:
        return len(self._numeric) + len(self._other)

    def _unpacked(self, name: str) -> Sequence[Any]:
        if name in self._other:
            return self._part.value(name)
        if name in self._numeric:
            numbers: list[float] = self._part.number(name).tolist()
            if name in self._part.flags:
                return [None if cell != cell else bool(cell) for cell in numbers]
            return numbers
        inner = [path for path in self if path.startswith(f"{name}.")]
        if not inner:
            raise KeyError(name)
        columns = {path[len(name) + 1 :]: self._unpacked(path) for path in inner}
        return [_nested(columns, row) for row in range(self._part.rows)]


def _nested(columns: Mapping[str, Sequence[Any]], row: int) -> dict[str, Any]:
    """The mapping that was flattened into columns named by dotted paths."""
    mapping: dict[str, Any] = {}
    for path, column in columns.items():
        *folders, leaf = path.split(".")
        place = mapping
        for folder in folders:
            inner = place.get(folder)
            if not isinstance(inner, dict):
                inner = place[folder] = {}
            place = inner
        place[leaf] = column[row]
    return mapping
