"""An engine in this process on a source in this process: all of it but a broker, jobs and sinks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from catcher.app import load_site
from catcher.app.assembling import assemble
from catcher.app.kept import open_kept
from catcher.engine import Engine
from catcher.model.event import Event
from catcher.model.health import Health
from catcher.model.time import Clock, wall_clock
from catcher.ports import Delivery
from catcher.watching import SourceClock

SOURCE = "bench"


class Batches:
    """A source that delivers what it is given, as fast as it is taken, and ends."""

    name = SOURCE

    def __init__(self, batches: Iterable[list[Event]], durable: bool = False) -> None:
        self._batches = batches
        self._durable = durable

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        yield self._deliveries()

    async def _deliveries(self) -> AsyncIterator[Delivery]:
        for batch in self._batches:
            yield Delivery(self.name, batch, durable=self._durable)
            await asyncio.sleep(0)

    def health(self) -> Health:
        return Health(self.name, "bench", "ok")


class Waiting:
    """A source of what is put into it from the event loop; `end` ends it."""

    name = SOURCE

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(10_000)

    def put(self, event: Event) -> None:
        """One delivery of one event."""
        self._queue.put_nowait(event)

    def end(self) -> None:
        """Nothing more will come."""
        self._queue.put_nowait(None)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        yield self._deliveries()

    async def _deliveries(self) -> AsyncIterator[Delivery]:
        while (event := await self._queue.get()) is not None:
            yield Delivery(self.name, [event])

    def health(self) -> Health:
        return Health(self.name, "bench", "ok")


@asynccontextmanager
async def engine_on(
    source: Batches | Waiting, rules: str, folder: Path, clock: Clock = wall_clock
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
    async with AsyncExitStack() as lifetimes:
        kept = await open_kept(lifetimes, site, data, "engine-bench", clock, _unheard)
        clocks = {SOURCE: SourceClock(clock="stream", lateness=0)}
        assembly = await assemble(site, site.rules, kept, clock, clocks)
        yield assembly.engine("engine-bench", [source], lambda run: None, _unsent, _drained)


def _unheard(*standing_by: object) -> None:
    return None


def _unsent(notices: object) -> None:
    return None


async def _drained() -> None:
    return None
