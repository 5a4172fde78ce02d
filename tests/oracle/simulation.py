"""Drives a network through a stream, whole or in pieces, and writes down what it decided."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from catcher.evaluation import RuleEvaluator
from catcher.model.alert import LevelChange
from catcher.model.commit import TriggerState
from catcher.model.event import RESULT_PREFIX, AdmittedEvent, Event
from catcher.model.rule import Rule
from catcher.model.run import Firing
from tests.oracle.levels import LevelChangeRecord, MetricsLookup, collapse_changes
from tests.oracle.recording import FiringRecord

Decision = Firing | LevelChange
SavedStates = dict[tuple[str, str, str], TriggerState]
SOURCE = "sim"


def run_rules(
    rules: Sequence[Rule], events: Sequence[AdmittedEvent], batch_ends: Iterable[int] = ()
) -> list[Decision]:
    """All decisions about a recorded stream, fed in batches that end at the given places."""
    evaluator = RuleEvaluator(rules)
    decisions: list[Decision] = []
    start = 0
    for batch_end in [*sorted(set(batch_ends)), len(events)]:
        decisions += evaluator.process_events(events[start:batch_end])
        start = batch_end
    return decisions + evaluator.run_remaining_timers(max(item.event.time for item in events))


def run_with_watermarks(
    rules: Sequence[Rule], events: Sequence[AdmittedEvent], fractions: Mapping[int, float]
) -> list[Decision]:
    """The same with watermarks before some of the events, none beyond what is still to come."""
    evaluator = RuleEvaluator(rules)
    decisions: list[Decision] = []
    for index, item in enumerate(events):
        if index in fractions:
            previous_time = max(
                [item.event.time for item in events[:index]], default=item.event.time
            )
            next_time = min(item.event.time for item in events[index:])
            if next_time > previous_time:
                watermark = previous_time + int((next_time - previous_time) * fractions[index])
                decisions += evaluator.advance_watermarks({SOURCE: watermark})
        decisions += evaluator.process_events([item])
    return decisions + evaluator.run_remaining_timers(max(item.event.time for item in events))


def run_with_restarts(
    rules: Sequence[Rule], events: Sequence[AdmittedEvent], restarts: Iterable[int]
) -> list[Decision]:
    """The same with the network thrown away at some places, and a new one given its state."""
    evaluator = RuleEvaluator(rules)
    saved_states: SavedStates = {}
    decisions: list[Decision] = []
    restarts = set(restarts)
    for index, item in enumerate(events):
        if index in restarts:
            _save_states(saved_states, evaluator)
            evaluator = RuleEvaluator(rules, start=events[0].event.time)
            evaluator.restore_states([_round_trip_json(state) for state in saved_states.values()])
        decisions += evaluator.process_events([item])
    return decisions + evaluator.run_remaining_timers(max(item.event.time for item in events))


def _save_states(saved_states: SavedStates, evaluator: RuleEvaluator) -> None:
    saved_states.update(
        {
            (state.rule, state.key, state.part): state
            for state in evaluator.snapshot_changed_states()
        }
    )


def _round_trip_json(state: TriggerState) -> TriggerState:
    return replace(state, state=json.loads(json.dumps(state.state)))


def run_with_downtime(
    rules: Sequence[Rule], events: Sequence[AdmittedEvent], downtimes: Mapping[int, tuple[int, int]]
) -> list[Decision]:
    """The same by engines one after the other: by place, when one stops and the next takes up."""
    evaluator = RuleEvaluator(rules, start=events[0].event.time)
    saved_states: SavedStates = {}
    decisions: list[Decision] = []
    for index, item in enumerate(events):
        if index in downtimes:
            stopped, resumed = downtimes[index]
            decisions += evaluator.run_remaining_timers(stopped)
            _save_states(saved_states, evaluator)
            evaluator = RuleEvaluator(rules, start=resumed)
            decisions += evaluator.restore_states(
                [_round_trip_json(state) for state in saved_states.values()]
            )
        decisions += evaluator.process_events([item])
    return decisions + evaluator.run_remaining_timers(max(item.event.time for item in events))


def run_with_manual_firings(
    rule: Rule, events: Sequence[AdmittedEvent], firing_indexes: Iterable[int]
) -> tuple[list[Decision], list[Firing]]:
    """The same, while somebody fires the rule by hand before some events; those firings apart."""
    evaluator = RuleEvaluator([rule])
    decisions: list[Decision] = []
    manual_firings: list[Firing] = []
    firing_indexes = set(firing_indexes)
    for index, item in enumerate(events):
        if index in firing_indexes:
            event = item.event if index % 3 else None
            firing = evaluator.create_manual_firing(rule.id, event, item.event.time, "ana")
            manual_firings.append(firing)
            decisions += evaluator.on_job_failed(firing, firing.id, "it could not")
        decisions += evaluator.process_events([item])
    return decisions + evaluator.run_remaining_timers(
        max(item.event.time for item in events)
    ), manual_firings


def run_with_jobs(
    rule: Rule, events: Sequence[AdmittedEvent], metrics: MetricsLookup | None, *other_rules: Rule
) -> list[Decision]:
    """The same with a job that takes no time: its result is fed before the next event."""
    assert metrics is not None
    evaluator = RuleEvaluator([rule, *other_rules])
    all_decisions: list[Decision] = []

    def process_decisions(decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            all_decisions.append(decision)
            if isinstance(decision, Firing) and decision.rule == rule.id:
                metric_values = metrics(decision.key, decision.time)
                if metric_values is None:
                    process_decisions(
                        evaluator.on_job_failed(decision, decision.id, "it could not")
                    )
                else:
                    process_decisions(
                        evaluator.process_events(
                            [AdmittedEvent(build_result_event(decision, metric_values))]
                        )
                    )

    def advance_to(instant: int) -> None:
        """A timer's job is done before the next timer."""
        last_due = -1
        while (due := evaluator.next_timer_due()) is not None and last_due < due < instant:
            process_decisions(evaluator.advance_watermarks({SOURCE: due + 1}))
            last_due = due
        process_decisions(evaluator.advance_watermarks({SOURCE: instant}))

    for item in events:
        advance_to(item.event.time)
        process_decisions(evaluator.process_events([item]))
    end = max(item.event.time for item in events)
    advance_to(end + 1)
    while decisions := evaluator.run_remaining_timers(end):
        process_decisions(decisions)
    return all_decisions


def build_result_event(firing: Firing, metrics: Mapping[str, Any]) -> Event:
    """The event that a finished run enters the streams as."""
    origin = {"rule": firing.rule, "key": firing.key, "run": firing.id, "firing": firing.id,
             "observation": "", "state": "done"}  # fmt: skip
    event_fields = firing.event.fields if firing.event else {}
    fields = {**event_fields, **metrics, "catcher": origin}
    return Event(RESULT_PREFIX + firing.rule, firing.time, fields, "catcher")


def extract_firings(decisions: Iterable[Decision]) -> list[FiringRecord]:
    """The firings, in order of time."""
    records = [
        FiringRecord(decision.rule, decision.key, decision.time)
        for decision in decisions
        if isinstance(decision, Firing)
    ]
    return sorted(records, key=lambda record: (record.time, record.key))


def extract_level_changes(decisions: Iterable[Decision]) -> list[LevelChangeRecord]:
    """What was said of the alerts, in order of time: severity, and whether it can be judged."""
    return collapse_changes(
        LevelChangeRecord(
            decision.rule,
            decision.key,
            decision.per,
            decision.severity,
            decision.unknown,
            decision.time,
        )
        for decision in decisions
        if isinstance(decision, LevelChange)
    )


def describe_decisions(decisions: Iterable[Decision]) -> list[tuple[Any, ...]]:
    """Everything about each decision that the same stream must give again, in the same order."""
    rows: list[tuple[Any, ...]] = []
    for decision in decisions:
        if isinstance(decision, Firing):
            rows.append(
                (
                    "firing",
                    decision.time,
                    decision.rule,
                    decision.key,
                    decision.cause,
                    decision.reason,
                    decision.once,
                )
            )
        else:
            rows.append(
                (
                    "level",
                    decision.time,
                    decision.rule,
                    decision.key,
                    decision.per,
                    decision.severity,
                    decision.unknown,
                    decision.reason,
                )
            )
    return rows
