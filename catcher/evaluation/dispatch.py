"""Dispatches the events of a topic to its subscribers: groups of simple rules, and other rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from catcher.evaluation.compiled_rule import CompiledTrigger, can_fire
from catcher.evaluation.rule_runtime import Decision, EventHandler, RuleRuntime
from catcher.evaluation.shared.column_batch import (
    MAX_BATCH_SIZE,
    MIN_BATCH_SIZE,
    OrderedBatch,
    build_ordered_batch,
)
from catcher.evaluation.shared.group_evaluator import GroupEvaluator
from catcher.evaluation.validation import EVENT_KINDS
from catcher.expressions.ast import Node
from catcher.expressions.conditions import Condition
from catcher.model.event import AdmittedEvent, Event
from catcher.model.time import Instant

OWN_ROOTS = frozenset(("",))


@dataclass(slots=True)
class TopicSubscribers:
    """All subscribers of one topic."""

    groups: list[GroupEvaluator] = field(default_factory=list)
    ungrouped: list[tuple[RuleRuntime, EventHandler]] = field(default_factory=list)

    @property
    def sole_batch_group(self) -> GroupEvaluator | None:
        """The group that can process batches, if it is the only subscriber."""
        if self.ungrouped or len(self.groups) != 1 or not self.groups[0].supports_batches:
            return None
        return self.groups[0]

    def dispatch_event(self, event: Event, late: bool) -> Sequence[RuleRuntime]:
        """Processes an event; returns the rules that may have decided something."""
        if len(self.groups) == 1 and not self.ungrouped:
            return self.groups[0].process_event(event, late)
        affected: list[RuleRuntime] = []
        for group in self.groups:
            affected += group.process_event(event, late)
        if self.ungrouped:
            for runtime, _ in self.ungrouped:
                runtime.reset_event_state()
            for _, handler in self.ungrouped:
                handler(event, late)
            affected += [runtime for runtime, _ in self.ungrouped]
        return affected


def build_subscribers(runtimes: Mapping[str, RuleRuntime]) -> dict[str, TopicSubscribers]:
    """Returns the subscribers of every topic, rules in the order of their ids."""
    subscribers: dict[str, TopicSubscribers] = {}
    grouped: dict[tuple[str, str, str], list[RuleRuntime]] = {}
    for name in sorted(runtimes):
        runtime = runtimes[name]
        group_key = _find_group_key(runtime)
        if group_key is not None:
            grouped.setdefault(group_key, []).append(runtime)
        for topic, handler in runtime.iter_subscriptions():
            topic_subscribers = subscribers.setdefault(topic, TopicSubscribers())
            if group_key is None or topic != group_key[0]:
                topic_subscribers.ungrouped.append((runtime, handler))
    for (topic, *_), members in grouped.items():
        subscribers[topic].groups.append(GroupEvaluator(members))
    return subscribers


def drain_sorted_decisions(runtimes: Sequence[RuleRuntime]) -> list[Decision]:
    """Returns the decisions of some rules on one event, ordered by time, rule and key."""
    decisions: list[Decision] = []
    for runtime in runtimes:
        if runtime.decisions:
            decisions += runtime.drain_decisions()
    return sorted(decisions, key=_decision_sort_key) if len(decisions) > 1 else decisions


def _decision_sort_key(decision: Decision) -> tuple[Instant, str, str]:
    return decision.time, decision.rule, decision.key


def _find_group_key(runtime: RuleRuntime) -> tuple[str, str, str] | None:
    """Returns topic, `where` and `by` of a rule that a group can evaluate; else None."""
    triggers = runtime.compiled_rule.triggers
    if len(triggers) != 1:
        return None
    compiled, topics = triggers[0], [topic for topic, _ in runtime.iter_subscriptions()]
    if not _is_truth_driven(runtime, compiled) or topics.count(compiled.spec.topic) > 1:
        return None
    if not all(
        _uses_own_events_only(condition.node) for condition in _iter_conditions(runtime, compiled)
    ):
        return None
    where = compiled.where.node.text if compiled.where is not None else ""
    by = compiled.by_node.text if compiled.by_node is not None else ""
    return compiled.spec.topic, where, by


def _is_truth_driven(runtime: RuleRuntime, compiled: CompiledTrigger) -> bool:
    """True if what a rule does at an event follows from the truths of its conditions alone."""
    spec, evaluator = compiled.spec, runtime.level_evaluator
    if spec.kind not in EVENT_KINDS or spec.once_per is not None:
        return False
    if evaluator is not None and not evaluator.uses_results and evaluator.compiled.per is not None:
        return False
    if spec.when is None and spec.every is None:
        return not can_fire(runtime.rule, spec)
    return True


def _iter_conditions(runtime: RuleRuntime, compiled: CompiledTrigger) -> Iterator[Condition]:
    conditions = [compiled.when, compiled.clear]
    evaluator = runtime.level_evaluator
    if evaluator is not None and not evaluator.uses_results:
        conditions += [
            condition
            for level in evaluator.compiled.levels
            for condition in (level.when, level.clear)
        ]
    yield from (condition for condition in conditions if condition is not None)


def _uses_own_events_only(root: Node) -> bool:
    """True if it uses the rule's own events alone, and no nested functions over time."""
    nested = (node for node in root.iter_nodes() if node.kind == "over" and node.args[0].stateful)
    return root.lookups <= OWN_ROOTS and not any(nested)


# Events are dispatched one by one or, if that gives the same, together.


SubscribersByTopic = Mapping[str, TopicSubscribers]
_get_position = itemgetter(0)


def split_batches(
    events: Sequence[AdmittedEvent],
) -> Iterator[OrderedBatch | Sequence[AdmittedEvent]]:
    """Splits events into batches that are ordered, where possible."""
    if isinstance(events, OrderedBatch):
        yield events
        return
    for start in range(0, len(events), MAX_BATCH_SIZE):
        batch = events[start : start + MAX_BATCH_SIZE]
        ordered = build_ordered_batch(batch) if len(batch) >= MIN_BATCH_SIZE else None
        yield batch if ordered is None else ordered


def dispatch_one_by_one(
    events: Sequence[AdmittedEvent], by_topic: SubscribersByTopic
) -> list[Decision]:
    """Returns the decisions on events, processed one by one."""
    decisions: list[Decision] = []
    for event, late in events:
        subscribers = by_topic.get(event.topic)
        if subscribers is not None:
            affected = subscribers.dispatch_event(event, late)
            if affected:
                decisions += drain_sorted_decisions(affected)
    return decisions


def dispatch_batch(events: OrderedBatch, by_topic: SubscribersByTopic) -> list[Decision]:
    """Returns the same; a group that alone subscribes to a topic processes all events at once."""
    if len(events) < MIN_BATCH_SIZE:
        return dispatch_one_by_one(events, by_topic)
    if not events.is_single_topic():
        return _dispatch_by_topic(events, by_topic)
    subscribers = by_topic.get(events.topics[0])
    if subscribers is None:
        return []
    group = subscribers.sole_batch_group
    if group is None:
        return dispatch_one_by_one(events, by_topic)
    decisions: list[Decision] = []
    for _, affected in group.process_batch(events.to_column_batch()):
        decisions += drain_sorted_decisions(affected)
    return decisions


def _dispatch_by_topic(events: OrderedBatch, by_topic: SubscribersByTopic) -> list[Decision]:
    """Processes topics with a single group separately, as they concern no other rule."""
    results: list[tuple[int, list[Decision]]] = []
    remaining: list[int] = []
    for topic, positions in events.group_indexes_by_topic().items():
        subscribers = by_topic.get(topic)
        group = None if subscribers is None else subscribers.sole_batch_group
        if group is not None and len(positions) >= MIN_BATCH_SIZE:
            for position, affected in group.process_batch(events.select_column_batch(positions)):
                results.append((positions[position], drain_sorted_decisions(affected)))
        elif subscribers is not None:
            remaining += positions
    for position in sorted(remaining):
        event = events.events[position]
        affected = by_topic[event.topic].dispatch_event(event, False)
        if affected:
            results.append((position, drain_sorted_decisions(affected)))
    results.sort(key=_get_position)
    return [decision for _, decisions in results for decision in decisions]
