"""Saves and restores the state of a rule, and collects its counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.evaluation.rule_runtime import RuleRuntime
from catcher.expressions.windows import Window
from catcher.model.commit import TriggerState

COUNTER_NAMES = (
    "events", "evaluations", "firings", "level_changes", "unknown_keys", "repeats", "late",
    "late_results", "keys_evicted", "keys_forgotten", "alerts_dropped",
)  # fmt: skip


def snapshot_changed_keys(runtime: RuleRuntime) -> list[TriggerState]:
    """Returns the states that changed since the last call, by key; the rule's own has key ''.

    Long lists are in parts of their own, and only when they have to be rewritten.
    """
    changed_keys, runtime.partitions.changed_keys = runtime.partitions.changed_keys, set()
    states: list[TriggerState] = []
    for key in sorted(changed_keys):
        state = TriggerState(
            runtime.rule.id, key, runtime.fingerprint, _build_partition_state(runtime, key)
        )
        states += runtime.snapshots.delta_encode_lists(state)
    return states


def _build_partition_state(runtime: RuleRuntime, key: str) -> dict[str, Any]:
    partition = runtime.partitions.by_key.get(key)
    state: dict[str, Any] = {"cell": partition.save() if partition else None}
    if key == "":
        state["rule"] = {
            "latest": {str(index): time for index, time in runtime.latest_times.items()},
            "settled": runtime.timers_run_until,
            "started": runtime.started,
            "once": list(runtime.once_values),
            "sources": sorted(runtime.sources),
            "reads": {name: read.save() for name, read in runtime.reads.items()},
        }
    return state


def restore_key_state(runtime: RuleRuntime, saved: TriggerState, parts: Mapping[str, Any]) -> bool:
    """Restores the saved state of a key; False if a part of it is missing."""
    if not runtime.snapshots.restore_long_lists(saved, parts):
        return False
    key, state = saved.key, saved.state
    if key == "" and "rule" in state:
        rule_state = state["rule"]
        runtime.latest_times = {
            int(index): int(time) for index, time in rule_state["latest"].items()
        }
        runtime.timers_run_until, runtime.started = (
            int(rule_state["settled"]),
            bool(rule_state["started"]),
        )
        runtime.once_values = dict.fromkeys(rule_state["once"])
        runtime.sources.update(rule_state["sources"])
        for name, read in rule_state["reads"].items():
            runtime.reads[name].load(read)
    if state.get("cell") is not None:
        runtime.partitions.get_or_create(key).load(state["cell"])
    return True


def collect_basic_counts(runtime: RuleRuntime) -> dict[str, int]:
    """Returns the counters, and the number of keys."""
    return {**runtime.counts, "keys": len(runtime.partitions.by_key)}


def collect_full_counts(runtime: RuleRuntime) -> dict[str, int]:
    """Returns the counters, and what is held in memory."""
    slots = [
        slot
        for partition in runtime.partitions.by_key.values()
        for slot in partition.iter_function_states()
    ]
    windows = [slot for slot in slots if isinstance(slot, Window)]
    reads = runtime.reads.values()
    return {
        **dict.fromkeys(COUNTER_NAMES, 0),
        **runtime.counts,
        "keys": len(runtime.partitions.by_key),
        "samples": sum(len(window.sample_times) for window in windows),
        "samples_dropped": sum(item.dropped_count for item in windows)
        + sum(item.dropped_count for item in reads),
        "late_reads": sum(read.late_count for read in reads),
    }
