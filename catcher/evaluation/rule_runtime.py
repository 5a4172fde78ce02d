"""One rule at run time: the events it processes, when it fires, what it decides."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from catcher.evaluation.compiled_rule import (
    TIMED_KINDS,
    CompiledRule,
    CompiledTrigger,
    build_result_topic,
    can_fire,
)
from catcher.evaluation.edge_detector import ClearKind
from catcher.evaluation.firing_payload import EventDigests
from catcher.evaluation.incremental_snapshots import IncrementalSnapshots
from catcher.evaluation.level_evaluator import (
    LevelEvaluator,
    collect_rule_values,
    parse_result_origin,
)
from catcher.evaluation.partitions import DecisionRecord, Partition, PartitionTable
from catcher.evaluation.shared.observer import NULL_OBSERVER, StateObserver
from catcher.evaluation.timed_triggers import create_trigger
from catcher.evaluation.timers import Timer, TimerCallback, Timers
from catcher.evaluation.triggers import NO_FIELDS, Trigger
from catcher.expressions.conditions import LazyText
from catcher.expressions.context import EvaluationContext, Fields
from catcher.expressions.lookup_join import LookupState
from catcher.expressions.stateful_functions import FunctionState
from catcher.expressions.values import to_key_text
from catcher.model.alert import LevelChange
from catcher.model.event import Event, is_result_topic
from catcher.model.rule import Rule
from catcher.model.run import Firing
from catcher.model.time import Instant

# How time passes for one rule: its timers, and how far they have run.


class RuleRuntimeBase:
    """The partitions of one rule and their timers."""

    def __init__(
        self, compiled_rule: CompiledRule, schedule_rule: Callable[[str, Instant], None]
    ) -> None:
        self.rule: Rule = compiled_rule.rule
        self.compiled_rule = compiled_rule
        self.counts: Counter[str] = Counter()
        self.timers_run_until: Instant = 0
        self.started = False
        self._schedule_rule = schedule_rule
        self._observer: StateObserver = NULL_OBSERVER
        self._fired_keys: set[tuple[str, Instant, str]] = set()
        self._level_keys: set[str] = set()
        self.timers = Timers(self._on_earlier_timer)
        spans = [compiled.spec.forget_after or 0 for compiled in compiled_rule.triggers]
        self.snapshots = IncrementalSnapshots()
        self.partitions = PartitionTable(
            self.timers, max(spans, default=0), self.counts, self.initialize_partition
        )

    @abstractmethod
    def initialize_partition(self, partition: Partition) -> None:
        """Completes a new partition."""

    def _on_earlier_timer(self, due_at: Instant) -> None:
        self._schedule_rule(self.rule.id, due_at)
        self._observer.on_earlier_timer(due_at)

    def attach_observer(self, observer: StateObserver) -> None:
        """Attaches the group that processes events before this rule's triggers."""
        self._observer = self.partitions.observer = observer

    def create_timer(self, key: str, callback: TimerCallback) -> Timer:
        """Returns a new timer of this rule."""
        return self.timers.create_timer(key, callback)

    def reset_event_state(self) -> None:
        """Resets what happens at most once per event, before another event is processed."""
        self._fired_keys.clear()
        self._level_keys.clear()

    def start(self, start: Instant) -> None:
        """Starts evaluation: silence and schedules count from here."""
        if self.started:
            return
        self.started = True
        for compiled in self.compiled_rule.triggers:
            if compiled.spec.kind in TIMED_KINDS and compiled.by is None:
                self.partitions.get_or_create("").triggers[compiled.index].start(start)
                self.partitions.changed_keys.add("")

    def run_due_timers(self, limit: Instant) -> None:
        """Runs the timers that fall due before an instant."""
        while (due_at := self.timers.find_next_due()) is not None and due_at < limit:
            self.run_next_timer(due_at)

    def run_next_timer(self, due_at: Instant) -> None:
        """Runs the next timer."""
        self.reset_event_state()
        self.partitions.changed_keys.add("")
        key = self.timers.next_timer_key()
        self._observer.flush_key_counts(key)
        if self.timers.next_timer_key() != key:
            return
        if self.timers.run_next_timer(due_at):
            self.timers_run_until = max(self.timers_run_until, due_at)
        self._observer.on_timer_run(key)

    def resume_after_downtime(self, start: Instant) -> None:
        """Resumes after downtime, which was not observed."""
        self.partitions.restart_expiry_timers(start)
        for partition in self.partitions.by_key.values():
            for trigger in partition.triggers:
                trigger.resume_after_downtime(start)
            if partition.levels is not None:
                partition.levels.resume_after_downtime(start)


MAX_ONCE_VALUES = 2_000

Decision = Firing | LevelChange
EventHandler = Callable[[Event, bool], None]


class RuleRuntime(RuleRuntimeBase):
    """The state of one rule."""

    def __init__(
        self,
        compiled_rule: CompiledRule,
        schedule_rule: Callable[[str, Instant], None],
        digests: EventDigests,
    ) -> None:
        super().__init__(compiled_rule, schedule_rule)
        self.fingerprint = compiled_rule.fingerprint
        self.reads = {name: LookupState(plan) for name, plan in compiled_rule.reads.items()}
        self._digests = digests
        self.sources: set[str] = set()
        self.decisions: list[Decision] = []
        self.max_event_time: Instant = 0
        self._late_as_of: Instant = 0
        self.latest_times: dict[int, Instant] = {}
        self.once_values: dict[str, None] = {}
        self._context = EvaluationContext(0, [], self.reads)
        self.level_evaluator = self._create_level_evaluator()

    def _create_level_evaluator(self) -> LevelEvaluator | None:
        levels = self.compiled_rule.levels
        if levels is None:
            return None
        return LevelEvaluator(
            self.compiled_rule,
            levels,
            self.reads,
            self.timers,
            self.counts,
            self._record_level_change,
        )

    def initialize_partition(self, partition: Partition) -> None:
        """Completes a new partition."""
        partition.triggers = [
            create_trigger(self, compiled, partition.key, can_fire(self.rule, compiled.spec))
            for compiled in self.compiled_rule.triggers
        ]
        if self.level_evaluator is not None:
            self.level_evaluator.initialize_partition(partition)

    # -- subscriptions ----------------------------------------------------------------------

    def iter_subscriptions(self) -> Iterator[tuple[str, EventHandler]]:
        """Yields the topics that it listens to, with their event handlers; reads come first."""
        for read in self.reads.values():
            yield read.definition.lookup.topic, self._create_lookup_handler(read)
        for compiled in self.compiled_rule.triggers:
            for topic in compiled.topics:
                yield topic, self._create_trigger_handler(compiled)
        if self.level_evaluator is not None and self.level_evaluator.uses_results:
            yield build_result_topic(self.rule), self._process_result

    def _create_lookup_handler(self, read: LookupState) -> EventHandler:
        def handle_event(event: Event, late: bool) -> None:
            if late:
                read.late_count += 1
            else:
                read.process_event(event)
                self.partitions.changed_keys.add("")

        return handle_event

    def _create_trigger_handler(self, compiled: CompiledTrigger) -> EventHandler:
        return lambda event, late: self.process_event(compiled, event, late)

    # -- events -----------------------------------------------------------------------------

    def process_event(self, compiled: CompiledTrigger, event: Event, late: bool) -> None:
        """Processes an event of one of its triggers."""
        counts, now = self.counts, event.time
        counts["events"] += 1
        self.add_source(event)
        late = self._record_and_check_late(compiled, now) or late
        if late:
            counts["late"] += 1
        self.run_due_timers(now)
        partition = self.resolve_partition(compiled, event)
        if partition is None:
            return
        trigger = partition.triggers[compiled.index]
        if late:
            self._late_as_of = self.max_event_time
            trigger.process_late_event(event)
            self._late_as_of = 0
            self.partitions.record_activity(partition, self.max_event_time)
        else:
            self.partitions.record_activity(partition, now)
            trigger.process_event(event)
            counts["evaluations"] += 1
        if trigger.feeds_levels and (trigger.fires_on_late or not late):
            self._process_levels(partition, event, late)

    def process_counted_event(
        self, compiled: CompiledTrigger, event: Event, key: str, seen_count: int, passed_count: int
    ) -> None:
        """Processes an event in time that changes something, the last that a group counted."""
        if self._fired_keys or self._level_keys:
            self.reset_event_state()
        counts, now, partitions = self.counts, event.time, self.partitions
        counts["events"] += seen_count
        counts["evaluations"] += passed_count
        self.latest_times[compiled.index] = self.max_event_time = now
        partitions.changed_keys.add("")
        if self.timers.has_timers:
            self.run_due_timers(now)
        partition = partitions.get_or_create(key)
        partitions.record_activity(partition, now)
        trigger = partition.triggers[compiled.index]
        trigger.process_event(event)
        if trigger.feeds_levels and self.level_evaluator is not None:
            self._process_levels(partition, event, False)

    def apply_group_counts(
        self, compiled: CompiledTrigger, newest_time: Instant, seen_count: int, unknown_count: int
    ) -> None:
        """Counts events that a group saw for it, the last at `newest_time`; `unknown_count` had no
        key.
        """
        self.counts["events"] += seen_count
        self.counts["unknown_keys"] += unknown_count
        self.latest_times[compiled.index] = max(
            newest_time, self.latest_times.get(compiled.index, newest_time)
        )
        self.partitions.changed_keys.add("")
        self.max_event_time = max(newest_time, self.max_event_time)

    def apply_key_counts(
        self, compiled: CompiledTrigger, key: str, latest_event: Event, passed_count: int
    ) -> None:
        """Counts events of a key that changed nothing; `latest_event` is the last of them."""
        self.counts["evaluations"] += passed_count
        partition = self.partitions.get_or_create(key)
        partition.triggers[compiled.index].apply_unchanged_samples(latest_event)
        self.partitions.record_activity(partition, latest_event.time)
        if self.level_evaluator is not None and not self.level_evaluator.uses_results:
            self.level_evaluator.apply_unchanged_samples(partition, latest_event)

    def add_source(self, event: Event) -> None:
        """Adds the source of an event to those that determine the rule's time."""
        if event.source not in self.sources and event.source and not is_result_topic(event.topic):
            self.sources.add(event.source)

    def _record_and_check_late(self, compiled: CompiledTrigger, now: Instant) -> bool:
        """True if an event is earlier than one of its trigger's, or than a timer that has run."""
        latest_time = self.latest_times.get(compiled.index, now)
        self.latest_times[compiled.index] = max(now, latest_time)
        self.partitions.changed_keys.add("")
        self.max_event_time = max(now, self.max_event_time)
        return now < latest_time or now < self.timers_run_until

    def resolve_partition(self, compiled: CompiledTrigger, event: Event) -> Partition | None:
        """Returns the partition of an event; None if it does not pass `where`, or has no key."""
        context = self.prepare_evaluation_context([], event.time)
        where = compiled.where
        if where is not None and where.evaluate(event.fields, context) is not True:
            return None
        if compiled.by is None:
            return self.partitions.get_or_create("")
        key = to_key_text(compiled.by(event.fields, context))
        if key is None:
            self.counts["unknown_keys"] += 1
            return None
        return self.partitions.get_or_create(key)

    def _process_levels(self, partition: Partition, event: Event, late: bool) -> None:
        evaluator = self.level_evaluator
        if evaluator is None or evaluator.uses_results or partition.key in self._level_keys:
            return
        self._level_keys.add(partition.key)
        if not late:
            evaluator.process_event(partition, event)
        elif not is_result_topic(event.topic):
            evaluator.process_late_event(partition, event, self.max_event_time)

    def _process_result(self, event: Event, late: bool) -> None:
        """Processes a result of the rule's own job; whether it is late depends on its key alone."""
        origin = parse_result_origin(event)
        if origin is None or self.level_evaluator is None:
            self.counts["unknown_keys"] += 1
            return
        key, run, firing = origin
        self.run_due_timers(event.time)
        partition = self.partitions.get_or_create(key)
        if event.time < partition.last_result or event.time < partition.cleared_at:
            self.counts["late_results"] += 1
            return
        partition.last_result = event.time
        self.partitions.record_activity(partition, event.time)
        self.level_evaluator.process_event(partition, event, run=run, firing=firing)

    def on_job_failed(self, firing: Firing, run: str, reason: str) -> None:
        """Processes the final failure of a job of this rule."""
        if self.level_evaluator is None or firing.quiet:
            return
        partition = self.partitions.get_or_create(firing.key)
        if firing.time < partition.cleared_at:
            self.counts["late_results"] += 1
            return
        self.level_evaluator.on_job_failed(partition, firing, run, reason)
        self.partitions.changed_keys.add(firing.key)

    def _record_level_change(self, change: LevelChange) -> None:
        self.decisions.append(change)
        self.partitions.changed_keys.add(change.key)
        partition = self.partitions.by_key.get(change.key)
        if partition is not None:
            kind = "unknown" if change.unknown else str(change.severity).lower()
            partition.decisions.append(DecisionRecord(change.time, kind, change.reason, change.per))

    # -- trigger host -----------------------------------------------------------------------

    def prepare_evaluation_context(
        self, slots: list[FunctionState], now: Instant
    ) -> EvaluationContext:
        """Returns the state that an evaluation sees; valid until the next call."""
        self._context.slots, self._context.now = slots, now
        return self._context

    def record_decision(self, trigger: Trigger, now: Instant, kind: str, reason: str) -> None:
        """Records a decision for `explain`."""
        self.partitions.get_or_create(trigger.key).decisions.append(
            DecisionRecord(now, kind, reason)
        )

    def fire(
        self, trigger: Trigger, now: Instant, cause: str, reason: str, event: Event | None
    ) -> bool:
        """Makes a firing, unless its `once_per` value is unknown or was seen before.

        False if it did not fire.
        """
        fields = event.fields if event else NO_FIELDS
        context = self.prepare_evaluation_context(trigger.slots, now)
        once_value = None
        if trigger.compiled.once_per is not None:
            once_value = to_key_text(trigger.compiled.once_per(fields, context))
            if once_value is None or once_value in self.once_values:
                self.counts["unknown_keys" if once_value is None else "repeats"] += 1
                return False
            self._add_once_value(once_value)
        cause = cause or (self._digests.get_digest(event) if event else "")
        if (trigger.key, now, cause) in self._fired_keys:
            return True
        self._fired_keys.add((trigger.key, now, cause))
        values = self._build_firing_values(trigger, fields, context)
        firing = Firing(self.rule.id, trigger.key, now, cause, reason, event, values, once_value)
        self.counts["firings"] += 1
        self.partitions.changed_keys.add(trigger.key)
        self.decisions.append(firing)
        self.record_decision(trigger, now, "fired", reason)
        if self.level_evaluator is not None:
            self.level_evaluator.on_firing(
                self.partitions.get_or_create(trigger.key),
                firing,
                trigger.compiled.spec.kind,
                self._late_as_of,
            )
        return True

    def _build_firing_values(
        self, trigger: Trigger, fields: Fields, context: EvaluationContext
    ) -> Mapping[str, Any]:
        lets = trigger.compiled.lets
        if lets or self.reads or self.rule.constants:
            return collect_rule_values(self.rule, self.reads, fields, context, lets)
        return self._digests.get_firing_values(fields)

    def _add_once_value(self, once_value: str) -> None:
        self.once_values[once_value] = None
        self.partitions.changed_keys.add("")
        if len(self.once_values) > MAX_ONCE_VALUES:
            del self.once_values[next(iter(self.once_values))]

    def on_trigger_cleared(
        self, trigger: Trigger, now: Instant, reason: LazyText, clear_kind: ClearKind = "armed"
    ) -> None:
        """Reports that a trigger is no longer true, or is armed again.

        The levels clear (those that are `always` when it is armed again), and results of earlier
        firings come too late to raise them. One that is armed by a recovery was never false: only
        `always` levels clear.
        """
        partition = self.partitions.get_or_create(trigger.key)
        for other in partition.triggers:
            if other is not trigger and (
                other.is_true if clear_kind == "false" else other.is_active
            ):
                return
        if clear_kind != "recovered":
            partition.cleared_at = max(partition.cleared_at, now)
        record = DecisionRecord(now, "false" if clear_kind == "false" else "armed", reason)
        partition.decisions.append(record)
        if self.level_evaluator is not None:
            self.level_evaluator.on_trigger_cleared(partition, now, record.reason_text, clear_kind)

    # -- interface --------------------------------------------------------------------------

    def drain_decisions(self) -> list[Decision]:
        """Returns what was decided since the last call."""
        decisions, self.decisions = self.decisions, []
        return decisions

    def replace_rule(self, rule: Rule) -> None:
        """Replaces the rule by an edited one with the same meaning."""
        self.rule = rule
        if self.level_evaluator is not None:
            self.level_evaluator.rule = rule
