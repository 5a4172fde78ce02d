"""The state of a rule as it is saved and taken back, and what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.model.commit import TriggerState
from catcher.watching.watch import Watch
from catcher.watching.windows import Window

COUNTED = (
    "events", "evaluations", "firings", "level_changes", "unknown_keys", "repeats", "late",
    "late_results", "keys_evicted", "keys_forgotten", "alerts_dropped",
)  # fmt: skip


def take_states(watch: Watch) -> list[TriggerState]:
    """The states that changed since the last call, by key; the rule's own goes with key ''.

    Long lists are in parts of their own, and only when they have to be written anew.
    """
    dirty, watch.keys.dirty = watch.keys.dirty, set()
    states: list[TriggerState] = []
    for key in sorted(dirty):
        whole = TriggerState(watch.rule.id, key, watch.meaning, _state(watch, key))
        states += watch.bases.thinned(whole)
    return states


def _state(watch: Watch, key: str) -> dict[str, Any]:
    cell = watch.keys.cells.get(key)
    state: dict[str, Any] = {"cell": cell.save() if cell else None}
    if key == "":
        state["rule"] = {
            "latest": {str(index): time for index, time in watch.latest.items()},
            "settled": watch.settled,
            "started": watch.started,
            "once": list(watch.once),
            "sources": sorted(watch.sources),
            "reads": {name: read.save() for name, read in watch.reads.items()},
        }
    return state


def load(watch: Watch, saved: TriggerState, parts: Mapping[str, Any]) -> bool:
    """Takes the saved state of a key back; False where a part of it is missing."""
    if not watch.bases.restored(saved, parts):
        return False
    key, state = saved.key, saved.state
    if key == "" and "rule" in state:
        own = state["rule"]
        watch.latest = {int(index): int(time) for index, time in own["latest"].items()}
        watch.settled, watch.started = int(own["settled"]), bool(own["started"])
        watch.once = dict.fromkeys(own["once"])
        watch.sources.update(own["sources"])
        for name, read in own["reads"].items():
            watch.reads[name].load(read)
    if state.get("cell") is not None:
        watch.keys.cell(key).load(state["cell"])
    return True


def tally(watch: Watch) -> dict[str, int]:
    """What was counted, and how many keys there are."""
    return {**watch.counts, "keys": len(watch.keys.cells)}


def figures(watch: Watch) -> dict[str, int]:
    """What was counted, and what is held in memory."""
    slots = [slot for cell in watch.keys.cells.values() for slot in cell.slots()]
    windows = [slot for slot in slots if isinstance(slot, Window)]
    reads = watch.reads.values()
    return {
        **dict.fromkeys(COUNTED, 0),
        **watch.counts,
        "keys": len(watch.keys.cells),
        "samples": sum(len(window.sample_times) for window in windows),
        "samples_dropped": sum(one.dropped for one in windows) + sum(one.dropped for one in reads),
        "late_reads": sum(read.late for read in reads),
    }
