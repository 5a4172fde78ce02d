"""The production engine on a virtual clock: each event waits until all before it is processed."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from catcher.engine.engine import Engine
from catcher.engine.unit_of_work import RunFinished
from catcher.evaluation import Admission, SourceClock
from catcher.model import json_rows
from catcher.model.alert import Alert
from catcher.model.event import RESULT_PREFIX, Event
from catcher.model.rule import Rule, TriggerSpec
from catcher.model.run import Firing, Run
from catcher.model.time import MAX_INSTANT, Instant, format_instant
from catcher.ports import EventBatch

Row = dict[str, Any]
ExecuteRun = Callable[[Run], Awaitable[Run]]
SOURCE_NAME = "file"


class VirtualClock:
    """A clock that shows the time of the latest event."""

    def __init__(self, start: Instant = 0) -> None:
        self.now = start

    def __call__(self) -> Instant:
        return self.now


def filter_admissible_events(
    events: Iterable[Event], on_omitted: Callable[[str], None]
) -> Iterator[Event]:
    """Yields the events that an engine admits when it receives them as fast as possible.
    Only the next event shows whether a jump of time is a gap or a mistake, so it has to be known
    before the jump lets time pass.
    """
    admission = Admission({SOURCE_NAME: SourceClock("stream", lateness=0)})
    for event in events:
        for admitted_event in admission.admit_events(SOURCE_NAME, (event,), MAX_INSTANT):
            yield admitted_event.event
        while admission.rejected_events:
            rejected_event = admission.rejected_events.popleft().event
            on_omitted(
                f"{rejected_event.topic} of "
                f"{format_instant(rejected_event.time)}: too far in the future"
            )
    for admitted_event in admission.flush_buffered_events():
        yield admitted_event.event


class VirtualEngine:
    """Plays events through an engine whose jobs take no virtual time.
    `pending_runs` is where the engine puts its runs; `execute_run` executes one; `on_omitted`
    receives events that lie too far in the future.
    """

    def __init__(
        self,
        engine: Engine,
        clock: VirtualClock,
        pending_runs: deque[Run],
        execute_run: ExecuteRun,
        on_omitted: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.engine = engine
        self._clock = clock
        self._pending_runs = pending_runs
        self._execute_run = execute_run
        self._on_omitted = on_omitted
        self._has_jobs = any(rule.job for rule in engine.components.rules.values())

    async def play_events(self, events: Iterable[Event]) -> int:
        """Plays events in order, then ends the stream; returns how many there were."""
        count = 0
        for event in filter_admissible_events(events, self._on_omitted):
            count += 1
            await self._process_event(event)
        await self.engine.finish_streams()
        while self._pending_runs:
            await self._execute_pending_runs()
            await self.engine.finish_streams()
        return count

    async def _process_event(self, event: Event) -> None:
        if event.time > self._clock.now:
            await self._advance_clock(event.time)
        await self.engine.process_and_flush([EventBatch(SOURCE_NAME, (event,))])
        await self._execute_pending_runs()

    async def _advance_clock(self, instant: Instant) -> None:
        """Advances the clock to an instant.
        A timer's job ends before the next timer, as in production: the next decision may depend on
        its result.
        """
        get_next_timer = self.engine.components.evaluator.next_timer_due
        next_timer = get_next_timer() if self._has_jobs else None
        while next_timer is not None and next_timer < instant:
            self._clock.now = max(self._clock.now, next_timer)
            await self.engine.run_timers_before(next_timer + 1)
            await self._execute_pending_runs()
            later_timer = get_next_timer()
            next_timer = later_timer if later_timer != next_timer else None
        self._clock.now = instant
        await self.engine.run_timers_before(instant)
        await self._execute_pending_runs()

    async def _execute_pending_runs(self) -> None:
        while self._pending_runs:
            run = await self._execute_run(self._pending_runs.popleft())
            await self.engine.process_and_flush([RunFinished(run)])

    def subscribe_rows(self, on_row: Callable[[Row], None], rules: Sequence[str]) -> None:
        """Reports every firing, run and change of an alert of some rules, as JSON rows.
        An alert is reported if its severity or its state changed: a reminder, or a condition that
        has become unknown, changes neither.
        """
        event_bus = self.engine.components.event_bus
        rule_ids = set(rules)
        alert_states: dict[str, tuple[object, ...]] = {}

        def on_firing(firing: Firing) -> None:
            if firing.rule in rule_ids:
                on_row(json_rows.firing_to_row(firing))

        def on_run(run: Run) -> None:
            if run.rule in rule_ids and run.is_finished:
                on_row(json_rows.run_to_row(run))

        def on_alert(alert: Alert) -> None:
            alert_state = (alert.episode, alert.state, alert.severity)
            if alert.rule in rule_ids and alert_states.get(alert.id) != alert_state:
                alert_states[alert.id] = alert_state
                on_row(json_rows.alert_to_row(alert))

        event_bus.firings.subscribe(on_firing)
        event_bus.runs.subscribe(on_run)
        event_bus.alerts.subscribe(on_alert)


OpenVirtualEngine = Callable[[Mapping[str, Rule]], AbstractAsyncContextManager[VirtualEngine]]
"""What `app` provides: opens a virtual engine for some rules, with a ledger of its own."""


def select_with_dependencies(rules: Mapping[str, Rule], names: Sequence[str]) -> dict[str, Rule]:
    """Returns the named rules and those whose results they need, directly or not."""
    selected: dict[str, Rule] = {}
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in selected or name not in rules:
            continue
        selected[name] = rules[name]
        pending.extend(_list_upstream_rules(rules[name]))
    return {name: rule for name, rule in rules.items() if name in selected}


def _list_upstream_rules(rule: Rule) -> list[str]:
    topics = [
        *_iter_trigger_topics(rule.trigger),
        *(lookup.topic for lookup in rule.reads.values()),
    ]
    inputs = rule.job.inputs.values() if rule.job else ()
    topics += [input_spec.topic for input_spec in inputs]
    results = [topic for topic in topics if topic.startswith(RESULT_PREFIX)]
    rule_ids = [topic.removeprefix(RESULT_PREFIX) for topic in results]
    return rule_ids + [input_spec.of for input_spec in inputs if input_spec.of]


def _iter_trigger_topics(trigger: TriggerSpec) -> Iterator[str]:
    yield trigger.topic
    yield from (step.topic for step in trigger.steps)
    for member in trigger.any:
        yield from _iter_trigger_topics(member)
