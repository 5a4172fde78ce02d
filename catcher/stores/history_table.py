"""Events of one topic as columns: numbers as float64, anything else as lists of values.

A list becomes `name0 … nameN`, a mapping `name.key`, as telemetry stores flatten them. A row's
fingerprint is a sum over its columns, so that it does not depend on their order, nor on columns
that it lacks: two samples of one time with one fingerprint are one sample.
"""

from __future__ import annotations

from collections.abc import KeysView, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from catcher.model.event import Event, FloatArray
from catcher.stores.documents import document

IntArray = npt.NDArray[np.int64]
PrintArray = npt.NDArray[np.uint32]

WIDEST = 4096
"""Columns of one table; what is wider loses the rest, counted."""
DEEPEST = 8
_NUMBERS = frozenset({int, float, bool, type(None)})
_FLAGS = frozenset({bool, type(None)})
_LISTS = frozenset({list, tuple, type(None)})
_MAPPINGS = frozenset({dict, type(None)})


@dataclass(slots=True)
class Table:
    """Some samples of one topic. `flags` names the numeric columns that were truth values."""

    time: IntArray
    prints: PrintArray
    numbers: dict[str, FloatArray] = field(default_factory=dict)
    values: dict[str, Sequence[Any]] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    lost: int = 0

    @property
    def rows(self) -> int:
        """The number of samples."""
        return len(self.time)

    @property
    def full(self) -> bool:
        """Whether it has as many columns as it may."""
        return len(self.numbers) + len(self.values) >= WIDEST

    @property
    def numeric(self) -> KeysView[str]:
        """The columns that hold numbers and truth values."""
        return self.numbers.keys()

    @property
    def other(self) -> KeysView[str]:
        """The columns that hold anything else."""
        return self.values.keys()

    def number(self, name: str) -> FloatArray:
        """A numeric column; NaN where a sample has none."""
        return self.numbers[name]

    def value(self, name: str) -> Sequence[Any]:
        """A column of other values; None where a sample has none."""
        return self.values[name]


def table_of(events: Sequence[Event]) -> Table:
    """The columns of events of one topic, in the order they came."""
    rows = [event.fields for event in events]
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    time = np.fromiter((event.time for event in events), np.int64, len(events))
    table = Table(time, np.zeros(len(events), np.uint32))
    for name in names:
        if table.full:
            table.lost += sum(name in row for row in rows)
        else:
            _add(table, str(name), [row.get(name) for row in rows], 0)
    table.prints = _prints(table)
    return table


def _add(table: Table, name: str, cells: list[Any], depth: int) -> None:
    """Adds one field, as one column or, for lists and mappings, as several."""
    kinds = set(map(type, cells))
    if kinds <= _NUMBERS:
        table.numbers[name] = _numbers(cells)
        if kinds <= _FLAGS and bool in kinds:
            table.flags.add(name)
    elif kinds <= _LISTS and depth < DEEPEST:
        widest = max(len(cell) for cell in cells if cell is not None)
        for place in range(widest):
            if table.full:
                table.lost += widest - place
                break
            _add(table, f"{name}{place}", [_nth(cell, place) for cell in cells], depth + 1)
    elif kinds <= _MAPPINGS and depth < DEEPEST:
        keys = dict.fromkeys(key for cell in cells if cell for key in cell)
        for place, key in enumerate(keys):
            if table.full:
                table.lost += len(keys) - place
                break
            inner = [cell.get(key) if cell else None for cell in cells]
            _add(table, f"{name}.{key}", inner, depth + 1)
    else:
        table.values[name] = cells


def _nth(cell: Sequence[Any] | None, place: int) -> Any:
    return cell[place] if cell is not None and place < len(cell) else None


def _numbers(cells: Sequence[Any]) -> FloatArray:
    try:
        return np.array(cells, dtype=np.float64)
    except OverflowError:
        return np.array([number(cell) for cell in cells], dtype=np.float64)


def number(cell: Any) -> float:
    """A cell as a number; NaN for what is none."""
    try:
        return float(cell) if isinstance(cell, int | float) else float("nan")
    except OverflowError:
        return float("nan")


def _prints(table: Table) -> PrintArray:
    total = np.zeros(table.rows, dtype=np.uint64)
    for name, column in table.numbers.items():
        known = ~np.isnan(column)
        # Adding nought makes -0.0 and 0.0 the same.
        total += _print_column(name, (column + 0.0).view(np.uint64), known)
    for name, cells in table.values.items():
        known = np.array([cell is not None for cell in cells], dtype=bool)
        bits = np.array([_hash(document(cell)) for cell in cells], dtype=np.uint64)
        total += _print_column(name, bits, known)
    return (total >> np.uint64(32)).astype(np.uint32)


def _print_column(
    name: str, bits: npt.NDArray[np.uint64], known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint64]:
    """splitmix64's finaliser (Steele, Lea, Flood 2014) over each cell, so that sums differ."""
    bits = bits ^ np.uint64(_hash(name))
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.where(known, bits ^ (bits >> np.uint64(31)), np.uint64(0))


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())
