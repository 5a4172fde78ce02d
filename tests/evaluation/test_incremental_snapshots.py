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

from catcher.evaluation import RuleEvaluator, incremental_snapshots
from catcher.evaluation.incremental_snapshots import IncrementalSnapshots
from catcher.model.commit import TriggerState
from catcher.model.event import AdmittedEvent, Event
from catcher.model.time import SECOND
from tests.evaluation.rule_builders import WIND, create_rule, create_trigger, to_instant

WINDOW_RULE = create_rule(create_trigger(when='speed > mean(speed, "1m")', once_per="number"))


def create_events(first: int, last: int) -> list[AdmittedEvent]:
    random_values = random.Random(first)
    return [
        AdmittedEvent(
            Event(
                WIND,
                to_instant(0) + number * SECOND // 50,
                {"speed": random_values.random(), "number": number},
            )
        )
        for number in range(first, last)
    ]


def measure_size(states: Iterable[TriggerState]) -> int:
    return len(json.dumps([state.state for state in states]))


def round_trip_json(states: Iterable[TriggerState]) -> list[TriggerState]:
    return [replace(state, state=json.loads(json.dumps(state.state))) for state in states]


def test_a_long_window_is_not_rewritten_with_every_firing() -> None:
    evaluator = RuleEvaluator([WINDOW_RULE])
    evaluator.process_events(create_events(0, 4000))
    full_size = measure_size(evaluator.snapshot_changed_states())
    sizes = []
    for first in range(4000, 7000, 10):
        evaluator.process_events(create_events(first, first + 10))
        sizes.append(measure_size(evaluator.snapshot_changed_states()))
    assert full_size > 100_000
    assert sum(sizes) / len(sizes) < full_size / 5


@pytest.mark.parametrize("stops", [(3990, 4000), (4000, 4100, 5000, 5001, 7500)])
def test_it_is_restored_unchanged(stops: tuple[int, ...]) -> None:
    rules = [WINDOW_RULE]
    expected = RuleEvaluator(rules).process_events(create_events(0, 8000))
    evaluator, saved_states = RuleEvaluator(rules), dict[tuple[str, str, str], TriggerState]()
    decisions, first = [], 0
    all_events = create_events(0, 8000)
    for stop in (*stops, 8000):
        for start in range(first, stop, 50):
            decisions += evaluator.process_events(all_events[start : min(start + 50, stop)])
            saved_states |= {
                (state.rule, state.key, state.part): state
                for state in evaluator.snapshot_changed_states()
            }
        first = stop
        evaluator = RuleEvaluator(rules)
        evaluator.restore_states(round_trip_json(saved_states.values()))
    assert decisions == expected


def test_a_state_without_its_base_is_ignored() -> None:
    rules = [WINDOW_RULE]
    evaluator = RuleEvaluator(rules)
    evaluator.process_events(create_events(0, 4000))
    states = [state for state in evaluator.snapshot_changed_states() if not state.part]
    restored = RuleEvaluator(rules)
    restored.restore_states(round_trip_json(states))
    assert restored.collect_rule_counts()[rules[0].id]["samples"] == 0


list_changes = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.integers(0, 2), max_size=6)), max_size=30
)


@settings(max_examples=200, deadline=None)
@given(list_changes, st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)))
def test_any_list_is_restored(
    list_changes: list[tuple[int, list[int]]], restarts: set[int], replaced_at: set[int]
) -> None:
    """Items leave in front and come at the end; now and then the list is another one at all."""
    snapshots, items, saved_states = IncrementalSnapshots(), list[int](), dict[str, TriggerState]()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(incremental_snapshots, "MIN_LIST_LENGTH", 3)
        for number, (removed_count, new_items) in enumerate(list_changes):
            items = (
                [*items[removed_count:], *new_items]
                if number not in replaced_at
                else new_items[::-1]
            )
            for state in round_trip_json(snapshots.delta_encode_lists(create_state(items))):
                saved_states[state.part] = state
            parts = {part: state.state for part, state in saved_states.items() if state.state}
            if number in restarts:
                snapshots = IncrementalSnapshots()
            restoring, (restored,) = (
                snapshots if number in restarts else IncrementalSnapshots(),
                round_trip_json([saved_states[""]]),
            )
            assert restoring.restore_long_lists(restored, parts)
            assert restored.state["rule"]["once"] == items


def create_state(items: list[int]) -> TriggerState:
    rule: dict[str, Any] = {"once": list(items), "reads": {}}
    return TriggerState("r", "", "m", {"cell": None, "rule": rule})
