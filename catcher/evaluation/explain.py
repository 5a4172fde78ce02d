"""Explains why a rule decided as it did, and what is still missing for another decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from catcher.evaluation.compiled_rule import CompiledTrigger
from catcher.evaluation.edge_detector import HoldTimer
from catcher.evaluation.firing_payload import build_firing_values
from catcher.evaluation.partitions import Partition
from catcher.evaluation.rule_runtime import RuleRuntime
from catcher.evaluation.timed_triggers import AbsenceTrigger, ScheduleTrigger, SequenceTrigger
from catcher.evaluation.triggers import NO_FIELDS, EdgeTrigger, ThrottledTrigger, Trigger
from catcher.expressions.conditions import Condition, ConditionTerm, format_operand
from catcher.expressions.context import EvaluationContext
from catcher.model.event import Event
from catcher.model.time import (
    MILLISECOND,
    Instant,
    format_duration,
    format_instant,
    humanize_duration,
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision of a rule and key, or (`what` is `now`) its current state.

    `parts` are the conditions part by part, `missing` what a decision still waits for, `values`
    the values of the names.
    """

    rule: str
    key: str
    time: Instant
    what: str
    reason: str
    parts: tuple[ConditionTerm, ...] = ()
    missing: tuple[str, ...] = ()
    values: dict[str, Any] | None = None
    per: str = ""

    def __str__(self) -> str:
        names = " ".join(name for name in (self.rule, self.key, self.per) if name)
        when = format_instant(max(0, self.time) // MILLISECOND * MILLISECOND)
        lines = [f"{when} {names}: {self.what}: {self.reason}"]
        for part in self.parts:
            values = ", ".join(
                f"{name} = {format_operand(value)}" for name, value in part.values.items()
            )
            lines.append(
                f"  {part.text}: {_format_truth(part.truth)}" + (f" ({values})" if values else "")
            )
        lines += [f"  waiting: {reason}" for reason in self.missing]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns the form of `catcher explain --json`."""
        return {
            "rule": self.rule,
            "key": self.key,
            "per": self.per,
            "time": format_instant(max(0, self.time)),
            "what": self.what,
            "reason": self.reason,
            "parts": [part.to_json() for part in self.parts],
            "missing": list(self.missing),
            "values": self.values or {},
        }


def explain_runtime(
    runtime: RuleRuntime, now: Instant, until: Instant | None = None
) -> list[Explanation]:
    """Returns the decisions of every key, the oldest first, and then its current state.

    With `until`, only the decisions up to that instant.
    """
    explanations: list[Explanation] = []
    for partition in sorted(
        runtime.partitions.by_key.values(), key=lambda partition: partition.key
    ):
        for record in partition.decisions:
            if until is None or record.time <= until:
                explanations.append(
                    Explanation(
                        runtime.rule.id,
                        partition.key,
                        record.time,
                        record.kind,
                        record.reason_text,
                        per=record.per,
                    )
                )
        if until is None:
            explanations.append(_explain_current(runtime, partition, now))
    if not runtime.partitions.by_key and until is None:
        topics = sorted({topic for topic, _ in runtime.iter_subscriptions()})
        missing = tuple(f"{topic} never seen by this rule" for topic in topics)
        explanations.append(
            Explanation(runtime.rule.id, "", now, "now", "nothing decided", (), missing)
        )
    return explanations


def _explain_current(runtime: RuleRuntime, partition: Partition, now: Instant) -> Explanation:
    terms: list[ConditionTerm] = []
    missing: list[str] = []
    for compiled, trigger in zip(runtime.compiled_rule.triggers, partition.triggers, strict=True):
        event = trigger.latest_event
        context = EvaluationContext(event.time if event else now, trigger.slots, runtime.reads)
        terms += _explain_conditions((compiled.when, compiled.clear), event, context)
        missing += _describe_pending_trigger(compiled, trigger, now)
    terms += _explain_levels(runtime, partition, now)
    missing += _describe_pending_levels(runtime, partition, now)
    missing += [term.missing for term in terms if term.missing]
    latest_event = partition.latest_event or next(
        (candidate.latest_event for candidate in partition.triggers if candidate.latest_event), None
    )
    values = build_firing_values(
        latest_event.fields if latest_event else NO_FIELDS, runtime.rule.constants
    )
    reason = (
        "; ".join(f"{term.text} is {_format_truth(term.truth)}" for term in terms) or "it listens"
    )
    return Explanation(
        runtime.rule.id, partition.key, now, "now", reason, tuple(terms),
        tuple(dict.fromkeys(missing)), values,
    )  # fmt: skip


def _format_truth(truth: bool | None) -> str:
    return "unknown" if truth is None else str(truth).lower()


def _explain_conditions(
    conditions: tuple[Condition | None, ...], event: Event | None, context: EvaluationContext
) -> Iterator[ConditionTerm]:
    for condition in conditions:
        if condition is not None:
            yield from condition.evaluate_terms(event.fields if event else NO_FIELDS, context)


def _describe_pending_trigger(
    compiled: CompiledTrigger, trigger: Trigger, now: Instant
) -> Iterator[str]:
    match trigger:
        case EdgeTrigger():
            yield from _describe_hold(trigger.edge.hold, now, "held")
            yield from _describe_hold(trigger.edge.clear_hold, now, "cleared for")
            if not trigger.edge.is_armed:
                yield "it has fired and is not armed again"
        case ThrottledTrigger(last_fired=int(last_fired)):
            remaining = last_fired + (compiled.spec.every or 0) - now
            if remaining > 0:
                yield f"its last firing was too recent: {humanize_duration(remaining)} to go"
        case AbsenceTrigger(silent_since=int(silent_since), is_silent=False):
            span = format_duration(compiled.spec.hold or 0)
            yield f"silent for {humanize_duration(max(0, now - silent_since))} of {span}"
        case SequenceTrigger():
            steps_done = sum(start is not None for start in trigger.chain_starts)
            yield f"{steps_done} of {len(trigger.chain_starts)} steps came"
        case ScheduleTrigger():
            if trigger.timer.due_at is not None:
                yield f"next at {format_instant(trigger.timer.due_at)}"


def _describe_hold(hold: HoldTimer | None, now: Instant, label: str) -> Iterator[str]:
    if hold is not None and hold.start is not None:
        yield (
            f"{label} {humanize_duration(hold.elapsed_time(now))} "
            f"of {format_duration(hold.duration)}"
        )


def _explain_levels(
    runtime: RuleRuntime, partition: Partition, now: Instant
) -> Iterator[ConditionTerm]:
    levels = runtime.compiled_rule.levels
    if levels is None:
        return
    event = partition.latest_event
    context = EvaluationContext(event.time if event else now, partition.level_slots, runtime.reads)
    for level in levels.levels:
        yield from _explain_conditions((level.when, level.clear), event, context)


def _describe_pending_levels(
    runtime: RuleRuntime, partition: Partition, now: Instant
) -> Iterator[str]:
    levels = runtime.compiled_rule.levels
    if levels is None or partition.levels is None:
        return
    for level_state in partition.levels.states.values():
        for compiled, level in zip(levels.levels, level_state.levels, strict=True):
            name = compiled.severity.name.lower()
            yield from _describe_hold(level.raise_timer, now, f"{name}: held")
            yield from _describe_hold(level.clear_timer, now, f"{name}: cleared for")
