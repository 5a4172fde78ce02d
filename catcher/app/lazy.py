"""Read access to a site's ledger that opens it on first use.
Reading telemetry of an archive, on a machine where no engine ever ran, needs no ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from catcher.model.alert import Alert, AuditEntry
from catcher.model.alert_operations import Shift, Silence
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import wall_clock
from catcher.ports import DeadLetter, MetricPoint, Query

if TYPE_CHECKING:
    from catcher.stores.ledger.ledger import SqlLedger


class LazyRecords:
    """The records (`client.backend.RecordBackend`) of the ledger at an address."""

    def __init__(self, address: str, exit_stack: AsyncExitStack) -> None:
        self._address = address
        self._exit_stack = exit_stack
        self._lock = asyncio.Lock()
        self._ledger: SqlLedger | None = None

    async def _get_or_open_ledger(self) -> SqlLedger:
        async with self._lock:
            if self._ledger is None:
                from catcher.stores.ledger.ledger import SqlLedger

                ledger = SqlLedger(self._address, clock=wall_clock)
                self._ledger = await self._exit_stack.enter_async_context(ledger)
            return self._ledger

    async def list_firings(self, query: Query) -> Sequence[Firing]:
        """Returns firings of triggers."""
        return await (await self._get_or_open_ledger()).list_firings(query)

    async def list_runs(self, query: Query) -> Sequence[Run]:
        """Returns runs of jobs."""
        return await (await self._get_or_open_ledger()).list_runs(query)

    async def list_metrics(self, query: Query) -> Sequence[MetricPoint]:
        """Returns values of metrics."""
        return await (await self._get_or_open_ledger()).list_metrics(query)

    async def list_artifacts(self, query: Query) -> Sequence[ArtifactRecord]:
        """Returns the index entries of artifacts."""
        return await (await self._get_or_open_ledger()).list_artifacts(query)

    async def list_alerts(self, query: Query) -> Sequence[Alert]:
        """Returns alerts."""
        return await (await self._get_or_open_ledger()).list_alerts(query)

    async def list_audit_entries(self, query: Query) -> Sequence[AuditEntry]:
        """Returns entries of the audit log."""
        return await (await self._get_or_open_ledger()).list_audit_entries(query)

    async def list_silences(self, query: Query) -> Sequence[Silence]:
        """Returns silences."""
        return await (await self._get_or_open_ledger()).list_silences(query)

    async def list_shifts(self, query: Query) -> Sequence[Shift]:
        """Returns shifts."""
        return await (await self._get_or_open_ledger()).list_shifts(query)

    async def list_dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Returns notifications that were given up."""
        return await (await self._get_or_open_ledger()).list_dead_letters(query)
