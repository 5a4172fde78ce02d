"""Tells the ledger what became of notices, without any sink waiting for it."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass

from catcher.alerting.parting import Parting
from catcher.model.alert import Notice
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Span
from catcher.ports import Ledger, StoreAway

MOST = 20_000
FIRST: Span = SECOND // 5
LONGEST: Span = 5 * SECOND


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a notice: delivered (no error), failed for now, or given up (dead)."""

    notice: Notice
    error: str = ""
    dead: bool = False

    @property
    def final(self) -> bool:
        """Whether it is not tried again."""
        return self.dead or not self.error


class Settling:
    """A queue between the lanes and the ledger; one fate a notice, the latest.

    `run` writes for ever. A ledger that is away is tried again until it is back: without it a
    notice would be repeated after a restart. Beyond `MOST` the oldest is forgotten, counted in
    `lost`; it is repeated then.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._parting = Parting()
        self._waiting: OrderedDict[str, Fate] = OrderedDict()
        self._arrived = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.lost: Counter[str] = Counter()

    def put(self, fate: Fate) -> None:
        """Takes what became of a notice; returns at once."""
        self._waiting.pop(fate.notice.id, None)
        self._waiting[fate.notice.id] = fate
        if len(self._waiting) > MOST:
            _, gone = self._waiting.popitem(last=False)
            self.lost[gone.notice.sink] += gone.final
        self.idle.clear()
        self._arrived.set()

    def waiting(self, sink: str) -> int:
        """How many fates of a sink's notices the ledger does not know yet."""
        return sum(fate.notice.sink == sink for fate in self._waiting.values())

    async def left(self) -> None:
        """The engine is about to end: returns when all is written, or the ledger is away."""
        self._parting.begin()
        await self._parting.over(self.idle, failing=False)

    async def run(self) -> None:
        """Writes what comes, in its order, until it is cancelled."""
        pause = FIRST
        while True:
            if not self._waiting:
                self.idle.set()
                self._arrived.clear()
                await self._arrived.wait()
            id, fate = next(iter(self._waiting.items()))
            if await self._settle(fate):
                pause = FIRST
                if self._waiting.get(id) is fate:
                    del self._waiting[id]
            else:
                await self._parting.rest(pause)
                pause = min(2 * pause, LONGEST)

    async def _settle(self, fate: Fate) -> bool:
        """Whether the ledger knows it now, or will never."""
        try:
            await self._ledger.settle(fate.notice, fate.error, fate.dead)
        except StoreAway:
            return False
        except CatcherError:
            self.lost[fate.notice.sink] += 1
        return True
