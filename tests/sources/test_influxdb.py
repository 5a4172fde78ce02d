"""An InfluxDB that is asked again and again: late rows come once, and a restart goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.time import MILLISECOND, MINUTE, SECOND, Instant, wall_clock
from catcher.ports import EventBatch
from catcher.sources.influxdb import (
    PollingSettings,
    PollingSource,
    PollProgress,
    format_position,
    parse_position,
)
from catcher.stores.history.influxdb import InfluxHistory, InfluxSettings
from tests.servers import ServerProcess, run_influxd, write_influx

TOPIC = "lsst.sal.ESS.airFlow"


@pytest.fixture
def influx_server(tmp_path: Path) -> Iterator[ServerProcess]:
    with run_influxd(tmp_path / "influx") as server:
        yield server


def create_source(server: ServerProcess, position: str = "", **changes: Any) -> PollingSource:
    url = f"http://127.0.0.1:{server.port}"
    options = {"url": url, "database": "efd", "topics": ("lsst.sal.ESS.*",), "first": 5 * MINUTE}
    options |= {"every": 100 * MILLISECOND, **changes}
    store = InfluxHistory(InfluxSettings(url=url, database="efd"), wall_clock)
    return PollingSource("efd", PollingSettings(**options), wall_clock, store, position)  # type: ignore[arg-type]


def write_rows(server: ServerProcess, *rows: tuple[Instant, float], topic: str = TOPIC) -> None:
    lines = [f'{topic} speed={speed},salIndex=301i,name="dome" {time}' for time, speed in rows]
    write_influx(server.port, "efd", lines)


async def read_events(batches: AsyncIterator[EventBatch], count: int) -> tuple[list[Event], str]:
    events: list[Event] = []
    position = ""
    async with asyncio.timeout(30):
        while len(events) < count:
            batch = await anext(batches)
            events += batch.events
            position = batch.position or position
    return events, position


async def wait_until(condition: Callable[[], Any]) -> None:
    async def poll_periodically() -> AsyncIterator[None]:
        while True:
            yield
            await asyncio.sleep(0.01)

    async with asyncio.timeout(30):
        async for _ in poll_periodically():
            if condition():
                return


def list_speeds(events: list[Event]) -> list[Any]:
    return [event.fields["speed"] for event in events]


@pytest.mark.server
async def test_rows_are_read_once_in_order_also_late_ones(influx_server: ServerProcess) -> None:
    now = wall_clock()
    write_rows(influx_server, (now - 20 * SECOND, 1.5), (now - 10 * SECOND, 3.5))
    write_rows(influx_server, (now - 15 * SECOND, 2.5), topic="lsst.sal.ESS.other")
    source = create_source(influx_server)
    async with source.open() as batches:
        events, _ = await read_events(batches, 3)
        assert list_speeds(events) == [1.5, 2.5, 3.5]
        assert (events[0].topic, events[0].source) == (TOPIC, "efd")
        assert events[0].fields == {"speed": 1.5, "salIndex": 301, "name": "dome"}
        # Readable only now, and older than what came before.
        write_rows(influx_server, (now - 12 * SECOND, 4.5), (now - 10 * SECOND, 3.5))
        events, position = await read_events(batches, 1)
        assert list_speeds(events) == [4.5]
        assert source.health().counts["repeated"] > 0
    write_rows(influx_server, (now - 5 * SECOND, 5.5))
    second_source = create_source(influx_server, position)
    async with second_source.open() as batches:
        assert list_speeds((await read_events(batches, 1))[0]) == [5.5]
        assert second_source.health().counts["events"] == 1


@pytest.mark.server
async def test_an_unavailable_server_is_waited_for(influx_server: ServerProcess) -> None:
    write_rows(influx_server, (wall_clock() - SECOND, 1.5))
    source = create_source(influx_server, topics=("lsst.sal.ESS.*", "lsst.sal.EES.*"))
    async with source.open() as batches:
        await read_events(batches, 1)
        assert source.health().problem == "efd has no topic that fits lsst.sal.EES.*"
        influx_server.stop()
        task = asyncio.ensure_future(read_events(batches, 1))
        await wait_until(lambda: source.health().state == "away")
        influx_server.start()
        write_rows(influx_server, (wall_clock(), 2.5))
        assert list_speeds((await task)[0]) == [2.5]
        assert source.health().state == "ok"


def create_event(time: Instant) -> Event:
    return Event(TOPIC, time, {})


def test_a_position_includes_what_would_be_read_again() -> None:
    progress = PollProgress(0)
    assert (
        len(progress.filter_unseen_events([create_event(100 * SECOND), create_event(30 * SECOND)]))
        == 2
    )
    progress.mark_read_until(110 * SECOND, MINUTE)
    assert progress.floor == 50 * SECOND
    restored = parse_position(format_position({TOPIC: progress}))[TOPIC]
    assert (restored.read_until, restored.floor, restored.seen_times) == (
        110 * SECOND,
        50 * SECOND,
        {100 * SECOND},
    )
    assert restored.filter_unseen_events(
        [create_event(100 * SECOND), create_event(40 * SECOND), create_event(60 * SECOND)]
    ) == [create_event(60 * SECOND)]


def test_a_position_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catcher.sources.influxdb.MAX_SEEN_TIMES", 3)
    progress = PollProgress(10)
    progress.filter_unseen_events([create_event(time) for time in range(1, 9)])
    restored = parse_position(format_position({TOPIC: progress}))[TOPIC]
    assert restored.seen_times == {6, 7, 8}
    assert restored.filter_unseen_events([create_event(5), create_event(6), create_event(9)]) == [
        create_event(9)
    ]
    assert parse_position("no JSON") == parse_position('{"a": 1}') == parse_position("") == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topics": ()}, "hears nothing"),
        ({"every": 1}, "100ms"),
        ({"topics": ("a b",)}, "is no topic"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(options: dict[str, Any], message: str) -> None:
    valid: dict[str, Any] = {"url": "http://a", "database": "efd", "topics": ("a",)}
    with pytest.raises(CatcherError, match=message):
        PollingSettings(**{**valid, **options})
