"""Parses times as people write them: datetime, ISO text, astropy Time, "-30m"."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np

from catcher.model.errors import CatcherError
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

TIME_HINT = 'write it like "2025-04-24T00:05:13.2Z" (UTC), or "-30m" for so long ago'
_EPOCH_DAY = 2_440_587.5
_DAY_NANOSECONDS = 86_400_000_000_000


class AstropyTime(Protocol):
    """The used part of `astropy.time.Time`; astropy itself is optional."""

    @property
    def scale(self) -> str: ...
    @property
    def tai(self) -> Any: ...


class AstropySpan(Protocol):
    """The used part of `astropy.time.TimeDelta` and of quantities of time."""

    def to_value(self, unit: str) -> Any: ...


TimeLike = str | float | datetime | np.datetime64 | AstropyTime | None
"""None is now."""
DurationLike = str | timedelta | AstropySpan


def parse_time(when: TimeLike, now: Instant) -> Instant:
    """Parses an instant of UTC. ISO text without a zone is UTC; a datetime without one is refused.
    Numbers are seconds since the epoch. A Time of astropy is converted from whatever scale it is
    in.
    """
    if when is None:
        return now
    if isinstance(when, str):
        return _instant_from_text(when.strip(), now)
    if isinstance(when, datetime):
        return _instant_from_datetime(when)
    if isinstance(when, np.datetime64):
        return _check_instant_range(int(when.astype("datetime64[ns]").astype(np.int64)), when)
    if _is_astropy_instance("Time", when):
        return _instant_from_astropy(when)
    try:
        return parse_instant(when)  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError) as error:
        raise CatcherError(f"{when!r} is no time", TIME_HINT) from error


def parse_optional_time(when: TimeLike, now: Instant) -> Instant | None:
    """Parses a time like `parse_time`, but None means no limit."""
    return None if when is None else parse_time(when, now)


def parse_time_range(
    start: TimeLike, end: TimeLike | DurationLike, centered: bool, now: Instant
) -> tuple[Instant, Instant]:
    """Returns the first and last instant, both included. A length of time counts from the start.
    With `centered` half of the length lies before the start.
    """
    first = parse_time(start, now)
    length = _span_from_duration(end)
    if length is None:
        last = parse_time(end, now)  # type: ignore[arg-type]
    elif centered:
        first, last = first - length // 2, first + length // 2
    else:
        last = first + length
    if last < first:
        raise CatcherError("the span ends before it begins", "give an earlier start")
    return first, last


def _span_from_duration(end: TimeLike | DurationLike) -> Span | None:
    """Returns the length of a timedelta or a TimeDelta; None for what is an instant."""
    if isinstance(end, timedelta):
        return (end.days * 86_400 + end.seconds) * SECOND + end.microseconds * MICROSECOND
    if isinstance(end, np.datetime64 | datetime | str | float | int) or end is None:
        return None
    if _is_astropy_instance("TimeDelta", end) or _is_astropy_instance("Quantity", end):
        return round(float(end.to_value("s")) * SECOND)  # type: ignore[union-attr]
    return None


def _is_astropy_instance(class_name: str, value: object) -> bool:
    """True if a value is of a class of astropy, without importing it: it may not be installed."""
    return any(
        base.__name__ == class_name and base.__module__.startswith("astropy.")
        for base in type(value).__mro__
    )


def _instant_from_text(text: str, now: Instant) -> Instant:
    if text == "now":
        return now
    if text[:1] == "-":
        try:
            return max(0, now - parse_duration(text[1:].strip()))
        except ValueError as error:
            raise CatcherError(f"{text!r} is no time", TIME_HINT) from error
    try:
        return parse_instant(text)
    except ValueError as error:
        hint = f'write "-{text}" for so long ago' if _is_duration_text(text) else TIME_HINT
        raise CatcherError(f"{text[:60]!r} is no time", hint) from error


def _is_duration_text(text: str) -> bool:
    return re.fullmatch(r"(\d+(\.\d+)?(ns|us|ms|s|m|h|d|w))+", text) is not None


def _instant_from_datetime(when: datetime) -> Instant:
    if when.tzinfo is None or when.utcoffset() is None:
        raise CatcherError(
            f"the datetime {when.isoformat()} has no time zone",
            "say which: datetime(…, tzinfo=UTC), or when.replace(tzinfo=UTC)",
        )
    try:
        # A timestamp of pandas has nanoseconds beyond those of a datetime.
        return parse_instant(when) + int(getattr(when, "nanosecond", 0))
    except ValueError as error:
        raise CatcherError(f"{when} lies outside 1970 to 2262", TIME_HINT) from error


def _instant_from_astropy(when: Any) -> Instant:
    """Converts by way of TAI, in which all days have the same number of seconds."""
    tai = when.tai
    if np.ndim(tai.jd1):
        raise CatcherError("an array of times is no time", "give one of them")
    day, day_fraction = float(tai.jd1) - _EPOCH_DAY, float(tai.jd2)
    if not math.isfinite(day + day_fraction):
        raise CatcherError(f"{when} is no time", TIME_HINT)
    # The half days of jd1 are whole numbers of nanoseconds; only jd2 is rounded.
    return _check_instant_range(
        tai_to_utc(round(day * _DAY_NANOSECONDS) + round(day_fraction * _DAY_NANOSECONDS)), when
    )


def _check_instant_range(instant: Instant, when: object) -> Instant:
    if not 0 <= instant <= MAX_INSTANT:
        raise CatcherError(f"{when} lies outside 1970 to 2262", TIME_HINT)
    return instant
