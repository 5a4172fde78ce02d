"""Instants from a cron line in a time zone.

Five fields: minute, hour, day of month, month, day of week (0 and 7 are Sunday); each a `*`,
numbers or names, ranges, lists and steps. If both days are restricted, either suffices, as in
Vixie cron. A local time that daylight saving time skips comes that much later; one that comes
twice counts once, unless the hour is `*`.
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
_MAX_AHEAD = timedelta(days=366 * 9)

NextInstant = Callable[[Instant], Instant | None]


class ScheduleError(ValueError):
    """A cron line or zone that cannot be parsed."""


class CronSchedule:
    """The instants of a cron line in a zone; raises ScheduleError if it is invalid."""

    def __init__(self, line: str, zone: str = "UTC") -> None:
        text = SHORTHANDS.get(line.strip().lower(), line).lower()
        parts = text.split()
        if len(parts) != 5:
            raise ScheduleError(
                f"a schedule has five fields (minute hour day month weekday), not {len(parts)}"
            )
        self._zone = _parse_zone(zone)
        sets = [_parse_cron_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
        self._minutes, self._hours, self._days, self._months, weekdays = sets
        self._weekdays = {day % 7 for day in weekdays}
        self._any_hour = parts[1] == "*"
        self._match_either_day = not parts[2].startswith("*") and not parts[4].startswith("*")
        self._cached_instants = lru_cache(maxsize=4)(self._list_day_instants)
        if self.next_after(0) is None:
            raise ScheduleError("this schedule never comes: no such day of a month")

    def next_after(self, instant: Instant) -> Instant | None:
        """Returns the first instant later than `instant`; None if there is none in nine years."""
        start = datetime.fromtimestamp(instant // SECOND, UTC).astimezone(self._zone).date()
        day = start - timedelta(days=1)
        while day <= start + _MAX_AHEAD:
            if self._matches_day(day):
                instants = self._cached_instants(day)
                index = bisect_right(instants, instant)
                if index < len(instants):
                    return instants[index]
            day += timedelta(days=1)
        return None

    def _matches_day(self, day: date) -> bool:
        if day.month not in self._months:
            return False
        by_date, by_week = day.day in self._days, (day.isoweekday() % 7) in self._weekdays
        return (by_date or by_week) if self._match_either_day else (by_date and by_week)

    def _list_day_instants(self, day: date) -> list[Instant]:
        instants: set[Instant] = set()
        for hour in self._hours:
            for minute in self._minutes:
                instants.update(self._local_to_instants(datetime.combine(day, time(hour, minute))))
        return sorted(instants)

    def _local_to_instants(self, local: datetime) -> list[Instant]:
        first = self._local_to_instant(local.replace(fold=0))
        if not self._any_hour:
            return [first]
        round_trip = datetime.fromtimestamp(first // SECOND, self._zone).replace(tzinfo=None)
        second = self._local_to_instant(local.replace(fold=1))
        return [first, second] if round_trip == local else []

    def _local_to_instant(self, local: datetime) -> Instant:
        return int(local.replace(tzinfo=self._zone).timestamp()) * SECOND


def _parse_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(
            f"{name!r} is no time zone; write UTC or a name like America/Santiago"
        ) from None


def _parse_cron_field(
    text: str, field_name: str, low: int, high: int, names: tuple[str, ...]
) -> set[int]:
    numbers: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ScheduleError(f"{item!r} is no {field_name}; write *, 5, 1-5, 1,3 or */10")
        numbers.update(_parse_cron_range(match[1], match[2], field_name, low, high, names))
    return numbers


def _parse_cron_range(
    span: str, step: str | None, field_name: str, low: int, high: int, names: tuple[str, ...]
) -> range:
    if span == "*":
        first, last = low, high
    else:
        head, _, tail = span.partition("-")
        first = _parse_number(head, field_name, low, high, names)
        last = (
            _parse_number(tail, field_name, low, high, names) if tail else (high if step else first)
        )
    if (step is not None and int(step) == 0) or last < first:
        raise ScheduleError(f"the {field_name} {span}{'/' + step if step else ''} is empty")
    return range(first, last + 1, int(step or 1))


def _parse_number(text: str, field_name: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text[:3] in names and len(text) >= 3 and not text.isdigit():
        return names.index(text[:3]) + low
    if not text.isdigit() or not low <= int(text) <= high:
        raise ScheduleError(f"{text!r} is no {field_name}; it goes from {low} to {high}")
    return int(text)


def create_periodic_schedule(period: Span) -> NextInstant:
    """Returns a function for the instants that are whole multiples of a period since the epoch."""
    return lambda instant: (instant // period + 1) * period
