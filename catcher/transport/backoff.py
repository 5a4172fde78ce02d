"""Delays between retries: doubling each time, with jitter, up to a limit."""

from __future__ import annotations

import asyncio
import random

from catcher.model.time import Span, nanoseconds_to_seconds


class Backoff:
    """Waits for a random time between half of a delay and all of it.

    The delay starts at `initial_delay`, doubles with each wait up to `max_delay`, so that a broker
    that comes back is not hit by all of its clients at once. `reset` starts over.
    """

    def __init__(self, initial_delay: Span, max_delay: Span) -> None:
        self._initial_delay = initial_delay
        self._max_delay = max_delay
        self._next_delay = initial_delay

    def reset(self) -> None:
        """Starts over after a successful try."""
        self._next_delay = self._initial_delay

    async def wait(self) -> None:
        """Sleeps until the next try."""
        delay, self._next_delay = self._next_delay, min(2 * self._next_delay, self._max_delay)
        await asyncio.sleep(nanoseconds_to_seconds(delay) * random.uniform(0.5, 1.0))
