"""How time passes for one rule: its timers, and how far they have run."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable

from catcher.model.rule import Rule
from catcher.model.time import Instant
from catcher.watching.blueprint import TIMED, Blueprint
from catcher.watching.cells import Cell
from catcher.watching.deltas import Bases
from catcher.watching.guarding import UNGUARDED, Guard
from catcher.watching.keys import Keys
from catcher.watching.timers import Act, Timer, Timers


class Timekeeping:
    """The keys of one rule and what falls due for them."""

    def __init__(self, blueprint: Blueprint, earlier: Callable[[str, Instant], None]) -> None:
        self.rule: Rule = blueprint.rule
        self.blueprint = blueprint
        self.counts: Counter[str] = Counter()
        self.settled: Instant = 0
        self.started = False
        self._earlier = earlier
        self._guard: Guard = UNGUARDED
        self._fired: set[tuple[str, Instant, str]] = set()
        self._fed: set[str] = set()
        self.timers = Timers(self._timer_set)
        spans = [branch.trigger.forget_after or 0 for branch in blueprint.branches]
        self.bases = Bases()
        self.keys = Keys(self.timers, max(spans, default=0), self.counts, self.equip)

    @abstractmethod
    def equip(self, cell: Cell) -> None:
        """Completes a new cell."""

    def _timer_set(self, due: Instant) -> None:
        self._earlier(self.rule.id, due)
        self._guard.timer_set(due)

    def stand_behind(self, guard: Guard) -> None:
        """Something stands before its machines from now on."""
        self._guard = self.keys.guard = guard

    def timer(self, key: str, act: Act) -> Timer:
        """A timer of this rule."""
        return self.timers.timer(key, act)

    def next_event(self) -> None:
        """Another event is about to be fed: what one event does at most once starts anew."""
        self._fired.clear()
        self._fed.clear()

    def begin(self, start: Instant) -> None:
        """The start of watching: silence and schedules count from here."""
        if self.started:
            return
        self.started = True
        for branch in self.blueprint.branches:
            if branch.trigger.kind in TIMED and branch.by is None:
                self.keys.cell("").machines[branch.index].begin(start)
                self.keys.dirty.add("")

    def settle(self, limit: Instant) -> None:
        """Runs the timers that fall due before an instant."""
        while (due := self.timers.next()) is not None and due < limit:
            self.run_timer(due)

    def run_timer(self, due: Instant) -> None:
        """Runs one timer, the next."""
        self.next_event()
        self.keys.dirty.add("")
        key = self.timers.next_key()
        self._guard.hand_over(key)
        if self.timers.next_key() != key:
            return
        if self.timers.run(due):
            self.settled = max(self.settled, due)
        self._guard.timer_ran(key)

    def resume(self, start: Instant) -> None:
        """After downtime, which nobody observed."""
        self.keys.resume(start)
        for cell in self.keys.cells.values():
            for one in cell.machines:
                one.resume(start)
            if cell.levels is not None:
                cell.levels.resume(start)
