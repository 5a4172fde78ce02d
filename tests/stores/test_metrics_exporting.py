"""Metrics wait in the ledger until a store has taken them, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from catcher.model.commit import Commit
from catcher.model.health import Health
from catcher.model.result import Metric
from catcher.model.run import Run
from catcher.model.time import HOUR, SECOND, wall_clock
from catcher.ports import MetricPoint, Query, StoreAway
from catcher.stores.ledger import SqlLedger
from catcher.stores.metrics_exporting import Exporter
from catcher.stores.metrics_influx import InfluxMetrics, InfluxMetricSettings
from tests.servers import Server, victoria_metrics
from tests.stores.making import NOON, commit_of, done, firing_at, ledger_at, pending, until

pytestmark = pytest.mark.usefixtures("either_database")
MANY = 1000


def runs_from(start: int, count: int, time: int = NOON) -> list[Run]:
    """Finished runs a second apart, each with a number of its own."""
    firings = [firing_at(time + n * SECOND) for n in range(start, start + count)]
    return [done(pending(firing), rms=Metric(float(start + n))) for n, firing in enumerate(firings)]


async def finish(ledger: SqlLedger, runs: Sequence[Run]) -> None:
    await ledger.commit(commit_of(*(run.firing for run in runs), finished=tuple(runs)))


class Store:
    """A metric store that a test takes away and brings back."""

    def __init__(self, away: bool = False) -> None:
        self.away = away
        self.taken: list[float | None] = []
        self.asked = asyncio.Event()
        self.took = asyncio.Event()

    async def write(self, points: Sequence[MetricPoint]) -> None:
        self.asked.set()
        if self.away:
            raise StoreAway("it is away")
        self.taken += [point.value for point in points]
        self.took.set()

    def health(self) -> Health:
        return Health("metrics", "metrics", "away" if self.away else "ok")


async def test_each_finished_run_is_exported_once_and_in_order(tmp_path: Path) -> None:
    store = Store()
    async with ledger_at(tmp_path, exports=MANY) as ledger:
        async with Exporter(ledger, store):
            for n in range(5):
                await finish(ledger, runs_from(10 * n, 10))
        assert store.taken == [float(n) for n in range(50)]
        assert await ledger.owed() == (0, None)


async def test_without_a_metric_store_nothing_is_owed(tmp_path: Path) -> None:
    async with ledger_at(tmp_path) as ledger:
        await finish(ledger, runs_from(0, 3))
        assert await ledger.owed() == (0, None)


async def test_what_an_engine_owed_the_next_one_brings(tmp_path: Path) -> None:
    away, back = Store(away=True), Store()
    async with (
        ledger_at(tmp_path, "engine-1", exports=MANY) as ledger,
        Exporter(ledger, away, drain=0),
    ):
        await finish(ledger, runs_from(0, 7))
        await away.asked.wait()
    async with ledger_at(tmp_path, "engine-2", exports=MANY) as ledger:
        assert (await ledger.owed())[0] == 7
        async with Exporter(ledger, back):
            await back.took.wait()
        assert back.taken == [float(n) for n in range(7)]


async def test_a_result_that_is_committed_again_is_owed_once(tmp_path: Path) -> None:
    (run,) = runs_from(0, 1)
    async with ledger_at(tmp_path, exports=MANY) as ledger:
        commit = replace(commit_of(run.firing, finished=(run,)), token="t1")
        await ledger.commit(commit)
        await ledger.commit(commit)
        await ledger.commit(Commit(finished=(run,)))
        assert (await ledger.owed())[0] == 1


async def test_beyond_the_bound_the_oldest_are_dropped_counted_and_still_in_the_ledger(
    tmp_path: Path,
) -> None:
    store = Store()
    async with ledger_at(tmp_path, exports=10) as ledger:
        for n in range(5):
            await finish(ledger, runs_from(5 * n, 5))
        assert (await ledger.owed())[0] == 10
        async with Exporter(ledger, store) as exporter:
            await store.took.wait()
            assert exporter.health().counts["dropped"] == 15
        assert store.taken == [float(n) for n in range(15, 25)]
        assert len(await ledger.metrics(Query(limit=100))) == 25


async def test_how_much_waits_and_for_how_long_is_shown(tmp_path: Path) -> None:
    store = Store(away=True)
    async with ledger_at(tmp_path, exports=MANY) as ledger:
        await finish(ledger, runs_from(0, 4))
        async with Exporter(ledger, store, lambda: NOON + 90 * SECOND, drain=0) as exporter:
            await store.asked.wait()
            await until(lambda: exporter.health().counts["waiting"])
            health = exporter.health()
        assert health.state == "away"
        assert (health.counts["waiting"], health.counts["oldest_seconds"]) == (4, 90)


@pytest.mark.server
async def test_a_real_server_that_was_stopped_has_all_once_it_is_back(tmp_path: Path) -> None:
    lately = wall_clock() // SECOND * SECOND - HOUR
    with victoria_metrics(tmp_path / "victoria") as server:
        url = f"http://127.0.0.1:{server.port}"
        async with (
            InfluxMetrics(InfluxMetricSettings(url, "catcher", timeout=5.0)) as store,
            ledger_at(tmp_path, exports=MANY) as ledger,
        ):
            async with Exporter(ledger, store, longest_pause=0.1, drain=30 * SECOND) as exporter:
                await finish(ledger, runs_from(0, 20, lately))
                await until(lambda: exporter.health().counts["written"] == 20)
                server.stop()
                await finish(ledger, runs_from(20, 20, lately))
                await until(lambda: exporter.health().counts["waiting"] == 20)
                server.start()
            assert await ledger.owed() == (0, None)
        assert await values_on(server, lately, 40) == [float(n) for n in range(40)]


async def values_on(server: Server, since: int, count: int) -> list[float]:
    """The samples that the server has, once there are so many, in the order of time."""
    address = f"http://127.0.0.1:{server.port}"
    match = {"match[]": '{__name__="catcher.mount-jitter_rms"}', "start": str(since // SECOND)}
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        for pause in itertools.repeat(0.05):
            await client.get(f"{address}/internal/force_flush")
            answer = await client.get(f"{address}/api/v1/export", params=match)
            rows = [json.loads(line) for line in answer.text.splitlines()]
            found = [value for row in rows for value in row["values"]]
            if len(found) >= count:
                return found
            await asyncio.sleep(pause)
    raise AssertionError
