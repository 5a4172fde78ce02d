"""At which severity each alert of a rule must stand, and since when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec, Rule
from tests.oracle import oracle
from tests.oracle.alert_timeline import AlertTimeline
from tests.oracle.oracle import iter_firings, iter_truths
from tests.oracle.recording import (
    Recording,
    collect_reads,
    collect_trigger_input,
    evaluate_key,
    list_topics,
    mark_late_events,
)
from tests.oracle.sample_context import KeyHistory, Sample, SampleContext

MetricsLookup = Callable[[str, int], Mapping[str, Any] | None]
"""What the job of a rule finds, by key and instant of the firing; None where it fails."""


class LevelChangeRecord(NamedTuple):
    """A level change, as far as the meanings determine it."""

    rule: str
    key: str
    per: str
    severity: Severity
    unknown: bool
    time: int


@dataclass(frozen=True)
class KeyInput:
    """Something that levels of one key hear of.

    `kind`: `feed` (an event or a result that they judge), `failed` (a job did), `firing`,
    `armed`, `recovered` (armed by a true sample after a gap: never false, so that only what is
    `always` drops), `false` (the trigger's own `when` turned false), `forgotten` (the key was),
    `late` (an event that came when its stream had already reached the instant `stream_time`).
    """

    time: int
    position: float
    kind: str
    context: SampleContext | None = None
    stream_time: int = 0

    @property
    def sort_key(self) -> tuple[int, float, int]:
        kinds = ("armed", "recovered", "false", "firing", "late", "failed", "feed", "forgotten")
        return max(self.time, self.stream_time), self.position, kinds.index(self.kind)

    @property
    def is_alert_specific(self) -> bool:
        """Whether it concerns the alert that its fields name, and no other of the key."""
        return self.kind in ("feed", "late", "failed")


def compute_level_changes(
    rule: Rule, recording: Recording, metrics: MetricsLookup | None = None
) -> list[LevelChangeRecord]:
    """Every change of severity, or of knowing it, of every alert of a rule, in order of time."""
    assert rule.alert is not None
    level_changes: list[LevelChangeRecord] = []
    for key, key_inputs in _group_by_key(rule, recording, metrics).items():
        for per, alert_inputs in _group_by_per(rule, rule.alert, key_inputs).items():
            timeline = AlertTimeline(rule, rule.alert, recording.downtimes)
            for time, severity, is_unknown in timeline.iter_changes(alert_inputs, recording.end):
                level_changes.append(
                    LevelChangeRecord(rule.id, key, per, severity, is_unknown, time)
                )
    return collapse_changes(level_changes)


def collapse_changes(changes: Iterable[LevelChangeRecord]) -> list[LevelChangeRecord]:
    """Of the changes of an alert at one instant the last, if it is one to what was before."""
    changes_by_alert: dict[tuple[str, str, str], list[LevelChangeRecord]] = {}
    for change in changes:
        alert_changes = changes_by_alert.setdefault(change[:3], [])
        if alert_changes and alert_changes[-1].time == change.time:
            alert_changes.pop()
        previous = alert_changes[-1][3:5] if alert_changes else (Severity.NONE, False)
        if change[3:5] != previous:
            alert_changes.append(change)
    collapsed = [change for alert_changes in changes_by_alert.values() for change in alert_changes]
    return sorted(collapsed, key=lambda change: (change.time, change.key, change.per))


def _group_by_key(
    rule: Rule, recording: Recording, metrics: MetricsLookup | None
) -> dict[str, list[KeyInput]]:
    inputs_by_key: dict[str, list[KeyInput]] = {}
    for key, key_input in _iter_trigger_inputs(rule, recording):
        inputs_by_key.setdefault(key, []).append(key_input)
    if metrics is not None:
        for key, key_input in _iter_result_inputs(rule, recording, metrics):
            inputs_by_key.setdefault(key, []).append(key_input)
    return {
        key: sorted(key_inputs, key=lambda key_input: key_input.sort_key)
        for key, key_inputs in inputs_by_key.items()
    }


def _iter_trigger_inputs(rule: Rule, recording: Recording) -> Iterator[tuple[str, KeyInput]]:
    trigger = rule.trigger
    if trigger.kind == "absent":
        yield from _iter_silence_inputs(rule, recording)
        return
    if trigger.kind == "sequence":
        for key, time in iter_firings(rule, trigger, recording):
            yield key, KeyInput(time, 0, "firing")
        yield from _iter_expiry_inputs(rule, recording)
        return
    if oracle.fires_per_event(trigger):
        for candidate in oracle.list_sample_firings(rule, trigger, recording):
            yield candidate.key, KeyInput(candidate.time, candidate.position, "firing")
        if trigger.kind != "result" and rule.job is None:
            yield from _iter_late_inputs(rule, recording)
    refused_firings = oracle.find_refused_firings(rule, trigger, recording)
    for lifetime in collect_trigger_input(rule, trigger, recording).lifetimes:
        for context in lifetime.contexts:
            time_and_position = context.time, context.sample.position
            if rule.job is None:
                yield lifetime.key, KeyInput(*time_and_position, "feed", context)
            if rule.job and trigger.when:
                [condition_truth] = iter_truths(trigger.when, trigger.clear, [context])
                if condition_truth.when_value is False or (
                    condition_truth.when_value is True and condition_truth.clears is True
                ):
                    yield lifetime.key, KeyInput(*time_and_position, "false", context)
        if trigger.when is not None and trigger.every is None:
            for transition in oracle.iter_edge_transitions(
                trigger, lifetime, recording, refused_firings
            ):
                context = lifetime.contexts[transition.sample_index]
                arming_kind = "recovered" if transition.is_recovery else "armed"
                kind = "firing" if transition.fires else arming_kind
                yield (
                    lifetime.key,
                    KeyInput(transition.time, context.sample.position, kind, context),
                )
    yield from _iter_expiry_inputs(rule, recording)


def _iter_silence_inputs(rule: Rule, recording: Recording) -> Iterator[tuple[str, KeyInput]]:
    trigger = rule.trigger
    for firing_key, time in iter_firings(rule, trigger, recording):
        yield firing_key, KeyInput(time, float("inf"), "firing")
    for position, item, late in mark_late_events(list_topics(trigger), recording.events):
        message_key = evaluate_key(trigger.by, item.event.fields, rule)
        if not late and message_key is not None:
            yield message_key, KeyInput(item.event.time, position, "armed")
    yield from _iter_expiry_inputs(rule, recording)


def _iter_expiry_inputs(rule: Rule, recording: Recording) -> Iterator[tuple[str, KeyInput]]:
    for lifetime in collect_trigger_input(rule, rule.trigger, recording).lifetimes:
        if lifetime.is_expired:
            yield lifetime.key, KeyInput(lifetime.end, float("inf"), "forgotten")


def _iter_late_inputs(rule: Rule, recording: Recording) -> Iterator[tuple[str, KeyInput]]:
    for key, context in collect_trigger_input(rule, rule.trigger, recording).late_contexts:
        position = int(context.sample.position)
        earlier_events = mark_late_events(list_topics(rule.trigger), recording.events[:position])
        stream_time = max(item.event.time for _, item, late in earlier_events if not late)
        yield key, KeyInput(context.time, position, "late", context, stream_time)


def _iter_result_inputs(
    rule: Rule, recording: Recording, metrics: MetricsLookup
) -> Iterator[tuple[str, KeyInput]]:
    histories: dict[str, KeyHistory] = {}
    reads = collect_reads(rule, recording.events)
    for key, sample, has_result in iter_results(rule, recording, metrics):
        history = histories.setdefault(key, KeyHistory(rule, [], reads))
        context = SampleContext(history, sample)
        if has_result:
            history.samples.append(sample)
        yield (
            key,
            KeyInput(sample.time, sample.position, "feed" if has_result else "failed", context),
        )


def iter_results(
    rule: Rule, recording: Recording, metrics: MetricsLookup
) -> Iterator[tuple[str, Sample, bool]]:
    """What comes of each firing's run, in their order: key, result, whether there is one.

    A result carries the fields of the event that fired, and stands before the next event.
    """
    causes = [
        (
            candidate.time,
            candidate.position
            if candidate.sample.time == candidate.time
            else _find_last_position(recording, candidate.time),
            candidate.key,
            candidate.sample.fields,
        )
        for candidate in oracle.list_sample_firings(rule, rule.trigger, recording)
    ]
    for rank, (time, cause_position, key, fields) in enumerate(
        sorted(causes, key=lambda cause: cause[:3])
    ):
        metric_values = metrics(key, time)
        position = cause_position + 0.5 + rank * 1e-6
        yield (
            key,
            Sample(position, time, {**fields, **(metric_values or {})}),
            metric_values is not None,
        )


def _find_last_position(recording: Recording, time: int) -> float:
    """The place of the last event up to an instant: a timer's result follows it."""
    return max(
        position for position, item in enumerate(recording.events) if item.event.time <= time
    )


def _group_by_per(
    rule: Rule, spec: AlertSpec, key_inputs: Sequence[KeyInput]
) -> dict[str, list[KeyInput]]:
    """The happenings that each alert of a key hears of: its own feeds, and all the rest."""
    per_by_index: dict[int, str] = {}
    for index, key_input in enumerate(key_inputs):
        if key_input.is_alert_specific and key_input.context is not None:
            value = evaluate_key(spec.per, key_input.context.sample.fields, rule)
            if value is None and key_input.kind == "failed":
                value = ""
            if value is not None:
                per_by_index[index] = value
    per_values = dict.fromkeys(per_by_index.values()) if spec.per else {"": None}
    return {
        per: [
            key_input
            for index, key_input in enumerate(key_inputs)
            if not key_input.is_alert_specific or per_by_index.get(index) == per
        ]
        for per in per_values
    }
