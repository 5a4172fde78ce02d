"""Stretches of time that come back: hours of the day in a zone, day and night by the sun."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from catcher.alerting.sun import Ground, sun_altitude
from catcher.model.time import SECOND, Instant

_WINDOW = re.compile(
    r"(?:(?P<from>[A-Za-z]{3})(?:-(?P<till>[A-Za-z]{3}))?\s+)?"
    r"(?P<h1>\d{1,2}):(?P<m1>\d{2})\s*-\s*(?P<h2>\d{1,2}):(?P<m2>\d{2})"
    r"(?:\s+(?P<zone>[A-Za-z_+\-/0-9]+))?"
)
_SUN = re.compile(r"sun\s*(?P<sign>[<>])\s*(?P<degrees>[+-]?\d{1,2}(?:\.\d{1,3})?)")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HORIZON = -0.833
"""The altitude at which the sun's upper limb sets: refraction 34', semidiameter 16'."""


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A stretch of each day in a zone, `start` to `end` in minutes; it may cross midnight.

    `days` are the week days (0 is Monday) on which it starts, all if empty.
    """

    start: int
    end: int
    zone: str = "UTC"
    days: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> TimeWindow:
        """From `16:00-21:00 UTC` or `Mon-Fri 08:00-17:00 America/Santiago`."""
        found = _WINDOW.fullmatch(text.strip())
        if found is None:
            raise ValueError(
                f"{text!r} is no time of day; write it like '16:00-21:00 UTC', day, night, "
                "or sun < -12"
            )
        start = _minutes(found["h1"], found["m1"], text)
        end = _minutes(found["h2"], found["m2"], text)
        if start == end:
            raise ValueError(f"{text!r} starts where it ends; give two different times")
        zone = found["zone"] or "UTC"
        _zone(zone)
        return cls(start, end, zone, _days(found["from"], found["till"]))

    def holds(self, now: Instant, ground: Ground | None = None) -> bool:
        """Whether an instant lies in it."""
        local = datetime.fromtimestamp(now // SECOND, _zone(self.zone))
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.end:
            return self.start <= minute < self.end and self._on(day)
        if minute >= self.start:
            return self._on(day)
        return minute < self.end and self._on((day - 1) % 7)

    def _on(self, day: int) -> bool:
        return not self.days or day in self.days

    def __str__(self) -> str:
        hours = f"{self.start // 60:02}:{self.start % 60:02}-{self.end // 60:02}:{self.end % 60:02}"
        days = ",".join(_DAYS[day] for day in sorted(self.days))
        return " ".join(part for part in (days, hours, self.zone) if part)


@dataclass(frozen=True, slots=True)
class SunWindow:
    """While the sun stands below (or above) so many degrees at the observatory."""

    degrees: float
    below: bool

    def holds(self, now: Instant, ground: Ground | None) -> bool:
        """Whether the sun stands so; without a place on earth, never."""
        if ground is None:
            return False
        return (sun_altitude(now, ground) < self.degrees) is self.below

    def __str__(self) -> str:
        if self.degrees == HORIZON:
            return "night" if self.below else "day"
        return f"sun {'<' if self.below else '>'} {self.degrees:g}"


Window = TimeWindow | SunWindow


def parse_window(text: str) -> Window:
    """From hours, `day`, `night` (the sun is up, is down) or `sun < -12` (degrees)."""
    word = text.strip().lower()
    if word in ("day", "night"):
        return SunWindow(HORIZON, word == "night")
    found = _SUN.fullmatch(word)
    if found is not None:
        return SunWindow(float(found["degrees"]), found["sign"] == "<")
    return TimeWindow.parse(text)


def _minutes(hours: str, minutes: str, text: str) -> int:
    count = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or count > 24 * 60:
        raise ValueError(f"{text!r} has no such time; a day has 00:00 to 24:00")
    return count


def _days(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset()
    numbers = []
    for name in (first, last or first):
        if name.lower() not in _DAYS:
            raise ValueError(f"{name!r} is no week day; write Mon, Tue, Wed, Thu, Fri, Sat or Sun")
        numbers.append(_DAYS.index(name.lower()))
    count = (numbers[1] - numbers[0]) % 7
    return frozenset((numbers[0] + step) % 7 for step in range(count + 1))


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is no time zone; write UTC or a name like America/Santiago"
        ) from None
