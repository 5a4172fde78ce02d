"""Fronts: many simple rules on one topic answered together, as long as nothing changes for them.

A front stands before the machines of rules that compare the same value with constants. It proves
that a sample changes no truth (it lies between two neighbouring limits), and then only notes that
the sample came; wherever it cannot prove that, it calls the machines, which alone decide. What it
noted is handed to a machine before it is called or looked at.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from catcher.model.event import Event
from catcher.model.time import MAX_INSTANT, Instant
from catcher.watching.blueprint import Branch
from catcher.watching.cells import Cell
from catcher.watching.frames import Eval, Frame
from catcher.watching.watch import Watch

FURTHEST = 1e300
"""No front answers for values beyond: they are near to what counts as unknown."""
NOBODY: tuple[Watch, ...] = ()


class Member:
    """One rule of a front."""

    __slots__ = ("branch", "cell", "passed", "seen", "watch")

    def __init__(self, watch: Watch, branch: Branch) -> None:
        self.watch = watch
        self.branch = branch
        self.cell: Cell | None = None
        self.seen = 0
        self.passed = 0


class Limits:
    """The limits that one value is compared with, in order, and whose they are."""

    __slots__ = ("high", "low", "owners", "previous", "values")

    def __init__(self, limits: Sequence[tuple[float, Member]]) -> None:
        ordered = sorted(limits, key=lambda pair: pair[0])
        self.values = [limit for limit, _ in ordered]
        self.owners = [owner for _, owner in ordered]
        self.reset()

    def reset(self) -> None:
        """Nothing is known of the value before: no two limits enclose it."""
        self.low, self.high = FURTHEST, -FURTHEST
        self.previous: float | None = None

    def move(self, value: float) -> list[Member]:
        """The value has moved past a limit or onto it: those whose truth may be another now."""
        before = self.previous if self.previous is not None else value
        low, high = (before, value) if before <= value else (value, before)
        found = self.owners[bisect_left(self.values, low) : bisect_right(self.values, high)]
        self.settle(value)
        return found

    def settle(self, value: float) -> None:
        """Where the value stands: between two limits, or on one, which encloses nothing."""
        values = self.values
        left, right = bisect_left(values, value), bisect_right(values, value)
        self.previous = value
        if left != right:
            self.low = self.high = value
            return
        self.low = values[left - 1] if left else -FURTHEST
        self.high = values[right] if right < len(values) else FURTHEST


class Front:
    """The rules of one topic and `where` that it answers for. `take` tells whom to ask."""

    def __init__(self, members: Sequence[Member], where: Eval | None) -> None:
        self.members = list(members)
        self.where = where
        self.newest: Instant = 0
        self.settled: Instant = 0
        self.due: Instant = MAX_INSTANT
        self.seen = 0
        self.passed = 0
        self.latest: Event | None = None
        self.formed = False
        self.frame = Frame()
        self.sources: set[str] = set()
        for member in members:
            member.watch.hurry = self.hurry

    def hurry(self, due: Instant, settled: Instant) -> None:
        """A timer of a member was set, or has run."""
        self.due = min(self.due, due)
        self.settled = max(self.settled, settled)

    @abstractmethod
    def take(self, event: Event, late: bool) -> Sequence[Watch]:
        """An event of the topic; the rules that had to be asked and may have decided."""

    @abstractmethod
    def form(self, event: Event) -> bool:
        """Every member has just seen this event; whether the front can stand from here."""

    def disband(self) -> None:
        """The machines have to see everything themselves, until they agree again."""
        self.sync()
        self.formed = False

    def passes(self, event: Event) -> bool:
        """Whether an event passes `where`."""
        return self.where is None or self.where(event.fields, self.frame) is True

    def stands(self, event: Event, late: bool) -> bool:
        """Whether it can answer for an event at all: in time, from a known source, no timer due."""
        now = event.time
        return (
            self.formed
            and not late
            and self.newest <= now <= self.due
            and now >= self.settled
            and event.source in self.sources
        )

    # -- asking the machines ----------------------------------------------------------------

    def ask_all(self, event: Event, late: bool) -> Sequence[Watch]:
        """Every member sees the event itself."""
        self.sync()
        self.formed = False
        for member in self.members:
            member.watch.next_event()
            member.watch.take(member.branch, event, late)
        self.sources.add(event.source)
        self._look_at_members()
        in_time = not late and event.time == self.newest and event.time >= self.settled
        self.formed = in_time and self.passes(event) and self.form(event)
        return [member.watch for member in self.members]

    def ask(self, event: Event, members: Sequence[Member]) -> Sequence[Watch]:
        """Some members see the event, after all that was noted before it."""
        for member in members:
            self.hand_over(member)
        self.note(event)
        asked = list(dict.fromkeys(members)) if len(members) > 1 else members
        for member in asked:
            member.seen, member.passed = self.seen, self.passed
            member.watch.next_event()
            member.watch.take(member.branch, event, False)
        return [member.watch for member in asked]

    def note(self, event: Event) -> None:
        """An event that changes nothing for those who are not asked."""
        self.newest = event.time
        self.seen += 1
        self.passed += 1
        self.latest = event

    def note_other(self, event: Event) -> Sequence[Watch]:
        """An event that does not pass `where`."""
        self.newest = event.time
        self.seen += 1
        return NOBODY

    def _look_at_members(self) -> None:
        self.newest = max(one.watch.latest.get(one.branch.index, 0) for one in self.members)
        dues = [member.watch.timers.next() for member in self.members]
        self.due = min((due for due in dues if due is not None), default=MAX_INSTANT)
        self.settled = max(member.watch.settled for member in self.members)

    # -- handing over -----------------------------------------------------------------------

    def sync(self) -> None:
        """Hands every member what was noted."""
        for member in self.members:
            self.hand_over(member)

    def hand_over(self, member: Member) -> None:
        """Hands a member what was noted since it was last asked."""
        seen, passed = self.seen - member.seen, self.passed - member.passed
        if not seen:
            return
        member.seen, member.passed = self.seen, self.passed
        member.watch.catch_up(
            member.branch, self.newest, seen, passed, self.latest if passed else None
        )


class FieldFront(Front):
    """Rules that compare one field with constants."""

    def __init__(
        self, members: Sequence[Member], where: Eval | None, name: str, limits: Limits
    ) -> None:
        super().__init__(members, where)
        self.name = name
        self.limits = limits

    def take(self, event: Event, late: bool) -> Sequence[Watch]:
        """One comparison per event, however many rules there are."""
        _, now, fields, source = event
        if (
            late
            or not self.formed
            or not self.newest <= now <= self.due
            or now < self.settled
            or source not in self.sources
        ):
            return self.ask_all(event, late)
        if self.where is not None and not self.passes(event):
            return self.note_other(event)
        value: Any = fields.get(self.name)
        kind, limits = type(value), self.limits
        if kind is not float and kind is not int:
            return self.ask_all(event, late)
        if limits.low < value < limits.high:
            self.newest = now
            self.seen += 1
            self.passed += 1
            self.latest = event
            return NOBODY
        if not -FURTHEST < value < FURTHEST:
            return self.ask_all(event, late)
        return self.ask(event, limits.move(value))

    def form(self, event: Event) -> bool:
        """It stands once the field has a number and every member has a machine."""
        value: Any = event.fields.get(self.name)
        if type(value) not in (float, int) or not -FURTHEST < value < FURTHEST:
            return False
        if any("" not in member.watch.keys.cells for member in self.members):
            return False
        self.limits.settle(value)
        return True
