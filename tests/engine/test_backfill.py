"""Windows and reads are filled from the history at a start, and nothing fires by it."""

from __future__ import annotations

from pathlib import Path

from catcher.app import load_site
from catcher.engine.backfill import backfill_windows
from catcher.evaluation import RuleEvaluator
from catcher.model.event import AdmittedEvent, Event
from catcher.model.run import Firing
from catcher.model.time import SECOND, parse_instant
from catcher.stores.history.embedded import EmbeddedHistory
from tests.sample_site import write_site

START = parse_instant("2025-04-24T00:00:00Z")
RULES = """
rule: windy
trigger: {telemetry: wind, by: mast, when: 'mean(speed, "1m") > 8'}
---
rule: cold-wind
trigger: {telemetry: wind, when: speed > 5 and air.temperature < 0}
reads: {air: {topic: air}}
"""


def create_evaluator(folder: Path) -> RuleEvaluator:
    return RuleEvaluator(load_site(write_site(folder, RULES)).active_rules)


def create_wind_event(second: int, speed: float = 10, mast: int = 301) -> Event:
    return Event("wind", START + second * SECOND, {"speed": speed, "mast": mast}, "efd")


def feed_evaluator(evaluator: RuleEvaluator, *events: Event) -> list[str]:
    decisions = evaluator.process_events(AdmittedEvent(event) for event in events)
    return [decision.rule for decision in decisions if isinstance(decision, Firing)]


async def test_window_is_filled_at_once_and_the_past_fires_nothing(tmp_path: Path) -> None:
    evaluator = create_evaluator(tmp_path)
    async with EmbeddedHistory(None) as history:
        await history.append([create_wind_event(second) for second in range(61)])
        await history.append([Event("air", START, {"temperature": -3}, "efd")])
        await backfill_windows(evaluator, history)
    assert evaluator.collect_rule_counts()["windy"]["firings"] == 0
    assert feed_evaluator(evaluator, create_wind_event(61)) == ["cold-wind", "windy"]


async def test_without_a_history_a_window_fills_first(tmp_path: Path) -> None:
    evaluator = create_evaluator(tmp_path)
    async with EmbeddedHistory(None) as history:
        await backfill_windows(evaluator, history)
    assert feed_evaluator(evaluator, create_wind_event(61)) == []


async def test_saved_state_wins_and_the_history_fills_the_rest(tmp_path: Path) -> None:
    previous_evaluator, evaluator = create_evaluator(tmp_path), create_evaluator(tmp_path)
    feed_evaluator(
        previous_evaluator, *(create_wind_event(second, speed=2) for second in range(40))
    )
    evaluator.restore_states(previous_evaluator.snapshot_changed_states())
    async with EmbeddedHistory(None) as history:
        await history.append([create_wind_event(second, speed=99) for second in range(40)])
        await history.append([create_wind_event(second, speed=3) for second in range(40, 70)])
        await backfill_windows(evaluator, history)
    feed_evaluator(evaluator, create_wind_event(70, speed=3))
    assert evaluator.collect_rule_counts()["windy"]["samples"] == 60, "no sample twice"
    assert feed_evaluator(evaluator, create_wind_event(71, speed=3)) == [], (
        "the 99 of the history is not in the window"
    )
