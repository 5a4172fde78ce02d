"""Long lists of a saved state, kept as what was added and what left since they were last whole.

A window of 30,000 samples would otherwise be written anew with every firing. Of each long list
the ledger has a base, in a row of its own (`TriggerState.part`), and each state says how many of
the base's first items have left and which have come. Once the items written as additions are as
many as the base has, it is written anew, so that a state costs no more than about twice what has
changed. A list here only loses at its front and grows at its end; one that did anything else is
written whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from catcher.model.commit import TriggerState

LONG = 128
"""A list of so many items is worth the trouble."""
TRIES = 8
"""How many places are tried at which the front of a list may have been before."""
DELTAS = "deltas"
Places = Iterator[tuple[str, dict[str, Any], str]]


@dataclass(slots=True)
class Base:
    """A list as it was last written whole, and how many items were written beside it since."""

    items: list[Any]
    spent: int = 0


class Bases:
    """The bases of all keys of one rule."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Base]] = {}

    def thinned(self, state: TriggerState) -> list[TriggerState]:
        """A state with its long lists as deltas, and the bases that are new or needed no more.

        The lists are taken out of the state that is given.
        """
        known = self._of.get(state.key, {})
        rows, deltas, hint = [], dict[str, list[Any]](), 0
        for path, holder, name in _places(state.state):
            items = holder[name]
            if len(items) < LONG:
                continue
            base = known.get(path)
            left = None if base is None else _left(base.items, items, hint)
            more = items if base is None or left is None else items[len(base.items) - left :]
            if base is None or left is None or base.spent + len(more) > len(base.items):
                known[path] = Base(items)
                rows.append(_row(state, path, {"items": items}))
                left, more = 0, []
            else:
                base.spent += len(more)
                hint = left
            deltas[path] = [left, more]
            holder[name] = []
        for path in [path for path in known if path not in deltas]:
            del known[path]
            rows.append(_row(state, path, {}))
        if not deltas:
            self._of.pop(state.key, None)
            return [*rows, state]
        self._of[state.key] = known
        thin = {**state.state, DELTAS: deltas}
        return [*rows, TriggerState(state.rule, state.key, state.meaning, thin)]

    def restored(self, state: TriggerState, bases: Mapping[str, Any]) -> bool:
        """Puts the long lists of a saved state back into it; False where a base is missing."""
        deltas = state.state.get(DELTAS, {})
        known = {path: Base(list(bases[path]["items"])) for path in deltas if path in bases}
        if len(known) < len(deltas):
            return False
        for path, holder, name in _places(state.state):
            if path in deltas:
                left, more = deltas[path]
                holder[name] = [*known[path].items[left:], *more]
                known[path].spent = len(more)
        if known:
            self._of[state.key] = known
        return True


def in_parts(
    states: Iterable[TriggerState],
) -> tuple[list[TriggerState], dict[tuple[str, str], dict[str, Any]]]:
    """The states themselves, and their parts by rule and key."""
    whole, parts = [], dict[tuple[str, str], dict[str, Any]]()
    for state in states:
        if state.part:
            parts.setdefault((state.rule, state.key), {})[state.part] = state.state
        else:
            whole.append(state)
    return whole, parts


def _row(state: TriggerState, part: str, content: dict[str, Any]) -> TriggerState:
    return TriggerState(state.rule, state.key, state.meaning, content, part)


def _left(base: list[Any], items: list[Any], hint: int) -> int | None:
    """How many of the first items of the base have left; None where it did not go that way."""
    place = hint - 1
    for _ in range(TRIES):
        try:
            place = base.index(items[0], place + 1)
        except ValueError:
            return None
        count = len(base) - place
        if base[place:] == items[:count] and count <= len(items):
            return place
    return None


def _places(state: Mapping[str, Any]) -> Places:
    """Where the long lists of a state are: its windows, its rings, its values of `once_per`."""
    cell, rule = state.get("cell") or {}, state.get("rule") or {}
    for number, machine in enumerate(cell.get("machines", ())):
        yield from _samples(f"machine{number}.", machine.get("slots", ()))
    yield from _samples("level.", cell.get("level_slots", ()))
    for name, read in rule.get("reads", {}).items():
        yield from _samples(f"read {name}.", chain(read["slots"], read["rings"]))
    if rule:
        yield "once", rule, "once"


def _samples(where: str, slots: Any) -> Places:
    for number, slot in enumerate(slots):
        for name in ("times", "values"):
            if name in slot:
                yield f"{where}{number}.{name}", slot, name
