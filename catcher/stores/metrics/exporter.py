"""Exports the metrics of finished runs from the ledger to a metric store, in order.

Each finished run with metrics is in the ledger's outbox from the commit of its result until the
store has accepted it. So a crash loses nothing, and the next active engine continues. While the
store is unavailable the outbox grows up to its limit; beyond that the oldest runs are dropped from
the outbox and counted, and their metrics are only in the ledger.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self

from catcher.model.errors import CatcherError
from catcher.model.health import Health
from catcher.model.time import SECOND, Clock, Instant, Span, nanoseconds_to_seconds, wall_clock
from catcher.ports import Fenced, MetricStore
from catcher.stores.ledger.metric_outbox import ExportBatch

RUNS_PER_BATCH = 500
"""Finished runs per write."""
INITIAL_DELAY = 0.5


class Outbox(Protocol):
    """The ledger's queue of finished runs; `has_pending` is set when more are added."""

    has_pending: asyncio.Event

    async def read_export_batch(self, runs: int) -> ExportBatch | None: ...
    async def delete_exported(self, through: int) -> None: ...
    async def read_export_backlog(self) -> tuple[int, Instant | None]: ...
    def health(self) -> Health: ...


class Exporter:
    """An async context manager; leaving it writes what it can within `drain_timeout`."""

    def __init__(
        self,
        outbox: Outbox,
        store: MetricStore,
        clock: Clock = wall_clock,
        max_delay: float = 60.0,
        drain_timeout: Span = 3 * SECOND,
    ) -> None:
        self._outbox, self._store, self._clock = outbox, store, clock
        self._max_delay, self._drain_timeout = max_delay, nanoseconds_to_seconds(drain_timeout)
        self._closing = asyncio.Event()
        self._pending_runs = 0
        self._oldest_time: Instant | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._export_loop(), name="metrics-exporter")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._outbox.has_pending.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=self._drain_timeout)
            self._task.cancel()
            await asyncio.wait({self._task})

    def health(self) -> Health:
        """Returns the store's health, with the number of waiting runs and the oldest's age in
        seconds.
        """
        health = self._store.health()
        age = (
            0 if self._oldest_time is None else max(0, self._clock() - self._oldest_time) // SECOND
        )
        dropped = self._outbox.health().counts.get("exports_dropped", 0)
        counts = {"waiting": self._pending_runs, "oldest_seconds": age, "dropped": dropped}
        health = replace(health, counts={**health.counts, **counts})
        if self._task is not None and self._task.done() and not self._closing.is_set():
            error = None if self._task.cancelled() else self._task.exception()
            return replace(health, state="away", problem=f"the exporter ended: {error}")
        return health

    async def _export_loop(self) -> None:
        failures = 0
        while True:
            self._outbox.has_pending.clear()
            try:
                wrote_batch = await self._export_next_batch()
                failures = 0
            except Fenced:
                return
            except CatcherError as error:
                failures += 1
                await self._update_backlog()
                await self._wait_before_retry(failures, getattr(error, "retry_after", None))
                continue
            if not wrote_batch:
                if self._closing.is_set():
                    return
                await self._outbox.has_pending.wait()

    async def _export_next_batch(self) -> bool:
        """Writes the oldest runs; True if there were any."""
        batch = await self._outbox.read_export_batch(RUNS_PER_BATCH)
        if batch is None:
            self._pending_runs, self._oldest_time = 0, None
            return False
        await self._store.write(batch.points)
        await self._outbox.delete_exported(batch.through)
        return True

    async def _update_backlog(self) -> None:
        with suppress(CatcherError):
            self._pending_runs, self._oldest_time = await self._outbox.read_export_backlog()

    async def _wait_before_retry(self, failures: int, retry_after: Span | None) -> None:
        max_delay = min(self._max_delay, INITIAL_DELAY * 2.0 ** min(failures, 20))
        delay = max(max_delay * random.uniform(0.5, 1.0), nanoseconds_to_seconds(retry_after or 0))
        if self._closing.is_set():
            await asyncio.sleep(min(delay, INITIAL_DELAY))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._closing.wait()
