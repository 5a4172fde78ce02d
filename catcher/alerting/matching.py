"""What an alert must be: severities, names, labels, times of day."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from catcher.alerting.sun import Ground
from catcher.alerting.windows import SunWindow, TimeWindow, Window
from catcher.model.alert import Alert, Severity
from catcher.model.problem import Place
from catcher.model.time import Instant

__all__ = ["EVERY", "Match", "SeverityTest", "SunWindow", "TimeWindow", "Window", "fits", "is_glob"]

_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_SEVERITY_TEST = re.compile(r"\s*(>=|<=|==|!=|>|<)?\s*([A-Za-z]+)\s*")
_MAGIC = frozenset("*?[")


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
class Match:
    """What an alert must be; empty parts fit all. Names are globs, of which one must fit.

    Every label must fit its glob. `time` are windows, of which one must hold. `unknown` is
    whether its level can be judged now.
    """

    rule: tuple[str, ...] = ()
    severity: SeverityTest | None = None
    owner: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    time: tuple[Window, ...] = ()
    unknown: bool | None = None
    place: Place = field(default=Place(), compare=False)

    def misfit(self, alert: Alert, now: Instant, ground: Ground | None = None) -> str:
        """The name of the first part that an alert does not fit; empty where it fits."""
        if self.rule and not fits_any(alert.rule, self.rule):
            return "rule"
        if self.severity is not None and not self.severity.holds(alert.shown_severity):
            return "severity"
        if self.owner and not fits_any(alert.owner, self.owner):
            return "owner"
        if self.tags and not any(fits_any(tag, self.tags) for tag in alert.tags):
            return "tags"
        for name, glob in self.labels.items():
            if not fits(alert.labels.get(name, ""), glob):
                return f"label {name}"
        if self.unknown is not None and alert.unknown is not self.unknown:
            return "unknown"
        if self.time and not any(window.holds(now, ground) for window in self.time):
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
            f"time {' or '.join(map(str, self.time))}" if self.time else "",
        ]
        return ", ".join(part for part in parts if part) or "all"


EVERY = Match()
"""Fits every alert."""


def is_glob(text: str) -> bool:
    """Whether a name stands for more than itself."""
    return not _MAGIC.isdisjoint(text)


def fits(text: str, glob: str) -> bool:
    """Whether a name is what a glob stands for."""
    return text == glob or (is_glob(glob) and fnmatchcase(text, glob))


def fits_any(text: str, globs: tuple[str, ...]) -> bool:
    """Whether a name is what one of the globs stands for."""
    if text in globs:
        return True
    return any(is_glob(glob) and fnmatchcase(text, glob) for glob in globs)
