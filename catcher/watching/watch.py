"""One rule at run time: what it is fed, when it fires, what it tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from catcher.model.alert import LevelChange
from catcher.model.event import Event, is_result
from catcher.model.rule import Rule
from catcher.model.run import Firing
from catcher.model.time import Instant
from catcher.watching.blueprint import Blueprint, Branch, fires, own_results
from catcher.watching.cells import Cell, Note
from catcher.watching.conditions import Words
from catcher.watching.fields import Fields
from catcher.watching.frames import Frame
from catcher.watching.holds import Ease
from catcher.watching.judging import Judge, names_of, origin_of
from catcher.watching.machines import NOTHING, Machine
from catcher.watching.marks import Marks
from catcher.watching.memories import Slot
from catcher.watching.reading import ReadFeed
from catcher.watching.timed import machine
from catcher.watching.timekeeping import Timekeeping
from catcher.watching.values import text_of

REMEMBERED_ONCE = 2_000

Decision = Firing | LevelChange
Feed = Callable[[Event, bool], None]


class Watch(Timekeeping):
    """The state machines of one rule."""

    def __init__(
        self, blueprint: Blueprint, earlier: Callable[[str, Instant], None], marks: Marks
    ) -> None:
        super().__init__(blueprint, earlier)
        self.meaning = blueprint.meaning
        self.reads = {name: ReadFeed(plan) for name, plan in blueprint.reads.items()}
        self._marks = marks
        self.sources: set[str] = set()
        self.out: list[Decision] = []
        self.horizon: Instant = 0
        self._late_until: Instant = 0
        self.latest: dict[int, Instant] = {}
        self.once: dict[str, None] = {}
        self._frame = Frame(0, [], self.reads)
        self.judge = self._make_judge()

    def _make_judge(self) -> Judge | None:
        levels = self.blueprint.levels
        if levels is None:
            return None
        return Judge(self.blueprint, levels, self.reads, self.timers, self.counts, self._say)

    def equip(self, cell: Cell) -> None:
        """Completes a new cell."""
        cell.machines = [
            machine(self, branch, cell.key, fires(self.rule, branch.trigger))
            for branch in self.blueprint.branches
        ]
        if self.judge is not None:
            self.judge.equip(cell)

    # -- what it listens to -----------------------------------------------------------------

    def feeds(self) -> Iterator[tuple[str, Feed]]:
        """The topics that it listens to, and what takes their events; reads come first."""
        for read in self.reads.values():
            yield read.plan.read.topic, self._reading(read)
        for branch in self.blueprint.branches:
            for topic in branch.topics:
                yield topic, self._listening(branch)
        if self.judge is not None and self.judge.results:
            yield own_results(self.rule), self._take_result

    def _reading(self, read: ReadFeed) -> Feed:
        def take(event: Event, late: bool) -> None:
            if late:
                read.late += 1
            else:
                read.take(event)
                self.keys.dirty.add("")

        return take

    def _listening(self, branch: Branch) -> Feed:
        return lambda event, late: self.take(branch, event, late)

    # -- events -----------------------------------------------------------------------------

    def take(self, branch: Branch, event: Event, late: bool) -> None:
        """An event of one of its triggers."""
        counts, now = self.counts, event.time
        counts["events"] += 1
        self.know_source(event)
        late = self._is_late(branch, now) or late
        if late:
            counts["late"] += 1
        self.settle(now)
        cell = self.cell_for(branch, event)
        if cell is None:
            return
        one = cell.machines[branch.index]
        if late:
            self._late_until = self.horizon
            one.late(event)
            self._late_until = 0
            self.keys.touch(cell, self.horizon)
        else:
            self.keys.touch(cell, now)
            one.sample(event)
            counts["evaluations"] += 1
        if one.feeds_levels and (one.plain or not late):
            self._feed_levels(cell, event, late)

    def visit(self, branch: Branch, event: Event, key: str, seen: int, passed: int) -> None:
        """An event in time, the last of some that a front counted: it changes something."""
        if self._fired or self._fed:
            self.next_event()
        counts, now, keys = self.counts, event.time, self.keys
        counts["events"] += seen
        counts["evaluations"] += passed
        self.latest[branch.index] = self.horizon = now
        keys.dirty.add("")
        if self.timers.any:
            self.settle(now)
        cell = keys.cell(key)
        keys.touch(cell, now)
        one = cell.machines[branch.index]
        one.sample(event)
        if one.feeds_levels and self.judge is not None:
            self._feed_levels(cell, event, False)

    def catch_up(self, branch: Branch, newest: Instant, seen: int, unknown: int) -> None:
        """Events that a front saw in its stead, the last at `newest`; `unknown` had no key."""
        self.counts["events"] += seen
        self.counts["unknown_keys"] += unknown
        self.latest[branch.index] = max(newest, self.latest.get(branch.index, newest))
        self.keys.dirty.add("")
        self.horizon = max(newest, self.horizon)

    def catch_up_key(self, branch: Branch, key: str, latest: Event, passed: int) -> None:
        """Events of a key that changed nothing, the last of them."""
        self.counts["evaluations"] += passed
        cell = self.keys.cell(key)
        cell.machines[branch.index].again(latest)
        self.keys.touch(cell, latest.time)
        if self.judge is not None and not self.judge.results:
            self.judge.again(cell, latest)

    def know_source(self, event: Event) -> None:
        """Its time follows the sources that it hears."""
        if event.source not in self.sources and event.source and not is_result(event.topic):
            self.sources.add(event.source)

    def _is_late(self, branch: Branch, now: Instant) -> bool:
        """Whether an event is earlier than one of its trigger's, or than a timer that has run."""
        latest = self.latest.get(branch.index, now)
        self.latest[branch.index] = max(now, latest)
        self.keys.dirty.add("")
        self.horizon = max(now, self.horizon)
        return now < latest or now < self.settled

    def cell_for(self, branch: Branch, event: Event) -> Cell | None:
        """The cell of an event that passes `where`; None where it does not, or has no key."""
        frame = self.frame([], event.time)
        where = branch.where
        if where is not None and where.truth(event.fields, frame) is not True:
            return None
        if branch.by is None:
            return self.keys.cell("")
        key = text_of(branch.by(event.fields, frame))
        if key is None:
            self.counts["unknown_keys"] += 1
            return None
        return self.keys.cell(key)

    def _feed_levels(self, cell: Cell, event: Event, late: bool) -> None:
        judge = self.judge
        if judge is None or judge.results or cell.key in self._fed:
            return
        self._fed.add(cell.key)
        if not late:
            judge.feed(cell, event)
        elif not is_result(event.topic):
            judge.feed_late(cell, event, self.horizon)

    def _take_result(self, event: Event, late: bool) -> None:
        """A result of the rule's own job; it is judged late by its key alone."""
        origin = origin_of(event)
        if origin is None or self.judge is None:
            self.counts["unknown_keys"] += 1
            return
        key, run, firing = origin
        self.settle(event.time)
        cell = self.keys.cell(key)
        if event.time < cell.judged or event.time < cell.calmed:
            self.counts["late_results"] += 1
            return
        cell.judged = event.time
        self.keys.touch(cell, event.time)
        self.judge.feed(cell, event, run=run, firing=firing)

    def failed(self, firing: Firing, run: str, reason: str) -> None:
        """A job of this rule failed for good."""
        if self.judge is None or firing.quiet:
            return
        cell = self.keys.cell(firing.key)
        if firing.time < cell.calmed:
            self.counts["late_results"] += 1
            return
        self.judge.fail(cell, firing, run, reason)
        self.keys.dirty.add(firing.key)

    def _say(self, change: LevelChange) -> None:
        self.out.append(change)
        self.keys.dirty.add(change.key)
        cell = self.keys.cells.get(change.key)
        if cell is not None:
            what = "unknown" if change.unknown else str(change.severity).lower()
            cell.notes.append(Note(change.time, what, change.reason, change.per))

    # -- what machines ask for --------------------------------------------------------------

    def frame(self, slots: list[Slot], now: Instant) -> Frame:
        """The state that an evaluation sees; good until the next is asked for."""
        self._frame.slots, self._frame.now = slots, now
        return self._frame

    def note(self, one: Machine, now: Instant, what: str, text: str) -> None:
        """Remembers a decision for `explain`."""
        self.keys.cell(one.key).notes.append(Note(now, what, text))

    def fire(
        self, one: Machine, now: Instant, cause: str, reason: str, event: Event | None
    ) -> bool:
        """Makes a firing, unless its `once_per` value is unknown or known already."""
        fields = event.fields if event else NOTHING
        frame = self.frame(one.slots, now)
        once = None
        if one.branch.once is not None:
            once = text_of(one.branch.once(fields, frame))
            if once is None or once in self.once:
                self.counts["unknown_keys" if once is None else "repeats"] += 1
                return False
            self._remember(once)
        cause = cause or (self._marks.of(event) if event else "")
        if (one.key, now, cause) in self._fired:
            return True
        self._fired.add((one.key, now, cause))
        values = self._values(one, fields, frame)
        firing = Firing(self.rule.id, one.key, now, cause, reason, event, values, once)
        self.counts["firings"] += 1
        self.keys.dirty.add(one.key)
        self.out.append(firing)
        self.note(one, now, "fired", reason)
        if self.judge is not None:
            self.judge.alarm(
                self.keys.cell(one.key), firing, one.branch.trigger.kind, self._late_until
            )
        return True

    def _values(self, one: Machine, fields: Fields, frame: Frame) -> Mapping[str, Any]:
        lets = one.branch.lets
        if lets or self.reads or self.rule.constants:
            return names_of(self.rule, self.reads, fields, frame, lets)
        return self._marks.shown(fields)

    def _remember(self, once: str) -> None:
        self.once[once] = None
        self.keys.dirty.add("")
        if len(self.once) > REMEMBERED_ONCE:
            del self.once[next(iter(self.once))]

    def calm(self, one: Machine, now: Instant, reason: Words, ease: Ease = "armed") -> None:
        """A trigger is no longer true, or even armed again.

        The levels drop (those that are `always` when it is armed again), and results of earlier
        firings come too late to raise them. One that is armed by a recovery was never false: only
        what is `always` drops.
        """
        cell = self.keys.cell(one.key)
        for other in cell.machines:
            if other is not one and (other.true if ease == "false" else other.active):
                return
        if ease != "recovered":
            cell.calmed = max(cell.calmed, now)
        note = Note(now, "false" if ease == "false" else "armed", reason)
        cell.notes.append(note)
        if self.judge is not None:
            self.judge.calm(cell, now, note.text, ease)

    # -- from outside -----------------------------------------------------------------------

    def take_out(self) -> list[Decision]:
        """What was decided since the last call."""
        out, self.out = self.out, []
        return out

    def renew(self, rule: Rule) -> None:
        """The rule was edited in what does not change its meaning."""
        self.rule = rule
        if self.judge is not None:
            self.judge.rule = rule
