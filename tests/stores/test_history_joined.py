"""The stream and the archive are one series: no sample twice, none missing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.problem import Unknown
from catcher.model.telemetry import indexed
from catcher.model.time import MILLISECOND, SECOND
from catcher.ports import StoreAway
from catcher.stores.history import EmbeddedHistory
from catcher.stores.history_influx import InfluxHistory, InfluxSettings
from catcher.stores.history_joined import JoinedHistory
from tests.servers import Server, influx_ask, influx_write, influxd
from tests.stores.making import NOON, FakeClock

WIND = "lsst.sal.ESS.airFlow"
ALWAYS = (0, 2**62)
pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with influxd(tmp_path_factory.mktemp("influx")) as running:
        yield running


@dataclass
class Place:
    """A stream at 1 Hz of two indexes, an archive that has it `late` seconds later."""

    history: JoinedHistory
    server: Server
    clock: FakeClock
    state: HealthState = "ok"
    since: int = 0
    told: list[int] = field(default_factory=list)

    def event(self, n: int, index: int) -> Event:
        time = NOON + n * SECOND + (index - 301) * MILLISECOND
        return Event(WIND, time, {"salIndex": index, "speed": float(n)}, "efd")

    async def stream(self, *seconds: int) -> None:
        for n in seconds:
            self.clock.now = NOON + n * SECOND
            await self.history.append([self.event(n, 301), self.event(n, 302)])

    def archive(self, *seconds: int) -> None:
        influx_write(self.server.port, "efd", [
            f"{WIND} salIndex={one.fields['salIndex']}i,speed={one.fields['speed']} {one.time}"
            for n in seconds for one in (self.event(n, 301), self.event(n, 302))
        ])  # fmt: skip

    async def speeds(self, start: int, end: int, index: int = 301) -> list[float]:
        span = (NOON + start * SECOND, NOON + end * SECOND + MILLISECOND)
        return (await self.history.read(WIND, ["speed"], *span, indexed(index)))["speed"].tolist()


@pytest.fixture
async def place(server: Server, tmp_path: Path) -> AsyncIterator[Place]:
    influx_ask(server.port, "DROP DATABASE efd")
    influx_ask(server.port, "CREATE DATABASE efd")
    clock = FakeClock()
    settings = InfluxSettings(f"http://127.0.0.1:{server.port}", "efd", lag=30 * SECOND)
    async with (
        EmbeddedHistory(tmp_path, clock=clock) as live,
        InfluxHistory(settings, clock) as archive,
    ):
        history = JoinedHistory(live, archive, clock)
        made = Place(history, server, clock)
        history.sources = lambda: {"efd": Health("efd", "mqtt", made.state, made.since)}
        yield made


async def test_what_the_stream_has_seen_is_not_asked_of_the_archive(place: Place) -> None:
    await place.stream(*range(100, 120))
    assert await place.speeds(102, 119) == [float(n) for n in range(102, 120)]
    assert place.history.archive.health().counts["queries"] == 0


async def test_stream_and_archive_join_without_a_seam(place: Place) -> None:
    place.archive(*range(90, 112))
    await place.stream(*range(100, 120))
    for index in (301, 302):
        assert await place.speeds(90, 119, index) == [float(n) for n in range(90, 120)]
    everything = await place.history.read(WIND, [], *ALWAYS)
    assert len(everything) == 60
    assert everything.time.tolist() == sorted(set(everything.time.tolist()))
    newest = await place.history.newest(WIND, ["speed"], 25, where=indexed(301))
    assert newest["speed"].tolist() == [float(n) for n in range(95, 120)]
    before = await place.history.newest(WIND, ["speed"], 2, NOON + 95 * SECOND, indexed(301))
    assert before["speed"].tolist() == [94.0, 95.0]


async def test_times_that_went_through_a_float_are_the_same_sample(place: Place) -> None:
    since = NOON + 101 * SECOND
    influx_write(place.server.port, "efd", [
        f"{WIND} salIndex=301i,speed=101 {since - 119}",
        f"{WIND} salIndex=301i,speed=100 {since - SECOND - 119}",
    ])  # fmt: skip
    await place.stream(*range(100, 105))
    assert await place.speeds(99, 104) == [100.0, 101.0, 102.0, 103.0, 104.0]


async def test_what_a_source_missed_is_read_from_the_archive(place: Place) -> None:
    place.archive(*range(90, 125))
    await place.stream(*range(100, 110))
    place.state = "away"
    assert await place.history.trusted_from(WIND) is None
    assert await place.speeds(105, 115) == [float(n) for n in range(105, 116)]
    place.state, place.since = "ok", NOON + 115 * SECOND
    await place.stream(*range(115, 130))
    assert await place.speeds(95, 129) == [float(n) for n in range(95, 130)]


async def test_an_earlier_engines_leftovers_do_not_stand_for_the_whole(place: Place) -> None:
    place.archive(*range(90, 125))
    await place.history.live.append([place.event(n, 301) for n in (91, 95)])
    await place.stream(*range(120, 130))
    assert await place.speeds(90, 129) == [float(n) for n in range(90, 130)]


async def test_whole_is_what_the_archive_has_up_to_where_the_stream_goes_on(place: Place) -> None:
    place.clock.now = NOON
    await place.stream(100, 101, 102)
    assert await place.history.watermark(WIND) == NOON + 72 * SECOND
    place.archive(*range(90, 102))
    assert await place.history.watermark(WIND) == NOON + 102 * SECOND + MILLISECOND


async def test_a_topic_that_only_the_stream_has_is_read_from_it(place: Place) -> None:
    await place.stream(*range(100, 105))
    assert await place.speeds(90, 104) == [float(n) for n in range(100, 105)]
    assert [one.name for one in await place.history.fields(WIND)] == ["salIndex", "speed"]
    assert await place.history.topics() == [WIND]
    with pytest.raises(Unknown):
        await place.history.fields("lsst.sal.ESS.airflow")
    assert await place.history.latest(WIND) == NOON + 104 * SECOND + MILLISECOND


async def test_with_the_archive_away_the_stream_serves_what_it_has(
    place: Place, tmp_path: Path
) -> None:
    nowhere = InfluxSettings("http://127.0.0.1:9", "efd")
    async with InfluxHistory(nowhere, place.clock) as away:
        place.history.archive = away
        await place.stream(*range(100, 120))
        assert await place.speeds(102, 119) == [float(n) for n in range(102, 120)]
        with pytest.raises(StoreAway):
            await place.speeds(90, 119)
