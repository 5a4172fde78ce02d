"""The shutdown of a sink worker: one immediate last attempt; the rest is left to the next start."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from catcher.model.time import SECOND, Span, nanoseconds_to_seconds

LAST_ATTEMPT_TIMEOUT: Span = 2 * SECOND
"""How long the last attempt at an already failing sink may take."""


class DrainOnShutdown:
    """Decides when the shutdown need not wait for a worker any longer.

    `retry_forbidden`: the sink asked not to be retried before the current backoff ends.
    """

    def __init__(self) -> None:
        self.retry_forbidden = False
        self._stopping, self._last_attempt_failed = asyncio.Event(), asyncio.Event()

    def start_drain(self) -> None:
        """Starts the shutdown."""
        self._stopping.set()

    async def wait_backoff(self, backoff: Span) -> None:
        """Waits between a failed attempt and the next; a shutdown cuts the wait short."""
        is_last_attempt = self._stopping.is_set()
        if not is_last_attempt:
            with suppress(TimeoutError):
                async with asyncio.timeout(nanoseconds_to_seconds(backoff)):
                    await self._stopping.wait()
        if is_last_attempt or (self._stopping.is_set() and self.retry_forbidden):
            self._last_attempt_failed.set()
            await asyncio.sleep(nanoseconds_to_seconds(backoff))

    async def wait_until_drained_or_failed(self, idle: asyncio.Event, failing: bool) -> None:
        """Returns once the queue is empty, or a last attempt failed."""
        waiters = [asyncio.create_task(event.wait()) for event in (idle, self._last_attempt_failed)]
        try:
            timeout = nanoseconds_to_seconds(LAST_ATTEMPT_TIMEOUT) if failing else None
            await asyncio.wait(waiters, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for event in waiters:
                event.cancel()
