"""Notices that wait for one sink: in order for each alert, what is critical first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from catcher.model.alert import Notice, Severity
from catcher.model.time import Instant


def worsens(notice: Notice) -> bool:
    """Whether a notice says that something is worse than before, or critical."""
    critical = notice.alert.shown_severity >= Severity.CRITICAL
    return notice.kind == "raised" or (notice.kind == "opened" and critical)


@dataclass(frozen=True, slots=True)
class Late:
    """A notice that its sink has not got, since when; or will never get."""

    notice: Notice
    since: Instant
    given_up: bool = False


class Waiting:
    """At most `size` notices. Alerts take turns; one that was critical goes before the others."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._of: dict[str, deque[Notice]] = {}
        self._urgent: dict[str, None] = {}
        self._others: dict[str, None] = {}
        self._worse: dict[str, None] = {}
        self._ids: set[str] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id: str) -> bool:
        return id in self._ids

    def __iter__(self) -> Iterator[Notice]:
        return (notice for notices in list(self._of.values()) for notice in list(notices))

    @property
    def full(self) -> bool:
        """Whether it takes no more."""
        return len(self._ids) >= self._size

    def put(self, notice: Notice) -> None:
        """At the end of its alert's notices."""
        self._ids.add(notice.id)
        self._of.setdefault(notice.alert.id, deque()).append(notice)
        self._line_up(notice)

    def put_back(self, notice: Notice) -> None:
        """Before its alert's other notices, but after the other alerts."""
        self._ids.add(notice.id)
        self._of.setdefault(notice.alert.id, deque()).appendleft(notice)
        self._leave(notice.alert.id)
        self._line_up(notice)

    def recorded(self, notice: Notice) -> None:
        """A notice that waits is in the ledger now."""
        line = self._of.get(notice.alert.id, deque())
        for place, one in enumerate(line):
            if one.id == notice.id:
                line[place] = replace(one, unrecorded=False)

    def take(self, only_worse: bool = False) -> Notice | None:
        """The next notice; None where none waits, or none that says that it got worse."""
        lines = self._worse if only_worse else self._urgent or self._others
        id = next(iter(lines), None)
        if id is None:
            return None
        self._leave(id)
        line = self._of[id]
        notice = line.popleft()
        self._ids.discard(notice.id)
        if line:
            for one in line:
                self._line_up(one)
        else:
            del self._of[id]
        return notice

    def worse_waits(self, alert: str) -> bool:
        """Whether one of an alert's notices says that it got worse."""
        return alert in self._worse

    def take_newer(self, notice: Notice) -> list[Notice]:
        """All that waits of the same alert, in order."""
        newer = list(self._of.pop(notice.alert.id, ()))
        self._leave(notice.alert.id)
        self._ids.difference_update(one.id for one in newer)
        return newer

    def _line_up(self, notice: Notice) -> None:
        if worsens(notice):
            self._worse.setdefault(notice.alert.id)
        if notice.alert.max_severity >= Severity.CRITICAL:
            self._others.pop(notice.alert.id, None)
            self._urgent.setdefault(notice.alert.id)
        elif notice.alert.id not in self._urgent:
            self._others.setdefault(notice.alert.id)

    def _leave(self, id: str) -> None:
        for lines in (self._urgent, self._others, self._worse):
            lines.pop(id, None)


def present(missed: Notice, newer: list[Notice]) -> Notice:
    """What a sink is told after an outage instead of all of these: how the alert stands now.

    As news, where it is news to the sink: an edit pings nobody.
    """
    if not newer:
        return missed
    last = newer[-1]
    kinds = {missed.kind, *(one.kind for one in newer)}
    kind = last.kind
    if last.alert.state != "resolved":
        if "opened" in kinds:
            kind = "opened"
        elif "raised" in kinds and last.alert.shown_severity > missed.previous:
            kind = "raised"
    return replace(last, kind=kind, previous=missed.previous, attempts=missed.attempts)
