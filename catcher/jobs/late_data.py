"""Rows become readable late: inputs wait until the store has them, or a maximum time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from catcher.model.run import Completeness
from catcher.model.time import Clock, Instant, Span, nanoseconds_to_seconds
from catcher.ports import History

INITIAL_POLL_INTERVAL, MAX_POLL_INTERVAL = 0.02, 2.0
"""Seconds between two polls of a store, growing by half each time."""


@dataclass(frozen=True)
class LateDataPolicy:
    """How long inputs wait, by which clock and sleep; with `max_wait` None they do not wait."""

    max_wait: Span | None
    clock: Clock
    sleep: Callable[[float], Awaitable[None]]

    async def wait_until_complete(
        self, history: History, topic: str, end: Instant, input_max_wait: Span | None = None
    ) -> tuple[Completeness, Span]:
        """Waits until the watermark has passed `end`; returns the completeness and the time waited.

        `input_max_wait` is the maximum of this input, if it has its own. It also bounds the wait
        for an `end` in the future.
        """
        if self.max_wait is None:
            return "", 0
        max_wait = self.max_wait if input_max_wait is None else input_max_wait
        started, interval = self.clock(), INITIAL_POLL_INTERVAL
        while True:
            watermark = await history.get_watermark(topic)
            waited = max(0, self.clock() - started)
            if watermark is not None and watermark >= end:
                return "whole", waited
            if waited >= max_wait:
                return "patience", waited
            await self.sleep(min(interval, nanoseconds_to_seconds(max_wait - waited)))
            interval = min(1.5 * interval, MAX_POLL_INTERVAL)
