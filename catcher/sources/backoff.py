"""How long to wait before trying again: twice as long each time, with jitter, up to a limit."""

from __future__ import annotations

import asyncio
import random

from catcher.model.time import Span, to_seconds


class Backoff:
    """Waits of a random length between half of a span and the whole of it.

    The span starts at `first`, doubles with each wait and stays at `longest`, so that a broker
    that comes back is not met by all of its clients at once. `reset` starts over.
    """

    def __init__(self, first: Span, longest: Span) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        """The last try succeeded."""
        self._next = self._first

    async def wait(self) -> None:
        """Sleeps until the next try."""
        span, self._next = self._next, min(2 * self._next, self._longest)
        await asyncio.sleep(to_seconds(span) * random.uniform(0.5, 1.0))
