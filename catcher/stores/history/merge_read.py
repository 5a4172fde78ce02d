"""Merges blocks and buffered samples to a Series: in time order, each sample once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from catcher.model.event import FloatArray, Series
from catcher.model.time import SECOND, Instant
from catcher.ports import Predicate
from catcher.stores.history.block import Block
from catcher.stores.history.columns import ColumnTable, IntArray, number_or_nan

SampleBatch = Block | ColumnTable
_ARRAY_COLUMN = re.compile(r"(.*?)(\d+)", re.DOTALL)


def merge_batches_to_series(
    topic: str,
    batches: Sequence[SampleBatch],
    fields: Sequence[str],
    start: Instant,
    end: Instant,
    where: Predicate | None,
) -> Series:
    """Returns the samples with start <= time <= end that pass `where`, sorted by time.

    A named field that no sample has is a column of NaN; one that was a list is all the columns it
    was flattened into.
    """
    selections: list[tuple[SampleBatch, IntArray]] = []
    for batch in batches:
        time = batch.time
        row_indexes = np.flatnonzero((time >= start) & (time <= end))
        if where is not None and len(row_indexes):
            row_indexes = _find_matching_rows(batch, row_indexes, where)
        if len(row_indexes):
            selections.append((batch, row_indexes))
    time = _concatenate([batch.time[rows] for batch, rows in selections], np.int64)
    fingerprints = _concatenate([batch.fingerprints[rows] for batch, rows in selections], np.uint32)
    order = _order_unique_samples(time, fingerprints)
    columns = {
        name: _build_column(name, selections)[order]
        for name in _select_columns(fields, [batch for batch, _ in selections])
    }
    return Series(instants_to_seconds(time[order]), columns, topic=topic)


def instants_to_seconds(time: IntArray) -> FloatArray:
    """Returns seconds since the epoch, rounded once: whole seconds and remainder separately."""
    whole_seconds, remainder = np.divmod(time, SECOND)
    return np.asarray(whole_seconds + remainder / SECOND, dtype=np.float64)


def _concatenate(arrays: list[npt.NDArray[Any]], dtype: type) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _order_unique_samples(time: IntArray, fingerprints: npt.NDArray[np.uint32]) -> IntArray:
    """Returns the order by time, then arrival, without repeats of a time and fingerprint."""
    order = np.argsort(time, kind="stable")
    if not np.any(np.diff(time[order]) == 0):
        return order
    by_identity = np.lexsort((np.arange(len(time)), fingerprints, time))
    is_duplicate = (np.diff(time[by_identity]) == 0) & (np.diff(fingerprints[by_identity]) == 0)
    is_first = np.ones(len(time), dtype=bool)
    is_first[by_identity[1:][is_duplicate]] = False
    return order[is_first[order]]


def _select_columns(fields: Sequence[str], batches: Sequence[SampleBatch]) -> list[str]:
    numeric = dict.fromkeys(name for batch in batches for name in batch.numeric_columns)
    if not fields:
        other_columns = {name for batch in batches for name in batch.other_columns}
        return [
            name for name in numeric if name not in other_columns or _has_numbers(name, batches)
        ]
    selected: dict[str, None] = {}
    for name in fields:
        array_columns = [] if name in numeric else _list_array_columns(name, numeric)
        selected.update(dict.fromkeys(array_columns or [name]))
    return list(selected)


def _list_array_columns(name: str, column_names: Mapping[str, None]) -> list[str]:
    """Returns `name0 … nameN`, in numeric order."""
    numbered = []
    for column in column_names:
        match = _ARRAY_COLUMN.fullmatch(column)
        if match and match[1] == name:
            numbered.append((int(match[2]), column))
    return [column for _, column in sorted(numbered)]


def _has_numbers(name: str, batches: Sequence[SampleBatch]) -> bool:
    """True if a column that also held other values was a number at least once."""
    numeric_batches = [batch for batch in batches if name in batch.numeric_columns]
    return any(bool(np.any(~np.isnan(batch.get_numbers(name)))) for batch in numeric_batches)


def _build_column(name: str, selections: Sequence[tuple[SampleBatch, IntArray]]) -> FloatArray:
    arrays = []
    for batch, rows in selections:
        if name in batch.numeric_columns:
            arrays.append(batch.get_numbers(name)[rows])
        elif name in batch.other_columns:
            values = batch.get_values(name)
            arrays.append(np.array([number_or_nan(values[row]) for row in rows], dtype=np.float64))
        else:
            arrays.append(np.full(len(rows), np.nan))
    return _concatenate(arrays, np.float64)


def _find_matching_rows(batch: SampleBatch, rows: IntArray, where: Predicate) -> IntArray:
    sample = _Sample(batch)
    matching = []
    for row in rows.tolist():
        sample.row = row
        if where(sample):
            matching.append(row)
    return np.array(matching, dtype=np.int64)


class _Sample(Mapping[str, Any]):
    """One sample of a batch as a row of fields; a column is unpacked on first access."""

    def __init__(self, batch: SampleBatch) -> None:
        self.row = 0
        self._batch = batch
        self._numeric_columns = batch.numeric_columns
        self._other_columns = batch.other_columns
        self._columns: dict[str, Sequence[Any]] = {}

    def __getitem__(self, name: str) -> Any:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._load_column(name)
        return column[self.row]

    def __iter__(self) -> Iterator[str]:
        yield from self._numeric_columns
        yield from self._other_columns

    def __len__(self) -> int:
        return len(self._numeric_columns) + len(self._other_columns)

    def _load_column(self, name: str) -> Sequence[Any]:
        if name in self._other_columns:
            return self._batch.get_values(name)
        if name in self._numeric_columns:
            numbers: list[float] = self._batch.get_numbers(name).tolist()
            if name in self._batch.flags:
                return [None if cell != cell else bool(cell) for cell in numbers]
            return numbers
        inner_paths = [path for path in self if path.startswith(f"{name}.")]
        if not inner_paths:
            raise KeyError(name)
        columns = {path[len(name) + 1 :]: self._load_column(path) for path in inner_paths}
        return [_unflatten_mapping(columns, row) for row in range(self._batch.row_count)]


def _unflatten_mapping(columns: Mapping[str, Sequence[Any]], row: int) -> dict[str, Any]:
    """Returns the mapping that was flattened into columns named by dotted paths."""
    mapping: dict[str, Any] = {}
    for path, column in columns.items():
        *parents, leaf = path.split(".")
        target = mapping
        for parent in parents:
            inner = target.get(parent)
            if not isinstance(inner, dict):
                inner = target[parent] = {}
            target = inner
        target[leaf] = column[row]
    return mapping
