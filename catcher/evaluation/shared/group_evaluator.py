"""Evaluates many rules on one topic together, as long as nothing changes for them.

A group processes events before the triggers of its rules, which listen to the same events. It
proves that a sample changes no truth of any condition, that no hold completes and no silence was
too long; then it only counts the sample. Wherever it cannot prove that, it calls the triggers,
which alone decide. What it counted is handed over to a trigger before that is called or read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

from catcher.evaluation.partitions import MAX_KEYS
from catcher.evaluation.rule_runtime import RuleRuntime
from catcher.evaluation.shared.column_batch import ColumnBatch
from catcher.evaluation.shared.key_state import NO_RULES, GroupKeyState
from catcher.evaluation.shared.rule_group import GroupMember, RuleGroup
from catcher.expressions.context import EvaluationContext
from catcher.expressions.values import to_key_text
from catcher.model.event import Event
from catcher.model.time import MAX_INSTANT, Instant


class GroupEvaluator:
    """The rules of one topic, `where` and `by`. `process_event` returns those that may have
    decided.
    """

    def __init__(self, runtimes: Sequence[RuleRuntime]) -> None:
        self.group = RuleGroup(runtimes)
        first_trigger = self.group.members[0].compiled_trigger
        self._where = first_trigger.where.evaluate if first_trigger.where is not None else None
        self._by = first_trigger.by
        by_node = first_trigger.by_node
        is_plain_field = by_node is not None and by_node.kind == "field" and len(by_node.value) == 1
        self._by_field = str(by_node.value[0]) if is_plain_field and by_node is not None else ""
        self.supports_batches = (
            self._by is None and self._where is None and self.group.compares_fields_only
        )
        """Whether a batch of events can be processed together."""
        self._key_states: dict[str, GroupKeyState] = {}
        self._states_by_raw_key: dict[int | str, GroupKeyState] = {}
        self._context = EvaluationContext()
        self._sources: set[str] = set()
        self._due_heap: list[tuple[Instant, int]] = []
        self._next_due: Instant = MAX_INSTANT
        self._is_flushing = False
        self._is_initialized = False
        for member in self.group.members:
            member.runtime.attach_observer(GroupObserver(self, member))
            self.schedule_member_timer(member, member.runtime.timers.find_next_due())

    # -- events -----------------------------------------------------------------------------

    def process_event(self, event: Event, late: bool) -> Sequence[RuleRuntime]:
        """Processes an event of the topic; returns evaluated rules that may have decided."""
        _, now, fields, source = event
        group = self.group
        if not self._is_initialized:
            self._initialize()
        if late or now < group.newest_time or now < group.last_timer_time:
            return self._process_out_of_order(event, late)
        if source not in self._sources:
            self._register_source(event)
        timer_rules = self._run_due_timers(now) if now > self._next_due else NO_RULES
        self._context.now = now
        key_state = None
        if self._where is None or self._where(fields, self._context) is True:
            key_state = self._resolve_key_state(event)
            group.unknown_key_count += key_state is None
        if key_state is None:
            group.newest_time = now
            group.event_count += 1
            return timer_rules
        rules = (
            key_state.process_event(event)
            if key_state.event_count
            else key_state.process_first_event(event, self._is_table_full())
        )
        return [*timer_rules, *rules] if timer_rules else rules

    def process_batch(self, batch: ColumnBatch) -> Iterator[tuple[int, Sequence[RuleRuntime]]]:
        """Processes many events, skipping those that change nothing.

        Yields the indexes of the others, and the rules concerned.
        """
        group, key_state, events = self.group, self._key_states.get(""), batch.events
        is_current = self._is_initialized and batch.source in self._sources
        indexes, next_index = None, 0
        if (
            key_state is not None
            and is_current
            and batch.start >= max(group.newest_time, group.last_timer_time)
        ):
            indexes = key_state.find_affected_indexes(batch)
        for index in [*indexes, len(events)] if indexes is not None else ():
            if key_state is None or not self._is_batch_stable(key_state, batch):
                break
            if index > next_index:
                key_state.skip_unchanged_events(events[index - 1], index - next_index)
            if index < len(events):
                yield index, key_state.process_event(events[index])
            next_index = index + 1
        for index in range(next_index, len(events)):
            yield index, self.process_event(events[index], False)

    def _is_batch_stable(self, key_state: GroupKeyState, batch: ColumnBatch) -> bool:
        """True if nothing but a changing value can concern any rule up to the end."""
        return (
            batch.end <= self._next_due
            and self._key_states.get("") is key_state
            and key_state.is_stable(batch)
        )

    def _resolve_key_state(self, event: Event) -> GroupKeyState | None:
        """Returns the state of an event's key; None if the key is unknown."""
        if self._by is None:
            return self._key_states.get("") or self._create_key_state("")
        raw_key: Any = event.fields.get(self._by_field) if self._by_field else None
        is_hashable_key = type(raw_key) is int or type(raw_key) is str
        if is_hashable_key and raw_key in self._states_by_raw_key:
            return self._states_by_raw_key[raw_key]
        key = self._compute_key(event)
        if key is None:
            return None
        key_state = self._key_states.get(key) or self._create_key_state(key)
        if is_hashable_key:
            self._states_by_raw_key[raw_key] = key_state
        return key_state

    def _compute_key(self, event: Event) -> str | None:
        return "" if self._by is None else to_key_text(self._by(event.fields, self._context))

    def _create_key_state(self, key: str) -> GroupKeyState:
        if self._is_table_full():
            self.flush_counts()
        key_state = self._key_states[key] = GroupKeyState(self.group, key)
        return key_state

    def _is_table_full(self) -> bool:
        """True if one more key may evict another, so that each needs its triggers."""
        return len(self._key_states) >= MAX_KEYS

    def _process_out_of_order(self, event: Event, late: bool) -> Sequence[RuleRuntime]:
        """Makes every member process the event; those for which it is not late start fresh."""
        for member in self.group.members:
            self.group.flush_member_counts(member)
        if not late and not all(
            self._is_late_for_member(member, event.time) for member in self._members
        ):
            self.remove_key(self._compute_key(event) or "")
        self.group.newest_time = max(self.group.newest_time, event.time)
        for member in self._members:
            member.runtime.reset_event_state()
            member.runtime.process_event(member.compiled_trigger, event, late)
        return [member.runtime for member in self._members]

    def _is_late_for_member(self, member: GroupMember, now: Instant) -> bool:
        latest = member.runtime.latest_times.get(member.compiled_trigger.index, now)
        return now < latest or now < member.runtime.timers_run_until

    def _register_source(self, event: Event) -> None:
        self._sources.add(event.source)
        for member in self._members:
            member.runtime.add_source(event)

    @property
    def _members(self) -> Sequence[GroupMember]:
        return self.group.members

    # -- time -------------------------------------------------------------------------------

    def schedule_member_timer(self, member: GroupMember, due: Instant | None) -> None:
        """Schedules a timer of a member."""
        if due is not None and (member.next_due is None or due < member.next_due):
            member.next_due = due
            heappush(self._due_heap, (due, member.index))
            self._next_due = self._due_heap[0][0]

    def _run_due_timers(self, now: Instant) -> list[RuleRuntime]:
        """Runs the timers that fall due before an event."""
        rules = []
        while self._due_heap and self._due_heap[0][0] < now:
            due, index = heappop(self._due_heap)
            member = self._members[index]
            if member.next_due == due:
                member.next_due = None
                member.runtime.run_due_timers(now)
                self.schedule_member_timer(member, member.runtime.timers.find_next_due())
                rules.append(member.runtime)
        self._next_due = self._due_heap[0][0] if self._due_heap else MAX_INSTANT
        return rules

    def on_member_timer_run(self, member: GroupMember, key: str) -> None:
        """Notes that a timer of a member has run: it has to see the next event of the key."""
        self.group.last_timer_time = max(
            self.group.last_timer_time, member.runtime.timers_run_until
        )
        key_state = self._key_states.get(key)
        if key_state is not None:
            key_state.must_evaluate.add(member.index)

    # -- flushing ---------------------------------------------------------------------------

    def _initialize(self) -> None:
        self._is_initialized = True
        self.group.sync_times_from_members()
        for member in self._members:
            self._sources &= member.runtime.sources
            self.schedule_member_timer(member, member.runtime.timers.find_next_due())

    def flush_member_counts(self, member: GroupMember, key: str) -> None:
        """Hands over to a member what was counted for a key."""
        key_state = self._key_states.get(key)
        if key_state is not None:
            key_state.flush_member_counts(member)

    def flush_counts(self) -> None:
        """Hands over to every member what was counted."""
        if self._is_flushing:
            return
        self._is_flushing = True
        for member in self._members:
            self.group.flush_member_counts(member)
        for key_state in list(self._key_states.values()):
            key_state.flush_counts()
        self._is_flushing = False

    def remove_key(self, key: str) -> None:
        """Removes a key that a member is about to remove; the others continue without its state."""
        key_state = self._key_states.pop(key, None)
        if key_state is not None:
            self._states_by_raw_key.clear()
            key_state.unshare_slots()

    def unshare_and_clear_keys(self) -> None:
        """Makes the triggers process everything themselves until the group initializes again."""
        self.flush_counts()
        for key_state in self._key_states.values():
            key_state.unshare_slots()
        self.clear_keys()

    def clear_keys(self) -> None:
        """Clears all counts; shared slots stay shared for the group that comes after."""
        self.flush_counts()
        self._key_states.clear()
        self._states_by_raw_key.clear()
        self._is_initialized = False


class GroupObserver:
    """Notifies the group of changes in a rule."""

    __slots__ = ("_evaluator", "_member")

    def __init__(self, evaluator: GroupEvaluator, member: GroupMember) -> None:
        self._evaluator = evaluator
        self._member = member

    def on_earlier_timer(self, due_at: Instant) -> None:
        """Called when a timer was set, earlier than all others."""
        self._evaluator.schedule_member_timer(self._member, due_at)

    def flush_key_counts(self, key: str) -> None:
        """Called before the triggers of a key, to hand over what was counted for them."""
        self._evaluator.flush_member_counts(self._member, key)

    def on_timer_run(self, key: str) -> None:
        """Called when a timer of a key has run, which may have changed anything."""
        self._evaluator.on_member_timer_run(self._member, key)

    def on_key_removal(self, key: str) -> None:
        """Called before a key is removed."""
        self._evaluator.remove_key(key)

    def flush_all_counts(self) -> None:
        """Called before all keys are read."""
        self._evaluator.flush_counts()
