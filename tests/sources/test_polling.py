"""An InfluxDB that is asked again and again: late rows come once, and a restart goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catcher.model.event import Event
from catcher.model.problem import CatcherError
from catcher.model.time import MILLISECOND, MINUTE, SECOND, Instant, wall_clock
from catcher.ports import Delivery
from catcher.sources.polling import (
    PollingSettings,
    PollingSource,
    Reached,
    format_position,
    parse_position,
)
from catcher.stores.history_influx import InfluxHistory, InfluxSettings
from tests.servers import Server, influx_write, influxd

TOPIC = "lsst.sal.ESS.airFlow"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with influxd(tmp_path / "influx") as running:
        yield running


def source(server: Server, position: str = "", **more: Any) -> PollingSource:
    url = f"http://127.0.0.1:{server.port}"
    said = {"url": url, "database": "efd", "topics": ("lsst.sal.ESS.*",), "first": 5 * MINUTE}
    said |= {"every": 100 * MILLISECOND, **more}
    store = InfluxHistory(InfluxSettings(url=url, database="efd"), wall_clock)
    return PollingSource("efd", PollingSettings(**said), wall_clock, store, position)  # type: ignore[arg-type]


def write(server: Server, *rows: tuple[Instant, float], topic: str = TOPIC) -> None:
    lines = [f'{topic} speed={speed},salIndex=301i,name="dome" {time}' for time, speed in rows]
    influx_write(server.port, "efd", lines)


async def take(deliveries: AsyncIterator[Delivery], count: int) -> tuple[list[Event], str]:
    events: list[Event] = []
    position = ""
    async with asyncio.timeout(30):
        while len(events) < count:
            delivery = await anext(deliveries)
            events += delivery.events
            position = delivery.position or position
    return events, position


async def until(condition: Callable[[], Any]) -> None:
    async def ticks() -> AsyncIterator[None]:
        while True:
            yield
            await asyncio.sleep(0.01)

    async with asyncio.timeout(30):
        async for _ in ticks():
            if condition():
                return


def speeds(events: list[Event]) -> list[Any]:
    return [one.fields["speed"] for one in events]


@pytest.mark.server
async def test_rows_come_once_in_their_order_also_those_that_come_late(server: Server) -> None:
    now = wall_clock()
    write(server, (now - 20 * SECOND, 1.5), (now - 10 * SECOND, 3.5))
    write(server, (now - 15 * SECOND, 2.5), topic="lsst.sal.ESS.other")
    heard = source(server)
    async with heard.open() as deliveries:
        events, _ = await take(deliveries, 3)
        assert speeds(events) == [1.5, 2.5, 3.5]
        assert (events[0].topic, events[0].source) == (TOPIC, "efd")
        assert events[0].fields == {"speed": 1.5, "salIndex": 301, "name": "dome"}
        # Readable only now, and older than what came before.
        write(server, (now - 12 * SECOND, 4.5), (now - 10 * SECOND, 3.5))
        events, position = await take(deliveries, 1)
        assert speeds(events) == [4.5]
        assert heard.health().counts["repeated"] > 0
    write(server, (now - 5 * SECOND, 5.5))
    again = source(server, position)
    async with again.open() as deliveries:
        assert speeds((await take(deliveries, 1))[0]) == [5.5]
        assert again.health().counts["events"] == 1


@pytest.mark.server
async def test_a_server_that_is_away_is_waited_for(server: Server) -> None:
    write(server, (wall_clock() - SECOND, 1.5))
    heard = source(server, topics=("lsst.sal.ESS.*", "lsst.sal.EES.*"))
    async with heard.open() as deliveries:
        await take(deliveries, 1)
        assert heard.health().problem == "efd has no topic that fits lsst.sal.EES.*"
        server.stop()
        coming = asyncio.ensure_future(take(deliveries, 1))
        await until(lambda: heard.health().state == "away")
        server.start()
        write(server, (wall_clock(), 2.5))
        assert speeds((await coming)[0]) == [2.5]
        assert heard.health().state == "ok"


def at(time: Instant) -> Event:
    return Event(TOPIC, time, {})


def test_how_far_it_came_is_written_with_what_would_be_read_again() -> None:
    place = Reached(0)
    assert len(place.new([at(100 * SECOND), at(30 * SECOND)])) == 2
    place.advance(110 * SECOND, MINUTE)
    assert place.floor == 50 * SECOND
    back = parse_position(format_position({TOPIC: place}))[TOPIC]
    assert (back.until, back.floor, back.seen) == (110 * SECOND, 50 * SECOND, {100 * SECOND})
    assert back.new([at(100 * SECOND), at(40 * SECOND), at(60 * SECOND)]) == [at(60 * SECOND)]


def test_a_position_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catcher.sources.polling.MOST_SEEN", 3)
    place = Reached(10)
    place.new([at(time) for time in range(1, 9)])
    back = parse_position(format_position({TOPIC: place}))[TOPIC]
    assert back.seen == {6, 7, 8}
    assert back.new([at(5), at(6), at(9)]) == [at(9)]
    assert parse_position("no JSON") == parse_position('{"a": 1}') == parse_position("") == {}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"topics": ()}, "hears nothing"),
        ({"every": 1}, "100ms"),
        ({"topics": ("a b",)}, "is no topic"),
    ],
)
def test_settings_that_cannot_be_used_say_so(said: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"url": "http://a", "database": "efd", "topics": ("a",)}
    with pytest.raises(CatcherError, match=words):
        PollingSettings(**{**good, **said})
