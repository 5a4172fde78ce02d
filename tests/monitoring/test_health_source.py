"""The health of the parts as events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from catcher.model.event import Event
from catcher.model.health import Health
from catcher.model.time import MILLISECOND, MINUTE, SECOND, parse_instant
from catcher.monitoring import Component, HealthSource

NIGHT = parse_instant("2025-04-24T00:00:00Z")
BROKER = Component("source", Health("efd", "mqtt", "ok", NIGHT))
LEDGER = Component("store", Health("ledger", "ledger", "ok"))


@dataclass
class FakeEngine:
    """Parts that change, and a clock."""

    components: list[Component] = field(default_factory=lambda: [BROKER, LEDGER])
    now: int = NIGHT
    has_listeners: bool = True

    def create_source(self) -> HealthSource:
        return HealthSource(
            lambda: self.components,
            lambda: self.has_listeners,
            lambda: self.now,
            poll_interval=MILLISECOND,
        )


def list_states(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.fields["part"], event.fields["state"]) for event in events]


def test_full_report_every_minute_and_changes_between() -> None:
    engine = FakeEngine()
    source = engine.create_source()
    assert list_states(source.collect_health_events()) == [
        ("source efd", "ok"),
        ("store ledger", "ok"),
    ]
    engine.now += SECOND
    assert source.collect_health_events() == []
    lost = Health("efd", "mqtt", "away", engine.now, problem="the connection was lost")
    engine.components = [Component("source", lost), LEDGER]
    (event,) = source.collect_health_events()
    assert (event.topic, event.time) == ("catcher.health", engine.now)
    assert event.fields == {
        "part": "source efd", "role": "source", "kind": "mqtt", "name": "efd", "state": "away",
        "problem": "the connection was lost", "since": 1745452801.0,
    }  # fmt: skip
    engine.now = NIGHT + MINUTE
    assert list_states(source.collect_health_events()) == [
        ("source efd", "away"),
        ("store ledger", "ok"),
    ]


def test_starting_component_is_reported_only_after_it_was_ok() -> None:
    engine = FakeEngine([Component("source", Health("efd", "mqtt", "starting"))])
    source = engine.create_source()
    assert source.collect_health_events() == []
    engine.components = [BROKER]
    assert list_states(source.collect_health_events()) == [("source efd", "ok")]
    engine.components = [Component("source", Health("efd", "mqtt", "starting"))]
    assert list_states(source.collect_health_events()) == [("source efd", "starting")]


async def test_source_sends_only_with_listeners() -> None:
    engine = FakeEngine(has_listeners=False)
    source = engine.create_source()
    async with asyncio.timeout(30), source.open() as batches:
        next_batch = asyncio.ensure_future(anext(batches))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert not next_batch.done()
        engine.has_listeners = True
        batch = await next_batch
        assert (batch.source, batch.durable) == ("catcher-health", False)
        assert list_states(list(batch.events)) == [("source efd", "ok"), ("store ledger", "ok")]
        assert source.health().counts == {"events": 2}
    assert source.health().state == "ended"
