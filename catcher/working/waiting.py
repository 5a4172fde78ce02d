"""Rows become readable late: inputs wait until the store has them, or long enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from catcher.model.run import Wholeness
from catcher.model.time import Clock, Instant, Span, to_seconds
from catcher.ports import History

FIRST_LOOK, LONGEST_LOOK = 0.02, 2.0
"""Seconds between two looks at a store, which grow by half from look to look."""


@dataclass(frozen=True)
class Patience:
    """How long inputs wait at most, by which clock and how; `most` of None: they never wait."""

    most: Span | None
    clock: Clock
    pause: Callable[[float], Awaitable[None]]

    async def until_whole(
        self, history: History, topic: str, end: Instant, own: Span | None = None
    ) -> tuple[Wholeness, Span]:
        """Waits until the samples up to `end` can be taken to be there; how that went, how long.

        `own` is the patience of the one input. What lies in the future is not waited for longer
        than anything else.
        """
        if self.most is None:
            return "", 0
        most = self.most if own is None else own
        began, step = self.clock(), FIRST_LOOK
        while True:
            mark = await history.watermark(topic)
            waited = max(0, self.clock() - began)
            if mark is not None and mark >= end:
                return "whole", waited
            if waited >= most:
                return "patience", waited
            await self.pause(min(step, to_seconds(most - waited)))
            step = min(1.5 * step, LONGEST_LOOK)
