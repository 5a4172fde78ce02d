"""Rules that listen to the same events, and what was noted for them without asking them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from catcher.model.event import Event
from catcher.model.time import MAX_INSTANT, Instant
from catcher.watching.blueprint import Branch, Levels
from catcher.watching.cells import Cell
from catcher.watching.compiling import SlotPlan
from catcher.watching.frames import Frame
from catcher.watching.memories import Slot
from catcher.watching.signals import Signal, Signals
from catcher.watching.watch import Watch

SlotKey = tuple[str, str, object]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a slot of a cell is, and its plan."""

    slots: list[Slot]
    index: int
    plan: SlotPlan

    @property
    def key(self) -> SlotKey:
        """What makes two slots hold the same samples."""
        return slot_key(self.plan)


def slot_key(slot: SlotPlan) -> SlotKey:
    """What makes two slots hold the same samples."""
    shape = slot.shape
    reach = None if shape is None else (shape.span, shape.last, shape.packed)
    return slot.text, slot.kind, reach


class Member:
    """One rule, with the events that it knows of."""

    __slots__ = (
        "_whens", "branch", "due", "index", "lazy", "levels", "plain", "seen", "slotted", "timed",
        "unknown", "watch",
    )  # fmt: skip

    def __init__(self, index: int, watch: Watch) -> None:
        self.index = index
        self.watch = watch
        self.branch: Branch = watch.blueprint.branches[0]
        self.seen = 0
        self.unknown = 0
        self.due: Instant | None = None
        judge, branch, trigger = watch.judge, self.branch, self.branch.trigger
        self.levels: Levels | None = judge.levels if judge and not judge.results else None
        """Its levels, where they are fed by the same events."""
        levels = self.levels.levels if self.levels else ()
        whens = [branch.when, *(one.when for one in levels)]
        self._whens = [one for one in whens if one is not None]
        holds = [trigger.hold, trigger.clear_hold, trigger.every]
        holds += [span for one in levels for span in (one.spec.hold, one.spec.clear_hold)]
        self.timed = any(holds)
        self.plain = not self.timed and self.levels is None and trigger.forget_after is None
        """Whether nothing of what was noted matters once it has seen another event."""
        self.slotted = bool(branch.plan.slots or (self.levels and self.levels.plan.slots))
        judged = trigger.when is not None or (bool(self._whens) and trigger.every is None)
        self.lazy = judged and trigger.forget_after is None and not self.slotted

    def look(self, signals: Signals) -> None:
        """Adds what its conditions look at."""
        found = [(False, self.branch.plan, self.branch.when, self.branch.clear)]
        if self.levels is not None:
            plan = self.levels.plan
            found += [(True, plan, one.when, one.clear) for one in self.levels.levels]
        for levels, plan, *conditions in found:
            for condition in conditions:
                if condition is not None:
                    signals.add(self.index, levels, plan, condition.node)

    def quiet(self, key: str, event: Event) -> bool:
        """Whether a first event of a key does nothing to it, so that it needs no machine yet."""
        if not self.lazy or key in self.watch.keys.cells:
            return False
        frame = Frame(event.time)
        return all(when.truth(event.fields, frame) is False for when in self._whens)

    def places(self, cell: Cell) -> Iterator[Place]:
        """The slots of a cell."""
        slots = cell.machines[self.branch.index].slots
        for index, plan in enumerate(self.branch.plan.slots):
            yield Place(slots, index, plan)
        for index, plan in enumerate(self.levels.plan.slots if self.levels else ()):
            yield Place(cell.level_slots, index, plan)

    def until(self, key: str) -> Instant | None:
        """The instant from which the same truths change something; timers apart."""
        cell = self.watch.keys.cells.get(key)
        if cell is None:
            return None
        own = cell.machines[self.branch.index].until
        judged = cell.levels.until() if self.levels and cell.levels else None
        return min((one for one in (own, judged) if one is not None), default=None)


class Company:
    """The rules of one topic, `where` and `by`: what they look at, and how far time has come."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.members = [Member(index, watch) for index, watch in enumerate(watches)]
        found = Signals()
        for member in self.members:
            member.look(found)
        self.signals: list[Signal] = found.ready()
        self.holders = [member.index for member in self.members if member.timed]
        stales = [self.members[index].branch.trigger.stale_after for index in self.holders]
        self.stale: Instant = min(stales, default=MAX_INSTANT)
        self.functions: dict[SlotKey, set[str]] = {}
        self.newest: Instant = 0
        self.settled: Instant = 0
        self.seen = 0
        self.unknown = 0
        for member in self.members:
            levels = member.levels.plan.slots if member.levels else ()
            for plan in (*member.branch.plan.slots, *levels):
                self.functions.setdefault(slot_key(plan), set()).update(plan.functions)

    @property
    def slotted(self) -> bool:
        """Whether anybody looks back in time."""
        return bool(self.functions)

    @property
    def plain(self) -> bool:
        """Whether everybody looks at fields of the event alone."""
        return not self.slotted and all(signal.name and not signal.truth for signal in self.signals)

    def hand_over(self, member: Member) -> None:
        """Tells a member of the events that it has not seen itself."""
        seen, unknown = self.seen - member.seen, self.unknown - member.unknown
        if seen:
            member.seen, member.unknown = self.seen, self.unknown
            member.watch.catch_up(member.branch, self.newest, seen, unknown)

    def look(self) -> None:
        """Finds out from the members how far time has come."""
        for member in self.members:
            self.hand_over(member)
            latest = member.watch.latest.get(member.branch.index, 0)
            self.newest = max(self.newest, latest)
            self.settled = max(self.settled, member.watch.settled)
