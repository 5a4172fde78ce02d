"""The way to one sink: tries, waits, tries again, and never tells the same thing out of order."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from catcher.alerting.waiting import Waiting, present
from catcher.model.alert import Notice
from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.text import plain
from catcher.model.time import DAY, MINUTE, SECOND, Clock, Instant, Span, to_seconds
from catcher.ports import Ledger, Sink, SinkError

STAND_IN = "stand-in:"
"""Marks the id of a notice that stands in for one of another sink; the ledger has no such row."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to keep trying. Waits double from `first` to `longest`, with jitter.

    `attempt` bounds one try; after `give_up` a notice is a dead letter; `look` is how often
    somebody looks for notices that wait too long. `size` bounds what waits in memory.
    """

    first: Span = SECOND
    longest: Span = 5 * MINUTE
    attempt: Span = 30 * SECOND
    give_up: Span = DAY
    look: Span = SECOND
    size: int = 2_000
    jitter: Callable[[], float] = random.random


Published = Callable[[Notice], None]


class Lane:
    """One sink with its queue. `run` delivers for ever; `put` hands it a notice."""

    def __init__(
        self, sink: Sink, ledger: Ledger, clock: Clock, published: Published, patience: Patience
    ) -> None:
        self.name = sink.name
        self.idle = asyncio.Event()
        self.idle.set()
        self._sink, self._ledger, self._clock = sink, ledger, clock
        self._published, self._patience = published, patience
        self._waiting = Waiting(patience.size)
        self._arrived = asyncio.Event()
        self._in_hand: Notice | None = None
        self._overflowed = False
        self._refused = 0
        self._failures = 0
        self._dead: deque[Notice] = deque(maxlen=100)
        self._receipts: OrderedDict[str, tuple[int, Mapping[str, Any]]] = OrderedDict()
        self._delivered: OrderedDict[str, None] = OrderedDict()
        self._unsettled: deque[tuple[Notice, str, bool]] = deque(maxlen=patience.size)
        self._started = self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = dict.fromkeys(
            ("delivered", "failed", "superseded", "dead", "overflowed", "lost", "unsettled"), 0
        )

    # -- from outside ---------------------------------------------------------------------------

    def put(self, notice: Notice) -> None:
        """Takes a notice; where there is no room it waits in the ledger's outbox."""
        if self._known(notice.id):
            return
        if self._overflowed or self._waiting.full:
            self._overflowed = True
            self._refused += 1
            # What the ledger does not have cannot be read back from it.
            kept = not (notice.unrecorded or notice.id.startswith(STAND_IN))
            self._counts["overflowed" if kept else "lost"] += 1
        else:
            self._waiting.put(notice)
        self.idle.clear()
        self._arrived.set()

    def undelivered(self) -> list[tuple[Notice, bool]]:
        """What is still to be delivered, and what was given up lately (True)."""
        late = [(notice, False) for notice in self._waiting]
        if self._in_hand is not None:
            late.append((self._in_hand, False))
        return late + [(notice, True) for notice in self._dead]

    def health(self) -> Health:
        """The sink's own state, `away` while deliveries fail; counts of both."""
        sink = self._sink.health()
        state: HealthState = "away" if self._failures else sink.state
        waiting = len(self._waiting) + (self._in_hand is not None)
        return Health(
            name=self.name,
            kind=sink.kind or "sink",
            state=state,
            since=self._since,
            last=self._last,
            problem=self._problem if self._failures else sink.problem,
            counts={**sink.counts, **self._counts, "waiting": waiting},
        )

    # -- the loop -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Delivers what comes, until it is cancelled."""
        while True:
            notice = await self._next()
            self._in_hand = notice
            pause = await self._attempt(await self._present(notice))
            self._in_hand = None
            if pause is not None:
                await asyncio.sleep(to_seconds(pause))

    async def _next(self) -> Notice:
        while True:
            notice = self._waiting.take()
            if notice is not None:
                return notice
            if self._overflowed:
                await self._reload()
                continue
            await self._settle_rest()
            self._arrived.clear()
            self.idle.set()
            await self._arrived.wait()

    async def _reload(self) -> None:
        """Reads back from the outbox what there was no room for."""
        self._refused = 0
        try:
            kept = await self._ledger.undelivered()
        except CatcherError as error:
            self._problem = str(error)
            await asyncio.sleep(to_seconds(self._patience.first))
            return
        mine = [one for one in kept if one.sink == self.name and not self._known(one.id)]
        for notice in mine[: self._patience.size]:
            self._waiting.put(notice)
        # What came while the outbox was read may be missing in what was read.
        self._overflowed = self._refused > 0 or len(mine) > self._patience.size

    async def _present(self, notice: Notice) -> Notice:
        """The notice, or after a failure the latest of its alert instead of all that wait."""
        if not self._failures and not notice.attempts:
            return notice
        newer = self._waiting.take_newer(notice)
        if not newer:
            return notice
        for old in (notice, *newer[:-1]):
            self._counts["superseded"] += 1
            await self._settle(replace(old, receipt={}))
        self._in_hand = present(notice, newer)
        return self._in_hand

    async def _attempt(self, notice: Notice) -> Span | None:
        """One try; how long to wait after it, None for not at all."""
        if notice.id in self._delivered:
            await self._settle(notice)
            return None
        notice = replace(notice, receipt=await self._receipt(notice), attempts=notice.attempts + 1)
        try:
            async with asyncio.timeout(to_seconds(self._patience.attempt)):
                receipt = await self._sink.deliver(notice)
        except SinkError as error:
            return await self._failed(notice, str(error), error.retry_after, error.final)
        except TimeoutError:
            return await self._failed(notice, "the sink did not answer in time")
        # A site's own sink may raise anything; it must not end the lane.
        except Exception as error:  # noqa: BLE001
            return await self._failed(notice, f"{type(error).__name__}: {error}")
        await self._succeeded(replace(notice, receipt=receipt))
        return None

    async def _succeeded(self, notice: Notice) -> None:
        if self._failures:
            self._failures, self._problem, self._since = 0, "", self._clock()
        self._last = self._clock()
        self._counts["delivered"] += 1
        _remember(self._delivered, notice.id, None, self._patience.size)
        receipt = (notice.alert.episode, notice.receipt)
        _remember(self._receipts, notice.alert.id, receipt, self._patience.size)
        await self._settle(notice)
        self._published(notice)

    async def _failed(
        self, notice: Notice, words: str, retry_after: Span | None = None, final: bool = False
    ) -> Span | None:
        words = plain(words)
        self._counts["failed"] += 1
        # What an engine left long ago gets its whole time from the next one's start.
        tried_for = self._clock() - max(notice.time, self._started)
        if final or tried_for > self._patience.give_up:
            self._counts["dead"] += 1
            self._dead.append(notice)
            self._problem = words
            await self._settle(notice, words, dead=True)
            return None
        if not self._failures:
            self._since = self._clock()
        self._failures += 1
        self._problem = words
        await self._settle(notice, words)
        self._waiting.put_back(notice)
        return max(retry_after or 0, self._backoff())

    def _backoff(self) -> Span:
        doubled = self._patience.first << min(self._failures - 1, 30)
        return int(min(doubled, self._patience.longest) * (1 + self._patience.jitter()) / 2)

    # -- what is known --------------------------------------------------------------------------

    def _known(self, id: str) -> bool:
        in_hand = self._in_hand is not None and self._in_hand.id == id
        return in_hand or id in self._waiting

    async def _receipt(self, notice: Notice) -> Mapping[str, Any]:
        """What the sink said of this alert last; nothing for one that it hears of anew."""
        episode, receipt = self._receipts.get(notice.alert.id, (0, None))
        if receipt is not None:
            return receipt if episode == notice.alert.episode else {}
        if notice.kind == "opened" or notice.receipt or notice.unrecorded:
            return {} if notice.kind == "opened" else notice.receipt
        try:
            kept = await self._ledger.undelivered()
        except CatcherError:
            return {}
        return next((one.receipt for one in kept if one.id == notice.id), {})

    async def _settle(self, notice: Notice, error: str = "", dead: bool = False) -> None:
        if notice.unrecorded or notice.id.startswith(STAND_IN):
            return
        try:
            await self._ledger.settle(notice, error, dead)
        except CatcherError:
            self._counts["unsettled"] += 1
            if dead or not error:
                self._unsettled.append((notice, error, dead))

    async def _settle_rest(self) -> None:
        """What the ledger could not take before; without it a notice repeats after a restart."""
        for _ in range(len(self._unsettled)):
            await self._settle(*self._unsettled.popleft())


def _remember(memory: OrderedDict[str, Any], name: str, value: object, size: int) -> None:
    memory[name] = value
    memory.move_to_end(name)
    if len(memory) > size:
        memory.popitem(last=False)
