"""The health of the parts as events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from catcher.model.event import Event
from catcher.model.health import Health
from catcher.model.time import MILLISECOND, MINUTE, SECOND, parse_instant
from catcher.vitals import Bulletin, Part

NIGHT = parse_instant("2025-04-24T00:00:00Z")
BROKER = Part("source", Health("efd", "mqtt", "ok", NIGHT))
LEDGER = Part("store", Health("ledger", "ledger", "ok"))


@dataclass
class World:
    """Parts that change, and a clock."""

    parts: list[Part] = field(default_factory=lambda: [BROKER, LEDGER])
    now: int = NIGHT
    wanted: bool = True

    def bulletin(self) -> Bulletin:
        return Bulletin(lambda: self.parts, lambda: self.wanted, lambda: self.now, look=MILLISECOND)


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.fields["part"], event.fields["state"]) for event in events]


def test_at_first_and_every_minute_everything_is_told_and_in_between_what_changes() -> None:
    world = World()
    bulletin = world.bulletin()
    assert told(bulletin.news()) == [("source efd", "ok"), ("store ledger", "ok")]
    world.now += SECOND
    assert bulletin.news() == []
    gone = Health("efd", "mqtt", "away", world.now, problem="the connection was lost")
    world.parts = [Part("source", gone), LEDGER]
    (event,) = bulletin.news()
    assert (event.topic, event.time) == ("catcher.health", world.now)
    assert event.fields == {
        "part": "source efd", "role": "source", "kind": "mqtt", "name": "efd", "state": "away",
        "problem": "the connection was lost", "since": 1745452801.0,
    }  # fmt: skip
    world.now = NIGHT + MINUTE
    assert told(bulletin.news()) == [("source efd", "away"), ("store ledger", "ok")]


def test_a_part_that_is_being_made_says_nothing_yet_but_one_that_starts_again_does() -> None:
    world = World([Part("source", Health("efd", "mqtt", "starting"))])
    bulletin = world.bulletin()
    assert bulletin.news() == []
    world.parts = [BROKER]
    assert told(bulletin.news()) == [("source efd", "ok")]
    world.parts = [Part("source", Health("efd", "mqtt", "starting"))]
    assert told(bulletin.news()) == [("source efd", "starting")]


async def test_it_is_a_source_that_speaks_only_when_somebody_listens() -> None:
    world = World(wanted=False)
    bulletin = world.bulletin()
    async with asyncio.timeout(30), bulletin.open() as deliveries:
        waiting = asyncio.ensure_future(anext(deliveries))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert not waiting.done()
        world.wanted = True
        delivery = await waiting
        assert (delivery.source, delivery.durable) == ("catcher-health", False)
        assert told(list(delivery.events)) == [("source efd", "ok"), ("store ledger", "ok")]
        assert bulletin.health().counts == {"events": 2}
    assert bulletin.health().state == "ended"
