"""Long lists in saved states: what is written, and that it comes back as it was."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.model.commit import TriggerState
from catcher.model.event import Admitted, Event
from catcher.model.time import SECOND
from catcher.watching import Network, deltas
from catcher.watching.deltas import Bases
from tests.watching.playing import WIND, at, rule, trigger

WINDOW = rule(trigger(when='speed > mean(speed, "1m")', once_per="number"))


def events(first: int, last: int) -> list[Admitted]:
    chance = random.Random(first)
    return [
        Admitted(Event(WIND, at(0) + n * SECOND // 50, {"speed": chance.random(), "number": n}))
        for n in range(first, last)
    ]


def size(states: Iterable[TriggerState]) -> int:
    return len(json.dumps([one.state for one in states]))


def through_json(states: Iterable[TriggerState]) -> list[TriggerState]:
    return [replace(one, state=json.loads(json.dumps(one.state))) for one in states]


def test_a_long_window_is_not_written_anew_with_every_firing() -> None:
    network = Network([WINDOW])
    network.feed(events(0, 4000))
    whole = size(network.take_states())
    written = []
    for first in range(4000, 7000, 10):
        network.feed(events(first, first + 10))
        written.append(size(network.take_states()))
    assert whole > 100_000
    assert sum(written) / len(written) < whole / 5


@pytest.mark.parametrize("stops", [(3990, 4000), (4000, 4100, 5000, 5001, 7500)])
def test_it_comes_back_as_it_was(stops: tuple[int, ...]) -> None:
    rules = [WINDOW]
    straight = Network(rules).feed(events(0, 8000))
    network, saved = Network(rules), dict[tuple[str, str, str], TriggerState]()
    found, first = [], 0
    everything = events(0, 8000)
    for stop in (*stops, 8000):
        for start in range(first, stop, 50):
            found += network.feed(everything[start : min(start + 50, stop)])
            saved |= {(one.rule, one.key, one.part): one for one in network.take_states()}
        first = stop
        network = Network(rules)
        network.restore(through_json(saved.values()))
    assert found == straight


def test_a_state_without_its_base_is_left_out() -> None:
    rules = [WINDOW]
    network = Network(rules)
    network.feed(events(0, 4000))
    states = [one for one in network.take_states() if not one.part]
    again = Network(rules)
    again.restore(through_json(states))
    assert again.counts()[rules[0].id]["samples"] == 0


steps = st.lists(st.tuples(st.integers(0, 6), st.lists(st.integers(0, 2), max_size=6)), max_size=30)


@settings(max_examples=200, deadline=None)
@given(steps, st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)))
def test_any_list_comes_back(
    steps: list[tuple[int, list[int]]], restarts: set[int], wild: set[int]
) -> None:
    """Items leave in front and come at the end; now and then the list is another one at all."""
    bases, items, kept = Bases(), list[int](), dict[str, TriggerState]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deltas, "LONG", 3)
        for number, (gone, more) in enumerate(steps):
            items = [*items[gone:], *more] if number not in wild else more[::-1]
            for one in through_json(bases.thinned(state_of(items))):
                kept[one.part] = one
            parts = {part: one.state for part, one in kept.items() if one.state}
            if number in restarts:
                bases = Bases()
            again, (back,) = bases if number in restarts else Bases(), through_json([kept[""]])
            assert again.restored(back, parts)
            assert back.state["rule"]["once"] == items


def state_of(items: list[int]) -> TriggerState:
    rule: dict[str, Any] = {"once": list(items), "reads": {}}
    return TriggerState("r", "", "m", {"cell": None, "rule": rule})
