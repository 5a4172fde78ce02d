"""Instants from a cron line in a time zone.

Five fields: minute, hour, day of month, month, day of week (0 and 7 are Sunday); each a `*`,
numbers or names, ranges, lists and steps. Where both days are restricted, either suffices, as in
Vixie cron. A local time that summer time skips comes that much later; one that comes twice counts
once, unless the hour is `*`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from catcher.model.time import SECOND, Instant, Span

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, DAYS),
)
_ITEM = re.compile(r"(\*|[a-z0-9]+(?:-[a-z0-9]+)?)(?:/(\d{1,3}))?")
_FURTHEST = timedelta(days=366 * 9)

Next = Callable[[Instant], Instant | None]


class ScheduleError(ValueError):
    """A cron line or zone that cannot be read."""


class Cron:
    """The instants of a cron line in a zone; ScheduleError says what is wrong with it."""

    def __init__(self, line: str, zone: str = "UTC") -> None:
        text = SHORTHANDS.get(line.strip().lower(), line).lower()
        parts = text.split()
        if len(parts) != 5:
            raise ScheduleError(
                f"a schedule has five fields (minute hour day month weekday), not {len(parts)}"
            )
        self._zone = _zone(zone)
        sets = [_numbers(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
        self._minutes, self._hours, self._days, self._months, weekdays = sets
        self._weekdays = {day % 7 for day in weekdays}
        self._any_hour = parts[1] == "*"
        self._either = not parts[2].startswith("*") and not parts[4].startswith("*")
        self._of_day = lru_cache(maxsize=4)(self._instants)
        if self.after(0) is None:
            raise ScheduleError("this schedule never comes: no such day of a month")

    def after(self, instant: Instant) -> Instant | None:
        """The first instant later than one; None where there is none within nine years."""
        start = datetime.fromtimestamp(instant // SECOND, UTC).astimezone(self._zone).date()
        day = start - timedelta(days=1)
        while day <= start + _FURTHEST:
            if self._fits(day):
                instants = self._of_day(day)
                index = bisect_right(instants, instant)
                if index < len(instants):
                    return instants[index]
            day += timedelta(days=1)
        return None

    def _fits(self, day: date) -> bool:
        if day.month not in self._months:
            return False
        by_date, by_week = day.day in self._days, (day.isoweekday() % 7) in self._weekdays
        return (by_date or by_week) if self._either else (by_date and by_week)

    def _instants(self, day: date) -> list[Instant]:
        found: set[Instant] = set()
        for hour in self._hours:
            for minute in self._minutes:
                found.update(self._moments(datetime.combine(day, time(hour, minute))))
        return sorted(found)

    def _moments(self, local: datetime) -> list[Instant]:
        first = self._instant(local.replace(fold=0))
        if not self._any_hour:
            return [first]
        exists = datetime.fromtimestamp(first // SECOND, self._zone).replace(tzinfo=None)
        second = self._instant(local.replace(fold=1))
        return [first, second] if exists == local else []

    def _instant(self, local: datetime) -> Instant:
        return int(local.replace(tzinfo=self._zone).timestamp()) * SECOND


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(
            f"{name!r} is no time zone; write UTC or a name like America/Santiago"
        ) from None


def _numbers(text: str, what: str, low: int, high: int, names: tuple[str, ...]) -> set[int]:
    found: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ScheduleError(f"{item!r} is no {what}; write *, 5, 1-5, 1,3 or */10")
        found.update(_range(match[1], match[2], what, low, high, names))
    return found


def _range(
    span: str, step: str | None, what: str, low: int, high: int, names: tuple[str, ...]
) -> range:
    if span == "*":
        first, last = low, high
    else:
        head, _, tail = span.partition("-")
        first = _number(head, what, low, high, names)
        last = _number(tail, what, low, high, names) if tail else (high if step else first)
    if (step is not None and int(step) == 0) or last < first:
        raise ScheduleError(f"the {what} {span}{'/' + step if step else ''} is empty")
    return range(first, last + 1, int(step or 1))


def _number(text: str, what: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text[:3] in names and len(text) >= 3 and not text.isdigit():
        return names.index(text[:3]) + low
    if not text.isdigit() or not low <= int(text) <= high:
        raise ScheduleError(f"{text!r} is no {what}; it goes from {low} to {high}")
    return int(text)


def periodic(period: Span) -> Next:
    """The instants that are whole multiples of a period since the epoch."""
    return lambda instant: (instant // period + 1) * period
