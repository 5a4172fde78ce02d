"""Windows and reads are filled from the history at a start, and nothing fires by it."""

from __future__ import annotations

from pathlib import Path

from catcher.app import load_site
from catcher.model.event import Admitted, Event
from catcher.model.run import Firing
from catcher.model.time import SECOND, parse_instant
from catcher.priming import prime
from catcher.stores.history import EmbeddedHistory
from catcher.watching import Network
from tests.small_site import write_site

START = parse_instant("2025-04-24T00:00:00Z")
RULES = """
rule: windy
trigger: {telemetry: wind, by: mast, when: 'mean(speed, "1m") > 8'}
---
rule: cold-wind
trigger: {telemetry: wind, when: speed > 5 and air.temperature < 0}
reads: {air: {topic: air}}
"""


def network(folder: Path) -> Network:
    return Network(load_site(write_site(folder, RULES)).active)


def wind(second: int, speed: float = 10, mast: int = 301) -> Event:
    return Event("wind", START + second * SECOND, {"speed": speed, "mast": mast}, "efd")


def fed(network: Network, *events: Event) -> list[str]:
    decisions = network.feed(Admitted(event) for event in events)
    return [one.rule for one in decisions if isinstance(one, Firing)]


async def test_a_window_is_known_at_once_and_nothing_fires_by_the_past(tmp_path: Path) -> None:
    rules = network(tmp_path)
    async with EmbeddedHistory(None) as history:
        await history.append([wind(second) for second in range(61)])
        await history.append([Event("air", START, {"temperature": -3}, "efd")])
        await prime(rules, history)
    assert rules.counts()["windy"]["firings"] == 0
    assert fed(rules, wind(61)) == ["cold-wind", "windy"]


async def test_without_a_history_a_window_fills_first(tmp_path: Path) -> None:
    rules = network(tmp_path)
    async with EmbeddedHistory(None) as history:
        await prime(rules, history)
    assert fed(rules, wind(61)) == []


async def test_saved_state_wins_and_the_history_fills_the_rest(tmp_path: Path) -> None:
    before, rules = network(tmp_path), network(tmp_path)
    fed(before, *(wind(second, speed=2) for second in range(40)))
    rules.restore(before.take_states())
    async with EmbeddedHistory(None) as history:
        await history.append([wind(second, speed=99) for second in range(40)])
        await history.append([wind(second, speed=3) for second in range(40, 70)])
        await prime(rules, history)
    fed(rules, wind(70, speed=3))
    assert rules.counts()["windy"]["samples"] == 60, "no sample twice"
    assert fed(rules, wind(71, speed=3)) == [], "the 99 of the history is not in the window"
