"""Brings the metrics of finished runs from the ledger to a metric store, in their order.

Each finished run with metrics stands in the ledger's outbox from the commit of its result until
the store has taken it. So a crash loses nothing, and whichever engine works next goes on. While
the store is away the outbox grows up to its bound; beyond it the oldest runs are dropped from
the outbox and counted, and their metrics are in the ledger alone.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self

from catcher.model.health import Health
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Clock, Instant, Span, to_seconds, wall_clock
from catcher.ports import Fenced, MetricStore
from catcher.stores.ledger_exports import Owed

RUNS = 500
"""Finished runs of one writing."""
FIRST_PAUSE = 0.5


class Outbox(Protocol):
    """Where finished runs wait, as the ledger keeps it; `owing` is set when there are more."""

    owing: asyncio.Event

    async def owed_points(self, runs: int) -> Owed | None: ...
    async def exported(self, through: int) -> None: ...
    async def owed(self) -> tuple[int, Instant | None]: ...
    def health(self) -> Health: ...


class Exporter:
    """An async context manager; leaving it writes what can be written within `drain`."""

    def __init__(
        self,
        outbox: Outbox,
        store: MetricStore,
        clock: Clock = wall_clock,
        longest_pause: float = 60.0,
        drain: Span = 3 * SECOND,
    ) -> None:
        self._outbox, self._store, self._clock = outbox, store, clock
        self._longest_pause, self._drain = longest_pause, to_seconds(drain)
        self._closing = asyncio.Event()
        self._waiting = 0
        self._oldest: Instant | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work(), name="metrics-exporter")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._outbox.owing.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=self._drain)
            self._task.cancel()
            await asyncio.wait({self._task})

    def health(self) -> Health:
        """The store's, with the finished runs that wait, and for how many seconds the oldest."""
        health = self._store.health()
        age = 0 if self._oldest is None else max(0, self._clock() - self._oldest) // SECOND
        dropped = self._outbox.health().counts.get("exports_dropped", 0)
        counts = {"waiting": self._waiting, "oldest_seconds": age, "dropped": dropped}
        health = replace(health, counts={**health.counts, **counts})
        if self._task is not None and self._task.done() and not self._closing.is_set():
            trouble = None if self._task.cancelled() else self._task.exception()
            return replace(health, state="away", problem=f"the exporter ended: {trouble}")
        return health

    async def _work(self) -> None:
        failures = 0
        while True:
            self._outbox.owing.clear()
            try:
                wrote = await self._write_some()
                failures = 0
            except Fenced:
                return
            except CatcherError as trouble:
                failures += 1
                await self._look()
                await self._pause(failures, getattr(trouble, "retry_after", None))
                continue
            if not wrote:
                if self._closing.is_set():
                    return
                await self._outbox.owing.wait()

    async def _write_some(self) -> bool:
        """Writes the oldest; whether there were any."""
        owed = await self._outbox.owed_points(RUNS)
        if owed is None:
            self._waiting, self._oldest = 0, None
            return False
        await self._store.write(owed.points)
        await self._outbox.exported(owed.through)
        return True

    async def _look(self) -> None:
        with suppress(CatcherError):
            self._waiting, self._oldest = await self._outbox.owed()

    async def _pause(self, failures: int, asked: Span | None) -> None:
        longest = min(self._longest_pause, FIRST_PAUSE * 2.0 ** min(failures, 20))
        seconds = max(longest * random.uniform(0.5, 1.0), to_seconds(asked or 0))
        if self._closing.is_set():
            await asyncio.sleep(min(seconds, FIRST_PAUSE))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
