"""Input of a rule from outside its streams: history, and manual firings."""

from __future__ import annotations

from collections.abc import Callable

from catcher.evaluation.compiled_rule import CompiledTrigger
from catcher.evaluation.level_evaluator import collect_rule_values
from catcher.evaluation.rule_runtime import RuleRuntime
from catcher.evaluation.triggers import NO_FIELDS
from catcher.expressions.values import to_key_text
from catcher.model.event import Event
from catcher.model.run import Firing
from catcher.model.time import Instant


def create_backfiller(runtime: RuleRuntime) -> Callable[[Event], None]:
    """Returns a function that fills windows and reads of a rule with history, and never fires.

    What a restored state already has is determined before the first event, since several samples
    may share an instant.
    """
    newest_times = {name: read.newest_time for name, read in runtime.reads.items()}

    def backfill(event: Event) -> None:
        for name, read in runtime.reads.items():
            newest = newest_times[name]
            if read.definition.lookup.topic == event.topic and (
                newest is None or event.time > newest
            ):
                read.process_event(event)
        for compiled in runtime.compiled_rule.triggers:
            if event.topic in compiled.topics:
                _backfill_trigger(runtime, compiled, event)

    return backfill


def _backfill_trigger(runtime: RuleRuntime, compiled: CompiledTrigger, event: Event) -> None:
    partition = runtime.resolve_partition(compiled, event)
    if partition is None or event.time <= partition.backfilled_until:
        return
    partition.triggers[compiled.index].backfill_event(event)
    if runtime.level_evaluator is not None:
        runtime.level_evaluator.backfill_event(partition, event)


def create_manual_firing(
    runtime: RuleRuntime, event: Event | None, now: Instant, who: str
) -> Firing:
    """Returns a manual firing; nothing of the rule's state changes."""
    time = event.time if event else now
    fields = event.fields if event else NO_FIELDS
    compiled = runtime.compiled_rule.triggers[0]
    key = (
        ""
        if compiled.by is None
        else to_key_text(compiled.by(fields, runtime.prepare_evaluation_context([], time))) or ""
    )
    partition = runtime.partitions.by_key.get(key)
    slots = partition.triggers[0].slots if partition else compiled.plan.create_states()
    values = collect_rule_values(
        runtime.rule,
        runtime.reads,
        fields,
        runtime.prepare_evaluation_context(slots, time),
        compiled.lets,
    )
    reason = f"fired by hand by {who}"
    return Firing(
        runtime.rule.id, key, time, f"hand:{who}:{now}", reason, event, values,
        manual=True, quiet=True,
    )  # fmt: skip
