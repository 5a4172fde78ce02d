"""Notices that wait for one sink: in order for each alert, what is critical first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from catcher.model.alert import Notice, Severity


class Waiting:
    """At most `size` notices. Alerts take turns; one that was critical goes before the others."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._of: dict[str, deque[Notice]] = {}
        self._urgent: dict[str, None] = {}
        self._others: dict[str, None] = {}
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

    def take(self) -> Notice | None:
        """The next notice; None where none waits."""
        id = next(iter(self._urgent or self._others), None)
        if id is None:
            return None
        self._leave(id)
        line = self._of[id]
        notice = line.popleft()
        self._ids.discard(notice.id)
        if line:
            self._line_up(line[-1])
        else:
            del self._of[id]
        return notice

    def take_newer(self, notice: Notice) -> list[Notice]:
        """All that waits of the same alert, in order."""
        newer = list(self._of.pop(notice.alert.id, ()))
        self._leave(notice.alert.id)
        self._ids.difference_update(one.id for one in newer)
        return newer

    def _line_up(self, notice: Notice) -> None:
        if notice.alert.max_severity >= Severity.CRITICAL:
            self._others.pop(notice.alert.id, None)
            self._urgent.setdefault(notice.alert.id)
        elif notice.alert.id not in self._urgent:
            self._others.setdefault(notice.alert.id)

    def _leave(self, id: str) -> None:
        self._urgent.pop(id, None)
        self._others.pop(id, None)


def present(missed: Notice, newer: list[Notice]) -> Notice:
    """What a sink is told after an outage instead of all of these: how the alert stands now."""
    if not newer:
        return missed
    return replace(newer[-1], previous=missed.previous, attempts=missed.attempts)
