"""What an alert must be: severities, names, labels, times of day."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from catcher.model.alert import Alert, Severity
from catcher.model.problem import Place
from catcher.model.time import SECOND, Instant

_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_SEVERITY_TEST = re.compile(r"\s*(>=|<=|==|!=|>|<)?\s*([A-Za-z]+)\s*")
_WINDOW = re.compile(
    r"(?:(?P<from>[A-Za-z]{3})(?:-(?P<till>[A-Za-z]{3}))?\s+)?"
    r"(?P<h1>\d{1,2}):(?P<m1>\d{2})\s*-\s*(?P<h2>\d{1,2}):(?P<m2>\d{2})"
    r"(?:\s+(?P<zone>[A-Za-z_+\-/0-9]+))?"
)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class SeverityTest:
    """`>= serious`; without a comparison the severity must be that one."""

    comparison: str
    severity: Severity

    @classmethod
    def parse(cls, text: str) -> SeverityTest:
        """From `>= serious` or `critical`; ValueError says what is allowed."""
        found = _SEVERITY_TEST.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} compares no severity; write it like '>= serious'")
        return cls(found[1] or "==", Severity.parse(found[2]))

    def holds(self, severity: Severity) -> bool:
        """Whether a severity passes."""
        return _COMPARISONS[self.comparison](severity, self.severity)

    def __str__(self) -> str:
        return f"{self.comparison} {self.severity.name.lower()}"


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
            raise ValueError(f"{text!r} is no time of day; write it like '16:00-21:00 UTC'")
        start = _minutes(found["h1"], found["m1"], text)
        end = _minutes(found["h2"], found["m2"], text)
        if start == end:
            raise ValueError(f"{text!r} starts where it ends; give two different times")
        zone = found["zone"] or "UTC"
        _zone(zone)
        return cls(start, end, zone, _days(found["from"], found["till"]))

    def holds(self, now: Instant) -> bool:
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
class Match:
    """What an alert must be; empty parts fit all. Names are globs, of which one must fit.

    Every label must fit its glob. `time` are windows, of which one must hold.
    """

    rule: tuple[str, ...] = ()
    severity: SeverityTest | None = None
    owner: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    time: tuple[TimeWindow, ...] = ()
    place: Place = field(default=Place(), compare=False)

    def misfit(self, alert: Alert, now: Instant) -> str:
        """The name of the first part that an alert does not fit; empty where it fits."""
        if self.rule and not _fits_any(alert.rule, self.rule):
            return "rule"
        if self.severity is not None and not self.severity.holds(alert.shown_severity):
            return "severity"
        if self.owner and not _fits_any(alert.owner, self.owner):
            return "owner"
        if self.tags and not any(_fits_any(tag, self.tags) for tag in alert.tags):
            return "tags"
        for name, glob in self.labels.items():
            if not fnmatchcase(alert.labels.get(name, ""), glob):
                return f"label {name}"
        if self.time and not any(window.holds(now) for window in self.time):
            return "time"
        return ""

    def __str__(self) -> str:
        parts = [
            f"rule {'|'.join(self.rule)}" if self.rule else "",
            f"severity {self.severity}" if self.severity else "",
            f"owner {'|'.join(self.owner)}" if self.owner else "",
            f"tags {'|'.join(self.tags)}" if self.tags else "",
            *(f"label {name}={glob}" for name, glob in self.labels.items()),
            f"time {' or '.join(map(str, self.time))}" if self.time else "",
        ]
        return ", ".join(part for part in parts if part) or "all"


EVERY = Match()
"""Fits every alert."""


def _fits_any(text: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


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
