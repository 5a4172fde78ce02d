"""The windows of one key, stored once for all rules that use the same samples."""

from __future__ import annotations

from collections.abc import Sequence

from catcher.evaluation.partitions import Partition
from catcher.evaluation.shared.rule_group import GroupMember, RuleGroup, SlotKey
from catcher.expressions.context import CompiledExpression, EvaluationContext
from catcher.expressions.stateful_functions import FunctionState
from catcher.expressions.windows import Window
from catcher.model.event import Event


class WindowPool:
    """The slots that the members of a group share for one key.

    A member whose own slots hold other samples (its rule is newer, say) is unshared: it keeps and
    fills its own until they hold the same.
    """

    __slots__ = ("_context", "_group", "_key", "_slots", "sample_inputs", "unshared_members")

    def __init__(self, group: RuleGroup, key: str) -> None:
        self._group = group
        self._key = key
        self._context = EvaluationContext()
        self._slots: dict[SlotKey, FunctionState] = {}
        self.sample_inputs: list[tuple[CompiledExpression, FunctionState]] = []
        self.unshared_members: set[int] = set()

    def share_slots(self) -> None:
        """Replaces members' slots that hold the same by shared ones."""
        inputs: dict[SlotKey, tuple[CompiledExpression, FunctionState]] = {}
        self._slots.clear()
        self.unshared_members.clear()
        partitions = [(member, self._get_partition(member)) for member in self._group.members]
        for member, partition in sorted(partitions, key=lambda pair: not pair[1].has_shared_slots):
            slot_refs = list(member.iter_slot_refs(partition))
            if not all(
                self._is_compatible(slot_ref.key, slot_ref.slots[slot_ref.index])
                for slot_ref in slot_refs
            ):
                self.unshared_members.add(member.index)
                continue
            for slot_ref in slot_refs:
                shared_slot = self._slots.setdefault(slot_ref.key, slot_ref.slots[slot_ref.index])
                if slot_ref.key not in inputs:
                    inputs[slot_ref.key] = slot_ref.descriptor.expression, shared_slot
                    self._add_functions(slot_ref.key, shared_slot)
                slot_ref.slots[slot_ref.index] = shared_slot
            self._set_shared_flags(member, partition, bool(slot_refs))
        self.sample_inputs = list(inputs.values())

    def _get_partition(self, member: GroupMember) -> Partition:
        return member.runtime.partitions.get_or_create(self._key)

    def _is_compatible(self, key: SlotKey, slot: FunctionState) -> bool:
        shared_slot = self._slots.get(key)
        return shared_slot is None or shared_slot is slot or shared_slot.has_same_state(slot)

    def _add_functions(self, key: SlotKey, slot: FunctionState) -> None:
        if isinstance(slot, Window):
            slot.add_functions(self._group.slot_functions[key])

    def _set_shared_flags(self, member: GroupMember, partition: Partition, shared: bool) -> None:
        partition.has_shared_slots = partition.triggers[
            member.compiled_trigger.index
        ].has_shared_slots = shared

    def unshare_slots(self) -> None:
        """Gives every member slots of its own again."""
        for member in self._group.members:
            partition = member.runtime.partitions.by_key.get(self._key)
            if partition is None or not partition.has_shared_slots:
                continue
            for slot_ref in member.iter_slot_refs(partition):
                own_slot = slot_ref.descriptor.create_state()
                own_slot.load(slot_ref.slots[slot_ref.index].save())
                slot_ref.slots[slot_ref.index] = own_slot
            self._set_shared_flags(member, partition, False)
        self._slots.clear()
        self.sample_inputs = []

    def add_sample(self, event: Event) -> None:
        """Adds a sample, once for all members."""
        _, now, fields, _ = event
        context = self._context
        context.now = now
        for expression, slot in self.sample_inputs:
            slot.add_sample(now, expression(fields, context))

    def get_slots(self, member: GroupMember, in_levels: bool) -> Sequence[FunctionState] | None:
        """Returns the slots as a member's closures know them; None if it has its own."""
        if member.index in self.unshared_members:
            return None
        partition = self._get_partition(member)
        return (
            partition.level_slots
            if in_levels
            else partition.triggers[member.compiled_trigger.index].slots
        )
