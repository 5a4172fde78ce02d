"""Evaluates the levels of one rule on its events, results and firings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from catcher.evaluation.compiled_rule import TIMED_KINDS, CompiledLevels, CompiledRule
from catcher.evaluation.edge_detector import ClearKind
from catcher.evaluation.firing_payload import build_firing_values
from catcher.evaluation.level_state import LevelPolicy, LevelState, build_level_policy
from catcher.evaluation.levels import AlertLevels, LevelContext
from catcher.evaluation.partitions import Partition
from catcher.evaluation.timers import Timer, Timers
from catcher.evaluation.triggers import NO_FIELDS
from catcher.expressions.context import CompiledExpression, EvaluationContext
from catcher.expressions.lookup_join import LookupState
from catcher.expressions.values import to_key_text
from catcher.model.alert import LevelChange
from catcher.model.event import Event
from catcher.model.rule import Rule
from catcher.model.run import Firing
from catcher.model.time import Instant

LEVEL_TIMER_RANK = 1
"""The rank of the timers that end levels: those of triggers at the same instant come before."""
MOMENTARY_KINDS = frozenset(("event", "sequence", "result", "http", "schedule", "every"))
"""Trigger kinds that have no end of their own, so that their levels last for a span."""


class LevelEvaluator:
    """Evaluates the levels of a rule's keys and emits their changes."""

    def __init__(
        self,
        compiled_rule: CompiledRule,
        compiled: CompiledLevels,
        reads: Mapping[str, LookupState],
        timers: Timers,
        counts: dict[str, int],
        emit: Callable[[LevelChange], None],
    ) -> None:
        self.rule: Rule = compiled_rule.rule
        self.compiled = compiled
        self.uses_results = compiled.input_kind == "results"
        self._reads = reads
        self._timers = timers
        self._counts = counts
        self._emit = emit
        self._policy = _build_policy(compiled_rule, compiled)

    def initialize_partition(self, partition: Partition) -> None:
        """Gives a new partition its level state."""

        def create_timer(alert_levels: AlertLevels, level_state: LevelState) -> Timer:
            def on_timer(instant: Instant) -> bool:
                alert_levels.on_expiry_timer(
                    level_state, instant, self.build_latest_context(partition, instant)
                )
                return True

            return self._timers.create_timer(partition.key, on_timer, LEVEL_TIMER_RANK)

        partition.levels = AlertLevels(
            self._policy, partition.key, self._emit, create_timer, self._counts
        )
        partition.level_slots = self.compiled.plan.create_states()

    def backfill_event(self, partition: Partition, event: Event) -> None:
        """Fills windows with a past event."""
        if not self.uses_results:
            self.compiled.plan.add_sample(
                event.fields, self._build_evaluation_context(partition, event.time)
            )

    def process_event(
        self, partition: Partition, event: Event, *, run: str = "", firing: str = ""
    ) -> None:
        """Processes an event or a result that the levels see."""
        if self.uses_results or not partition.has_shared_slots:
            self.compiled.plan.add_sample(
                event.fields, self._build_evaluation_context(partition, event.time)
            )
        partition.latest_event = event
        context = self._build_level_context(partition, event.time, event.fields, run, firing)
        per = self._evaluate_per(context)
        if per is not None and partition.levels is not None:
            partition.levels.process_sample(per, context)

    def apply_unchanged_samples(self, partition: Partition, event: Event) -> None:
        """Processes events up to this one with the truths of the last, which changed nothing."""
        partition.latest_event = event
        if partition.levels is not None:
            partition.levels.apply_unchanged_samples(event.time)

    def process_late_event(self, partition: Partition, event: Event, as_of: Instant) -> None:
        """Processes a late event, unless what it would raise has ended by `as_of`."""
        if self._policy.has_expired(event.time, as_of):
            return
        context = self._build_level_context(partition, event.time, event.fields)
        per = self._evaluate_per(context)
        if per is not None and partition.levels is not None:
            partition.levels.process_late_sample(per, context)

    def on_firing(self, partition: Partition, firing: Firing, kind: str, as_of: Instant) -> None:
        """Raises `always` levels at a firing, which also is the input for kinds without events."""
        event = firing.event or Event("", firing.time, NO_FIELDS)
        if not self.uses_results and (kind in TIMED_KINDS or kind == "sequence"):
            self.process_event(partition, event, firing=firing.id)
        if partition.levels is None or all(
            level.when is not None for level in self.compiled.levels
        ):
            return
        if self._policy.has_expired(firing.time, as_of):
            return
        context = self._build_level_context(partition, firing.time, event.fields, "", firing.id)
        per = self._evaluate_per(context)
        if per is not None:
            partition.levels.raise_always_levels(per, context, firing.reason)

    def on_job_failed(self, partition: Partition, firing: Firing, run: str, reason: str) -> None:
        """Processes the final failure of a job; without a level `failed`, nothing changes."""
        if self._policy.failed_severity is None or partition.levels is None:
            return
        fields = firing.event.fields if firing.event else NO_FIELDS
        context = self._build_level_context(partition, firing.time, fields, run, firing.id)
        per_value = self.compiled.per is None or to_key_text(
            self.compiled.per(fields, context.evaluation)
        )
        per = per_value if isinstance(per_value, str) else ""
        if firing.time < partition.levels.get_or_create(per).last_input:
            self._counts["late_results"] += 1
            return
        partition.levels.on_job_failed(per, context, f"the job failed: {reason}"[:600])

    def on_trigger_cleared(
        self, partition: Partition, now: Instant, reason: str, clear_kind: ClearKind
    ) -> None:
        """Clears levels as the trigger is no longer true, or armed again."""
        if partition.levels is not None:
            partition.levels.on_trigger_cleared(
                reason, self.build_latest_context(partition, now), clear_kind
            )

    def build_latest_context(self, partition: Partition, now: Instant) -> LevelContext:
        """Returns what a level sees at an instant without an event: its latest input event."""
        return self._build_level_context(
            partition, now, partition.latest_event.fields if partition.latest_event else NO_FIELDS
        )

    def _build_level_context(
        self,
        partition: Partition,
        now: Instant,
        fields: Mapping[str, Any],
        run: str = "",
        firing: str = "",
    ) -> LevelContext:
        evaluation = self._build_evaluation_context(partition, now)

        def collect() -> dict[str, Any]:
            return collect_rule_values(
                self.rule, self._reads, fields, evaluation, self.compiled.lets
            )

        return LevelContext(now, fields, evaluation, collect, run, firing)

    def _build_evaluation_context(self, partition: Partition, now: Instant) -> EvaluationContext:
        return EvaluationContext(now, partition.level_slots, self._reads)

    def _evaluate_per(self, context: LevelContext) -> str | None:
        if self.compiled.per is None:
            return ""
        text = to_key_text(self.compiled.per(context.fields, context.evaluation))
        if text is None:
            self._counts["unknown_keys"] += 1
        return text


def _build_policy(compiled_rule: CompiledRule, compiled: CompiledLevels) -> LevelPolicy:
    rule = compiled_rule.rule
    specs = [trigger.spec for trigger in compiled_rule.triggers]
    is_momentary = any(spec.kind in MOMENTARY_KINDS for spec in specs)
    max_gap = min((spec.stale_after for spec in specs), default=0)
    alert = compiled.alert
    return build_level_policy(
        rule.id, alert, compiled.levels, rule.job is not None, is_momentary, max_gap
    )


def collect_rule_values(
    rule: Rule,
    reads: Mapping[str, LookupState],
    fields: Mapping[str, Any],
    evaluation: EvaluationContext,
    lets: Mapping[str, CompiledExpression],
) -> dict[str, Any]:
    """Returns the names that a message or a job may use, with their values."""
    values: dict[str, Any] = dict(rule.constants)
    if lets:
        values.update({name: compute(fields, evaluation) for name, compute in lets.items()})
    if reads:
        values.update(
            {name: read.get_latest_fields(evaluation.now) for name, read in reads.items()}
        )
    return build_firing_values(fields, values)


def parse_result_origin(event: Event) -> tuple[str, str, str] | None:
    """Returns key, run and firing of a result event; None if it is none."""
    origin = event.fields.get("catcher")
    if not isinstance(origin, Mapping):
        return None
    values = (origin.get("key"), origin.get("run"), origin.get("firing"))
    key, run, firing = (to_key_text(value) or "" for value in values)
    return key, run, firing
