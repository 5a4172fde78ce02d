"""The streams between the rooms, and those who watch them.

Rx says when: what the engine decided goes out on one subject a noun, and whoever wants to know
shares, merges, filters or samples it. Nothing may raise into a stream, so a watcher only ever
takes from a bounded queue of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

from catcher.model.alert import Alert, Notice
from catcher.model.event import Admitted
from catcher.model.health import Health, Update
from catcher.model.run import Firing, Run


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
        self.lost = 0
        self.updates: rx.Observable[Update] = rx.merge(
            self.firings.pipe(ops.map(lambda body: Update("firing", body.time, body))),
            self.runs.pipe(ops.map(lambda body: Update("run", body.firing.time, body))),
            self.alerts.pipe(ops.map(lambda body: Update("alert", body.changed, body))),
            self.notices.pipe(ops.map(lambda body: Update("notice", body.time, body))),
            self.healths.pipe(ops.map(lambda body: Update("health", body.since, body))),
            self.others,
        )

    def publish(self, update: Update) -> None:
        """Sends an update that belongs to no subject of its own."""
        self.others.on_next(update)

    @asynccontextmanager
    async def watch(self, size: int = 1000) -> AsyncIterator[AsyncIterator[Update]]:
        """All updates from now on. A watcher more than `size` behind loses the oldest, counted."""
        watcher = _Watcher(size)
        subscription = self.updates.subscribe(watcher.take)
        try:
            yield watcher.updates()
        finally:
            subscription.dispose()
            self.lost += watcher.lost

    @asynccontextmanager
    async def watch_events(self, size: int = 1000) -> AsyncIterator[AsyncIterator[Any]]:
        """Batches of admitted events from now on, under the same bound."""
        watcher = _Watcher(size)
        subscription = self.events.subscribe(watcher.take)
        try:
            yield watcher.updates()
        finally:
            subscription.dispose()
            self.lost += watcher.lost


class _Watcher:
    """A bounded queue between a stream and one slow reader."""

    def __init__(self, size: int) -> None:
        self._waiting: deque[Any] = deque(maxlen=size)
        self._arrived = asyncio.Event()
        self.lost = 0

    def take(self, update: Any) -> None:
        if len(self._waiting) == self._waiting.maxlen:
            self.lost += 1
        self._waiting.append(update)
        self._arrived.set()

    async def updates(self) -> AsyncIterator[Any]:
        while True:
            await self._arrived.wait()
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()
