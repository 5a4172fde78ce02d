"""Recurring time intervals: hours of the day in a time zone, day and night by the sun."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from catcher.alerting.solar import GeoLocation, compute_sun_altitude
from catcher.model.time import SECOND, Instant

_INTERVAL_PATTERN = re.compile(
    r"(?:(?P<from>[A-Za-z]{3})(?:-(?P<till>[A-Za-z]{3}))?\s+)?"
    r"(?P<h1>\d{1,2}):(?P<m1>\d{2})\s*-\s*(?P<h2>\d{1,2}):(?P<m2>\d{2})"
    r"(?:\s+(?P<zone>[A-Za-z_+\-/0-9]+))?"
)
_SOLAR_PATTERN = re.compile(r"sun\s*(?P<sign>[<>])\s*(?P<degrees>[+-]?\d{1,2}(?:\.\d{1,3})?)")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SUNSET_ALTITUDE = -0.833
"""The altitude at which the sun's upper limb sets: refraction 34', semidiameter 16'."""


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """An interval of each day in a zone, `start` to `end` in minutes; it may cross midnight.

    `days` are the week days (0 is Monday) on which it starts, all if empty.
    """

    start: int
    end: int
    zone: str = "UTC"
    days: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> TimeInterval:
        """Parses `16:00-21:00 UTC` or `Mon-Fri 08:00-17:00 America/Santiago`."""
        match = _INTERVAL_PATTERN.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                f"{text!r} is no time of day; write it like '16:00-21:00 UTC', day, night, "
                "or sun < -12"
            )
        start = _parse_minute_of_day(match["h1"], match["m1"], text)
        end = _parse_minute_of_day(match["h2"], match["m2"], text)
        if start == end:
            raise ValueError(f"{text!r} starts where it ends; give two different times")
        zone = match["zone"] or "UTC"
        _load_zone(zone)
        return cls(start, end, zone, _parse_weekday_range(match["from"], match["till"]))

    def contains_instant(self, now: Instant, site_location: GeoLocation | None = None) -> bool:
        """Whether it contains an instant."""
        local = datetime.fromtimestamp(now // SECOND, _load_zone(self.zone))
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.end:
            return self.start <= minute < self.end and self._is_on_day(day)
        if minute >= self.start:
            return self._is_on_day(day)
        return minute < self.end and self._is_on_day((day - 1) % 7)

    def _is_on_day(self, day: int) -> bool:
        return not self.days or day in self.days

    def __str__(self) -> str:
        hours = f"{self.start // 60:02}:{self.start % 60:02}-{self.end // 60:02}:{self.end % 60:02}"
        days = ",".join(_WEEKDAYS[day] for day in sorted(self.days))
        return " ".join(part for part in (days, hours, self.zone) if part)


@dataclass(frozen=True, slots=True)
class SolarInterval:
    """While the sun is below (or above) an altitude in degrees at the observatory."""

    degrees: float
    is_below: bool

    def contains_instant(self, now: Instant, site_location: GeoLocation | None) -> bool:
        """Whether the sun is there at that instant; without a location, never."""
        if site_location is None:
            return False
        return (compute_sun_altitude(now, site_location) < self.degrees) is self.is_below

    def __str__(self) -> str:
        if self.degrees == SUNSET_ALTITUDE:
            return "night" if self.is_below else "day"
        return f"sun {'<' if self.is_below else '>'} {self.degrees:g}"


RecurringInterval = TimeInterval | SolarInterval


def parse_interval(text: str) -> RecurringInterval:
    """Parses hours, `day`, `night` (the sun is up, is down) or `sun < -12` (degrees)."""
    keyword = text.strip().lower()
    if keyword in ("day", "night"):
        return SolarInterval(SUNSET_ALTITUDE, keyword == "night")
    match = _SOLAR_PATTERN.fullmatch(keyword)
    if match is not None:
        return SolarInterval(float(match["degrees"]), match["sign"] == "<")
    return TimeInterval.parse(text)


def _parse_minute_of_day(hours: str, minutes: str, text: str) -> int:
    count = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or count > 24 * 60:
        raise ValueError(f"{text!r} has no such time; a day has 00:00 to 24:00")
    return count


def _parse_weekday_range(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset()
    day_numbers = []
    for name in (first, last or first):
        if name.lower() not in _WEEKDAYS:
            raise ValueError(f"{name!r} is no week day; write Mon, Tue, Wed, Thu, Fri, Sat or Sun")
        day_numbers.append(_WEEKDAYS.index(name.lower()))
    count = (day_numbers[1] - day_numbers[0]) % 7
    return frozenset((day_numbers[0] + offset) % 7 for offset in range(count + 1))


def _load_zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is no time zone; write UTC or a name like America/Santiago"
        ) from None
