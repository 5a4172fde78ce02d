"""The fields of stored topics, predicates that a store can push down, and packed series.

In a packed series one row carries a second of samples, as `field0 … fieldN`, with the time of
the first of them on a clock of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from catcher.model.errors import CatcherError
from catcher.model.event import FloatArray, Series
from catcher.model.time import SECOND, tai_to_utc

Size = int
"""Bytes; in settings written as 500MB or 2GiB."""
FieldType = Literal["float", "integer", "boolean", "string"]
Scalar = float | int | str | bool
PACKED_CLOCK = "cRIO_timestamp"
"""The field that holds the time of the first sample of a packed row, TAI."""
MAX_GAP_FACTOR = 1.5
"""Rows further apart than this many typical intervals have a gap between them."""
_NUMBERED_PATTERN = re.compile(r"(.*?)(\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of a topic as it can be queried; an array has one for each of its elements."""

    name: str
    type: FieldType
    unit: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class PushdownPredicate:
    """A predicate that a store can push down.

    Every row that passes has the values of `equals`, by which a store may narrow its reads; it
    still calls `test`, unless they are `exact`: all that `test` checks. `names` are all fields
    that `test` uses.
    """

    test: Callable[[Mapping[str, Any]], bool]
    equals: Mapping[str, Scalar]
    names: frozenset[str]
    exact: bool = False

    def __call__(self, row: Mapping[str, Any]) -> bool:
        return self.test(row)


def build_index_predicate(index: int, field: str = "salIndex") -> PushdownPredicate:
    """Returns a predicate for the rows of one instance of a component."""
    return PushdownPredicate(
        lambda row: bool(row.get(field) == index), {field: index}, frozenset({field}), True
    )


def list_numbered_columns(name: str, columns: Sequence[str]) -> list[str]:
    """Returns `name0 … nameN` among these columns, in the order of their numbers."""
    matches = []
    for column in columns:
        match = _NUMBERED_PATTERN.fullmatch(column)
        if match and match[1] == name:
            matches.append((int(match[2]), column))
    return [column for _, column in sorted(matches)]


def unpack_series(
    series: Series,
    fields: Sequence[str],
    clock: str = PACKED_CLOCK,
    scale: Literal["tai", "utc"] = "tai",
    stride: int = 1,
    rate: float = 0.0,
) -> Series:
    """Unpacks a packed series into one row for each sample, taking every `stride`-th sample.

    Each row's samples are spread evenly from its clock (seconds since the epoch) up to the next
    row's; before a gap, and in the last row, as in the rows around. `rate` (samples a second)
    is needed if there is only one row.
    """
    names = list(series.columns)
    columns_by_field = {field: list_numbered_columns(field, names) for field in fields}
    samples_per_row = _count_samples_per_row(columns_by_field, series.topic)
    if stride < 1 or samples_per_row % stride:
        raise CatcherError(
            f"a row holds {samples_per_row} samples, which {stride} does not divide",
            "choose a stride that divides them",
        )
    if clock not in series:
        raise CatcherError(
            f"{series.topic or 'the series'} has no field {clock!r}",
            "name the field that holds the time of a row's first sample",
        )
    has_time = ~np.isnan(series[clock])
    starts = series[clock][has_time]
    intervals = _compute_sample_intervals(starts, samples_per_row, rate)
    time = (starts[:, None] + intervals[:, None] * np.arange(0, samples_per_row, stride)).ravel()
    time = _tai_to_utc_array(time) if scale == "tai" else time
    order = np.argsort(time, kind="stable")
    columns = {
        field: np.stack(
            [series[column][has_time] for column in packed_columns[::stride]], axis=1
        ).ravel()[order]
        for field, packed_columns in columns_by_field.items()
    }
    units = {name: series.units[name] for name in columns if name in series.units}
    return Series(time[order], columns, units, series.topic)


def _count_samples_per_row(columns_by_field: Mapping[str, Sequence[str]], topic: str) -> int:
    """Returns the number of samples per row; raises CatcherError if the fields disagree."""
    missing = [field for field, columns in columns_by_field.items() if not columns]
    if missing or not columns_by_field:
        raise CatcherError(
            f"{topic or 'the series'} has no packed field {missing[0] if missing else ''!r}",
            "a packed field stands as field0, field1, … in the store; name it without the number",
        )
    widths = {field: len(columns) for field, columns in columns_by_field.items()}
    if len(set(widths.values())) > 1:
        lengths = ", ".join(f"{field} has {width}" for field, width in widths.items())
        raise CatcherError(
            f"the packed fields differ in length: {lengths}", "ask for them one by one"
        )
    return next(iter(widths.values()))


def _compute_sample_intervals(starts: FloatArray, width: int, rate: float) -> FloatArray:
    """Returns the seconds between two samples, row by row."""
    if len(starts) == 0:
        return np.empty(0)
    if rate > 0:
        return np.full(len(starts), 1 / rate)
    if len(starts) == 1:
        raise CatcherError(
            "one packed row alone does not say how fast its samples came",
            "ask for a longer span, or say the rate",
        )
    row_intervals = np.diff(starts)
    typical = float(np.median(row_intervals))
    row_intervals = np.where(
        (row_intervals > MAX_GAP_FACTOR * typical) | (row_intervals <= 0), typical, row_intervals
    )
    return np.append(row_intervals, typical) / width


def _tai_to_utc_array(seconds: FloatArray) -> FloatArray:
    """Converts TAI to UTC; one offset holds for all unless a leap second lies between."""
    if len(seconds) == 0:
        return seconds
    bounds = [int(seconds.min() * SECOND), int(seconds.max() * SECOND)]
    first_offset, last_offset = ((bound - tai_to_utc(bound)) / SECOND for bound in bounds)
    if first_offset == last_offset:
        return seconds - first_offset
    return np.array([tai_to_utc(round(second * 1e9)) / SECOND for second in seconds])
