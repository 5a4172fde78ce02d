"""A front whose rules look at figures of windows: each window is kept once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catcher.model.event import Event
from catcher.watching.compiling import SlotPlan
from catcher.watching.frames import Eval
from catcher.watching.fronts import FURTHEST, NOBODY, Front, Limits, Member
from catcher.watching.watch import Watch
from catcher.watching.windows import Window

SlotKey = tuple[str, str, Any]
Signal = tuple[SlotKey, str, float]
"""A figure: the window, the function, the quantile."""


def slot_key(slot: SlotPlan) -> SlotKey:
    """What makes two slots hold the same samples."""
    shape = slot.shape
    reach = None if shape is None else (shape.span, shape.last, shape.packed)
    return slot.text, slot.kind, reach


class WindowFront(Front):
    """Rules that compare figures of windows with constants."""

    def __init__(
        self, members: Sequence[Member], where: Eval | None, signals: dict[Signal, Limits]
    ) -> None:
        super().__init__(members, where)
        self._slots = self._unite()
        self._windows: dict[SlotKey, Window] = {}
        self._signals = list(signals.items())
        self._filled: list[tuple[Eval, Window]] = []
        self._watched: list[tuple[Window, str, float, Limits]] = []

    def _unite(self) -> dict[SlotKey, SlotPlan]:
        """One plan a window, for the functions of all rules."""
        found: dict[SlotKey, SlotPlan] = {}
        for member in self.members:
            for slot in member.branch.plan.slots:
                first = found.setdefault(slot_key(slot), slot)
                first.functions |= slot.functions
                slot.functions = first.functions
        return found

    def take(self, event: Event, late: bool) -> Sequence[Watch]:
        """Fills the windows once; the rules are asked where a figure passes a limit."""
        if not self.stands(event, late):
            return self._through(event, late)
        if not self.passes(event):
            return self.note_other(event)
        now, fields, moved = event.time, event.fields, False
        for source, window in self._filled:
            window.push(now, source(fields, self.frame))
        for window, function, quantile, limits in self._watched:
            value = window.value(function, now, quantile)
            if value is None or not limits.low < value < limits.high:
                moved = True
                break
        if not moved:
            self.newest = now
            self.seen += 1
            self.passed += 1
            self.latest = event
            return NOBODY
        return self._ask_moved(event)

    def _ask_moved(self, event: Event) -> Sequence[Watch]:
        asked: list[Member] = []
        for window, function, quantile, limits in self._watched:
            value = window.value(function, event.time, quantile)
            if value is None or not -FURTHEST < value < FURTHEST:
                limits.reset()
                asked += limits.owners
            elif limits.previous is None:
                limits.settle(value)
                asked += limits.owners
            elif not limits.low < value < limits.high:
                asked += limits.move(value)
        return self.ask(event, asked)

    def _through(self, event: Event, late: bool) -> Sequence[Watch]:
        """An event for every machine; the windows stay shared unless the rules differ on it."""
        if not self._windows:
            return self.ask_all(event, late)
        behind = late or event.time < self.newest
        if not behind and event.time < self.settled:
            self.disband()
            return self.ask_all(event, late)
        if not behind and self.passes(event):
            for source, window in self._filled:
                window.push(event.time, source(event.fields, self.frame))
        return self.ask_all(event, late)

    def form(self, event: Event) -> bool:
        """It stands once every member has a machine, and all windows hold the same."""
        if not self._windows and not self._share():
            return False
        for window, function, quantile, limits in self._watched:
            value = window.value(function, event.time, quantile)
            if value is None or not -FURTHEST < value < FURTHEST:
                limits.reset()
            else:
                limits.settle(value)
        return True

    def _share(self) -> bool:
        held: dict[SlotKey, list[Window]] = {}
        for member in self.members:
            cell = member.watch.keys.cells.get("")
            if cell is None:
                return False
            slots = cell.machines[member.branch.index].slots
            for plan, slot in zip(member.branch.plan.slots, slots, strict=True):
                if isinstance(slot, Window):
                    held.setdefault(slot_key(plan), []).append(slot)
        if not all(_same(windows) for windows in held.values()):
            return False
        for key, windows in held.items():
            self._windows[key] = _copy(self._slots[key], windows[0])
        self._hand_out(shared=True)
        self._filled = [(self._slots[key].source, one) for key, one in self._windows.items()]
        self._watched = [
            (self._windows[key], function, quantile, limits)
            for (key, function, quantile), limits in self._signals
        ]
        return True

    def _hand_out(self, shared: bool) -> None:
        """Gives every machine the shared windows, or copies of its own."""
        for member in self.members:
            cell = member.watch.keys.cells.get("")
            if cell is None:
                continue
            machine = cell.machines[member.branch.index]
            machine.shared = shared
            for index, plan in enumerate(member.branch.plan.slots):
                window = self._windows[slot_key(plan)]
                machine.slots[index] = window if shared else _copy(plan, window)

    def disband(self) -> None:
        """Every machine gets windows of its own again."""
        self.sync()
        self.formed = False
        if self._windows:
            self._hand_out(shared=False)
            self._windows, self._filled, self._watched = {}, [], []


def _same(windows: Sequence[Window]) -> bool:
    one = windows[0]
    marks = (one.first, one.newest, one.known, len(one.sample_times))
    return all(
        (other.first, other.newest, other.known, len(other.sample_times)) == marks
        and other.sample_times == one.sample_times
        and other.sample_values == one.sample_values
        for other in windows[1:]
    )


def _copy(plan: SlotPlan, window: Window) -> Window:
    made = plan.make()
    if not isinstance(made, Window):
        raise TypeError("only windows are shared")
    made.load(window.save())
    return made
