"""One rule at run time: its keys, its clock, what it decides and what it counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from catcher.model.alert import LevelChange
from catcher.model.commit import TriggerState
from catcher.model.event import HTTP_PREFIX, RESULT_PREFIX, Event
from catcher.model.rule import Rule
from catcher.model.run import Firing
from catcher.model.time import Instant, format_duration
from catcher.watching.blueprint import TIMED, Blueprint, Branch, fires, own_results
from catcher.watching.cells import Cell, Note
from catcher.watching.compiling import Eval, Frame
from catcher.watching.levels import Laws, LevelBook, Sight, Standing, laws, origin_of
from catcher.watching.machines import NOTHING, Machine
from catcher.watching.marks import mark_of
from catcher.watching.reading import ReadFeed
from catcher.watching.showing import shown_values
from catcher.watching.timed import machine
from catcher.watching.timers import Act, Timer, Timers
from catcher.watching.values import text_of
from catcher.watching.windows import Slot, Window

MOST_KEYS = 100_000
REMEMBERED_ONCE = 2_000
MOMENTARY = frozenset(("event", "sequence", "result", "http", "schedule", "every"))

Decision = Firing | LevelChange
Feed = Callable[[Event, bool], None]


class Watch:
    """The state machines of one rule."""

    def __init__(self, blueprint: Blueprint, earlier: Callable[[str, Instant], None]) -> None:
        self.rule: Rule = blueprint.rule
        self.blueprint = blueprint
        self.meaning = blueprint.meaning
        self.counts: Counter[str] = Counter()
        self.cells: dict[str, Cell] = {}
        self.reads = {name: ReadFeed(plan) for name, plan in blueprint.reads.items()}
        self.timers = Timers(lambda due: earlier(self.rule.id, due))
        self.sources: set[str] = set()
        self.out: list[Decision] = []
        self.dirty: set[str] = set()
        self.settled: Instant = 0
        self.started = False
        self._latest: dict[int, Instant] = {}
        self._once: dict[str, None] = {}
        self._fired: set[tuple[str, Instant, str]] = set()
        self._fed: set[str] = set()
        self._frame = Frame(0, [], self.reads)
        self._laws = self._make_laws()
        self._forget = max(
            (branch.trigger.forget_after or 0 for branch in blueprint.branches), default=0
        )

    def _make_laws(self) -> Laws | None:
        levels, alert = self.blueprint.levels, self.rule.alert
        if levels is None or alert is None:
            return None
        triggers = [branch.trigger for branch in self.blueprint.branches]
        momentary = any(one.kind in MOMENTARY for one in triggers)
        stale = min((one.stale_after for one in triggers), default=0)
        job = self.rule.job is not None
        return laws(self.rule.id, alert, levels.levels, job, momentary, stale)

    # -- what it listens to -----------------------------------------------------------------

    def feeds(self) -> Iterator[tuple[str, Feed]]:
        """The topics that it listens to, and what takes their events; reads come first."""
        for read in self.reads.values():
            yield read.plan.read.topic, self._reading(read)
        for branch in self.blueprint.branches:
            for topic in branch.topics:
                yield topic, self._listening(branch)
        levels = self.blueprint.levels
        if levels is not None and levels.fed_by == "results":
            yield own_results(self.rule), self._take_result

    def _reading(self, read: ReadFeed) -> Feed:
        def take(event: Event, late: bool) -> None:
            if late:
                read.late += 1
            else:
                read.take(event)
                self.dirty.add("")

        return take

    def _listening(self, branch: Branch) -> Feed:
        return lambda event, late: self._take(branch, event, late)

    # -- events -----------------------------------------------------------------------------

    def next_event(self) -> None:
        """Another event is about to be fed: what one event does at most once starts anew."""
        self._fired.clear()
        self._fed.clear()

    def _take(self, branch: Branch, event: Event, late: bool) -> None:
        counts, now = self.counts, event.time
        counts["events"] += 1
        self._know_source(event)
        latest = self._latest.get(branch.index, now)
        late = late or now < self.settled or now < latest
        self._latest[branch.index] = max(now, latest)
        if late:
            counts["late"] += 1
            if branch.trigger.kind == "absent":
                self.settle(now)
        else:
            self.settle(now)
        cell = self._cell_for(branch, event)
        if cell is None:
            return
        one = cell.machines[branch.index]
        if late:
            one.late(event)
            self.dirty.add(cell.key)
            if one.plain:
                self._feed_levels(cell, event, late=True)
            return
        self._touch(cell, now)
        one.sample(event)
        counts["evaluations"] += 1
        if branch.trigger.kind not in TIMED and branch.trigger.kind != "sequence":
            self._feed_levels(cell, event)

    def _know_source(self, event: Event) -> None:
        results = event.topic.startswith(RESULT_PREFIX) and not event.topic.startswith(HTTP_PREFIX)
        if event.source and not results:
            self.sources.add(event.source)

    def _cell_for(self, branch: Branch, event: Event) -> Cell | None:
        """The cell of an event that passes `where`; None where it does not, or has no key."""
        frame = self.frame([], event.time)
        where = branch.where
        if where is not None and where.truth(event.fields, frame) is not True:
            return None
        key: str | None = ""
        if branch.by is not None:
            key = text_of(branch.by(event.fields, frame))
        if key is None:
            self.counts["unknown_keys"] += 1
            return None
        return self.cells.get(key) or self._new_cell(key)

    def _new_cell(self, key: str) -> Cell:
        if len(self.cells) >= MOST_KEYS:
            self._make_room()
        cell = Cell(key)
        cell.machines = [
            machine(self, branch, key, fires(self.rule, branch.trigger))
            for branch in self.blueprint.branches
        ]
        if self._laws is not None and self.blueprint.levels is not None:
            cell.levels = LevelBook(self._laws, key, self._say, self._level_timer, self.counts)
            cell.level_slots = self.blueprint.levels.plan.make_slots()
        if self._forget:
            cell.timer = self.timer(key, lambda instant: self._forget_cell(cell, instant))
        self.cells[key] = cell
        return cell

    def _make_room(self) -> None:
        oldest = sorted(self.cells.values(), key=lambda cell: cell.touched)[: MOST_KEYS // 100]
        for cell in oldest:
            self.counts["keys_evicted"] += 1
            self._drop_cell(cell, cell.touched, "too many keys")

    def _touch(self, cell: Cell, now: Instant) -> None:
        cell.touched = now
        self.dirty.add(cell.key)
        if cell.timer is not None:
            cell.timer.set(now + self._forget)

    def _forget_cell(self, cell: Cell, instant: Instant) -> bool:
        words = f"nothing of this key for {format_duration(self._forget)}: forgotten"
        self._drop_cell(cell, instant, words)
        self.counts["keys_forgotten"] += 1
        return True

    def _drop_cell(self, cell: Cell, instant: Instant, words: str) -> None:
        if cell.levels is not None:
            cell.levels.forget(instant, words)
        cell.stop()
        self.cells.pop(cell.key, None)
        self.dirty.add(cell.key)

    # -- levels -----------------------------------------------------------------------------

    def _take_result(self, event: Event, late: bool) -> None:
        """A result of the rule's own job; it is judged late by its key alone."""
        origin = origin_of(event)
        if origin is None:
            self.counts["unknown_keys"] += 1
            return
        key, run, firing = origin
        self.settle(event.time)
        cell = self.cells.get(key) or self._new_cell(key)
        if event.time < cell.judged or event.time < cell.calmed:
            self.counts["late_results"] += 1
            return
        cell.judged = event.time
        self._touch(cell, max(cell.touched, event.time))
        self._feed_levels(cell, event, run=run, firing=firing, result=True)

    def _feed_levels(
        self, cell: Cell, event: Event, *, late: bool = False, run: str = "", firing: str = "",
        result: bool = False,
    ) -> None:  # fmt: skip
        levels, book = self.blueprint.levels, cell.levels
        if levels is None or book is None or result is not (levels.fed_by == "results"):
            return
        if cell.key in self._fed:
            return
        self._fed.add(cell.key)
        frame = Frame(event.time, cell.level_slots, self.reads)
        if not late:
            levels.plan.fill(event.fields, frame)
            cell.latest = event
        per = self._per(levels.per, event.fields, frame)
        if per is None:
            return
        sight = Sight(
            event.time, event.fields, frame,
            lambda: self.values(event.fields, frame, levels.lets), run, firing,
        )  # fmt: skip
        (book.feed_late if late else book.feed)(per, sight)

    def _per(self, per: Eval | None, fields: Mapping[str, Any], frame: Frame) -> str | None:
        if per is None:
            return ""
        text = text_of(per(fields, frame))
        if text is None:
            self.counts["unknown_keys"] += 1
        return text

    def _level_timer(self, book: LevelBook, standing: Standing) -> Timer:
        def act(instant: Instant) -> bool:
            cell = self.cells.get(book.key)
            sight = self._sight(cell, instant) if cell else Sight(instant, {}, Frame(), dict)
            book.falls_due(standing, instant, sight)
            self.dirty.add(book.key)
            return True

        return self.timer(book.key, act)

    def _sight(self, cell: Cell, now: Instant) -> Sight:
        """What a level sees at an instant without an event: the latest that fed it."""
        fields = cell.latest.fields if cell.latest else NOTHING
        frame = Frame(now, cell.level_slots, self.reads)
        lets = self.blueprint.levels.lets if self.blueprint.levels else {}
        return Sight(now, fields, frame, lambda: self.values(fields, frame, lets))

    def _say(self, change: LevelChange) -> None:
        self.out.append(change)
        cell = self.cells.get(change.key)
        if cell is not None:
            what = "unknown" if change.unknown else str(change.severity).lower()
            cell.notes.append(Note(change.time, what, change.reason, change.per))

    def failed(self, firing: Firing, run: str, reason: str) -> None:
        """A job of this rule failed for good."""
        levels, laws = self.blueprint.levels, self._laws
        if levels is None or laws is None or laws.failed is None or firing.quiet:
            return
        cell = self.cells.get(firing.key) or self._new_cell(firing.key)
        fields = firing.event.fields if firing.event else NOTHING
        frame = Frame(firing.time, cell.level_slots, self.reads)
        per = "" if levels.per is None else text_of(levels.per(fields, frame)) or ""
        lets = levels.lets
        sight = Sight(
            firing.time, fields, frame, lambda: self.values(fields, frame, lets), run, firing.id
        )
        if cell.levels is not None:
            cell.levels.fail(per, sight, f"the job failed: {reason}"[:600])
        self.dirty.add(firing.key)

    # -- what machines ask for --------------------------------------------------------------

    def frame(self, slots: list[Slot], now: Instant) -> Frame:
        """The state that an evaluation sees; good until the next is asked for."""
        self._frame.slots, self._frame.now = slots, now
        return self._frame

    def timer(self, key: str, act: Act) -> Timer:
        """A timer of this rule."""
        return self.timers.timer(key, act)

    def note(self, one: Machine, now: Instant, what: str, text: str) -> None:
        """Remembers a decision for `explain`."""
        cell = self.cells.get(one.key)
        if cell is not None:
            cell.notes.append(Note(now, what, text))

    def fire(
        self, one: Machine, now: Instant, cause: str, reason: str, event: Event | None
    ) -> bool:
        """Makes a firing, unless its `once_per` value is unknown or known already."""
        fields = event.fields if event else NOTHING
        frame = self.frame(one.slots, now)
        once = None
        if one.branch.once is not None:
            once = text_of(one.branch.once(fields, frame))
            if once is None or once in self._once:
                self.counts["unknown_keys" if once is None else "repeats"] += 1
                return False
            self._remember(once)
        cause = cause or (mark_of(event) if event else "")
        if (one.key, now, cause) in self._fired:
            return True
        self._fired.add((one.key, now, cause))
        values = self.values(fields, frame, one.branch.lets)
        firing = Firing(self.rule.id, one.key, now, cause, reason, event, values, once)
        self.counts["firings"] += 1
        self.dirty.add(one.key)
        self.out.append(firing)
        self.note(one, now, "fired", reason)
        self._alarm(one, firing, event)
        return True

    def _remember(self, once: str) -> None:
        self._once[once] = None
        self.dirty.add("")
        if len(self._once) > REMEMBERED_ONCE:
            del self._once[next(iter(self._once))]

    def _alarm(self, one: Machine, firing: Firing, event: Event | None) -> None:
        """What a firing does to the levels: `always` holds; those without events are fed."""
        cell, levels = self.cells.get(one.key), self.blueprint.levels
        if cell is None or cell.levels is None or levels is None:
            return
        fields = event.fields if event else NOTHING
        frame = Frame(firing.time, cell.level_slots, self.reads)
        timed = one.branch.trigger.kind in TIMED or one.branch.trigger.kind == "sequence"
        if timed and levels.fed_by == "stream":
            self._feed_levels(
                cell, event or Event(one.branch.trigger.topic, firing.time, NOTHING),
                firing=firing.id,
            )  # fmt: skip
        if any(plan.when is None for plan in levels.levels):
            per = self._per(levels.per, fields, frame)
            if per is not None:
                sight = Sight(
                    firing.time, fields, frame, lambda: dict(firing.values), "", firing.id
                )
                cell.levels.fire(per, sight, firing.reason)

    def calm(self, one: Machine, now: Instant, reason: str) -> None:
        """A trigger is armed again: the levels drop, and results of earlier firings come late."""
        cell = self.cells.get(one.key)
        if cell is None or any(other.active for other in cell.machines if other is not one):
            return
        cell.calmed = max(cell.calmed, now)
        cell.notes.append(Note(now, "armed", reason))
        if cell.levels is not None:
            cell.levels.calm(now, reason, self._sight(cell, now))

    def values(
        self, fields: Mapping[str, Any], frame: Frame, lets: Mapping[str, Eval]
    ) -> dict[str, Any]:
        """The names that a message or a job may use."""
        found: dict[str, Any] = dict(self.rule.constants)
        found.update({name: run(fields, frame) for name, run in lets.items()})
        found.update({name: read.latest(frame.now) for name, read in self.reads.items()})
        return shown_values(fields, found)

    # -- time -------------------------------------------------------------------------------

    def begin(self, start: Instant) -> None:
        """The start of watching: silence and schedules count from here."""
        if self.started:
            return
        self.started = True
        for branch in self.blueprint.branches:
            if branch.trigger.kind in TIMED and branch.by is None:
                cell = self.cells.get("") or self._new_cell("")
                cell.machines[branch.index].begin(start)

    def settle(self, limit: Instant) -> None:
        """Runs the timers that fall due before an instant."""
        while (due := self.timers.next()) is not None and due < limit:
            self.run_timer(due)

    def run_timer(self, due: Instant) -> None:
        """Runs one timer, the next."""
        self._fired.clear()
        self._fed.clear()
        if self.timers.run(due):
            self.settled = max(self.settled, due)
            self.dirty.add("")

    def take_out(self) -> list[Decision]:
        """What was decided since the last call."""
        out, self.out = self.out, []
        return out

    def prime(self, event: Event, branch: Branch) -> None:
        """History fills windows and never fires."""
        cell = self._cell_for(branch, event)
        if cell is None or event.time <= cell.primed:
            return
        cell.primed = max(cell.primed, event.time)
        cell.machines[branch.index].prime(event)
        levels = self.blueprint.levels
        if levels is not None and levels.fed_by == "stream" and cell.levels is not None:
            levels.plan.fill(event.fields, Frame(event.time, cell.level_slots, self.reads))

    def renew(self, blueprint: Blueprint) -> None:
        """The rule was edited in what does not change its meaning."""
        self.rule = blueprint.rule

    # -- counting ---------------------------------------------------------------------------

    def figures(self) -> dict[str, int]:
        """What was counted, and what is held in memory."""
        windows = [slot for cell in self.cells.values() for slot in cell.slots()]
        held = [slot for slot in windows if isinstance(slot, Window)]
        return {
            **dict.fromkeys(COUNTED, 0),
            **self.counts,
            "keys": len(self.cells),
            "samples": sum(len(slot.sample_times) for slot in held),
            "samples_dropped": sum(slot.dropped for slot in held)
            + sum(read.dropped for read in self.reads.values()),
            "late_reads": sum(read.late for read in self.reads.values()),
        }

    # -- saving -----------------------------------------------------------------------------

    def take_states(self) -> list[TriggerState]:
        """The states that changed since the last call."""
        dirty, self.dirty = self.dirty, set()
        return [
            TriggerState(self.rule.id, key, self.meaning, self._state(key)) for key in sorted(dirty)
        ]

    def _state(self, key: str) -> dict[str, Any]:
        cell = self.cells.get(key)
        state: dict[str, Any] = {"cell": cell.save() if cell else None}
        if key == "":
            state["rule"] = {
                "latest": {str(index): time for index, time in self._latest.items()},
                "settled": self.settled,
                "started": self.started,
                "once": list(self._once),
                "sources": sorted(self.sources),
                "reads": {name: read.save() for name, read in self.reads.items()},
            }
        return state

    def load(self, key: str, state: Mapping[str, Any]) -> None:
        """Takes the saved state of a key back."""
        if key == "" and "rule" in state:
            own = state["rule"]
            self._latest = {int(index): int(time) for index, time in own["latest"].items()}
            self.settled, self.started = int(own["settled"]), bool(own["started"])
            self._once = dict.fromkeys(own["once"])
            self.sources.update(own["sources"])
            for name, saved in own["reads"].items():
                self.reads[name].load(saved)
        if state.get("cell") is not None:
            (self.cells.get(key) or self._new_cell(key)).load(state["cell"])

    def resume(self, start: Instant) -> None:
        """After downtime, which nobody observed."""
        for cell in self.cells.values():
            for one in cell.machines:
                one.resume(start)


COUNTED = (
    "events", "evaluations", "firings", "level_changes", "unknown_keys", "repeats", "late",
    "late_results", "keys_evicted", "keys_forgotten", "alerts_dropped",
)  # fmt: skip
