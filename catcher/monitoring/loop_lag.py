"""The lag of the event loop: how late it runs what was scheduled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from catcher.monitoring.sliding_statistics import MonotonicClock, SlidingQuantiles

TICK_INTERVAL = 0.05


class LoopLagMeter:
    """Schedules a call every 50 ms and measures by how much each is late.

    Active as long as its context, on the loop that enters it. `last_tick` is when the loop last ran
    the call; `on_lag` is called with each lag once it has ended.
    """

    def __init__(
        self, monotonic: MonotonicClock = time.monotonic, interval: float = TICK_INTERVAL
    ) -> None:
        self._monotonic, self._interval = monotonic, interval
        self.lag = SlidingQuantiles(monotonic)
        self.last_tick = monotonic()
        self.on_lag: Callable[[float], None] = _ignore_lag
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self.last_tick = self._monotonic()
        self._timer = self._loop.call_later(self._interval, self._measure_lag)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop = None

    def _measure_lag(self) -> None:
        now = self._monotonic()
        lag = max(0.0, now - self.last_tick - self._interval)
        self.last_tick = now
        self.lag.add(lag)
        if self._loop is not None:
            self._timer = self._loop.call_later(self._interval, self._measure_lag)
        self.on_lag(lag)


def _ignore_lag(lag: float) -> None:
    return None
