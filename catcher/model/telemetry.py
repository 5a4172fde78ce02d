"""What telemetry at rest is asked by: the fields of a topic, and conditions a store sees through.

Packed series are here too: one row carries a second of samples, as `field0 … fieldN`, with the
time of the first of them on a clock of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from catcher.model.event import FloatArray, Series
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, tai_to_utc

Size = int
"""Bytes; in settings written as 500MB or 2GiB."""
FieldType = Literal["float", "integer", "boolean", "string"]
Scalar = float | int | str | bool
PACKED_CLOCK = "cRIO_timestamp"
"""The field that holds the time of the first sample of a packed row, TAI."""
WIDEST_GAP = 1.5
"""Rows further apart than this many usual distances have a gap between them."""
_NUMBERED = re.compile(r"(.*?)(\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of a topic as it can be asked for; an array is one for each of its places."""

    name: str
    type: FieldType
    unit: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Where:
    """A predicate that a store can see through.

    Every row that passes has the values of `equal`, by which a store may narrow what it looks
    at; it still asks the test, unless they are `exact`: all that the test asks. `names` are all
    fields that the test looks at.
    """

    test: Callable[[Mapping[str, Any]], bool]
    equal: Mapping[str, Scalar]
    names: frozenset[str]
    exact: bool = False

    def __call__(self, row: Mapping[str, Any]) -> bool:
        return self.test(row)


def indexed(index: int, field: str = "salIndex") -> Where:
    """The rows of one instance of a component."""
    return Where(
        lambda row: bool(row.get(field) == index), {field: index}, frozenset({field}), True
    )


def numbered(name: str, columns: Sequence[str]) -> list[str]:
    """`name0 … nameN` among these columns, in the order of their numbers."""
    found = []
    for column in columns:
        match = _NUMBERED.fullmatch(column)
        if match and match[1] == name:
            found.append((int(match[2]), column))
    return [column for _, column in sorted(found)]


def unpacked(
    series: Series,
    fields: Sequence[str],
    clock: str = PACKED_CLOCK,
    scale: Literal["tai", "utc"] = "tai",
    stride: int = 1,
    rate: float = 0.0,
) -> Series:
    """A packed series with a row for each sample, of every `stride`-th sample.

    Each row's samples are spread evenly from its clock (seconds since the epoch) up to the next
    row's; before a gap, and in the last row, as in the rows around. `rate` (samples a second)
    is needed where there is one row only.
    """
    names = list(series.columns)
    places = {field: numbered(field, names) for field in fields}
    width = _width(places, series.topic)
    if stride < 1 or width % stride:
        raise CatcherError(
            f"a row holds {width} samples, which {stride} does not divide",
            "choose a stride that divides them",
        )
    if clock not in series:
        raise CatcherError(
            f"{series.topic or 'the series'} has no field {clock!r}",
            "name the field that holds the time of a row's first sample",
        )
    known = ~np.isnan(series[clock])
    starts = series[clock][known]
    step = _steps(starts, width, rate)
    time = (starts[:, None] + step[:, None] * np.arange(0, width, stride)).ravel()
    time = _utc(time) if scale == "tai" else time
    order = np.argsort(time, kind="stable")
    columns = {
        field: np.stack([series[place][known] for place in some[::stride]], axis=1).ravel()[order]
        for field, some in places.items()
    }
    units = {name: series.units[name] for name in columns if name in series.units}
    return Series(time[order], columns, units, series.topic)


def _width(places: Mapping[str, Sequence[str]], topic: str) -> int:
    """How many samples a row holds; CatcherError where the fields do not agree."""
    missing = [field for field, some in places.items() if not some]
    if missing or not places:
        raise CatcherError(
            f"{topic or 'the series'} has no packed field {missing[0] if missing else ''!r}",
            "a packed field stands as field0, field1, … in the store; name it without the number",
        )
    widths = {field: len(some) for field, some in places.items()}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{field} has {width}" for field, width in widths.items())
        raise CatcherError(f"the packed fields differ in length: {told}", "ask for them one by one")
    return next(iter(widths.values()))


def _steps(starts: FloatArray, width: int, rate: float) -> FloatArray:
    """Seconds between two samples, row by row."""
    if len(starts) == 0:
        return np.empty(0)
    if rate > 0:
        return np.full(len(starts), 1 / rate)
    if len(starts) == 1:
        raise CatcherError(
            "one packed row alone does not say how fast its samples came",
            "ask for a longer span, or say the rate",
        )
    rows = np.diff(starts)
    usual = float(np.median(rows))
    rows = np.where((rows > WIDEST_GAP * usual) | (rows <= 0), usual, rows)
    return np.append(rows, usual) / width


def _utc(seconds: FloatArray) -> FloatArray:
    """TAI to UTC; one offset holds for all of them unless a leap second lies between."""
    if len(seconds) == 0:
        return seconds
    ends = [int(seconds.min() * SECOND), int(seconds.max() * SECOND)]
    first, last = ((end - tai_to_utc(end)) / SECOND for end in ends)
    if first == last:
        return seconds - first
    return np.array([tai_to_utc(round(one * 1e9)) / SECOND for one in seconds])
