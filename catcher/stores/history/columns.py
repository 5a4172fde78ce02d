"""Events of one topic as columns: numbers as float64, anything else as lists of values.

A list becomes `name0 … nameN`, a mapping `name.key`, as telemetry stores flatten them. A row's
fingerprint is a sum over its columns, so it depends neither on their order nor on columns that the
row lacks: two samples with the same time and fingerprint are one sample.
"""

from __future__ import annotations

from collections.abc import KeysView, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from catcher.model.event import Event, FloatArray
from catcher.stores.ledger.mappers import encode_json

IntArray = npt.NDArray[np.int64]
FingerprintArray = npt.NDArray[np.uint32]

MAX_COLUMNS = 4096
"""Columns of one table; fields of wider samples are dropped and counted."""
MAX_DEPTH = 8
_NUMBER_TYPES = frozenset({int, float, bool, type(None)})
_FLAG_TYPES = frozenset({bool, type(None)})
_LIST_TYPES = frozenset({list, tuple, type(None)})
_MAPPING_TYPES = frozenset({dict, type(None)})


@dataclass(slots=True)
class ColumnTable:
    """Some samples of one topic. `flags` names the numeric columns that were booleans."""

    time: IntArray
    fingerprints: FingerprintArray
    numbers: dict[str, FloatArray] = field(default_factory=dict)
    values: dict[str, Sequence[Any]] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    dropped_cells: int = 0

    @property
    def row_count(self) -> int:
        """The number of samples."""
        return len(self.time)

    @property
    def is_full(self) -> bool:
        """True if it has the maximum number of columns."""
        return len(self.numbers) + len(self.values) >= MAX_COLUMNS

    @property
    def numeric_columns(self) -> KeysView[str]:
        """The columns of numbers and booleans."""
        return self.numbers.keys()

    @property
    def other_columns(self) -> KeysView[str]:
        """The columns of any other type."""
        return self.values.keys()

    def get_numbers(self, name: str) -> FloatArray:
        """Returns a numeric column; NaN if a sample has none."""
        return self.numbers[name]

    def get_values(self, name: str) -> Sequence[Any]:
        """Returns a column of other values; None if a sample has none."""
        return self.values[name]


def events_to_table(events: Sequence[Event]) -> ColumnTable:
    """Returns the columns of events of one topic, in order of arrival."""
    rows = [event.fields for event in events]
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    time = np.fromiter((event.time for event in events), np.int64, len(events))
    table = ColumnTable(time, np.zeros(len(events), np.uint32))
    for name in names:
        if table.is_full:
            table.dropped_cells += sum(name in row for row in rows)
        else:
            _add_flattened_field(table, str(name), [row.get(name) for row in rows], 0)
    table.fingerprints = _compute_fingerprints(table)
    return table


def _add_flattened_field(table: ColumnTable, name: str, cells: list[Any], depth: int) -> None:
    """Adds one field, as one column or, for lists and mappings, as several."""
    types = set(map(type, cells))
    if types <= _NUMBER_TYPES:
        table.numbers[name] = _to_number_array(cells)
        if types <= _FLAG_TYPES and bool in types:
            table.flags.add(name)
    elif types <= _LIST_TYPES and depth < MAX_DEPTH:
        max_length = max(len(cell) for cell in cells if cell is not None)
        for index in range(max_length):
            if table.is_full:
                table.dropped_cells += max_length - index
                break
            _add_flattened_field(
                table, f"{name}{index}", [_get_item(cell, index) for cell in cells], depth + 1
            )
    elif types <= _MAPPING_TYPES and depth < MAX_DEPTH:
        keys = dict.fromkeys(key for cell in cells if cell for key in cell)
        for index, key in enumerate(keys):
            if table.is_full:
                table.dropped_cells += len(keys) - index
                break
            inner_cells = [cell.get(key) if cell else None for cell in cells]
            _add_flattened_field(table, f"{name}.{key}", inner_cells, depth + 1)
    else:
        table.values[name] = cells


def _get_item(cell: Sequence[Any] | None, index: int) -> Any:
    return cell[index] if cell is not None and index < len(cell) else None


def _to_number_array(cells: Sequence[Any]) -> FloatArray:
    try:
        return np.array(cells, dtype=np.float64)
    except OverflowError:
        return np.array([number_or_nan(cell) for cell in cells], dtype=np.float64)


def number_or_nan(cell: Any) -> float:
    """Returns a cell as a number; NaN if it is not one."""
    try:
        return float(cell) if isinstance(cell, int | float) else float("nan")
    except OverflowError:
        return float("nan")


def _compute_fingerprints(table: ColumnTable) -> FingerprintArray:
    total = np.zeros(table.row_count, dtype=np.uint64)
    for name, column in table.numbers.items():
        present = ~np.isnan(column)
        # Adding 0 makes -0.0 and 0.0 the same.
        total += _fingerprint_column(name, (column + 0.0).view(np.uint64), present)
    for name, cells in table.values.items():
        present = np.array([cell is not None for cell in cells], dtype=bool)
        bits = np.array([_hash_text(encode_json(cell)) for cell in cells], dtype=np.uint64)
        total += _fingerprint_column(name, bits, present)
    return (total >> np.uint64(32)).astype(np.uint32)


def _fingerprint_column(
    name: str, bits: npt.NDArray[np.uint64], present: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint64]:
    """Mixes each cell by splitmix64's finaliser (Steele, Lea, Flood 2014), so that sums differ."""
    bits = bits ^ np.uint64(_hash_text(name))
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.where(present, bits ^ (bits >> np.uint64(31)), np.uint64(0))


def _hash_text(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())
