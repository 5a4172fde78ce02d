"""The levels of one rule: what feeds them, and what they are told of the trigger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from catcher.model.alert import LevelChange
from catcher.model.event import Event
from catcher.model.rule import Rule
from catcher.model.run import Firing
from catcher.model.time import Instant
from catcher.watching.blueprint import TIMED, Blueprint, Levels
from catcher.watching.cells import Cell
from catcher.watching.frames import Eval, Frame
from catcher.watching.holds import Ease
from catcher.watching.levels import LevelBook, Sight
from catcher.watching.machines import NOTHING
from catcher.watching.reading import ReadFeed
from catcher.watching.showing import shown_values
from catcher.watching.standings import Laws, Standing, laws
from catcher.watching.timers import Timer, Timers
from catcher.watching.values import text_of

AFTER_TRIGGERS = 1
"""The rank of the timers that end levels: what a trigger says of an instant comes before."""
MOMENTARY = frozenset(("event", "sequence", "result", "http", "schedule", "every"))
"""Trigger kinds that have no end of their own, so that their levels last for a while."""


class Judge:
    """Feeds the level books of a rule's keys and tells what changes."""

    def __init__(
        self, blueprint: Blueprint, levels: Levels, reads: Mapping[str, ReadFeed],
        timers: Timers, counts: dict[str, int], say: Callable[[LevelChange], None],
    ) -> None:  # fmt: skip
        self.rule: Rule = blueprint.rule
        self.levels = levels
        self.results = levels.fed_by == "results"
        self._reads = reads
        self._timers = timers
        self._counts = counts
        self._say = say
        self._laws = _laws(blueprint, levels)

    def equip(self, cell: Cell) -> None:
        """Gives a new key its level book."""

        def timer(book: LevelBook, standing: Standing) -> Timer:
            def act(instant: Instant) -> bool:
                book.falls_due(standing, instant, self.sight(cell, instant))
                return True

            return self._timers.timer(cell.key, act, AFTER_TRIGGERS)

        cell.levels = LevelBook(self._laws, cell.key, self._say, timer, self._counts)
        cell.level_slots = self.levels.plan.make_slots()

    def prime(self, cell: Cell, event: Event) -> None:
        """History fills what looks back in time."""
        if not self.results:
            self.levels.plan.fill(event.fields, self._frame(cell, event.time))

    def feed(self, cell: Cell, event: Event, *, run: str = "", firing: str = "") -> None:
        """An event or a result that the levels see."""
        if self.results or not cell.shared:
            self.levels.plan.fill(event.fields, self._frame(cell, event.time))
        cell.latest = event
        sight = self._sight_of(cell, event.time, event.fields, run, firing)
        per = self._per(sight)
        if per is not None and cell.levels is not None:
            cell.levels.feed(per, sight)

    def again(self, cell: Cell, event: Event) -> None:
        """Events came up to this one with the truths of the last, which changed nothing."""
        cell.latest = event
        if cell.levels is not None:
            cell.levels.again(event.time)

    def feed_late(self, cell: Cell, event: Event, horizon: Instant) -> None:
        """A late event; what it would raise must not be over by the horizon."""
        if self._laws.over(event.time, horizon):
            return
        sight = self._sight_of(cell, event.time, event.fields)
        per = self._per(sight)
        if per is not None and cell.levels is not None:
            cell.levels.feed_late(per, sight)

    def alarm(self, cell: Cell, firing: Firing, kind: str, horizon: Instant) -> None:
        """A firing: `always` holds from here, and kinds without events feed the levels by it."""
        event = firing.event or Event("", firing.time, NOTHING)
        if not self.results and (kind in TIMED or kind == "sequence"):
            self.feed(cell, event, firing=firing.id)
        if cell.levels is None or all(plan.when is not None for plan in self.levels.levels):
            return
        if self._laws.over(firing.time, horizon):
            return
        sight = self._sight_of(cell, firing.time, event.fields, "", firing.id)
        per = self._per(sight)
        if per is not None:
            cell.levels.fire(per, sight, firing.reason)

    def fail(self, cell: Cell, firing: Firing, run: str, reason: str) -> None:
        """A job failed for good; without a level for that, nothing changes."""
        if self._laws.failed is None or cell.levels is None:
            return
        fields = firing.event.fields if firing.event else NOTHING
        sight = self._sight_of(cell, firing.time, fields, run, firing.id)
        known = self.levels.per is None or text_of(self.levels.per(fields, sight.frame))
        per = known if isinstance(known, str) else ""
        if firing.time < cell.levels.standing(per).fed:
            self._counts["late_results"] += 1
            return
        cell.levels.fail(per, sight, f"the job failed: {reason}"[:600])

    def calm(self, cell: Cell, now: Instant, reason: str, ease: Ease) -> None:
        """The trigger is no longer true, or armed again."""
        if cell.levels is not None:
            cell.levels.calm(reason, self.sight(cell, now), ease)

    def sight(self, cell: Cell, now: Instant) -> Sight:
        """What a level sees at an instant without an event: the latest that fed it."""
        return self._sight_of(cell, now, cell.latest.fields if cell.latest else NOTHING)

    def _sight_of(
        self, cell: Cell, now: Instant, fields: Mapping[str, Any], run: str = "", firing: str = ""
    ) -> Sight:
        frame = self._frame(cell, now)

        def values() -> dict[str, Any]:
            return names_of(self.rule, self._reads, fields, frame, self.levels.lets)

        return Sight(now, fields, frame, values, run, firing)

    def _frame(self, cell: Cell, now: Instant) -> Frame:
        return Frame(now, cell.level_slots, self._reads)

    def _per(self, sight: Sight) -> str | None:
        if self.levels.per is None:
            return ""
        text = text_of(self.levels.per(sight.fields, sight.frame))
        if text is None:
            self._counts["unknown_keys"] += 1
        return text


def _laws(blueprint: Blueprint, levels: Levels) -> Laws:
    rule = blueprint.rule
    triggers = [branch.trigger for branch in blueprint.branches]
    momentary = any(one.kind in MOMENTARY for one in triggers)
    stale = min((one.stale_after for one in triggers), default=0)
    alert = levels.alert
    return laws(rule.id, alert, levels.levels, rule.job is not None, momentary, stale)


def names_of(
    rule: Rule, reads: Mapping[str, ReadFeed], fields: Mapping[str, Any], frame: Frame,
    lets: Mapping[str, Eval],
) -> dict[str, Any]:  # fmt: skip
    """The names that a message or a job may use, with their values."""
    found: dict[str, Any] = dict(rule.constants)
    if lets:
        found.update({name: run(fields, frame) for name, run in lets.items()})
    if reads:
        found.update({name: read.latest(frame.now) for name, read in reads.items()})
    return shown_values(fields, found)


def origin_of(event: Event) -> tuple[str, str, str] | None:
    """Key, run and firing of a result event; None where it is none."""
    origin = event.fields.get("catcher")
    if not isinstance(origin, Mapping):
        return None
    names = (origin.get("key"), origin.get("run"), origin.get("firing"))
    key, run, firing = (text_of(name) or "" for name in names)
    return key, run, firing
