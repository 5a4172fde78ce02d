"""The state of one key of a group: what was counted, and when members have to be evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from catcher.evaluation.rule_runtime import RuleRuntime
from catcher.evaluation.shared.column_batch import ColumnBatch
from catcher.evaluation.shared.rule_group import GroupMember, RuleGroup
from catcher.evaluation.shared.threshold_index import (
    FieldThresholdIndex,
    ThresholdIndex,
    build_threshold_indexes,
)
from catcher.evaluation.shared.window_pool import WindowPool
from catcher.model.event import Event
from catcher.model.time import MAX_INSTANT, Instant

NO_RULES: tuple[RuleRuntime, ...] = ()
INITIAL_REJOIN_INTERVAL = 64
"""After this many events unshared members are checked again, then after twice as many each time."""


class GroupKeyState:
    """One key of a group."""

    __slots__ = (
        "_due_heap",
        "_flushed_count",
        "_flushed_counts",
        "_group",
        "_has_timed_members",
        "_next_due",
        "_next_rejoin",
        "_pool",
        "_scheduled_dues",
        "event_count",
        "key",
        "last_time",
        "latest_event",
        "must_evaluate",
        "threshold_indexes",
    )  # fmt: skip

    def __init__(self, group: RuleGroup, key: str) -> None:
        self.key = key
        self.event_count = 0
        self.latest_event: Event | None = None
        self.last_time: Instant = 0
        self.must_evaluate: set[int] = set()
        self._group = group
        self._has_timed_members = bool(group.timed_members)
        self._flushed_counts = [0] * len(group.members)
        self._flushed_count = 0
        self._due_heap: list[tuple[Instant, int]] = []
        self._scheduled_dues: dict[int, Instant] = {}
        self._next_due: Instant = MAX_INSTANT
        self._next_rejoin = INITIAL_REJOIN_INTERVAL
        self._pool = WindowPool(group, key) if group.uses_stateful_functions else None
        self.threshold_indexes: list[ThresholdIndex] = []

    # -- events -----------------------------------------------------------------------------

    def process_first_event(self, event: Event, table_full: bool) -> Sequence[RuleRuntime]:
        """Processes the first event of the key: members that would do nothing are not evaluated."""
        self._share_slots_and_index(event)
        member_indexes = [
            member.index
            for member in self._group.members
            if table_full or not member.is_first_event_noop(self.key, event)
        ]
        return self.evaluate_members(event, member_indexes)

    def _share_slots_and_index(self, event: Event) -> None:
        """Shares the members' slots and builds the threshold indexes at this event."""
        if self._pool is not None:
            self._pool.share_slots()
            self._pool.add_sample(event)
        self.threshold_indexes = build_threshold_indexes(self._group, self._pool)
        for threshold_index in self.threshold_indexes:
            threshold_index.detect_affected_members(event.fields, event.time)

    def process_event(self, event: Event) -> Sequence[RuleRuntime]:
        """Processes an event of the key, in time; returns the rules that were evaluated."""
        _, now, fields, _ = event
        pool, group = self._pool, self._group
        if pool is not None:
            if pool.unshared_members and self.event_count >= self._next_rejoin:
                return self._retry_sharing(event)
            pool.add_sample(event)
        member_indexes: Sequence[int] = ()
        for threshold_index in self.threshold_indexes:
            affected = threshold_index.detect_affected_members(fields, now)
            if affected:
                member_indexes = [*member_indexes, *affected] if member_indexes else affected
        if self._has_timed_members and (
            now >= self._next_due or now - self.last_time > group.stale_after
        ):
            member_indexes = [*member_indexes, *self._pop_due_members(now)]
        if member_indexes or self.must_evaluate or (pool is not None and pool.unshared_members):
            return self.evaluate_members(event, member_indexes)
        # The most common path, so `record_event` is inlined.
        group.newest_time = self.last_time = now
        group.event_count += 1
        self.event_count += 1
        self.latest_event = event
        return NO_RULES

    def _retry_sharing(self, event: Event) -> Sequence[RuleRuntime]:
        self._next_rejoin = 2 * self.event_count
        self._share_slots_and_index(event)
        return self.evaluate_members(event, range(len(self._group.members)))

    def _pop_due_members(self, now: Instant) -> list[int]:
        """Returns members whose holds complete, or may have been broken by a silence."""
        member_indexes: list[int] = []
        while self._due_heap and self._due_heap[0][0] <= now:
            member_indexes.append(heappop(self._due_heap)[1])
            self._scheduled_dues.pop(member_indexes[-1], None)
        self._next_due = self._due_heap[0][0] if self._due_heap else MAX_INSTANT
        is_silent = now - self.last_time > self._group.stale_after
        return [*member_indexes, *self._group.timed_members] if is_silent else member_indexes

    def find_affected_indexes(self, batch: ColumnBatch) -> list[int] | None:
        """Returns where in a batch members must be evaluated; None: process each event."""
        if self._pool is not None or not self.is_stable(batch):
            return None
        event_indexes: set[int] = set()
        for threshold_index in self.threshold_indexes:
            crossings = (
                threshold_index.find_crossings(batch)
                if isinstance(threshold_index, FieldThresholdIndex)
                else None
            )
            if crossings is None:
                return None
            event_indexes.update(crossings)
        return sorted(event_indexes)

    def is_stable(self, batch: ColumnBatch) -> bool:
        """True if nothing but a changing value can concern any member up to the end of a batch."""
        if self.must_evaluate or not self.event_count:
            return False
        if not self._has_timed_members:
            return True
        gap = max(batch.max_gap, batch.start - self.last_time)
        return batch.end < self._next_due and gap <= self._group.stale_after

    def skip_unchanged_events(self, event: Event, count: int) -> None:
        """Counts events that change nothing; `event` is the last of them."""
        self._group.event_count += count - 1
        self.event_count += count - 1
        self.record_event(event)

    def record_event(self, event: Event) -> None:
        """Records an event that changes nothing for the members that are not evaluated."""
        group = self._group
        group.newest_time = self.last_time = event.time
        group.event_count += 1
        self.event_count += 1
        self.latest_event = event

    def evaluate_members(
        self, event: Event, member_indexes: Sequence[int]
    ) -> Sequence[RuleRuntime]:
        """Makes some members process the event, after handing over what was counted before it."""
        group = self._group
        if len(member_indexes) == 1 and not self.must_evaluate and self._pool is None:
            members = [group.members[member_indexes[0]]]
        else:
            members = self._select_members(member_indexes)
        unknown_key_count = group.unknown_key_count
        for member in members:
            if not member.is_stateless or member.unknown_key_count != unknown_key_count:
                self.flush_member_counts(member)
        self.record_event(event)
        group_count, key_count, flushed_counts, key = (
            group.event_count,
            self.event_count,
            self._flushed_counts,
            self.key,
        )
        for member in members:
            index = member.index
            new_group_events, new_key_events = (
                group_count - member.event_count,
                key_count - flushed_counts[index],
            )
            member.event_count, flushed_counts[index] = group_count, key_count
            member.runtime.process_counted_event(
                member.compiled_trigger, event, key, new_group_events, new_key_events
            )
            if self._has_timed_members:
                self._schedule_next_transition(member)
        return [member.runtime for member in members]

    def _select_members(self, member_indexes: Iterable[int]) -> list[GroupMember]:
        selection = {*member_indexes, *self.must_evaluate}
        if self._pool is not None:
            selection |= self._pool.unshared_members
        self.must_evaluate.clear()
        return [self._group.members[index] for index in sorted(selection)]

    def _schedule_next_transition(self, member: GroupMember) -> None:
        due = member.find_next_transition(self.key)
        if due is not None and self._scheduled_dues.get(member.index) != due:
            self._scheduled_dues[member.index] = due
            heappush(self._due_heap, (due, member.index))
            self._next_due = self._due_heap[0][0]

    # -- flushing ---------------------------------------------------------------------------

    def flush_member_counts(self, member: GroupMember) -> None:
        """Hands over to a member what was counted since it was last evaluated."""
        self._group.flush_member_counts(member)
        new_events = self.event_count - self._flushed_counts[member.index]
        if new_events and self.latest_event is not None:
            self._flushed_counts[member.index] = self.event_count
            member.runtime.apply_key_counts(
                member.compiled_trigger, self.key, self.latest_event, new_events
            )

    def flush_counts(self) -> None:
        """Hands over to every member."""
        if self._flushed_count != self.event_count:
            self._flushed_count = self.event_count
            for member in self._group.members:
                self.flush_member_counts(member)

    def unshare_slots(self) -> None:
        """Gives the members slots of their own again."""
        self.flush_counts()
        if self._pool is not None:
            self._pool.unshare_slots()
