"""Times as people write them: datetime, ISO text, astropy Time, "-30m"."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np

from catcher.model.problem import CatcherError
from catcher.model.time import (
    MAX_INSTANT,
    MICROSECOND,
    SECOND,
    Instant,
    Span,
    parse_duration,
    parse_instant,
    tai_to_utc,
)

HOW = 'write it like "2025-04-24T00:05:13.2Z" (UTC), or "-30m" for so long ago'
_EPOCH_DAY = 2_440_587.5
_DAY_NS = 86_400_000_000_000


class AstropyTime(Protocol):
    """What is used of `astropy.time.Time`, which nobody need have."""

    @property
    def scale(self) -> str: ...
    @property
    def tai(self) -> Any: ...


class AstropySpan(Protocol):
    """What is used of `astropy.time.TimeDelta` and of quantities of time."""

    def to_value(self, unit: str) -> Any: ...


When = str | float | datetime | np.datetime64 | AstropyTime | None
"""None is now."""
Length = str | timedelta | AstropySpan


def instant_of(when: When, now: Instant) -> Instant:
    """An instant of UTC. ISO text without a zone is UTC; a datetime without one is refused.

    Numbers are seconds since the epoch. A Time of astropy is converted from whatever scale it
    is in.
    """
    if when is None:
        return now
    if isinstance(when, str):
        return _from_text(when.strip(), now)
    if isinstance(when, datetime):
        return _from_datetime(when)
    if isinstance(when, np.datetime64):
        return _within(int(when.astype("datetime64[ns]").astype(np.int64)), when)
    if _is_a("Time", when):
        return _from_astropy(when)
    try:
        return parse_instant(when)  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError) as error:
        raise CatcherError(f"{when!r} is no time", HOW) from error


def maybe_instant(when: When, now: Instant) -> Instant | None:
    """As `instant_of`, but None is no bound."""
    return None if when is None else instant_of(when, now)


def span_of(
    start: When, end: When | Length, centred: bool, now: Instant
) -> tuple[Instant, Instant]:
    """The first and last instant, both included. A length of time counts from the start.

    With `centred` half of the length lies before the start.
    """
    first = instant_of(start, now)
    length = _length(end)
    if length is None:
        last = instant_of(end, now)  # type: ignore[arg-type]
    elif centred:
        first, last = first - length // 2, first + length // 2
    else:
        last = first + length
    if last < first:
        raise CatcherError("the span ends before it begins", "give an earlier start")
    return first, last


def _length(end: When | Length) -> Span | None:
    """Of a timedelta or a TimeDelta; None for what is an instant."""
    if isinstance(end, timedelta):
        return (end.days * 86_400 + end.seconds) * SECOND + end.microseconds * MICROSECOND
    if isinstance(end, np.datetime64 | datetime | str | float | int) or end is None:
        return None
    if _is_a("TimeDelta", end) or _is_a("Quantity", end):
        return round(float(end.to_value("s")) * SECOND)  # type: ignore[union-attr]
    return None


def _is_a(kind: str, value: object) -> bool:
    """Whether a value is of a class of astropy, without importing it for those who have none."""
    return any(
        one.__name__ == kind and one.__module__.startswith("astropy.")
        for one in type(value).__mro__
    )


def _from_text(text: str, now: Instant) -> Instant:
    if text == "now":
        return now
    if text[:1] == "-":
        try:
            return max(0, now - parse_duration(text[1:].strip()))
        except ValueError as error:
            raise CatcherError(f"{text!r} is no time", HOW) from error
    try:
        return parse_instant(text)
    except ValueError as error:
        hint = f'write "-{text}" for so long ago' if _is_duration(text) else HOW
        raise CatcherError(f"{text[:60]!r} is no time", hint) from error


def _is_duration(text: str) -> bool:
    return re.fullmatch(r"(\d+(\.\d+)?(ns|us|ms|s|m|h|d|w))+", text) is not None


def _from_datetime(when: datetime) -> Instant:
    if when.tzinfo is None or when.utcoffset() is None:
        raise CatcherError(
            f"the datetime {when.isoformat()} has no time zone",
            "say which: datetime(…, tzinfo=UTC), or when.replace(tzinfo=UTC)",
        )
    try:
        # A timestamp of pandas has nanoseconds beyond those of a datetime.
        return parse_instant(when) + int(getattr(when, "nanosecond", 0))
    except ValueError as error:
        raise CatcherError(f"{when} lies outside 1970 to 2262", HOW) from error


def _from_astropy(when: Any) -> Instant:
    """By way of TAI, in which every day has as many seconds."""
    tai = when.tai
    if np.ndim(tai.jd1):
        raise CatcherError("an array of times is no time", "give one of them")
    day, part = float(tai.jd1) - _EPOCH_DAY, float(tai.jd2)
    if not math.isfinite(day + part):
        raise CatcherError(f"{when} is no time", HOW)
    # The halves of days of jd1 are whole numbers of nanoseconds; only jd2 is rounded.
    return _within(tai_to_utc(round(day * _DAY_NS) + round(part * _DAY_NS)), when)


def _within(instant: Instant, when: object) -> Instant:
    if not 0 <= instant <= MAX_INSTANT:
        raise CatcherError(f"{when} lies outside 1970 to 2262", HOW)
    return instant
