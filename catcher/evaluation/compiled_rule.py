"""A compiled rule: every expression in the plan of the stream that it is evaluated on.

Compiling collects all problems of a rule in one pass; `validation` adds those of its structure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from catcher.expressions.ast import Node
from catcher.expressions.compiler import StateDescriptor, StatePlan
from catcher.expressions.conditions import Condition
from catcher.expressions.context import CompiledExpression
from catcher.expressions.lookup_join import CompiledLookup
from catcher.model.alert import Severity
from catcher.model.errors import Problem
from catcher.model.event import RESULT_PREFIX
from catcher.model.rule import AlertSpec, LevelSpec, Rule, TriggerSpec
from catcher.model.time import MINUTE, Span

DEFAULT_LOOKBACK: Span = 10 * MINUTE
"""The minimum lookback, if a rule looks back but does not say how far (`last=5`, reads)."""
TIMED_KINDS = frozenset(("absent", "schedule", "every"))
"""Trigger kinds that fire at an instant, without an event."""


@dataclass(slots=True)
class CompiledStep:
    """One step of a sequence."""

    topic: str
    where: Condition | None


@dataclass(slots=True)
class CompiledTrigger:
    """One trigger, or one of an `any`, compiled."""

    index: int
    spec: TriggerSpec
    plan: StatePlan
    where: Condition | None = None
    by: CompiledExpression | None = None
    by_node: Node | None = None
    once_per: CompiledExpression | None = None
    when: Condition | None = None
    clear: Condition | None = None
    steps: tuple[CompiledStep, ...] = ()
    lets: dict[str, CompiledExpression] = field(default_factory=dict)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that it listens to."""
        if self.spec.kind == "sequence":
            return tuple(dict.fromkeys(step.topic for step in self.steps))
        return (self.spec.topic,) if self.spec.topic else ()


@dataclass(slots=True)
class CompiledLevel:
    """One level, compiled; `when` None is `always`."""

    severity: Severity
    spec: LevelSpec
    when: Condition | None
    clear: Condition | None


@dataclass(slots=True)
class CompiledLevels:
    """The levels of a rule, the worst first, and the plan of their input.

    `input_kind`: the `results` of the rule's own job, or the `stream`: the events that pass
    `where`, and the firings of triggers that have no event at each moment.
    """

    input_kind: str
    plan: StatePlan
    alert: AlertSpec
    levels: tuple[CompiledLevel, ...]
    per: CompiledExpression | None
    lets: dict[str, CompiledExpression]


@dataclass(slots=True)
class CompiledRule:
    """Everything that the evaluation of a rule needs. With problems it must not be run."""

    rule: Rule
    problems: list[Problem] = field(default_factory=list)
    reads: dict[str, CompiledLookup] = field(default_factory=dict)
    triggers: list[CompiledTrigger] = field(default_factory=list)
    levels: CompiledLevels | None = None
    lets: dict[str, Node] = field(default_factory=dict)
    fingerprint_parts: list[str] = field(default_factory=list)

    def iter_lookbacks(self) -> Iterator[tuple[str, Span]]:
        """Yields the topics over which the rule looks back in time, and how far."""
        level_plan = (
            self.levels.plan if self.levels and self.levels.input_kind == "stream" else StatePlan()
        )
        for compiled in self.triggers:
            spans = [
                _compute_slot_lookback(slot)
                for slot in (*compiled.plan.descriptors, *level_plan.descriptors)
            ]
            for topic in compiled.topics if spans else ():
                yield topic, max(spans)
        for read in self.reads.values():
            yield (
                read.lookup.topic,
                max([DEFAULT_LOOKBACK, *map(_compute_slot_lookback, read.state_plan.descriptors)]),
            )

    @property
    def fingerprint(self) -> str:
        """A digest of the meaning of the trigger and the levels."""
        text = "\0".join([_format_rule_signature(self.rule), *self.fingerprint_parts])
        return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _compute_slot_lookback(slot: StateDescriptor) -> Span:
    if slot.shape is None or slot.shape.span is None:
        return DEFAULT_LOOKBACK
    return slot.shape.span + (slot.shape.packed or 0)


def flatten_any_triggers(trigger: TriggerSpec) -> Iterator[TriggerSpec]:
    """Yields the triggers of an `any`, with its values as defaults; else the trigger itself."""
    if trigger.kind != "any":
        yield trigger
        return
    for child in trigger.any:
        yield from flatten_any_triggers(
            replace(
                child,
                by=child.by or trigger.by,
                once_per=child.once_per or trigger.once_per,
                where=child.where or trigger.where,
                forget_after=child.forget_after or trigger.forget_after,
            )
        )


def can_fire(rule: Rule, trigger: TriggerSpec) -> bool:
    """True if a trigger makes firings.

    Telemetry without a condition, in a rule whose levels evaluate it, only feeds them: a firing
    for every sample would be useless.
    """
    has_levels_only = rule.job is None and rule.alert is not None
    if trigger.kind != "telemetry" or trigger.when or trigger.every or not has_levels_only:
        return True
    return rule.alert is not None and any(spec.when is None for spec in rule.alert.levels.values())


def build_result_topic(rule: Rule) -> str:
    """Returns the topic of a rule's own results."""
    return RESULT_PREFIX + rule.id


def _format_rule_signature(rule: Rule) -> str:
    return f"{rule.id} job={rule.job is not None}"
