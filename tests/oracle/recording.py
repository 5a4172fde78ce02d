"""The input of a rule: what was admitted, as the rule's triggers and reads see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from catcher.model.event import AdmittedEvent
from catcher.model.rule import Expression, Rule, TriggerSpec
from tests.oracle.expression_evaluator import evaluate_stateless
from tests.oracle.sample_context import KeyHistory, Sample, SampleContext

Downtimes = Sequence[tuple[int, int]]
"""Downtimes: the last instant that was watched, and the one from which it went on."""


class FiringRecord(NamedTuple):
    """A firing, as far as the meanings determine it."""

    rule: str
    key: str
    time: int


@dataclass(frozen=True)
class Recording:
    """The whole input: what was admitted, in its order, and the span of the watch."""

    events: Sequence[AdmittedEvent]
    start: int
    end: int
    downtimes: Downtimes = ()

    @classmethod
    def from_events(cls, events: Sequence[AdmittedEvent], downtimes: Downtimes = ()) -> Recording:
        """A recorded stream: watched from its first event to its last."""
        times = [item.event.time for item in events]
        return cls(events, times[0], max(times), downtimes)

    def is_observed(self, instant: int) -> bool:
        """Whether anybody watched at an instant."""
        is_down = any(stopped < instant < resumed for stopped, resumed in self.downtimes)
        return self.start <= instant <= self.end and not is_down


def list_topics(trigger: TriggerSpec) -> set[str]:
    """The topics of a trigger's own stream."""
    return {trigger.topic} if trigger.topic else {step.topic for step in trigger.steps}


def mark_late_events(
    topics: set[str], events: Sequence[AdmittedEvent]
) -> list[tuple[int, AdmittedEvent, bool]]:
    """The events of a stream by their place in the admitted order; the last tells a late one."""
    marked: list[tuple[int, AdmittedEvent, bool]] = []
    latest = -1
    for position, item in enumerate(events):
        if item.event.topic in topics:
            late = item.late or item.event.time < latest
            latest = max(latest, item.event.time)
            marked.append((position, item, late))
    return marked


def value_to_text(value: Any) -> str | None:
    """A `by`, `once_per` or `per` value as text; None for what names nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else None


def passes_where(where: Expression | None, fields: Mapping[str, Any], rule: Rule) -> bool:
    """Whether an event passes a `where`."""
    return where is None or evaluate_stateless(where.text, fields, rule) is True


def evaluate_key(expr: Expression | None, fields: Mapping[str, Any], rule: Rule) -> str | None:
    """What an expression names; the empty text without one, None where it is unknown."""
    return "" if expr is None else value_to_text(evaluate_stateless(expr.text, fields, rule))


@dataclass
class KeyLifetime:
    """One key from its first event until, `forget_after` its last one, all of it is forgotten.

    `end` is the last instant at which anything of it can happen.
    """

    key: str
    contexts: list[SampleContext]
    end: int
    is_expired: bool = False


@dataclass
class TriggerInput:
    """A trigger's events, each a moment, by the lives of their keys; late ones apart."""

    lifetimes: list[KeyLifetime] = field(default_factory=list)
    late_contexts: list[tuple[str, SampleContext]] = field(default_factory=list)


def collect_trigger_input(rule: Rule, trigger: TriggerSpec, recording: Recording) -> TriggerInput:
    """The events that pass `where` and have a key, as a rule sees them."""
    reads = collect_reads(rule, recording.events)
    trigger_input = TriggerInput()
    latest_lifetimes: dict[str, KeyLifetime] = {}
    for position, item, late in mark_late_events(list_topics(trigger), recording.events):
        fields, time = item.event.fields, item.event.time
        key = evaluate_key(trigger.by, fields, rule)
        if key is None or not passes_where(trigger.where, fields, rule):
            continue
        sample = Sample(position, time, fields)
        if late:
            trigger_input.late_contexts.append(
                (key, SampleContext(KeyHistory(rule, [], reads), sample))
            )
            continue
        lifetime = latest_lifetimes.get(key)
        if lifetime is None or is_key_expired(trigger, lifetime.contexts[-1].time, time):
            lifetime = latest_lifetimes[key] = KeyLifetime(key, [], 0)
            trigger_input.lifetimes.append(lifetime)
        history = lifetime.contexts[0].history if lifetime.contexts else KeyHistory(rule, [], reads)
        history.samples.append(sample)
        lifetime.contexts.append(SampleContext(history, sample))
    for lifetime in trigger_input.lifetimes:
        last_time = lifetime.contexts[-1].time
        lifetime.is_expired = is_key_expired(trigger, last_time, recording.end + 1)
        lifetime.end = (
            last_time + (trigger.forget_after or 0) if lifetime.is_expired else recording.end
        )
    return trigger_input


def is_key_expired(trigger: TriggerSpec, last_time: int, now: int) -> bool:
    """Whether a key whose last event came at an instant has been forgotten before another."""
    return trigger.forget_after is not None and now - last_time > trigger.forget_after


def collect_reads(rule: Rule, events: Sequence[AdmittedEvent]) -> dict[str, list[Sample]]:
    """What each read has seen."""
    return {
        name: [
            Sample(position, item.event.time, item.event.fields)
            for position, item, late in mark_late_events({read.topic}, events)
            if not late and passes_where(read.where, item.event.fields, rule)
        ]
        for name, read in rule.reads.items()
    }


def iter_instant_contexts(
    rule: Rule, instants: Sequence[int], recording: Recording
) -> Iterator[SampleContext]:
    """Instants without an event, with what the reads knew by then."""
    history = KeyHistory(rule, [], collect_reads(rule, recording.events))
    for instant in instants:
        sample = Sample(float("inf"), instant, {})
        history.samples.append(sample)
        yield SampleContext(history, sample)
