"""Stores long lists of a saved state incrementally: what was added and removed since the last base.

A window of 30,000 samples would otherwise be rewritten with every firing. For each long list
the ledger has a base, in a row of its own (`TriggerState.part`), and each state says how many of
the base's first items were removed and which were added. Once the items written as additions are
as many as the base has, it is rewritten, so that a state costs at most about twice what has
changed. A list here only loses at its front and grows at its end; one that did anything else is
rewritten completely.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from catcher.model.commit import TriggerState

MIN_LIST_LENGTH = 128
"""Lists of at least this length are stored incrementally."""
MAX_ATTEMPTS = 8
"""How many positions are tried at which the front of a list may have been before."""
DELTAS_KEY = "deltas"
ListLocations = Iterator[tuple[str, dict[str, Any], str]]


@dataclass(slots=True)
class SnapshotBase:
    """A list as last written completely, and how many items were written beside it since."""

    items: list[Any]
    delta_count: int = 0


class IncrementalSnapshots:
    """The bases of all keys of one rule."""

    def __init__(self) -> None:
        self._bases: dict[str, dict[str, SnapshotBase]] = {}

    def delta_encode_lists(self, state: TriggerState) -> list[TriggerState]:
        """Returns a state with its long lists as deltas, and new or deleted bases.

        The lists are removed from the given state.
        """
        key_bases = self._bases.get(state.key, {})
        rows, deltas, hint = [], dict[str, list[Any]](), 0
        for path, holder, name in _iter_long_lists(state.state):
            items = holder[name]
            if len(items) < MIN_LIST_LENGTH:
                continue
            base = key_bases.get(path)
            removed = None if base is None else _count_removed(base.items, items, hint)
            added = items if base is None or removed is None else items[len(base.items) - removed :]
            if base is None or removed is None or base.delta_count + len(added) > len(base.items):
                key_bases[path] = SnapshotBase(items)
                rows.append(_build_part_state(state, path, {"items": items}))
                removed, added = 0, []
            else:
                base.delta_count += len(added)
                hint = removed
            deltas[path] = [removed, added]
            holder[name] = []
        for path in [path for path in key_bases if path not in deltas]:
            del key_bases[path]
            rows.append(_build_part_state(state, path, {}))
        if not deltas:
            self._bases.pop(state.key, None)
            return [*rows, state]
        self._bases[state.key] = key_bases
        reduced = {**state.state, DELTAS_KEY: deltas}
        return [*rows, TriggerState(state.rule, state.key, state.fingerprint, reduced)]

    def restore_long_lists(self, state: TriggerState, bases: Mapping[str, Any]) -> bool:
        """Restores the long lists of a saved state; False if a base is missing."""
        deltas = state.state.get(DELTAS_KEY, {})
        key_bases = {
            path: SnapshotBase(list(bases[path]["items"])) for path in deltas if path in bases
        }
        if len(key_bases) < len(deltas):
            return False
        for path, holder, name in _iter_long_lists(state.state):
            if path in deltas:
                removed, added = deltas[path]
                holder[name] = [*key_bases[path].items[removed:], *added]
                key_bases[path].delta_count = len(added)
        if key_bases:
            self._bases[state.key] = key_bases
        return True


def split_state_parts(
    states: Iterable[TriggerState],
) -> tuple[list[TriggerState], dict[tuple[str, str], dict[str, Any]]]:
    """Returns the states themselves, and their parts by rule and key."""
    key_states, parts = [], dict[tuple[str, str], dict[str, Any]]()
    for state in states:
        if state.part:
            parts.setdefault((state.rule, state.key), {})[state.part] = state.state
        else:
            key_states.append(state)
    return key_states, parts


def _build_part_state(state: TriggerState, part: str, content: dict[str, Any]) -> TriggerState:
    return TriggerState(state.rule, state.key, state.fingerprint, content, part)


def _count_removed(base: list[Any], items: list[Any], hint: int) -> int | None:
    """Returns how many first items of the base were removed; None if it changed otherwise."""
    index = hint - 1
    for _ in range(MAX_ATTEMPTS):
        try:
            index = base.index(items[0], index + 1)
        except ValueError:
            return None
        count = len(base) - index
        if base[index:] == items[:count] and count <= len(items):
            return index
    return None


def _iter_long_lists(state: Mapping[str, Any]) -> ListLocations:
    """Yields the locations of long lists: windows, ring buffers, values of `once_per`."""
    partition, rule = state.get("cell") or {}, state.get("rule") or {}
    for index, trigger in enumerate(partition.get("machines", ())):
        yield from _iter_sample_lists(f"machine{index}.", trigger.get("slots", ()))
    yield from _iter_sample_lists("level.", partition.get("level_slots", ()))
    for name, read in rule.get("reads", {}).items():
        yield from _iter_sample_lists(f"read {name}.", chain(read["slots"], read["rings"]))
    if rule:
        yield "once", rule, "once"


def _iter_sample_lists(prefix: str, slots: Any) -> ListLocations:
    for index, slot in enumerate(slots):
        for name in ("times", "values"):
            if name in slot:
                yield f"{prefix}{index}.{name}", slot, name
