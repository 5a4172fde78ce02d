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
from catcher.ports import MetricPoint, Query, StoreUnavailable
from catcher.stores.ledger.ledger import SqlLedger
from catcher.stores.metrics.exporter import Exporter
from catcher.stores.metrics.influxdb import InfluxMetrics, InfluxMetricSettings
from tests.servers import ServerProcess, run_victoria_metrics
from tests.stores.factories import (
    NOON,
    create_commit,
    create_firing,
    create_run,
    finish_run,
    open_ledger,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("either_database")
MAX_PENDING = 1000


def create_runs(start: int, count: int, time: int = NOON) -> list[Run]:
    """Finished runs a second apart, each with a number of its own."""
    firings = [create_firing(time + n * SECOND) for n in range(start, start + count)]
    return [
        finish_run(create_run(firing), rms=Metric(float(start + n)))
        for n, firing in enumerate(firings)
    ]


async def commit_finished(ledger: SqlLedger, runs: Sequence[Run]) -> None:
    await ledger.commit(create_commit(*(run.firing for run in runs), finished=tuple(runs)))


class FakeMetricStore:
    """A metric store that a test takes away and brings back."""

    def __init__(self, is_unavailable: bool = False) -> None:
        self.is_unavailable = is_unavailable
        self.written: list[float | None] = []
        self.write_called = asyncio.Event()
        self.write_succeeded = asyncio.Event()

    async def write(self, points: Sequence[MetricPoint]) -> None:
        self.write_called.set()
        if self.is_unavailable:
            raise StoreUnavailable("it is away")
        self.written += [point.value for point in points]
        self.write_succeeded.set()

    def health(self) -> Health:
        return Health("metrics", "metrics", "away" if self.is_unavailable else "ok")


async def test_each_finished_run_is_exported_once_and_in_order(tmp_path: Path) -> None:
    store = FakeMetricStore()
    async with open_ledger(tmp_path, max_exports=MAX_PENDING) as ledger:
        async with Exporter(ledger, store):
            for n in range(5):
                await commit_finished(ledger, create_runs(10 * n, 10))
        assert store.written == [float(n) for n in range(50)]
        assert await ledger.read_export_backlog() == (0, None)


async def test_without_a_metric_store_nothing_is_pending(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        await commit_finished(ledger, create_runs(0, 3))
        assert await ledger.read_export_backlog() == (0, None)


async def test_what_an_engine_left_pending_the_next_one_exports(tmp_path: Path) -> None:
    unavailable, available = FakeMetricStore(is_unavailable=True), FakeMetricStore()
    async with (
        open_ledger(tmp_path, "engine-1", max_exports=MAX_PENDING) as ledger,
        Exporter(ledger, unavailable, drain_timeout=0),
    ):
        await commit_finished(ledger, create_runs(0, 7))
        await unavailable.write_called.wait()
    async with open_ledger(tmp_path, "engine-2", max_exports=MAX_PENDING) as ledger:
        assert (await ledger.read_export_backlog())[0] == 7
        async with Exporter(ledger, available):
            await available.write_succeeded.wait()
        assert available.written == [float(n) for n in range(7)]


async def test_a_result_that_is_committed_again_is_pending_once(tmp_path: Path) -> None:
    (run,) = create_runs(0, 1)
    async with open_ledger(tmp_path, max_exports=MAX_PENDING) as ledger:
        commit = replace(create_commit(run.firing, finished=(run,)), token="t1")
        await ledger.commit(commit)
        await ledger.commit(commit)
        await ledger.commit(Commit(finished=(run,)))
        assert (await ledger.read_export_backlog())[0] == 1


async def test_beyond_the_bound_the_oldest_are_dropped_counted_and_still_in_the_ledger(
    tmp_path: Path,
) -> None:
    store = FakeMetricStore()
    async with open_ledger(tmp_path, max_exports=10) as ledger:
        for n in range(5):
            await commit_finished(ledger, create_runs(5 * n, 5))
        assert (await ledger.read_export_backlog())[0] == 10
        async with Exporter(ledger, store) as exporter:
            await store.write_succeeded.wait()
            assert exporter.health().counts["dropped"] == 15
        assert store.written == [float(n) for n in range(15, 25)]
        assert len(await ledger.list_metrics(Query(limit=100))) == 25


async def test_the_pending_count_and_age_are_reported(tmp_path: Path) -> None:
    store = FakeMetricStore(is_unavailable=True)
    async with open_ledger(tmp_path, max_exports=MAX_PENDING) as ledger:
        await commit_finished(ledger, create_runs(0, 4))
        async with Exporter(ledger, store, lambda: NOON + 90 * SECOND, drain_timeout=0) as exporter:
            await store.write_called.wait()
            await wait_until(lambda: exporter.health().counts["waiting"])
            health = exporter.health()
        assert health.state == "away"
        assert (health.counts["waiting"], health.counts["oldest_seconds"]) == (4, 90)


@pytest.mark.server
async def test_a_real_server_that_was_stopped_has_all_after_a_restart(tmp_path: Path) -> None:
    start = wall_clock() // SECOND * SECOND - HOUR
    with run_victoria_metrics(tmp_path / "victoria") as server:
        url = f"http://127.0.0.1:{server.port}"
        async with (
            InfluxMetrics(InfluxMetricSettings(url, "catcher", timeout=5.0)) as store,
            open_ledger(tmp_path, max_exports=MAX_PENDING) as ledger,
        ):
            async with Exporter(
                ledger, store, max_delay=0.1, drain_timeout=30 * SECOND
            ) as exporter:
                await commit_finished(ledger, create_runs(0, 20, start))
                await wait_until(lambda: exporter.health().counts["written"] == 20)
                server.stop()
                await commit_finished(ledger, create_runs(20, 20, start))
                await wait_until(lambda: exporter.health().counts["waiting"] == 20)
                server.start()
            assert await ledger.read_export_backlog() == (0, None)
        assert await read_server_values(server, start, 40) == [float(n) for n in range(40)]


async def read_server_values(server: ServerProcess, since: int, count: int) -> list[float]:
    """The samples that the server has, once there are so many, in the order of time."""
    address = f"http://127.0.0.1:{server.port}"
    parameters = {"match[]": '{__name__="catcher.mount-jitter_rms"}', "start": str(since // SECOND)}
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        for pause in itertools.repeat(0.05):
            await client.get(f"{address}/internal/force_flush")
            response = await client.get(f"{address}/api/v1/export", params=parameters)
            rows = [json.loads(line) for line in response.text.splitlines()]
            values = [value for row in rows for value in row["values"]]
            if len(values) >= count:
                return values
            await asyncio.sleep(pause)
    raise AssertionError
