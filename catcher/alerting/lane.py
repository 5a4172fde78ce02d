"""The way to one sink: tries, waits, tries again, and never tells the same thing out of order."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from catcher.alerting.noise import Rate
from catcher.alerting.pacing import Pace, Patience
from catcher.alerting.parting import Parting
from catcher.alerting.settling import Fate, Settling
from catcher.alerting.waiting import Late, Waiting, present
from catcher.model.alert import Notice
from catcher.model.health import TURNED_DOWN_FOR_GOOD, Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.text import plain
from catcher.model.time import MILLISECOND, Clock, Instant, Span, to_seconds
from catcher.ports import Ledger, Sink, SinkError

ASKED_FOR: Span = 500 * MILLISECOND
"""So long the ledger is asked for a receipt: a late message is worse than a second one."""
REMEMBERED = 20_000


Published = Callable[[Notice], None]


class Lane:
    """One sink with its queue. `run` delivers for ever; `put` hands it a notice."""

    def __init__(
        self, sink: Sink, ledger: Ledger, settling: Settling, clock: Clock, published: Published,
        patience: Patience, rate: Rate | None = None,
    ) -> None:  # fmt: skip
        self.name = sink.name
        self.parting = Parting()
        self.idle = asyncio.Event()
        self.idle.set()
        self._sink, self._ledger, self._clock = sink, ledger, clock
        self._settling, self._published, self._patience = settling, published, patience
        self._waiting = Waiting(patience.size)
        self._arrived = asyncio.Event()
        self._in_hand: Notice | None = None
        self._merged: dict[str, dict[str, Notice]] = {}
        self._overflowed = False
        self._refused = 0
        self._failures = 0
        self._dead: deque[Notice] = deque(maxlen=100)
        self._receipts: OrderedDict[str, tuple[int, Mapping[str, Any]]] = OrderedDict()
        self._over: OrderedDict[str, Fate] = OrderedDict()
        self._started = self._since = clock()
        self._pace = Pace(rate, self._started)
        self._last: Instant | None = None
        self._problem = self._turned_down = ""
        self._counts = dict.fromkeys(
            ("delivered", "failed", "superseded", "dead", "overflowed", "lost", "paced"), 0
        )

    # -- from outside ---------------------------------------------------------------------------

    def put(self, notice: Notice) -> None:
        """Takes a notice; where there is no room it waits in the ledger's outbox.

        One that went out while the ledger was away comes again once it is in the ledger: it is
        settled, not sent.
        """
        if self._settle_again(notice):
            return
        if self._overflowed or self._waiting.full:
            self._overflowed = True
            self._refused += 1
            # What the ledger does not have cannot be read back from it.
            self._counts["lost" if notice.unrecorded else "overflowed"] += 1
        else:
            self._waiting.put(notice)
        self.idle.clear()
        self._arrived.set()

    def put_again(self, notice: Notice) -> None:
        """Takes a dead letter that somebody wants to be sent once more."""
        self._over.pop(notice.id, None)
        self._dead = deque((one for one in self._dead if one.id != notice.id), maxlen=100)
        self.put(notice)

    def pace(self, rate: Rate | None) -> None:
        """Another bound from now on; the same one goes on as it was."""
        if not self._pace.is_of(rate):
            self._pace = Pace(rate, self._clock())
            self._arrived.set()

    def undelivered(self) -> list[Late]:
        """What is still to be delivered, and what was given up lately."""
        late = [self._late(notice) for notice in self._waiting]
        if self._in_hand is not None:
            late.append(self._late(self._in_hand))
        return late + [Late(notice, notice.time, given_up=True) for notice in self._dead]

    def _late(self, notice: Notice) -> Late:
        """A notice that stands for others waits since the first of them was made."""
        missed = self._merged.get(notice.alert.id, {})
        return Late(notice, min(one.time for one in (notice, *missed.values())))

    def health(self) -> Health:
        """The sink's own state, `away` while deliveries fail; counts of both."""
        sink = self._sink.health()
        state: HealthState = "away" if self._failures or self._turned_down else sink.state
        counts = {
            **sink.counts,
            **self._counts,
            "waiting": len(self._waiting) + (self._in_hand is not None),
            "unsettled": self._settling.waiting(self.name) + self._settling.lost[self.name],
        }
        return Health(
            name=self.name,
            kind=sink.kind or "sink",
            state=state,
            since=self._since,
            last=self._last,
            problem=self._turned_down or (self._problem if self._failures else sink.problem),
            counts=counts,
        )

    # -- the loop -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Delivers what comes, until it is cancelled."""
        while True:
            notice = await self._next()
            self._in_hand = notice
            pause = await self._attempt(self._present(notice))
            self._in_hand = None
            if pause is not None:
                await self.parting.rest(pause)

    async def left(self) -> None:
        """The engine is about to end: returns when this lane need not be waited for."""
        self.parting.begin()
        await self.parting.over(self.idle, self._failures > 0)

    async def _next(self) -> Notice:
        while True:
            now = self._clock()
            paced = not self._pace.ready(now)
            notice = self._waiting.take(only_worse=paced)
            if notice is not None:
                self._pace.spend(now)
                return notice
            if paced and len(self._waiting):
                self._counts["paced"] += 1
                self._arrived.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(to_seconds(self._pace.wait(now))):
                        await self._arrived.wait()
            elif self._overflowed:
                await self._reload()
            else:
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
        mine = [one for one in kept if one.sink == self.name and not self._settle_again(one)]
        for notice in mine[: self._patience.size]:
            self._waiting.put(notice)
        # What came while the outbox was read may be missing in what was read.
        self._overflowed = self._refused > 0 or len(mine) > self._patience.size

    def _present(self, notice: Notice) -> Notice:
        """The notice, or where the sink is behind the latest of its alert, not all that wait.

        A bounded rate never swallows what says that it got worse.
        """
        behind = self._failures or notice.attempts
        paced = self._pace.limited and not self._waiting.worse_waits(notice.alert.id)
        newer = self._waiting.take_newer(notice) if behind or paced else []
        for old in (notice, *newer[:-1]) if newer else ():
            self._supersede(old)
        self._in_hand = present(notice, newer)
        return self._in_hand

    def _supersede(self, old: Notice) -> None:
        """A later notice stands for this one.

        What makes it as loud as it is (of each alert the first that was missed, and the first of
        each loud kind) is settled only with it: after a crash it must not be told as less.
        """
        self._counts["superseded"] += 1
        kept = self._merged.setdefault(old.alert.id, {})
        place = old.kind if kept else "first"
        if place in ("first", "opened", "raised") and place not in kept:
            kept[place] = old
        else:
            self._settle(Fate(replace(old, receipt={})))

    def _settle_with(self, notice: Notice) -> None:
        """It is over, and with it those that it stood for."""
        for old in self._merged.pop(notice.alert.id, {}).values():
            self._settle(Fate(replace(old, receipt={})))

    async def _attempt(self, notice: Notice) -> Span | None:
        """One try; how long to wait after it, None for not at all."""
        notice = replace(notice, receipt=await self._receipt(notice), attempts=notice.attempts + 1)
        try:
            async with asyncio.timeout(to_seconds(self._patience.attempt)):
                receipt = await self._sink.deliver(notice)
        except SinkError as error:
            return self._failed(notice, str(error), error.retry_after, error.final)
        except TimeoutError:
            return self._failed(notice, "the sink did not answer in time")
        # A site's own sink may raise anything; it must not end the lane.
        except Exception as error:  # noqa: BLE001
            return self._failed(notice, f"{type(error).__name__}: {error}")
        self._succeeded(replace(notice, receipt=receipt))
        return None

    def _succeeded(self, notice: Notice) -> None:
        if self._failures:
            self._failures, self._problem, self._since = 0, "", self._clock()
        self._last, self._turned_down = self._clock(), ""
        self._counts["delivered"] += 1
        told = (_thread(notice), notice.receipt)
        _remember(self._receipts, notice.alert.id, told, self._patience.size)
        self._settle_with(notice)
        self._settle(Fate(notice))
        self._published(notice)

    def _failed(
        self, notice: Notice, words: str, retry_after: Span | None = None, final: bool = False
    ) -> Span | None:
        words = plain(words)
        self._counts["failed"] += 1
        # What an engine left long ago gets its whole time from the next one's start.
        tried_for = self._clock() - max(notice.time, self._started)
        if final or tried_for > self._patience.give_up:
            self._counts["dead"] += 1
            self._dead.append(notice)
            self._turned_down = f"{TURNED_DOWN_FOR_GOOD}{words}" if final else ""
            self._problem = words
            self._settle_with(notice)
            self._settle(Fate(notice, words, dead=True))
            return None
        if not self._failures:
            self._since = self._clock()
        self._failures += 1
        self.parting.forbidden = retry_after is not None
        self._problem = words
        self._settle(Fate(notice, words))
        recorded = self._in_hand is not None and not self._in_hand.unrecorded
        self._waiting.put_back(replace(notice, unrecorded=notice.unrecorded and not recorded))
        return max(retry_after or 0, self._backoff())

    def _backoff(self) -> Span:
        doubled = self._patience.first << min(self._failures - 1, 30)
        return int(min(doubled, self._patience.longest) * (1 + self._patience.jitter()) / 2)

    # -- what is known --------------------------------------------------------------------------

    def _settle_again(self, notice: Notice) -> bool:
        """Whether a notice waits here already, or has been dealt with; then the ledger is told."""
        over = self._over.get(notice.id)
        if over is not None:
            if not notice.unrecorded:
                receipt = over.notice.receipt
                told = replace(notice, receipt=receipt, unrecorded=False)
                self._settling.put(Fate(told, over.error, over.dead))
            return True
        kept = self._merged.get(notice.alert.id, {})
        for place, one in kept.items():
            if one.id == notice.id:
                kept[place] = replace(one, unrecorded=one.unrecorded and notice.unrecorded)
                return True
        in_hand = self._in_hand is not None and self._in_hand.id == notice.id
        if not in_hand and notice.id not in self._waiting:
            return False
        if not notice.unrecorded:
            self._waiting.recorded(notice)
            if in_hand and self._in_hand is not None:
                self._in_hand = replace(self._in_hand, unrecorded=False)
        return True

    async def _receipt(self, notice: Notice) -> Mapping[str, Any]:
        """What the sink said of this alert last; nothing for one that it hears of anew."""
        thread, receipt = self._receipts.get(notice.alert.id, (0, None))
        if receipt is not None:
            return receipt if thread == _thread(notice) else {}
        if notice.kind == "opened" or notice.receipt:
            return {} if notice.kind == "opened" else notice.receipt
        try:
            async with asyncio.timeout(to_seconds(ASKED_FOR)):
                return await self._ledger.receipt(notice.alert.id, notice.sink)
        except (CatcherError, TimeoutError):
            return {}

    def _settle(self, fate: Fate) -> None:
        """Says what became of a notice to the ledger, if it has that notice."""
        notice = fate.notice
        if fate.final:
            _remember(self._over, notice.id, fate, REMEMBERED)
        in_hand = self._in_hand
        recorded = in_hand is not None and in_hand.id == notice.id and not in_hand.unrecorded
        if recorded or not notice.unrecorded:
            self._settling.put(replace(fate, notice=replace(notice, unrecorded=False)))


def _thread(notice: Notice) -> int:
    """In which episode the message about an alert began: it is edited until its end."""
    return notice.alert.thread or notice.alert.episode


def _remember(memory: OrderedDict[str, Any], name: str, value: object, size: int) -> None:
    memory[name] = value
    memory.move_to_end(name)
    if len(memory) > size:
        memory.popitem(last=False)
