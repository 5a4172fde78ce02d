"""Delivers notices: a lane for each sink, so that a dead one never delays another."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from catcher.alerting.lane import Lane, Published
from catcher.alerting.noise import Rate
from catcher.alerting.pacing import Patience
from catcher.alerting.routing import HandOn
from catcher.alerting.settling import Settling
from catcher.alerting.waiting import Late
from catcher.model.alert import Notice
from catcher.model.health import Health
from catcher.model.time import Clock, Instant, Span, to_seconds
from catcher.ports import Ledger, Row, Sink, SinkError

StandIn = Callable[[Notice], HandOn | None]
"""Who hears of a notice instead, when its sink cannot be reached, and after how long."""
Missed = Callable[[Notice], bool]
"""Takes a notice that others are to hear of now; False where it is to be brought again later."""
_MOST_WATCHED = 20_000


class Courier:
    """Takes notices and brings each to its sink, at least once, in order for each alert.

    An async context manager: leaving it ends the lanes; what is not delivered by then stays in
    the ledger's outbox. `published` hears of each delivered notice. `stand_in` says who is told
    instead of a sink that cannot be reached, and `missed` sees to it that they are: what they
    hear is a notice as any other, in the ledger too. `rates` bound what sinks are told.
    """

    def __init__(
        self,
        sinks: Mapping[str, Sink],
        ledger: Ledger,
        clock: Clock,
        published: Published = lambda notice: None,
        stand_in: StandIn = lambda notice: None,
        missed: Missed = lambda notice: True,
        patience: Patience | None = None,
        rates: Mapping[str, Rate] | None = None,
    ) -> None:
        self._ledger, self._clock, self._published = ledger, clock, published
        self._settling, self._rates = Settling(ledger), dict(rates or {})
        self._stand_in, self._missed = stand_in, missed
        self._patience = patience or Patience()
        self._lanes = {name: self._lane(sink) for name, sink in sinks.items()}
        self._due: OrderedDict[str, Instant | None] = OrderedDict()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        self._start(self._settling.run())
        self._start(self._look_for_late())
        for lane in self._lanes.values():
            self._start(lane.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        if self._group is not None:
            group, self._group = self._group, None
            await group.__aexit__(kind, error, trace)

    def send(self, notices: Iterable[Notice]) -> None:
        """Hands notices to their lanes; returns at once. Repeats of what waits are dropped.

        Those that are `unrecorded` go out without the ledger, and come again once it has them.
        """
        for notice in notices:
            self._lane_to(notice.sink).put(notice)

    def pace(self, rates: Mapping[str, Rate]) -> None:
        """Other bounds on what sinks are told, from now on; those without one have none."""
        self._rates = dict(rates)
        for name, lane in self._lanes.items():
            lane.pace(rates.get(name))

    def resend(self, notices: Iterable[Notice]) -> None:
        """Hands dead letters to their lanes once more; the ledger has them as waiting again."""
        for notice in notices:
            self._due.pop(notice.id, None)
            self._lane_to(notice.sink).put_again(notice)

    def _lane_to(self, sink: str) -> Lane:
        lane = self._lanes.get(sink)
        if lane is None:
            lane = self._lanes[sink] = self._lane(_Nowhere(sink))
            self._start(lane.run())
        return lane

    def health(self) -> list[Health]:
        """One for each sink."""
        return [lane.health() for lane in self._lanes.values()]

    def oldest(self) -> dict[str, Instant]:
        """When the oldest notice that still waits was made, for each sink that has one."""
        waiting = {
            name: [late.since for late in lane.undelivered() if not late.given_up]
            for name, lane in self._lanes.items()
        }
        return {name: min(times) for name, times in waiting.items() if times}

    async def drain(self, limit: Span) -> bool:
        """Waits until all is delivered and the ledger knows, at most that long; whether it is."""
        try:
            async with asyncio.timeout(to_seconds(limit)):
                for lane in list(self._lanes.values()):
                    await lane.idle.wait()
                await self._settling.idle.wait()
        except TimeoutError:
            return False
        return True

    async def leave(self, limit: Span) -> bool:
        """The same before the engine ends: a sink that fails is tried once more, then left.

        What it was not told is in the outbox, for the next start.
        """
        lanes = list(self._lanes.values())
        try:
            async with asyncio.timeout(to_seconds(limit)):
                await asyncio.gather(*(lane.left() for lane in lanes))
                await self._settling.left()
        except TimeoutError:
            return False
        return all(lane.idle.is_set() for lane in lanes) and self._settling.idle.is_set()

    def _lane(self, sink: Sink) -> Lane:
        return Lane(
            sink, self._ledger, self._settling, self._clock, self._published, self._patience,
            self._rates.get(sink.name),
        )  # fmt: skip

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if self._group is None:
            work.close()
            return
        self._tasks.append(self._group.create_task(work))

    # -- standing in ----------------------------------------------------------------------------

    async def _look_for_late(self) -> None:
        """What waits too long for its sink, or was given up, goes to those who stand in."""
        while True:
            await asyncio.sleep(to_seconds(self._patience.look))
            now = self._clock()
            for lane in list(self._lanes.values()):
                for late in lane.undelivered():
                    self._hand_on(late, now)

    def _hand_on(self, late: Late, now: Instant) -> None:
        notice = late.notice
        if notice.id not in self._due:
            hand_on = self._stand_in(notice)
            self._due[notice.id] = None if hand_on is None else late.since + hand_on.after
            if len(self._due) > _MOST_WATCHED:
                self._due.popitem(last=False)
        due = self._due.get(notice.id)
        if due is None or (now < due and not late.given_up):
            return
        if self._missed(notice):
            self._due[notice.id] = None


class _Nowhere:
    """Where the notices of a sink go that the site does not have any more: to the dead letters."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def deliver(self, notice: Notice) -> Row:
        raise SinkError(f"the site has no sink {self.name!r} (alerts/routes.yaml)", final=True)

    def health(self) -> Health:
        return Health(self.name, "missing", "away", problem="the site has no such sink")
