"""The network of all rules: admitted events become firings and level changes.

It is pure: the same events in the same order give the same decisions, whenever and in however
large batches they come. Timers run when the watermarks have passed them, or when a later event
of the rule's own trigger shows that their instant is over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from catcher.model.alert import LevelChange
from catcher.model.commit import TriggerState
from catcher.model.event import Admitted, Event
from catcher.model.problem import CatcherError, Problem
from catcher.model.rule import Rule
from catcher.model.run import Firing
from catcher.model.time import Instant, Span
from catcher.watching.agenda import Agenda
from catcher.watching.arranging import Listeners, arrange
from catcher.watching.checking import check_rule
from catcher.watching.deltas import in_parts
from catcher.watching.drafting import draft
from catcher.watching.ending import ended, outdated
from catcher.watching.explaining import Explanation, explain
from catcher.watching.feeding import feed_each, feed_together, together
from catcher.watching.fronts import Front
from catcher.watching.keeping import figures, load, take_states, tally
from catcher.watching.marks import Marks
from catcher.watching.stretches import InOrder
from catcher.watching.visits import by_hand, primer
from catcher.watching.watch import Decision, Watch

Limit = Callable[[Watch], Instant]


class Network:
    """The running rules. `start` is the start of watching; without it, the first event of all."""

    def __init__(self, rules: Sequence[Rule], *, start: Instant | None = None) -> None:
        self.broken: dict[str, list[Problem]] = {}
        self._start = start
        self._now: Instant = start or 0
        self._watches: dict[str, Watch] = {}
        self._by_topic: dict[str, Listeners] = {}
        self.agenda = Agenda()
        self._marks = Marks()
        for rule in rules:
            self._add(rule, start)
        self._index()

    @property
    def topics(self) -> frozenset[str]:
        """Every topic that a rule listens to."""
        return frozenset(self._by_topic)

    def _add(self, rule: Rule, start: Instant | None) -> None:
        problems = [one for one in check_rule(rule) if one.severity == "error"]
        if problems:
            self.broken[rule.id] = problems
            return
        if not rule.enabled:
            return
        watch = Watch(draft(rule), self.agenda.earlier, self._marks)
        self._watches[rule.id] = watch
        if start is not None:
            watch.begin(start)

    def _index(self) -> None:
        self._by_topic = arrange(self._watches)

    def _fronts(self) -> Iterator[Front]:
        for listeners in self._by_topic.values():
            yield from listeners.fronts

    def _sync(self) -> None:
        """The machines are about to be looked at: fronts hand over what they noted."""
        for front in self._fronts():
            front.sync()

    def _disband(self) -> None:
        """The machines are about to be changed: fronts have to find out anew."""
        for front in self._fronts():
            front.disband()

    # -- events -----------------------------------------------------------------------------

    def feed(self, events: Iterable[Admitted]) -> list[Decision]:
        """Takes events in, in their admitted order; the decisions come in the same order.

        Those of one event are ordered by time, rule and key.
        """
        decisions: list[Decision] = []
        batch = events if isinstance(events, InOrder | list) else list(events)
        if not batch:
            return decisions
        if self._start is None:
            self._begin(batch[0].event.time)
        for some in together(batch):
            if isinstance(some, InOrder):
                decisions += feed_together(some, self._by_topic)
                latest = some.events[-1].time
            else:
                decisions += feed_each(some, self._by_topic)
                latest = max(event.time for event, _ in some)
            self._now = max(self._now, latest)
        return decisions

    def _begin(self, start: Instant) -> None:
        self._start = start
        for watch in self._watches.values():
            watch.begin(start)

    def reaches(self) -> dict[str, Span]:
        """How far back the rules look over each topic that they look back over."""
        found: dict[str, Span] = {}
        for watch in self._watches.values():
            for topic, span in watch.blueprint.reaches():
                found[topic] = max(span, found.get(topic, 0))
        return found

    def prime(self, events: Iterable[Admitted]) -> None:
        """History, in order of time: it fills windows and reads, and never fires."""
        self._disband()
        primers = [primer(self._watches[name]) for name in sorted(self._watches)]
        for event, late in events:
            for take in primers if not late else ():
                take(event)

    # -- time -------------------------------------------------------------------------------

    def advance(self, marks: Mapping[str, Instant]) -> list[Decision]:
        """Runs the timers that the watermarks of their rules' sources have passed.

        `marks` are watermarks by source; a rule that has seen no source waits for all of them.
        """
        if not marks:
            return []
        furthest = max(marks.values())
        self._now = max(self._now, furthest)
        return self._run_timers(furthest, lambda w: _limit(w, marks, self._start is not None))

    def finish(self, end: Instant) -> list[Decision]:
        """The end of a recording: timers due until then run, that instant included."""
        return self._run_timers(end + 1, lambda watch: end + 1)

    def _run_timers(self, furthest: Instant, limit: Limit) -> list[Decision]:
        out: list[Decision] = []
        waiting: list[tuple[str, Instant]] = []
        while (entry := self.agenda.pop(self._due_of, furthest)) is not None:
            name, due = entry
            watch = self._watches[name]
            if due >= limit(watch):
                waiting.append(entry)
                continue
            watch.run_timer(due)
            out += watch.take_out()
            following = watch.timers.next()
            if following is not None:
                self.agenda.earlier(name, following)
        for name, due in waiting:
            self.agenda.earlier(name, due)
        return out

    def next_timer(self) -> Instant | None:
        """The next instant at which anything falls due."""
        return self.agenda.next(self._due_of)

    def _due_of(self, name: str) -> Instant | None:
        watch = self._watches.get(name)
        return watch.timers.next() if watch else None

    # -- people and jobs --------------------------------------------------------------------

    def failed(self, firing: Firing, run: str, reason: str) -> list[LevelChange]:
        """A job failed after its retries: the level `failed` of its rule, if it has one."""
        watch = self._watches.get(firing.rule)
        if watch is None:
            return []
        watch.failed(firing, run, reason)
        return [one for one in watch.take_out() if isinstance(one, LevelChange)]

    def by_hand(self, rule: str, event: Event | None, now: Instant, who: str) -> Firing:
        """A firing made by a person: a new run, marked, which `once_per` does not stop.

        It stands at its event's time, at `now` without one, and is quiet until told otherwise.
        """
        self._sync()
        return by_hand(self._watch(rule), event, now, who)

    def _watch(self, rule: str) -> Watch:
        if rule not in self._watches:
            known = ", ".join(sorted(self._watches)) or "none"
            raise CatcherError(f"no rule {rule!r} is running", f"running: {known}")
        return self._watches[rule]

    # -- saving and changing ----------------------------------------------------------------

    def take_states(self, rules: Collection[str] | None = None) -> list[TriggerState]:
        """The states that changed since they were last taken, of some rules or of all."""
        self._sync()
        out: list[TriggerState] = []
        for name in sorted(self._watches):
            if rules is None or name in rules:
                out += take_states(self._watches[name])
        return out

    def restore(self, states: Iterable[TriggerState]) -> list[LevelChange]:
        """Takes saved states back; those of rules that mean something else now are left out.

        The alerts of these end.
        """
        self._disband()
        resumed: set[str] = set()
        changes: list[LevelChange] = []
        whole, parts = in_parts(states)
        for state in sorted(whole, key=lambda one: (one.rule, one.key)):
            watch = self._watches.get(state.rule)
            if watch is not None and watch.meaning == state.meaning:
                if load(watch, state, parts.get((state.rule, state.key), {})):
                    resumed.add(state.rule)
            elif watch is not None:
                changes += outdated(state)
        if self._start is not None:
            for name in resumed:
                self._watches[name].resume(self._start)
        for name, watch in self._watches.items():
            due = watch.timers.next()
            if due is not None:
                self.agenda.earlier(name, due)
        return changes

    def resume(self, start: Instant, sources: Collection[str], everywhere: bool) -> None:
        """After downtime, which nobody observed, for the rules that hear some sources.

        Where there are no others (`everywhere`), watching starts now, for all rules.
        """
        self._disband()
        for watch in self._watches.values():
            concerned = not watch.sources.isdisjoint(sources) if watch.sources else everywhere
            if watch.started and concerned:
                watch.resume(start)
        if everywhere and self._start is None:
            self._begin(start)

    def swap(self, rules: Sequence[Rule]) -> list[LevelChange]:
        """Other rules in place of these; what means the same keeps its state.

        The alerts of rules that are gone, or mean something else, end.
        """
        for front in self._fronts():
            front.retire()
        old, self._watches, self.broken = self._watches, {}, {}
        for rule in rules:
            if rule.id in old and old[rule.id].rule == rule:
                self._watches[rule.id] = old[rule.id]
            else:
                self._add(rule, None if self._start is None else self._now)
        changes: list[LevelChange] = []
        for name in sorted(old):
            new = self._watches.get(name)
            if new is not None and new.meaning == old[name].meaning:
                old[name].renew(new.rule)
                self._watches[name] = old[name]
            elif name in self.broken:
                self._watches[name] = old[name]
            else:
                changes += ended(old[name], self._now, new is not None)
        self._index()
        return changes

    # -- looking ----------------------------------------------------------------------------

    def explain(self, rule: str, at: Instant | None = None) -> list[Explanation]:
        """The last decisions of each key of a rule, and how each stands now."""
        self._sync()
        return explain(self._watch(rule), self._now, at)

    def counts(self, memory: bool = True) -> Mapping[str, dict[str, int]]:
        """What each rule counted, and what it holds in `memory`, which takes long to count."""
        self._sync()
        count = figures if memory else tally
        return {name: count(watch) for name, watch in self._watches.items()}


def _limit(watch: Watch, marks: Mapping[str, Instant], begun: bool) -> Instant:
    """How far time has come for a rule: at its own sources, or where it knows none, at all.

    Such a rule waits until watching has begun: only then is it known which time it is.

    A mark of 0 is that of a source which has not spoken yet; a rule that knows the source from
    before a restart waits for it, others do not.
    """
    own = [mark for source, mark in marks.items() if source in watch.sources]
    return min(own or [mark for mark in marks.values() if mark and begun] or [0])
