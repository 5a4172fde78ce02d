"""The event bus: streams of what the engine decided, and their subscribers.

Built on Rx: committed items go out on one subject per type, which subscribers share, merge, filter
or sample. Nothing may raise into a stream, so a subscriber only ever reads from a bounded queue of
its own.
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

from catcher.model.alert import Alert, Notification
from catcher.model.commit import Commit
from catcher.model.event import AdmittedEvent
from catcher.model.health import Health, LiveUpdate
from catcher.model.run import Firing, Run


def _firing_to_update(firing: Firing) -> LiveUpdate:
    return LiveUpdate("firing", firing.time, firing)


def _run_to_update(run: Run) -> LiveUpdate:
    return LiveUpdate("run", run.firing.time, run)


def _alert_to_update(alert: Alert) -> LiveUpdate:
    return LiveUpdate("alert", alert.changed, alert)


def _notification_to_update(notification: Notification) -> LiveUpdate:
    return LiveUpdate("notice", notification.time, notification)


def _health_to_update(health: Health) -> LiveUpdate:
    return LiveUpdate("health", health.since, health)


class EventBus:
    """One subject per type; `updates` is their union (without events: they are too many)."""

    def __init__(self) -> None:
        self.events: Subject[tuple[AdmittedEvent, ...]] = Subject()
        self.firings: Subject[Firing] = Subject()
        self.runs: Subject[Run] = Subject()
        self.alerts: Subject[Alert] = Subject()
        self.notifications: Subject[Notification] = Subject()
        self.healths: Subject[Health] = Subject()
        self.other_updates: Subject[LiveUpdate] = Subject()
        self._past_lost_count = 0
        self._subscribers: set[_BoundedSubscriber] = set()
        self.updates: rx.Observable[LiveUpdate] = rx.merge(
            self.firings.pipe(ops.map(_firing_to_update)),
            self.runs.pipe(ops.map(_run_to_update)),
            self.alerts.pipe(ops.map(_alert_to_update)),
            self.notifications.pipe(ops.map(_notification_to_update)),
            self.healths.pipe(ops.map(_health_to_update)),
            self.other_updates,
        )

    @property
    def subscriber_count(self) -> int:
        """The number of current subscribers."""
        return len(self._subscribers)

    @property
    def lost_count(self) -> int:
        """The total number of updates that slow subscribers have lost."""
        return self._past_lost_count + sum(
            subscriber.lost_count for subscriber in self._subscribers
        )

    def publish_events(self, events: Sequence[AdmittedEvent]) -> None:
        """Publishes admitted events."""
        if events:
            self.events.on_next(tuple(events))

    def publish_commit(self, commit: Commit) -> None:
        """Publishes what was decided and stored."""
        # A result may be why a rule fired, never the other way round within one commit.
        for run in commit.finished:
            self.runs.on_next(run)
        for firing in commit.firings:
            self.firings.on_next(firing)
        for run in commit.runs:
            self.runs.on_next(run)
        for alert in commit.alerts:
            self.alerts.on_next(alert)

    def publish(self, update: LiveUpdate) -> None:
        """Publishes an update that belongs to no subject of its own."""
        self.other_updates.on_next(update)

    @asynccontextmanager
    async def subscribe(self, size: int = 1000) -> AsyncIterator[AsyncIterator[LiveUpdate]]:
        """Yields all updates from now on. A subscriber more than `size` behind loses the oldest.

        It receives the number of lost updates as a `problem`.
        """
        async with self._attach_subscriber(
            self.updates, _BoundedSubscriber(size, _build_lost_update)
        ) as updates:
            yield updates

    @asynccontextmanager
    async def subscribe_events(
        self, size: int = 1000
    ) -> AsyncIterator[AsyncIterator[Sequence[AdmittedEvent] | int]]:
        """Yields batches of admitted events from now on, under the same bound.

        A number in place of a batch is how many events were lost there.
        """
        subscriber = _BoundedSubscriber(size, lambda lost, before: lost, len)
        async with self._attach_subscriber(self.events, subscriber) as batches:
            yield batches

    @asynccontextmanager
    async def _attach_subscriber(
        self, stream: rx.Observable[Any], subscriber: _BoundedSubscriber
    ) -> AsyncIterator[AsyncIterator[Any]]:
        subscription = stream.subscribe(subscriber.enqueue)
        self._subscribers.add(subscriber)
        try:
            yield subscriber.iter_updates()
        finally:
            subscription.dispose()
            self._subscribers.discard(subscriber)
            self._past_lost_count += subscriber.lost_count


def _build_lost_update(lost_count: int, next_update: LiveUpdate) -> LiveUpdate:
    message = f"{lost_count} updates were lost here, since they were not read fast enough"
    return LiveUpdate("problem", next_update.time, message)


class _BoundedSubscriber:
    """A bounded queue between a stream and one slow reader."""

    def __init__(
        self,
        size: int,
        report_lost: Callable[[int, Any], Any],
        count_items: Callable[[Any], int] = lambda update: 1,
    ) -> None:
        self._report_lost, self._count_items = report_lost, count_items
        self._reported_lost = 0
        self._queue: deque[Any] = deque(maxlen=size)
        self._has_items = asyncio.Event()
        self.lost_count = 0

    def enqueue(self, update: Any) -> None:
        if len(self._queue) == self._queue.maxlen:
            self.lost_count += self._count_items(self._queue[0])
        self._queue.append(update)
        self._has_items.set()

    async def iter_updates(self) -> AsyncIterator[Any]:
        while True:
            await self._has_items.wait()
            while self._queue:
                if self.lost_count > self._reported_lost:
                    newly_lost, self._reported_lost = (
                        self.lost_count - self._reported_lost,
                        self.lost_count,
                    )
                    yield self._report_lost(newly_lost, self._queue[0])
                    continue
                yield self._queue.popleft()
            self._has_items.clear()
