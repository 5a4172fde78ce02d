"""A rule, compiled: every expression in the plan of the feed that it is evaluated at.

Compiling collects all problems of a rule in one pass; `checking` adds those of its grammar.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from catcher.model.alert import Severity
from catcher.model.event import RESULT_PREFIX
from catcher.model.problem import Problem
from catcher.model.rule import AlertSpec, LevelSpec, Rule, Trigger
from catcher.model.time import MINUTE, Span
from catcher.watching.compiling import Plan, SlotPlan
from catcher.watching.conditions import Condition
from catcher.watching.frames import Eval
from catcher.watching.reading import ReadPlan
from catcher.watching.tree import Node

RECENT: Span = 10 * MINUTE
"""How far back at least, where a rule looks back but does not say how far (`last=5`, reads)."""
TIMED = frozenset(("absent", "schedule", "every"))
"""Trigger kinds that fire at an instant, without an event in hand."""


@dataclass(slots=True)
class StepPlan:
    """One step of a sequence."""

    topic: str
    where: Condition | None


@dataclass(slots=True)
class Branch:
    """One trigger, or one of an `any`, compiled."""

    index: int
    trigger: Trigger
    plan: Plan
    where: Condition | None = None
    by: Eval | None = None
    by_node: Node | None = None
    once: Eval | None = None
    when: Condition | None = None
    clear: Condition | None = None
    steps: tuple[StepPlan, ...] = ()
    lets: dict[str, Eval] = field(default_factory=dict)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that it listens to."""
        if self.trigger.kind == "sequence":
            return tuple(dict.fromkeys(step.topic for step in self.steps))
        return (self.trigger.topic,) if self.trigger.topic else ()


@dataclass(slots=True)
class LevelPlan:
    """One level, compiled; `when` None is `always`."""

    severity: Severity
    spec: LevelSpec
    when: Condition | None
    clear: Condition | None


@dataclass(slots=True)
class Levels:
    """The levels of a rule, the worst first, and the plan of what feeds them.

    `fed_by`: the `results` of the rule's own job, or the `stream`: the events that pass `where`,
    and the firings of triggers that have no event at each moment.
    """

    fed_by: str
    plan: Plan
    alert: AlertSpec
    levels: tuple[LevelPlan, ...]
    per: Eval | None
    lets: dict[str, Eval]


@dataclass(slots=True)
class Blueprint:
    """All of a rule that watching needs. With problems it must not be run."""

    rule: Rule
    problems: list[Problem] = field(default_factory=list)
    reads: dict[str, ReadPlan] = field(default_factory=dict)
    branches: list[Branch] = field(default_factory=list)
    levels: Levels | None = None
    lets: dict[str, Node] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def reaches(self) -> Iterator[tuple[str, Span]]:
        """The topics over which the rule looks back in time, and how far."""
        levels = self.levels.plan if self.levels and self.levels.fed_by == "stream" else Plan()
        for branch in self.branches:
            spans = [_reach(slot) for slot in (*branch.plan.slots, *levels.slots)]
            for topic in branch.topics if spans else ():
                yield topic, max(spans)
        for read in self.reads.values():
            yield read.read.topic, max([RECENT, *map(_reach, read.plan.slots)])

    @property
    def meaning(self) -> str:
        """A digest of what the trigger and the levels mean."""
        body = "\0".join([_bare(self.rule), *self.texts])
        return hashlib.blake2b(body.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _reach(slot: SlotPlan) -> Span:
    if slot.shape is None or slot.shape.span is None:
        return RECENT
    return slot.shape.span + (slot.shape.packed or 0)


def leaves(trigger: Trigger) -> Iterator[Trigger]:
    """The triggers of an `any`, which hand down what they leave out; else the trigger itself."""
    if trigger.kind != "any":
        yield trigger
        return
    for one in trigger.any:
        yield from leaves(
            replace(
                one,
                by=one.by or trigger.by,
                once_per=one.once_per or trigger.once_per,
                where=one.where or trigger.where,
                forget_after=one.forget_after or trigger.forget_after,
            )
        )


def fires(rule: Rule, trigger: Trigger) -> bool:
    """Whether a trigger makes firings.

    Telemetry without a condition, in a rule whose levels judge it, only feeds them: a record of
    every sample would tell nothing.
    """
    judged = rule.job is None and rule.alert is not None
    if trigger.kind != "telemetry" or trigger.when or trigger.every or not judged:
        return True
    return rule.alert is not None and any(spec.when is None for spec in rule.alert.levels.values())


def own_results(rule: Rule) -> str:
    """The topic of a rule's own results."""
    return RESULT_PREFIX + rule.id


def _bare(rule: Rule) -> str:
    return f"{rule.id} job={rule.job is not None}"
