"""The stream and the archive are one series: no sample twice, none missing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from catcher.model.errors import NotFound
from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.telemetry import build_index_predicate
from catcher.model.time import MILLISECOND, SECOND
from catcher.ports import StoreUnavailable
from catcher.stores.history.embedded import EmbeddedHistory
from catcher.stores.history.hybrid import HybridHistory
from catcher.stores.history.influxdb import InfluxHistory, InfluxSettings
from tests.servers import ServerProcess, query_influx, run_influxd, write_influx
from tests.stores.factories import NOON, FakeClock

WIND = "lsst.sal.ESS.airFlow"
ALL_TIME = (0, 2**62)
pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with run_influxd(tmp_path_factory.mktemp("influx")) as server:
        yield server


@dataclass
class HybridHistoryHarness:
    """A stream at 1 Hz of two indexes, an archive that has it `late` seconds later."""

    history: HybridHistory
    server: ServerProcess
    clock: FakeClock
    state: HealthState = "ok"
    since: int = 0
    messages: list[int] = field(default_factory=list)

    def create_event(self, n: int, index: int) -> Event:
        time = NOON + n * SECOND + (index - 301) * MILLISECOND
        return Event(WIND, time, {"salIndex": index, "speed": float(n)}, "efd")

    async def stream_seconds(self, *seconds: int) -> None:
        for n in seconds:
            self.clock.now = NOON + n * SECOND
            await self.history.append([self.create_event(n, 301), self.create_event(n, 302)])

    def archive_seconds(self, *seconds: int) -> None:
        write_influx(
            self.server.port,
            "efd",
            [
                f"{WIND} salIndex={event.fields['salIndex']}"
                f"i,speed={event.fields['speed']} {event.time}"
                for n in seconds
                for event in (self.create_event(n, 301), self.create_event(n, 302))
            ],
        )

    async def read_speeds(self, start: int, end: int, index: int = 301) -> list[float]:
        span = (NOON + start * SECOND, NOON + end * SECOND + MILLISECOND)
        return (await self.history.read(WIND, ["speed"], *span, build_index_predicate(index)))[
            "speed"
        ].tolist()


@pytest.fixture
async def hybrid(
    influx_server: ServerProcess, tmp_path: Path
) -> AsyncIterator[HybridHistoryHarness]:
    query_influx(influx_server.port, "DROP DATABASE efd")
    query_influx(influx_server.port, "CREATE DATABASE efd")
    clock = FakeClock()
    settings = InfluxSettings(f"http://127.0.0.1:{influx_server.port}", "efd", lag=30 * SECOND)
    async with (
        EmbeddedHistory(tmp_path, clock=clock) as live,
        InfluxHistory(settings, clock) as archive,
    ):
        history = HybridHistory(live, archive, clock)
        harness = HybridHistoryHarness(history, influx_server, clock)
        history.sources = lambda: {"efd": Health("efd", "mqtt", harness.state, harness.since)}
        yield harness


async def test_what_the_stream_has_seen_is_not_queried_from_the_archive(
    hybrid: HybridHistoryHarness,
) -> None:
    await hybrid.stream_seconds(*range(100, 120))
    assert await hybrid.read_speeds(102, 119) == [float(n) for n in range(102, 120)]
    assert hybrid.history.archive.health().counts["queries"] == 0


async def test_stream_and_archive_join_without_a_gap(hybrid: HybridHistoryHarness) -> None:
    hybrid.archive_seconds(*range(90, 112))
    await hybrid.stream_seconds(*range(100, 120))
    for index in (301, 302):
        assert await hybrid.read_speeds(90, 119, index) == [float(n) for n in range(90, 120)]
    all_rows = await hybrid.history.read(WIND, [], *ALL_TIME)
    assert len(all_rows) == 60
    assert all_rows.time.tolist() == sorted(set(all_rows.time.tolist()))
    newest = await hybrid.history.read_latest(WIND, ["speed"], 25, where=build_index_predicate(301))
    assert newest["speed"].tolist() == [float(n) for n in range(95, 120)]
    before = await hybrid.history.read_latest(
        WIND, ["speed"], 2, NOON + 95 * SECOND, build_index_predicate(301)
    )
    assert before["speed"].tolist() == [94.0, 95.0]


async def test_times_that_went_through_a_float_are_the_same_sample(
    hybrid: HybridHistoryHarness,
) -> None:
    since = NOON + 101 * SECOND
    write_influx(hybrid.server.port, "efd", [
        f"{WIND} salIndex=301i,speed=101 {since - 119}",
        f"{WIND} salIndex=301i,speed=100 {since - SECOND - 119}",
    ])  # fmt: skip
    await hybrid.stream_seconds(*range(100, 105))
    assert await hybrid.read_speeds(99, 104) == [100.0, 101.0, 102.0, 103.0, 104.0]


async def test_what_a_source_missed_is_read_from_the_archive(hybrid: HybridHistoryHarness) -> None:
    hybrid.archive_seconds(*range(90, 125))
    await hybrid.stream_seconds(*range(100, 110))
    hybrid.state = "away"
    assert await hybrid.history.find_trusted_start(WIND) is None
    assert await hybrid.read_speeds(105, 115) == [float(n) for n in range(105, 116)]
    hybrid.state, hybrid.since = "ok", NOON + 115 * SECOND
    await hybrid.stream_seconds(*range(115, 130))
    assert await hybrid.read_speeds(95, 129) == [float(n) for n in range(95, 130)]


async def test_an_earlier_engines_leftovers_do_not_count_as_complete(
    hybrid: HybridHistoryHarness,
) -> None:
    hybrid.archive_seconds(*range(90, 125))
    await hybrid.history.live.append([hybrid.create_event(n, 301) for n in (91, 95)])
    await hybrid.stream_seconds(*range(120, 130))
    assert await hybrid.read_speeds(90, 129) == [float(n) for n in range(90, 130)]


async def test_complete_is_what_the_archive_has_up_to_where_the_stream_continues(
    hybrid: HybridHistoryHarness,
) -> None:
    hybrid.clock.now = NOON
    await hybrid.stream_seconds(100, 101, 102)
    assert await hybrid.history.get_watermark(WIND) == NOON + 72 * SECOND
    hybrid.archive_seconds(*range(90, 102))
    assert await hybrid.history.get_watermark(WIND) == NOON + 102 * SECOND + MILLISECOND


async def test_a_topic_that_only_the_stream_has_is_read_from_it(
    hybrid: HybridHistoryHarness,
) -> None:
    await hybrid.stream_seconds(*range(100, 105))
    assert await hybrid.read_speeds(90, 104) == [float(n) for n in range(100, 105)]
    assert [field.name for field in await hybrid.history.list_fields(WIND)] == ["salIndex", "speed"]
    assert await hybrid.history.list_topics() == [WIND]
    with pytest.raises(NotFound):
        await hybrid.history.list_fields("lsst.sal.ESS.airflow")
    assert await hybrid.history.find_latest_time(WIND) == NOON + 104 * SECOND + MILLISECOND


async def test_with_the_archive_unavailable_the_stream_serves_what_it_has(
    hybrid: HybridHistoryHarness, tmp_path: Path
) -> None:
    unreachable = InfluxSettings("http://127.0.0.1:9", "efd")
    async with InfluxHistory(unreachable, hybrid.clock) as unavailable:
        hybrid.history.archive = unavailable
        await hybrid.stream_seconds(*range(100, 120))
        assert await hybrid.read_speeds(102, 119) == [float(n) for n in range(102, 120)]
        with pytest.raises(StoreUnavailable):
            await hybrid.read_speeds(90, 119)
