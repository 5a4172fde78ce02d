"""Instants, spans, and the two time scales of an observatory.

An `Instant` is an integer count of nanoseconds since 1970-01-01T00:00:00 UTC, a `Span` a
number of nanoseconds. Integers, because a window's edge or a hold's end must fall exactly on a
sample or not.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime

Instant = int
Span = int
Clock = Callable[[], Instant]

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

DURATION_UNITS: dict[str, Span] = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
    "d": DAY,
    "w": 7 * DAY,
}
_DURATION_PART = re.compile(r"(\d{1,15})(?:\.(\d{1,9}))?(ns|us|ms|s|m|h|d|w)")
_ISO_PATTERN = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d+))?)?\s*(Z|[+-]\d{2}:?\d{2})?"
)
MAX_INSTANT = 2**63 - 1


def wall_clock() -> Instant:
    """Returns the current instant by this machine's clock."""
    return time.time_ns()


def parse_duration(text: str) -> Span:
    """Parses a span such as `500ms`, `10s`, `5m`, `1h30m`, `2d`; raises ValueError otherwise."""
    total, end = 0, 0
    for part in _DURATION_PART.finditer(text):
        if part.start() != end:
            break
        unit = DURATION_UNITS[part[3]]
        total += int(part[1]) * unit + unit * int(part[2] or 0) // 10 ** len(part[2] or "")
        end = part.end()
    if end == 0 or end != len(text):
        raise ValueError(f"{text!r} is no duration; write it like 30s, 5m, 1h30m or 2d")
    return total


def format_duration(span: Span) -> str:
    """Returns the shortest text that `parse_duration` reads back: `3m12s`, `1h30m`, `250ms`."""
    if span < 0:
        return "-" + format_duration(-span)
    parts = []
    for unit in ("d", "h", "m", "s", "ms", "us", "ns"):
        count, span = divmod(span, DURATION_UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def humanize_duration(span: Span) -> str:
    """Returns a duration for people, no finer than they need: `3m12s`, `7.2s`, `120ms`."""
    step = SECOND if span >= 10 * SECOND else SECOND // 10 if span >= SECOND else MILLISECOND
    rounded = max(0, span) // step * step
    return (
        f"{rounded / SECOND:.3g}s" if SECOND <= rounded < 10 * SECOND else format_duration(rounded)
    )


def instant_from_seconds(value: float) -> Instant:
    """Returns an instant from seconds since the epoch; float64 is accurate to a microsecond."""
    seconds = int(value // 1)
    return seconds * SECOND + round((value - seconds) * 1e6) * MICROSECOND


def nanoseconds_to_seconds(instant: Instant) -> float:
    """Returns seconds since the epoch UTC, or seconds of a span."""
    return instant / SECOND


def parse_instant(value: str | float | int | datetime) -> Instant:
    """Parses an instant from ISO 8601 text (UTC unless it has an offset), seconds or a datetime.

    Raises ValueError if it is none, or outside 1970 to 2262.
    """
    if isinstance(value, bool):
        raise ValueError("a truth value is no time")
    if isinstance(value, datetime):
        return _instant_from_datetime(value)
    if isinstance(value, int | float):
        return _check_range(
            value * SECOND if isinstance(value, int) else _instant_from_float(value)
        )
    match = _ISO_PATTERN.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is no time; write it like 2025-04-24T00:05:13.2Z")
    zone = "+00:00" if match[4] in (None, "Z") else match[4]
    parsed = datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}{zone}")
    fraction = int((match[3] or "0")[:9].ljust(9, "0"))
    return _check_range(_instant_from_datetime(parsed) + fraction)


def format_instant(instant: Instant) -> str:
    """Returns ISO 8601 UTC with as many decimals as are needed: `2025-04-24T00:05:13.2Z`."""
    seconds, nanoseconds = divmod(instant, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanoseconds:09d}".rstrip("0") + "Z" if nanoseconds else text + "Z"


def humanize_instant(instant: Instant) -> str:
    """Returns the time for people, to the second: `2025-04-24 00:05:13Z`."""
    return format_instant(max(0, instant) // SECOND * SECOND).replace("T", " ")


def tai_to_utc(instant: Instant) -> Instant:
    """Returns the UTC instant at which a TAI clock shows `instant` (same epoch, TAI seconds)."""
    return instant - _LEAP_SPANS[bisect_right(_LEAP_TAI, instant)]


def utc_to_tai(instant: Instant) -> Instant:
    """Returns what a TAI clock shows, in nanoseconds since the epoch, at a UTC instant."""
    return instant + _LEAP_SPANS[bisect_right(_LEAP_UTC, instant)]


def _instant_from_float(value: float) -> Instant:
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{value} is no time")
    return instant_from_seconds(value)


def _instant_from_datetime(value: datetime) -> Instant:
    utc_time = value if value.tzinfo else value.replace(tzinfo=UTC)
    delta = utc_time - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds * MICROSECOND


def _check_range(instant: Instant) -> Instant:
    if not 0 <= instant <= MAX_INSTANT:
        raise ValueError("the time lies outside 1970 to 2262")
    return instant


# TAI - UTC since 1972 (IERS Bulletin C); none has been announced after 2017.
_LEAPS = (
    ("1972-01-01", 10), ("1972-07-01", 11), ("1973-01-01", 12), ("1974-01-01", 13),
    ("1975-01-01", 14), ("1976-01-01", 15), ("1977-01-01", 16), ("1978-01-01", 17),
    ("1979-01-01", 18), ("1980-01-01", 19), ("1981-07-01", 20), ("1982-07-01", 21),
    ("1983-07-01", 22), ("1985-07-01", 23), ("1988-01-01", 24), ("1990-01-01", 25),
    ("1991-01-01", 26), ("1992-07-01", 27), ("1993-07-01", 28), ("1994-07-01", 29),
    ("1996-01-01", 30), ("1997-07-01", 31), ("1999-01-01", 32), ("2006-01-01", 33),
    ("2009-01-01", 34), ("2012-07-01", 35), ("2015-07-01", 36), ("2017-01-01", 37),
)  # fmt: skip
_LEAP_UTC = [parse_instant(day) for day, _ in _LEAPS]
_LEAP_SPANS = [10 * SECOND] + [count * SECOND for _, count in _LEAPS]
_LEAP_TAI = [start + count * SECOND for start, (_, count) in zip(_LEAP_UTC, _LEAPS, strict=True)]
