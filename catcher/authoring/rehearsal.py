"""The production engine on a fast clock: the next event only when all before it is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from catcher.engine import Engine
from catcher.model import shown
from catcher.model.alert import Alert
from catcher.model.event import RESULT_PREFIX, Event
from catcher.model.rule import Rule, Trigger
from catcher.model.run import Firing, Run
from catcher.model.time import MAX_INSTANT, Instant, format_instant
from catcher.ports import Delivery
from catcher.steps import Finished
from catcher.watching import Admission, SourceClock

Row = dict[str, Any]
Perform = Callable[[Run], Awaitable[Run]]
SOURCE = "file"


class VirtualClock:
    """Time as an argument: it stands where the latest event put it."""

    def __init__(self, start: Instant = 0) -> None:
        self.now = start

    def __call__(self) -> Instant:
        return self.now


def plausible(events: Iterable[Event], left_out: Callable[[str], None]) -> Iterator[Event]:
    """The events that an engine lets in which is sent them as fast as it can take them.

    Whether a jump of time is a gap or a mistake is told by the event that comes next, so it has
    to be known before the jump lets time pass.
    """
    admission = Admission({SOURCE: SourceClock("stream", lateness=0)})
    for event in events:
        for one in admission.admit(SOURCE, (event,), MAX_INSTANT):
            yield one.event
        while admission.set_aside:
            mistake = admission.set_aside.popleft().event
            left_out(f"{mistake.topic} of {format_instant(mistake.time)}: too far in the future")
    for one in admission.flush():
        yield one.event


class Rehearsal:
    """Plays events through an engine whose jobs take no virtual time.

    `todo` is where the engine hands its runs out to; `perform` carries one out; `left_out` hears
    of events that lie too far in the future.
    """

    def __init__(
        self,
        engine: Engine,
        clock: VirtualClock,
        todo: deque[Run],
        perform: Perform,
        left_out: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.engine = engine
        self._clock = clock
        self._todo = todo
        self._perform = perform
        self._left_out = left_out
        self._has_jobs = any(rule.job for rule in engine.parts.rules.values())

    async def play(self, events: Iterable[Event]) -> int:
        """Plays events in their order, then lets the stream end; returns how many there were."""
        count = 0
        for event in plausible(events, self._left_out):
            count += 1
            await self._step(event)
        await self.engine.finish()
        while self._todo:
            await self._work()
            await self.engine.finish()
        return count

    async def _step(self, event: Event) -> None:
        if event.time > self._clock.now:
            await self._pass_to(event.time)
        await self.engine.take([Delivery(SOURCE, (event,))])
        await self._work()

    async def _pass_to(self, instant: Instant) -> None:
        """Time comes to an instant. A timer's job is done before the next timer, as in one night
        it would be: what that one decides may hang on the result."""
        timers = self.engine.parts.network.next_timer
        due = timers() if self._has_jobs else None
        while due is not None and due < instant:
            self._clock.now = max(self._clock.now, due)
            await self.engine.advance(due + 1)
            await self._work()
            following = timers()
            due = following if following != due else None
        self._clock.now = instant
        await self.engine.advance(instant)
        await self._work()

    async def _work(self) -> None:
        while self._todo:
            run = await self._perform(self._todo.popleft())
            await self.engine.take([Finished(run)])

    def listen(self, tell: Callable[[Row], None], rules: Sequence[str]) -> None:
        """Tells every firing, run and change of an alert of some rules, as JSON rows.

        An alert is told where its severity or its state changed: a reminder, or a condition that
        has become unknown, changes neither.
        """
        streams = self.engine.parts.streams
        wanted = set(rules)
        standing: dict[str, tuple[object, ...]] = {}

        def firing(one: Firing) -> None:
            if one.rule in wanted:
                tell(shown.firing_row(one))

        def run(one: Run) -> None:
            if one.rule in wanted and one.over:
                tell(shown.run_row(one))

        def alert(one: Alert) -> None:
            stands = (one.episode, one.state, one.severity)
            if one.rule in wanted and standing.get(one.id) != stands:
                standing[one.id] = stands
                tell(shown.alert_row(one))

        streams.firings.subscribe(firing)
        streams.runs.subscribe(run)
        streams.alerts.subscribe(alert)


OpenRehearsal = Callable[[Mapping[str, Rule]], AbstractAsyncContextManager[Rehearsal]]
"""What `app` hands over: a rehearsal of some rules, on a ledger of its own."""


def closure(rules: Mapping[str, Rule], names: Sequence[str]) -> dict[str, Rule]:
    """The named rules and those whose results they need, directly or not."""
    wanted: dict[str, Rule] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in wanted or name not in rules:
            continue
        wanted[name] = rules[name]
        waiting.extend(_needed(rules[name]))
    return {name: rule for name, rule in rules.items() if name in wanted}


def _needed(rule: Rule) -> list[str]:
    topics = [*_topics(rule.trigger), *(read.topic for read in rule.reads.values())]
    inputs = rule.job.inputs.values() if rule.job else ()
    topics += [one.topic for one in inputs]
    results = [topic for topic in topics if topic.startswith(RESULT_PREFIX)]
    needed = [topic.removeprefix(RESULT_PREFIX) for topic in results]
    return needed + [one.of for one in inputs if one.of]


def _topics(trigger: Trigger) -> Iterator[str]:
    yield trigger.topic
    yield from (step.topic for step in trigger.steps)
    for member in trigger.any:
        yield from _topics(member)
