"""The streams between the rooms, and those who watch them.

Rx says when: what the engine decided goes out on one subject a noun, and whoever wants to know
shares, merges, filters or samples it. Nothing may raise into a stream, so a watcher only ever
takes from a bounded queue of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

from catcher.model.alert import Alert, Notice
from catcher.model.commit import Commit
from catcher.model.event import Admitted
from catcher.model.health import Health, Update
from catcher.model.run import Firing, Run


def _firing_update(body: Firing) -> Update:
    return Update("firing", body.time, body)


def _run_update(body: Run) -> Update:
    return Update("run", body.firing.time, body)


def _alert_update(body: Alert) -> Update:
    return Update("alert", body.changed, body)


def _notice_update(body: Notice) -> Update:
    return Update("notice", body.time, body)


def _health_update(body: Health) -> Update:
    return Update("health", body.since, body)


class Streams:
    """One subject a noun; `updates` is their union (events left out: they are too many)."""

    def __init__(self) -> None:
        self.events: Subject[tuple[Admitted, ...]] = Subject()
        self.firings: Subject[Firing] = Subject()
        self.runs: Subject[Run] = Subject()
        self.alerts: Subject[Alert] = Subject()
        self.notices: Subject[Notice] = Subject()
        self.healths: Subject[Health] = Subject()
        self.others: Subject[Update] = Subject()
        self._gone = 0
        self._watchers: set[_Watcher] = set()
        self.updates: rx.Observable[Update] = rx.merge(
            self.firings.pipe(ops.map(_firing_update)),
            self.runs.pipe(ops.map(_run_update)),
            self.alerts.pipe(ops.map(_alert_update)),
            self.notices.pipe(ops.map(_notice_update)),
            self.healths.pipe(ops.map(_health_update)),
            self.others,
        )

    @property
    def watching(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    @property
    def lost(self) -> int:
        """What slow watchers have lost, altogether."""
        return self._gone + sum(watcher.lost for watcher in self._watchers)

    def pass_on(self, events: Sequence[Admitted]) -> None:
        """Sends out the events that were let in."""
        if events:
            self.events.on_next(tuple(events))

    def tell(self, new: Commit) -> None:
        """Sends out what was decided and kept."""
        # A result may be why a rule fired, never the other way round within one commit.
        for run in new.finished:
            self.runs.on_next(run)
        for firing in new.firings:
            self.firings.on_next(firing)
        for run in new.runs:
            self.runs.on_next(run)
        for alert in new.alerts:
            self.alerts.on_next(alert)

    def publish(self, update: Update) -> None:
        """Sends an update that belongs to no subject of its own."""
        self.others.on_next(update)

    @asynccontextmanager
    async def watch(self, size: int = 1000) -> AsyncIterator[AsyncIterator[Update]]:
        """All updates from now on. A watcher more than `size` behind loses the oldest.

        It is told how many it lost, as a `problem`.
        """
        async with self._watch(self.updates, _Watcher(size, _told)) as updates:
            yield updates

    @asynccontextmanager
    async def watch_events(
        self, size: int = 1000
    ) -> AsyncIterator[AsyncIterator[Sequence[Admitted] | int]]:
        """Batches of admitted events from now on, under the same bound.

        A number in place of a batch is how many events were lost there.
        """
        watcher = _Watcher(size, lambda lost, before: lost, len)
        async with self._watch(self.events, watcher) as batches:
            yield batches

    @asynccontextmanager
    async def _watch(
        self, stream: rx.Observable[Any], watcher: _Watcher
    ) -> AsyncIterator[AsyncIterator[Any]]:
        subscription = stream.subscribe(watcher.take)
        self._watchers.add(watcher)
        try:
            yield watcher.updates()
        finally:
            subscription.dispose()
            self._watchers.discard(watcher)
            self._gone += watcher.lost


def _told(lost: int, before: Update) -> Update:
    words = f"{lost} updates were lost here, since they were not read fast enough"
    return Update("problem", before.time, words)


class _Watcher:
    """A bounded queue between a stream and one slow reader."""

    def __init__(
        self,
        size: int,
        tell: Callable[[int, Any], Any],
        weigh: Callable[[Any], int] = lambda update: 1,
    ) -> None:
        self._tell, self._weigh = tell, weigh
        self._told = 0
        self._waiting: deque[Any] = deque(maxlen=size)
        self._arrived = asyncio.Event()
        self.lost = 0

    def take(self, update: Any) -> None:
        if len(self._waiting) == self._waiting.maxlen:
            self.lost += self._weigh(self._waiting[0])
        self._waiting.append(update)
        self._arrived.set()

    async def updates(self) -> AsyncIterator[Any]:
        while True:
            await self._arrived.wait()
            while self._waiting:
                if self.lost > self._told:
                    lost, self._told = self.lost - self._told, self.lost
                    yield self._tell(lost, self._waiting[0])
                    continue
                yield self._waiting.popleft()
            self._arrived.clear()
