"""Delivers notifications, with a worker for each sink: a dead sink never delays another."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from catcher.alerting.delivery.outcome_writer import OutcomeWriter
from catcher.alerting.delivery.queue import OverdueNotification
from catcher.alerting.delivery.rate_limit import RetryPolicy
from catcher.alerting.delivery.sink_worker import DeliveredCallback, SinkWorker
from catcher.alerting.limits import RateLimit
from catcher.alerting.route_tree import Escalation
from catcher.model.alert import Notification
from catcher.model.health import Health
from catcher.model.time import Clock, Instant, Span, nanoseconds_to_seconds
from catcher.ports import Ledger, Row, Sink, SinkError

FallbackLookup = Callable[[Notification], Escalation | None]
"""Returns the fallback sinks for a notification whose sink cannot be reached, and the delay."""
FallbackQueue = Callable[[Notification], bool]
"""Queues a notification for its fallback sinks; False if the caller must offer it again later."""
_MAX_TRACKED = 20_000


class NotificationDispatcher:
    """Delivers each notification to its sink, at least once, in order for each alert.

    An async context manager: leaving it stops the workers; what is undelivered by then stays in the
    ledger's outbox. `on_delivered` is called with each delivered notification. `find_fallback`
    returns the sinks to notify instead of one that cannot be reached, and `queue_fallback` queues
    that: what they get is an ordinary notification, recorded in the ledger. `rate_limits` are by
    sink.
    """

    def __init__(
        self,
        sinks: Mapping[str, Sink],
        ledger: Ledger,
        clock: Clock,
        on_delivered: DeliveredCallback = lambda notification: None,
        find_fallback: FallbackLookup = lambda notification: None,
        queue_fallback: FallbackQueue = lambda notification: True,
        retry_policy: RetryPolicy | None = None,
        rate_limits: Mapping[str, RateLimit] | None = None,
    ) -> None:
        self._ledger, self._clock, self._on_delivered = ledger, clock, on_delivered
        self._outcome_writer, self._rate_limits = OutcomeWriter(ledger), dict(rate_limits or {})
        self._find_fallback, self._queue_fallback = find_fallback, queue_fallback
        self._retry_policy = retry_policy or RetryPolicy()
        self._workers = {name: self._create_worker(sink) for name, sink in sinks.items()}
        self._fallback_due: OrderedDict[str, Instant | None] = OrderedDict()
        self._task_group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._task_group = await asyncio.TaskGroup().__aenter__()
        self._start_task(self._outcome_writer.run())
        self._start_task(self._run_overdue_checks())
        for worker in self._workers.values():
            self._start_task(worker.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        if self._task_group is not None:
            task_group, self._task_group = self._task_group, None
            await task_group.__aexit__(kind, error, trace)

    def enqueue_notifications(self, notifications: Iterable[Notification]) -> None:
        """Queues notifications for their sinks and returns at once; duplicates are dropped.

        Those that are `unrecorded` are sent before the ledger has them, and come again once it
        does.
        """
        for notification in notifications:
            self._get_or_create_worker(notification.sink).enqueue(notification)

    def set_rate_limits(self, rate_limits: Mapping[str, RateLimit]) -> None:
        """Replaces the rate limits of the sinks; a sink without one is unlimited."""
        self._rate_limits = dict(rate_limits)
        for name, worker in self._workers.items():
            worker.set_rate_limit(rate_limits.get(name))

    def requeue_notifications(self, notifications: Iterable[Notification]) -> None:
        """Queues dead letters again; the ledger already has them as undelivered."""
        for notification in notifications:
            self._fallback_due.pop(notification.id, None)
            self._get_or_create_worker(notification.sink).requeue_dead_letter(notification)

    def _get_or_create_worker(self, sink: str) -> SinkWorker:
        worker = self._workers.get(sink)
        if worker is None:
            worker = self._workers[sink] = self._create_worker(_MissingSink(sink))
            self._start_task(worker.run())
        return worker

    def health(self) -> list[Health]:
        """Returns the health of each sink."""
        return [worker.health() for worker in self._workers.values()]

    def get_oldest_pending_times(self) -> dict[str, Instant]:
        """Returns when the oldest pending notification of each sink was created, if it has any."""
        pending_since = {
            name: [
                overdue.since
                for overdue in worker.list_pending_and_given_up()
                if not overdue.is_given_up
            ]
            for name, worker in self._workers.items()
        }
        return {name: min(times) for name, times in pending_since.items() if times}

    async def drain(self, timeout: Span) -> bool:
        """Waits until all is delivered and recorded in the ledger; False if that takes too long."""
        try:
            async with asyncio.timeout(nanoseconds_to_seconds(timeout)):
                for worker in list(self._workers.values()):
                    await worker.idle.wait()
                await self._outcome_writer.idle.wait()
        except TimeoutError:
            return False
        return True

    async def drain_for_shutdown(self, timeout: Span) -> bool:
        """Drains before the engine stops: a failing sink is tried once more, then abandoned.

        What is undelivered stays in the outbox for the next start. False if anything does.
        """
        workers = list(self._workers.values())
        try:
            async with asyncio.timeout(nanoseconds_to_seconds(timeout)):
                await asyncio.gather(*(worker.drain_for_shutdown() for worker in workers))
                await self._outcome_writer.drain_for_shutdown()
        except TimeoutError:
            return False
        return (
            all(worker.idle.is_set() for worker in workers) and self._outcome_writer.idle.is_set()
        )

    def _create_worker(self, sink: Sink) -> SinkWorker:
        return SinkWorker(
            sink,
            self._ledger,
            self._outcome_writer,
            self._clock,
            self._on_delivered,
            self._retry_policy,
            self._rate_limits.get(sink.name),
        )

    def _start_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self._task_group is None:
            coroutine.close()
            return
        self._tasks.append(self._task_group.create_task(coroutine))

    # -- fallback -------------------------------------------------------------------------------

    async def _run_overdue_checks(self) -> None:
        """Sends what is overdue at its sink, or was given up, to the fallback sinks."""
        while True:
            await asyncio.sleep(nanoseconds_to_seconds(self._retry_policy.check_interval))
            now = self._clock()
            for worker in list(self._workers.values()):
                for overdue in worker.list_pending_and_given_up():
                    self._queue_fallback_if_due(overdue, now)

    def _queue_fallback_if_due(self, overdue: OverdueNotification, now: Instant) -> None:
        notification = overdue.notification
        if notification.id not in self._fallback_due:
            fallback = self._find_fallback(notification)
            self._fallback_due[notification.id] = (
                None if fallback is None else overdue.since + fallback.after
            )
            if len(self._fallback_due) > _MAX_TRACKED:
                self._fallback_due.popitem(last=False)
        due_at = self._fallback_due.get(notification.id)
        if due_at is None or (now < due_at and not overdue.is_given_up):
            return
        if self._queue_fallback(notification):
            self._fallback_due[notification.id] = None


class _MissingSink:
    """Stands for a sink that is no longer in the site: its notifications become dead letters."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def deliver(self, notification: Notification) -> Row:
        raise SinkError(f"the site has no sink {self.name!r} (alerts/routes.yaml)", final=True)

    def health(self) -> Health:
        return Health(self.name, "missing", "away", problem="the site has no such sink")
