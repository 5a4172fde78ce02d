"""Records delivery outcomes in the ledger without making a sink wait for it."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass

from catcher.alerting.delivery.shutdown import DrainOnShutdown
from catcher.model.alert import Notification
from catcher.model.errors import CatcherError
from catcher.model.time import SECOND, Span
from catcher.ports import Ledger, StoreUnavailable

MAX_PENDING = 20_000
INITIAL_BACKOFF: Span = SECOND // 5
MAX_BACKOFF: Span = 5 * SECOND


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """The outcome of a notification: delivered (no error), failed for now, or a dead letter."""

    notification: Notification
    error: str = ""
    is_dead_letter: bool = False

    @property
    def is_final(self) -> bool:
        """Whether it is not retried."""
        return self.is_dead_letter or not self.error


class OutcomeWriter:
    """A queue between the sink workers and the ledger; one outcome per notification, the latest.

    `run` writes forever. An unavailable ledger is retried until it is back: without the record a
    notification would be repeated after a restart. Beyond `MAX_PENDING` the oldest outcome is
    dropped and counted in `lost_counts`; that notification may be repeated.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._shutdown = DrainOnShutdown()
        self._pending: OrderedDict[str, DeliveryOutcome] = OrderedDict()
        self._wakeup = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.lost_counts: Counter[str] = Counter()

    def enqueue(self, outcome: DeliveryOutcome) -> None:
        """Queues an outcome and returns at once."""
        self._pending.pop(outcome.notification.id, None)
        self._pending[outcome.notification.id] = outcome
        if len(self._pending) > MAX_PENDING:
            _, dropped = self._pending.popitem(last=False)
            self.lost_counts[dropped.notification.sink] += dropped.is_final
        self.idle.clear()
        self._wakeup.set()

    def count_pending(self, sink: str) -> int:
        """Returns how many outcomes of a sink are not yet recorded in the ledger."""
        return sum(outcome.notification.sink == sink for outcome in self._pending.values())

    async def drain_for_shutdown(self) -> None:
        """Waits until all is written, or the ledger is unavailable; the engine is about to stop."""
        self._shutdown.start_drain()
        await self._shutdown.wait_until_drained_or_failed(self.idle, failing=False)

    async def run(self) -> None:
        """Writes outcomes in order until cancelled."""
        backoff = INITIAL_BACKOFF
        while True:
            if not self._pending:
                self.idle.set()
                self._wakeup.clear()
                await self._wakeup.wait()
            notification_id, outcome = next(iter(self._pending.items()))
            if await self._write_outcome(outcome):
                backoff = INITIAL_BACKOFF
                if self._pending.get(notification_id) is outcome:
                    del self._pending[notification_id]
            else:
                await self._shutdown.wait_backoff(backoff)
                backoff = min(2 * backoff, MAX_BACKOFF)

    async def _write_outcome(self, outcome: DeliveryOutcome) -> bool:
        """Returns whether it is done: recorded in the ledger, or rejected for good."""
        try:
            await self._ledger.record_delivery_outcome(
                outcome.notification, outcome.error, outcome.is_dead_letter
            )
        except StoreUnavailable:
            return False
        except CatcherError:
            self.lost_counts[outcome.notification.sink] += 1
        return True
