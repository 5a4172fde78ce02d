"""An engine in this process on a source in this process: all of it but a broker, jobs and sinks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from catcher.app import load_site
from catcher.app.composition import create_engine_builder
from catcher.app.stores import open_stores
from catcher.engine.engine import Engine
from catcher.evaluation import SourceClock
from catcher.model.event import Event
from catcher.model.health import Health
from catcher.model.time import Clock, wall_clock
from catcher.ports import EventBatch

SOURCE = "bench"


class BatchSource:
    """A source that delivers what it is given, as fast as it is taken, and ends."""

    name = SOURCE

    def __init__(self, batches: Iterable[list[Event]], durable: bool = False) -> None:
        self._batches = batches
        self._durable = durable

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[EventBatch]]:
        yield self._iter_batches()

    async def _iter_batches(self) -> AsyncIterator[EventBatch]:
        for batch in self._batches:
            yield EventBatch(self.name, batch, durable=self._durable)
            await asyncio.sleep(0)

    def health(self) -> Health:
        return Health(self.name, "bench", "ok")


class QueueSource:
    """A source of what is put into it from the event loop; `close` ends it."""

    name = SOURCE

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(10_000)

    def put(self, event: Event) -> None:
        """One delivery of one event."""
        self._queue.put_nowait(event)

    def close(self) -> None:
        """Nothing more will come."""
        self._queue.put_nowait(None)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[EventBatch]]:
        yield self._iter_batches()

    async def _iter_batches(self) -> AsyncIterator[EventBatch]:
        while (event := await self._queue.get()) is not None:
            yield EventBatch(self.name, [event])

    def health(self) -> Health:
        return Health(self.name, "bench", "ok")


@asynccontextmanager
async def open_engine_on(
    source: BatchSource | QueueSource, rules: str, folder: Path, clock: Clock = wall_clock
) -> AsyncIterator[Engine]:
    """An engine with its ledger in a folder; the caller runs it."""
    (folder / "rules").mkdir(parents=True)
    (folder / "catcher.yaml").write_text("site: bench\n")
    (folder / "rules" / "rules.yaml").write_text(rules)
    data = folder / "data"
    data.mkdir()
    site = load_site(folder)
    if site.errors:
        raise RuntimeError(str(site.errors[0]))
    async with AsyncExitStack() as stack:
        stores = await open_stores(stack, site, data, "engine-bench", clock, _ignore_failover)
        clocks = {SOURCE: SourceClock(clock="stream", lateness=0)}
        builder = await create_engine_builder(site, site.rules, stores, clock, clocks)
        yield builder.build_engine(
            "engine-bench", [source], lambda run: None, _discard_notifications, _drain_nothing
        )


def _ignore_failover(*_args: object) -> None:
    return None


def _discard_notifications(notifications: object) -> None:
    return None


async def _drain_nothing() -> None:
    return None
