"""Matchers for alerts: severities, names, labels, times of day."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from catcher.alerting.solar import GeoLocation
from catcher.alerting.time_intervals import RecurringInterval, SolarInterval, TimeInterval
from catcher.model.alert import Alert, Severity
from catcher.model.errors import SourceLocation
from catcher.model.time import Instant

__all__ = [
    "MATCH_ALL",
    "AlertMatcher",
    "RecurringInterval",
    "SeverityMatcher",
    "SolarInterval",
    "TimeInterval",
    "is_glob",
    "matches_glob",
]

_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_SEVERITY_PATTERN = re.compile(r"\s*(>=|<=|==|!=|>|<)?\s*([A-Za-z]+)\s*")
_GLOB_CHARS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class SeverityMatcher:
    """`>= serious`; without a comparison the severity must be equal."""

    comparison: str
    severity: Severity

    @classmethod
    def parse(cls, text: str) -> SeverityMatcher:
        """Parses `>= serious` or `critical`; ValueError says what is allowed."""
        match = _SEVERITY_PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} compares no severity; write it like '>= serious'")
        return cls(match[1] or "==", Severity.parse(match[2]))

    def matches_severity(self, severity: Severity) -> bool:
        """Whether a severity matches."""
        return _COMPARISONS[self.comparison](severity, self.severity)

    def __str__(self) -> str:
        return f"{self.comparison} {self.severity.name.lower()}"


@dataclass(frozen=True, slots=True)
class AlertMatcher:
    """Conditions on an alert; empty ones match all. Names are globs, of which one must match.

    Every label must match its glob. Of the `time_intervals` one must contain the time. `unknown` is
    whether the alert's level must be unknown now.
    """

    rule: tuple[str, ...] = ()
    severity: SeverityMatcher | None = None
    owner: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    time_intervals: tuple[RecurringInterval, ...] = ()
    unknown: bool | None = None
    location: SourceLocation = field(default=SourceLocation(), compare=False)

    def find_failed_condition(
        self, alert: Alert, now: Instant, site_location: GeoLocation | None = None
    ) -> str:
        """Returns the name of the first condition that an alert fails; empty if it matches."""
        if self.rule and not matches_any_glob(alert.rule, self.rule):
            return "rule"
        if self.severity is not None and not self.severity.matches_severity(alert.display_severity):
            return "severity"
        if self.owner and not matches_any_glob(alert.owner, self.owner):
            return "owner"
        if self.tags and not any(matches_any_glob(tag, self.tags) for tag in alert.tags):
            return "tags"
        for name, glob in self.labels.items():
            if not matches_glob(alert.labels.get(name, ""), glob):
                return f"label {name}"
        if self.unknown is not None and alert.unknown is not self.unknown:
            return "unknown"
        if self.time_intervals and not any(
            interval.contains_instant(now, site_location) for interval in self.time_intervals
        ):
            return "time"
        return ""

    def __str__(self) -> str:
        parts = [
            f"rule {'|'.join(self.rule)}" if self.rule else "",
            f"severity {self.severity}" if self.severity else "",
            f"owner {'|'.join(self.owner)}" if self.owner else "",
            f"tags {'|'.join(self.tags)}" if self.tags else "",
            *(f"label {name}={glob}" for name, glob in self.labels.items()),
            "" if self.unknown is None else "unknown" if self.unknown else "not unknown",
            f"time {' or '.join(map(str, self.time_intervals))}" if self.time_intervals else "",
        ]
        return ", ".join(part for part in parts if part) or "all"


MATCH_ALL = AlertMatcher()
"""Matches every alert."""


def is_glob(text: str) -> bool:
    """Whether a name has wildcards."""
    return not _GLOB_CHARS.isdisjoint(text)


def matches_glob(text: str, glob: str) -> bool:
    """Whether a name matches a glob."""
    return text == glob or (is_glob(glob) and fnmatchcase(text, glob))


def matches_any_glob(text: str, globs: tuple[str, ...]) -> bool:
    """Whether a name matches any of the globs."""
    if text in globs:
        return True
    return any(is_glob(glob) and fnmatchcase(text, glob) for glob in globs)
