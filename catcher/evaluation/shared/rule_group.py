"""Rules that listen to the same events, and what was counted for them without evaluating them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from catcher.evaluation.compiled_rule import CompiledLevels, CompiledTrigger
from catcher.evaluation.partitions import Partition
from catcher.evaluation.rule_runtime import RuleRuntime
from catcher.evaluation.shared.operands import Operand, OperandIndex
from catcher.expressions.compiler import StateDescriptor
from catcher.expressions.context import EvaluationContext
from catcher.expressions.stateful_functions import FunctionState
from catcher.model.event import Event
from catcher.model.time import MAX_INSTANT, Instant

SlotKey = tuple[str, str, object]


@dataclass(frozen=True, slots=True)
class SlotRef:
    """Where a slot of a partition is, and its plan."""

    slots: list[FunctionState]
    index: int
    descriptor: StateDescriptor

    @property
    def key(self) -> SlotKey:
        """What makes two slots hold the same samples."""
        return build_slot_key(self.descriptor)


def build_slot_key(descriptor: StateDescriptor) -> SlotKey:
    """Returns what makes two slots hold the same samples."""
    shape = descriptor.shape
    extent = None if shape is None else (shape.span, shape.last, shape.packed)
    return descriptor.text, descriptor.kind, extent


class GroupMember:
    """One rule, with the events handed over to it so far."""

    __slots__ = (
        "_conditions",
        "compiled_trigger",
        "event_count",
        "has_slots",
        "index",
        "is_stateless",
        "is_timed",
        "levels",
        "next_due",
        "runtime",
        "starts_lazily",
        "unknown_key_count",
    )  # fmt: skip

    def __init__(self, index: int, runtime: RuleRuntime) -> None:
        self.index = index
        self.runtime = runtime
        self.compiled_trigger: CompiledTrigger = runtime.compiled_rule.triggers[0]
        self.event_count = 0
        self.unknown_key_count = 0
        self.next_due: Instant | None = None
        level_evaluator, compiled_trigger, trigger = (
            runtime.level_evaluator,
            self.compiled_trigger,
            self.compiled_trigger.spec,
        )
        self.levels: CompiledLevels | None = (
            level_evaluator.compiled
            if level_evaluator and not level_evaluator.uses_results
            else None
        )
        """Its levels, if their input is the same events."""
        levels = self.levels.levels if self.levels else ()
        conditions = [compiled_trigger.when, *(level.when for level in levels)]
        self._conditions = [condition for condition in conditions if condition is not None]
        holds = [trigger.hold, trigger.clear_hold, trigger.every]
        holds += [span for level in levels for span in (level.spec.hold, level.spec.clear_hold)]
        self.is_timed = any(holds)
        self.is_stateless = (
            not self.is_timed and self.levels is None and trigger.forget_after is None
        )
        """Whether nothing that was counted matters once it has seen another event."""
        self.has_slots = bool(
            compiled_trigger.plan.descriptors or (self.levels and self.levels.plan.descriptors)
        )
        has_condition = trigger.when is not None or (
            bool(self._conditions) and trigger.every is None
        )
        self.starts_lazily = has_condition and trigger.forget_after is None and not self.has_slots

    def register_operands(self, operands: OperandIndex) -> None:
        """Adds the operands of its conditions."""
        condition_sets = [
            (
                False,
                self.compiled_trigger.plan,
                self.compiled_trigger.when,
                self.compiled_trigger.clear,
            )
        ]
        if self.levels is not None:
            plan = self.levels.plan
            condition_sets += [
                (True, plan, level.when, level.clear) for level in self.levels.levels
            ]
        for in_levels, plan, *conditions in condition_sets:
            for condition in conditions:
                if condition is not None:
                    operands.add_condition(self.index, in_levels, plan, condition.node)

    def is_first_event_noop(self, key: str, event: Event) -> bool:
        """True if a first event of a key does nothing, so that it needs no partition yet."""
        if not self.starts_lazily or key in self.runtime.partitions.by_key:
            return False
        context = EvaluationContext(event.time)
        return all(
            condition.evaluate(event.fields, context) is False for condition in self._conditions
        )

    def iter_slot_refs(self, partition: Partition) -> Iterator[SlotRef]:
        """Yields the slots of a partition."""
        slots = partition.triggers[self.compiled_trigger.index].slots
        for index, descriptor in enumerate(self.compiled_trigger.plan.descriptors):
            yield SlotRef(slots, index, descriptor)
        for index, descriptor in enumerate(self.levels.plan.descriptors if self.levels else ()):
            yield SlotRef(partition.level_slots, index, descriptor)

    def find_next_transition(self, key: str) -> Instant | None:
        """Returns the instant from which the same truths change something; timers excluded."""
        partition = self.runtime.partitions.by_key.get(key)
        if partition is None:
            return None
        trigger_due = partition.triggers[self.compiled_trigger.index].next_transition
        level_due = (
            partition.levels.find_next_hold_completion()
            if self.levels and partition.levels
            else None
        )
        return min((due for due in (trigger_due, level_due) if due is not None), default=None)


class RuleGroup:
    """The rules of one topic, `where` and `by`: their operands, counts and times."""

    def __init__(self, runtimes: Sequence[RuleRuntime]) -> None:
        self.members = [GroupMember(index, runtime) for index, runtime in enumerate(runtimes)]
        operands = OperandIndex()
        for member in self.members:
            member.register_operands(operands)
        self.operands: list[Operand] = operands.build_operands()
        self.timed_members = [member.index for member in self.members if member.is_timed]
        stale_spans = [
            self.members[index].compiled_trigger.spec.stale_after for index in self.timed_members
        ]
        self.stale_after: Instant = min(stale_spans, default=MAX_INSTANT)
        self.slot_functions: dict[SlotKey, set[str]] = {}
        self.newest_time: Instant = 0
        self.last_timer_time: Instant = 0
        self.event_count = 0
        self.unknown_key_count = 0
        for member in self.members:
            level_descriptors = member.levels.plan.descriptors if member.levels else ()
            for descriptor in (*member.compiled_trigger.plan.descriptors, *level_descriptors):
                self.slot_functions.setdefault(build_slot_key(descriptor), set()).update(
                    descriptor.functions
                )

    @property
    def uses_stateful_functions(self) -> bool:
        """True if any member uses functions over time."""
        return bool(self.slot_functions)

    @property
    def compares_fields_only(self) -> bool:
        """True if all members use fields of the event alone."""
        return not self.uses_stateful_functions and all(
            operand.field_name and not operand.is_truth for operand in self.operands
        )

    def flush_member_counts(self, member: GroupMember) -> None:
        """Hands over to a member the counts of events that it has not seen itself."""
        new_events, new_unknown_keys = (
            self.event_count - member.event_count,
            self.unknown_key_count - member.unknown_key_count,
        )
        if new_events:
            member.event_count, member.unknown_key_count = self.event_count, self.unknown_key_count
            member.runtime.apply_group_counts(
                member.compiled_trigger, self.newest_time, new_events, new_unknown_keys
            )

    def sync_times_from_members(self) -> None:
        """Updates the latest event and timer times from the members."""
        for member in self.members:
            self.flush_member_counts(member)
            latest = member.runtime.latest_times.get(member.compiled_trigger.index, 0)
            self.newest_time = max(self.newest_time, latest)
            self.last_timer_time = max(self.last_timer_time, member.runtime.timers_run_until)
