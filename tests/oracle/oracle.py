"""What a rule must decide, worked out afresh from everything that was admitted.

This is the second reading of the exact meanings in the design: it shares no code with
`catcher.evaluation`, keeps no state between decisions where a search through the history will do,
and computes time with integers only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from catcher.model.event import AdmittedEvent
from catcher.model.rule import Expression, Rule, TriggerSpec
from tests.oracle.cron import iter_schedule_times
from tests.oracle.expression_evaluator import evaluate_stateless, evaluate_truth
from tests.oracle.functions import UNKNOWN, UnknownType
from tests.oracle.holds import EdgeTransition, HoldCompletion, TruthSeries, iter_transitions
from tests.oracle.recording import (
    FiringRecord,
    KeyLifetime,
    Recording,
    collect_trigger_input,
    evaluate_key,
    is_key_expired,
    iter_instant_contexts,
    list_topics,
    mark_late_events,
    passes_where,
    value_to_text,
)
from tests.oracle.sample_context import Sample, SampleContext

EVENT_TRIGGER_KINDS = ("event", "result", "http")


def compute_firings(rule: Rule, recording: Recording) -> list[FiringRecord]:
    """Every firing of a rule, in order of time."""
    records = [
        FiringRecord(rule.id, *firing_args)
        for firing_args in iter_firings(rule, rule.trigger, recording)
    ]
    return sorted(records, key=lambda record: (record.time, record.key))


def iter_firings(
    rule: Rule, trigger: TriggerSpec, recording: Recording
) -> Iterator[tuple[str, int]]:
    """Key and instant of each firing of one trigger, in no order."""
    match trigger.kind:
        case "any":
            for part in trigger.any:
                yield from iter_firings(rule, part, recording)
        case "schedule" | "every" if not trigger.topic:
            for context in iter_instant_contexts(
                rule, sorted(_iter_due_times(trigger, recording)), recording
            ):
                if trigger.when is None or evaluate_truth(trigger.when.text, context) is True:
                    yield "", context.time
        case "absent":
            yield from _iter_absences(rule, trigger, recording)
        case "sequence":
            yield from _iter_sequences(rule, trigger, recording)
        case _:
            for candidate in list_sample_firings(rule, trigger, recording):
                yield candidate.key, candidate.time


def _iter_due_times(trigger: TriggerSpec, recording: Recording) -> Iterator[int]:
    """The instants of a clock; of those in a downtime the latest is made up for, or none."""
    if trigger.kind == "schedule":
        due_times = list(
            iter_schedule_times(trigger.schedule, trigger.zone, recording.start, recording.end)
        )
    else:
        assert trigger.every is not None
        first = -(-recording.start // trigger.every) * trigger.every
        due_times = list(range(first, recording.end + 1, trigger.every))
    yield from (instant for instant in due_times if recording.is_observed(instant))
    for stopped, resumed in recording.downtimes if trigger.catch_up == "run" else ():
        yield from [instant for instant in due_times if stopped < instant < resumed][-1:]


class FiringCandidate(NamedTuple):
    """A firing: its rank in the order of events, the sample that it was made with, its place."""

    sort_key: tuple[int, bool, float, str]
    position: float
    key: str
    time: int
    sample: Sample


RefusedFirings = set[tuple[str, int, float]]
"""Firings (key, instant, place) that a `once_per` value used before forbids."""


def list_sample_firings(
    rule: Rule, trigger: TriggerSpec, recording: Recording
) -> list[FiringCandidate]:
    """The firings of a trigger that listens to one topic.

    `once_per` reaches over all keys: the first firing that repeats a value is struck out, and
    all is worked out again without it, until none is left.
    """
    refused = find_refused_firings(rule, trigger, recording)
    return sorted(
        _iter_candidates(rule, trigger, recording, refused),
        key=lambda candidate: candidate.sort_key,
    )


def find_refused_firings(rule: Rule, trigger: TriggerSpec, recording: Recording) -> RefusedFirings:
    """The firings that would repeat a value of `once_per`."""
    refused: RefusedFirings = set()
    while trigger.once_per is not None:
        candidates = _iter_candidates(rule, trigger, recording, refused)
        used_values: set[str | None] = set()
        for candidate in sorted(candidates, key=lambda candidate: candidate.sort_key):
            value = evaluate_key(trigger.once_per, candidate.sample.fields, rule)
            if value in used_values:
                refused.add((candidate.key, candidate.time, candidate.position))
                break
            used_values.add(value)
        else:
            break
    return refused


def _iter_candidates(
    rule: Rule, trigger: TriggerSpec, recording: Recording, refused: RefusedFirings
) -> Iterator[FiringCandidate]:
    trigger_input = collect_trigger_input(rule, trigger, recording)
    for lifetime in trigger_input.lifetimes:
        for time, is_timer, context in _iter_lifetime_firings(
            trigger, lifetime, recording, refused
        ):
            position = context.sample.position
            sort_key = (
                (0, False, position, "")
                if fires_per_event(trigger)
                else (time, is_timer, position, lifetime.key)
            )
            yield FiringCandidate(sort_key, position, lifetime.key, time, context.sample)
    for key, context in trigger_input.late_contexts if fires_per_event(trigger) else ():
        if _can_fire(trigger, key, context.time, context, refused):
            position = context.sample.position
            yield FiringCandidate(
                (0, False, position, ""), position, key, context.time, context.sample
            )


def fires_per_event(trigger: TriggerSpec) -> bool:
    """Whether it fires for each event as it comes."""
    return trigger.kind in EVENT_TRIGGER_KINDS and trigger.when is None and trigger.every is None


def _iter_lifetime_firings(
    trigger: TriggerSpec, lifetime: KeyLifetime, recording: Recording, refused: RefusedFirings
) -> Iterator[tuple[int, bool, SampleContext]]:
    """The firings of one key: instant, whether a timer made it, and the latest sample by then."""
    if fires_per_event(trigger) or trigger.every is not None:
        yield from _iter_throttled_firings(trigger, lifetime, refused)
    elif trigger.when is not None:
        for transition in iter_edge_transitions(trigger, lifetime, recording, refused):
            if transition.fires:
                yield (
                    transition.time,
                    transition.is_timer,
                    lifetime.contexts[transition.sample_index],
                )


def _can_fire(
    trigger: TriggerSpec, key: str, time: int, context: SampleContext, refused: RefusedFirings
) -> bool:
    """Whether `once_per` is known at a moment, and not used up."""
    if trigger.once_per is None:
        return True
    value = evaluate_stateless(trigger.once_per.text, context.sample.fields, context.history.rule)
    return value_to_text(value) is not None and (key, time, context.sample.position) not in refused


def _iter_throttled_firings(
    trigger: TriggerSpec, lifetime: KeyLifetime, refused: RefusedFirings
) -> Iterator[tuple[int, bool, SampleContext]]:
    last_time: int | None = None
    for context in lifetime.contexts:
        is_due = last_time is None or context.time >= last_time + (trigger.every or 0)
        is_true = trigger.when is None or evaluate_truth(trigger.when.text, context) is True
        if is_due and is_true and _can_fire(trigger, lifetime.key, context.time, context, refused):
            last_time = context.time
            yield context.time, False, context


class ConditionTruths(NamedTuple):
    """Whether a condition holds, whether it is cleared, and what `when` alone says."""

    holds: bool | UnknownType
    clears: bool | UnknownType
    when_value: bool | UnknownType


def iter_truths(
    when: Expression, clear: Expression | None, contexts: Sequence[SampleContext]
) -> Iterator[ConditionTruths]:
    """The truths at each moment. If both hold, clearing wins."""
    for context in contexts:
        when_value = evaluate_truth(when.text, context)
        if clear is None:
            yield ConditionTruths(
                when_value,
                UNKNOWN if isinstance(when_value, UnknownType) else not when_value,
                when_value,
            )
            continue
        clears = evaluate_truth(clear.text, context)
        yield ConditionTruths(False if clears is True else when_value, clears, when_value)


def iter_edge_transitions(
    trigger: TriggerSpec, lifetime: KeyLifetime, recording: Recording, refused: RefusedFirings
) -> Iterator[EdgeTransition]:
    """The firings of a `when` at one key's samples, and the armings between them."""
    assert trigger.when is not None
    contexts, stale_after, end = lifetime.contexts, trigger.stale_after, lifetime.end
    condition_truths = list(iter_truths(trigger.when, trigger.clear, contexts))
    times = [context.time for context in contexts]

    def can_fire(completion: HoldCompletion) -> bool:
        return _can_fire(
            trigger, lifetime.key, completion.time, contexts[completion.sample_index], refused
        )

    holds, clears = (
        [truth.holds for truth in condition_truths],
        [truth.clears for truth in condition_truths],
    )
    return iter_transitions(
        TruthSeries(holds, times, trigger.hold, stale_after, end, recording.downtimes),
        TruthSeries(clears, times, trigger.clear_hold, stale_after, end, recording.downtimes),
        recovery_indexes=list(_iter_recovery_indexes(condition_truths))
        if trigger.on_recovery == "fire"
        else [],
        can_fire=can_fire,
    )


def _iter_recovery_indexes(condition_truths: Sequence[ConditionTruths]) -> Iterator[int]:
    """The places of the true samples that come directly after an unknown one."""
    for index in range(1, len(condition_truths)):
        if condition_truths[index].holds is True and isinstance(
            condition_truths[index - 1].when_value, UnknownType
        ):
            yield index


def _iter_absences(
    rule: Rule, trigger: TriggerSpec, recording: Recording
) -> Iterator[tuple[str, int]]:
    """Any message counts, by the time at which it was sent; a late one tells of the past only.

    So one that was sent before a silence was found does not end it.
    """
    last_times: dict[str, int] = {} if trigger.by else {"": recording.start}
    found_at: dict[str, int] = {}
    stream_time = recording.start
    for _, item, _ in mark_late_events({trigger.topic}, recording.events):
        sent, key = item.event.time, evaluate_key(trigger.by, item.event.fields, rule)
        stream_time = max(stream_time, sent)
        if key is None:
            continue
        due = _compute_silence_due(trigger, last_times.get(key), stream_time, recording)
        if due is not None and key not in found_at:
            found_at[key] = due
            yield key, due
        if key not in found_at or sent > found_at[key]:
            last_times[key] = max(sent, last_times.get(key, sent))
            found_at.pop(key, None)
    for key in set(last_times) - set(found_at):
        due = _compute_silence_due(trigger, last_times[key], recording.end + 1, recording)
        if due is not None:
            yield key, due


def _compute_silence_due(
    trigger: TriggerSpec, last_time: int | None, stream_time: int, recording: Recording
) -> int | None:
    """When a silence since the last message is long enough, if that is before what is reached."""
    if last_time is None or trigger.hold is None:
        return None
    due = last_time + trigger.hold
    for stopped, resumed in recording.downtimes:
        if stopped < due and last_time < resumed <= stream_time:
            due = resumed + trigger.hold
    return due if due < stream_time and not is_key_expired(trigger, last_time, due) else None


def _iter_sequences(
    rule: Rule, trigger: TriggerSpec, recording: Recording
) -> Iterator[tuple[str, int]]:
    events_by_key: dict[str, list[AdmittedEvent]] = {}
    last_times: dict[str, int] = {}
    used_values: set[str | None] = set()
    for _, item, late in mark_late_events(list_topics(trigger), recording.events):
        fields, time = item.event.fields, item.event.time
        key = evaluate_key(trigger.by, fields, rule)
        if late or key is None:
            continue
        if is_key_expired(trigger, last_times.get(key, time), time):
            events_by_key.pop(key)
        last_times[key] = time
        earlier_events, value = (
            events_by_key.setdefault(key, []),
            evaluate_key(trigger.once_per, fields, rule),
        )
        is_once_per_free = value is not None and (
            trigger.once_per is None or value not in used_values
        )
        if is_once_per_free and _is_sequence_complete(rule, trigger, earlier_events, item):
            earlier_events.clear()
            used_values.add(value)
            yield key, time
        else:
            earlier_events.append(item)


def _is_sequence_complete(
    rule: Rule,
    trigger: TriggerSpec,
    earlier_events: Sequence[AdmittedEvent],
    last_event: AdmittedEvent,
) -> bool:
    """Whether some choice of earlier events makes `last_event` the end of the sequence."""

    def matches_step(step_index: int, item: AdmittedEvent) -> bool:
        step = trigger.steps[step_index]
        return item.event.topic == step.topic and passes_where(step.where, item.event.fields, rule)

    def has_chain_from(step_index: int, remaining: Sequence[AdmittedEvent]) -> bool:
        if step_index == len(trigger.steps) - 1:
            return True
        return any(
            has_chain_from(step_index + 1, remaining[index + 1 :])
            for index, item in enumerate(remaining)
            if matches_step(step_index, item)
            and (step_index > 0 or _is_within_limit(trigger, item, last_event))
        )

    return matches_step(len(trigger.steps) - 1, last_event) and has_chain_from(0, earlier_events)


def _is_within_limit(
    trigger: TriggerSpec, first_event: AdmittedEvent, last_event: AdmittedEvent
) -> bool:
    return (
        trigger.within is None or last_event.event.time - first_event.event.time <= trigger.within
    )
