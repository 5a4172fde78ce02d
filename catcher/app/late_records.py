"""A site's ledger to read, opened when it is first asked.

Whoever reads telemetry of an archive, on a machine where no engine ever ran, needs none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from catcher.model.alert import Alert, AuditEntry
from catcher.model.desk import Shift, Silence
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import wall_clock
from catcher.ports import DeadLetter, MetricPoint, Query

if TYPE_CHECKING:
    from catcher.stores.ledger import SqlLedger


class LateRecords:
    """The records (`client.reading.Records`) of the ledger at an address."""

    def __init__(self, address: str, lifetimes: AsyncExitStack) -> None:
        self._address = address
        self._lifetimes = lifetimes
        self._turn = asyncio.Lock()
        self._ledger: SqlLedger | None = None

    async def _opened(self) -> SqlLedger:
        async with self._turn:
            if self._ledger is None:
                from catcher.stores.ledger import SqlLedger

                ledger = SqlLedger(self._address, clock=wall_clock)
                self._ledger = await self._lifetimes.enter_async_context(ledger)
            return self._ledger

    async def firings(self, query: Query) -> Sequence[Firing]:
        """Decisions of triggers."""
        return await (await self._opened()).firings(query)

    async def runs(self, query: Query) -> Sequence[Run]:
        """Executions of jobs."""
        return await (await self._opened()).runs(query)

    async def metrics(self, query: Query) -> Sequence[MetricPoint]:
        """Values of metrics."""
        return await (await self._opened()).metrics(query)

    async def artifacts(self, query: Query) -> Sequence[ArtifactRecord]:
        """The index of what was kept."""
        return await (await self._opened()).artifacts(query)

    async def alerts(self, query: Query) -> Sequence[Alert]:
        """Alerts."""
        return await (await self._opened()).alerts(query)

    async def audit(self, query: Query) -> Sequence[AuditEntry]:
        """Who did what when."""
        return await (await self._opened()).audit(query)

    async def silences(self, query: Query) -> Sequence[Silence]:
        """Silences."""
        return await (await self._opened()).silences(query)

    async def shifts(self, query: Query) -> Sequence[Shift]:
        """Who was on shift."""
        return await (await self._opened()).shifts(query)

    async def dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Notices that were given up."""
        return await (await self._opened()).dead_letters(query)
