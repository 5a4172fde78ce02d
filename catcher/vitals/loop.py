"""How late the event loop is: what asked to run at an instant runs so much after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from catcher.vitals.recent import Recent, Seconds

EVERY = 0.05


class LoopMeter:
    """Asks to be called every 50 ms and measures by how much each call is late.

    Lasts as long as its context, on the loop that enters it. `ticked` is when the loop last
    turned; `hear` is told of each lag when it is over.
    """

    def __init__(self, seconds: Seconds = time.monotonic, every: float = EVERY) -> None:
        self._seconds, self._every = seconds, every
        self.lag = Recent(seconds)
        self.ticked = seconds()
        self.hear: Callable[[float], None] = _deaf
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self.ticked = self._seconds()
        self._next = self._loop.call_later(self._every, self._tick)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._next is not None:
            self._next.cancel()
        self._loop = None

    def _tick(self) -> None:
        now = self._seconds()
        lag = max(0.0, now - self.ticked - self._every)
        self.ticked = now
        self.lag.add(lag)
        if self._loop is not None:
            self._next = self._loop.call_later(self._every, self._tick)
        self.hear(lag)


def _deaf(lag: float) -> None:
    return None
