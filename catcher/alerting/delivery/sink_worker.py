"""Delivery to one sink: attempts, backoff, retries, never out of order for an alert."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from catcher.alerting.delivery.outcome_writer import DeliveryOutcome, OutcomeWriter
from catcher.alerting.delivery.queue import NotificationQueue, OverdueNotification, coalesce_missed
from catcher.alerting.delivery.rate_limit import RetryPolicy, TokenBucket
from catcher.alerting.delivery.shutdown import DrainOnShutdown
from catcher.alerting.limits import RateLimit
from catcher.model.alert import Notification
from catcher.model.errors import CatcherError
from catcher.model.health import PERMANENT_REJECTION_PREFIX, Health, HealthState
from catcher.model.text import sanitize_single_line
from catcher.model.time import MILLISECOND, Clock, Instant, Span, nanoseconds_to_seconds
from catcher.ports import Ledger, Sink, SinkError

RECEIPT_TIMEOUT: Span = 500 * MILLISECOND
"""How long to wait for a receipt from the ledger: a late message is worse than a duplicate."""
MAX_RECENT_OUTCOMES = 20_000


DeliveredCallback = Callable[[Notification], None]


class SinkWorker:
    """One sink with its queue. `run` delivers forever; `enqueue` adds a notification."""

    def __init__(
        self,
        sink: Sink,
        ledger: Ledger,
        outcome_writer: OutcomeWriter,
        clock: Clock,
        on_delivered: DeliveredCallback,
        retry_policy: RetryPolicy,
        rate_limit: RateLimit | None = None,
    ) -> None:
        self.name = sink.name
        self.shutdown = DrainOnShutdown()
        self.idle = asyncio.Event()
        self.idle.set()
        self._sink, self._ledger, self._clock = sink, ledger, clock
        self._outcome_writer, self._on_delivered, self._retry_policy = (
            outcome_writer,
            on_delivered,
            retry_policy,
        )
        self._queue = NotificationQueue(retry_policy.queue_size)
        self._wakeup = asyncio.Event()
        self._in_flight: Notification | None = None
        self._superseded: dict[str, dict[str, Notification]] = {}
        self._overflowed = False
        self._rejected_count = 0
        self._failure_count = 0
        self._dead_letters: deque[Notification] = deque(maxlen=100)
        self._receipts: OrderedDict[str, tuple[int, Mapping[str, Any]]] = OrderedDict()
        self._recent_outcomes: OrderedDict[str, DeliveryOutcome] = OrderedDict()
        self._started_at = self._since = clock()
        self._token_bucket = TokenBucket(rate_limit, self._started_at)
        self._last: Instant | None = None
        self._problem = self._rejection = ""
        self._counts = dict.fromkeys(
            ("delivered", "failed", "superseded", "dead", "overflowed", "lost", "paced"), 0
        )

    # -- public ---------------------------------------------------------------------------------

    def enqueue(self, notification: Notification) -> None:
        """Queues a notification; if the queue is full it waits in the ledger's outbox.

        One that was sent while the ledger was unavailable comes again once it is in the ledger: its
        outcome is then recorded, and it is not sent again.
        """
        if self._handle_duplicate(notification):
            return
        if self._overflowed or self._queue.is_full:
            self._overflowed = True
            self._rejected_count += 1
            # Only what the ledger has can be read back from the outbox.
            self._counts["lost" if notification.unrecorded else "overflowed"] += 1
        else:
            self._queue.enqueue(notification)
        self.idle.clear()
        self._wakeup.set()

    def requeue_dead_letter(self, notification: Notification) -> None:
        """Queues a dead letter that an operator wants redelivered."""
        self._recent_outcomes.pop(notification.id, None)
        self._dead_letters = deque(
            (
                dead_letter
                for dead_letter in self._dead_letters
                if dead_letter.id != notification.id
            ),
            maxlen=100,
        )
        self.enqueue(notification)

    def set_rate_limit(self, rate_limit: RateLimit | None) -> None:
        """Replaces the rate limit; an unchanged one keeps its token bucket."""
        if not self._token_bucket.has_same_rate_limit(rate_limit):
            self._token_bucket = TokenBucket(rate_limit, self._clock())
            self._wakeup.set()

    def list_pending_and_given_up(self) -> list[OverdueNotification]:
        """Returns what is still to be delivered, and what was given up recently."""
        overdue = [self._to_overdue(notification) for notification in self._queue]
        if self._in_flight is not None:
            overdue.append(self._to_overdue(self._in_flight))
        return overdue + [
            OverdueNotification(notification, notification.time, is_given_up=True)
            for notification in self._dead_letters
        ]

    def _to_overdue(self, notification: Notification) -> OverdueNotification:
        """Wraps a notification, overdue since the first of those that it supersedes."""
        superseded = self._superseded.get(notification.alert.id, {})
        return OverdueNotification(
            notification, min(item.time for item in (notification, *superseded.values()))
        )

    def health(self) -> Health:
        """Returns the sink's own health, `away` while deliveries fail, with the counts of both."""
        sink_health = self._sink.health()
        state: HealthState = "away" if self._failure_count or self._rejection else sink_health.state
        counts = {
            **sink_health.counts,
            **self._counts,
            "waiting": len(self._queue) + (self._in_flight is not None),
            "unsettled": self._outcome_writer.count_pending(self.name)
            + self._outcome_writer.lost_counts[self.name],
        }
        return Health(
            name=self.name,
            kind=sink_health.kind or "sink",
            state=state,
            since=self._since,
            last=self._last,
            problem=self._rejection
            or (self._problem if self._failure_count else sink_health.problem),
            counts=counts,
        )

    # -- delivery loop --------------------------------------------------------------------------

    async def run(self) -> None:
        """Delivers notifications until cancelled."""
        while True:
            notification = await self._wait_for_next_notification()
            self._in_flight = notification
            backoff = await self._attempt_delivery(self._coalesce_newer(notification))
            self._in_flight = None
            if backoff is not None:
                await self.shutdown.wait_backoff(backoff)

    async def drain_for_shutdown(self) -> None:
        """Returns when the shutdown need not wait for this worker any longer."""
        self.shutdown.start_drain()
        await self.shutdown.wait_until_drained_or_failed(self.idle, self._failure_count > 0)

    async def _wait_for_next_notification(self) -> Notification:
        while True:
            now = self._clock()
            is_limited = not self._token_bucket.can_send_now(now)
            notification = self._queue.dequeue(only_worsening=is_limited)
            if notification is not None:
                self._token_bucket.consume_token(now)
                return notification
            if is_limited and len(self._queue):
                self._counts["paced"] += 1
                self._wakeup.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(
                        nanoseconds_to_seconds(self._token_bucket.get_wait_time(now))
                    ):
                        await self._wakeup.wait()
            elif self._overflowed:
                await self._reload_from_outbox()
            else:
                self._wakeup.clear()
                self.idle.set()
                await self._wakeup.wait()

    async def _reload_from_outbox(self) -> None:
        """Reads back from the outbox what did not fit into the queue."""
        self._rejected_count = 0
        try:
            outbox = await self._ledger.list_undelivered_notifications()
        except CatcherError as error:
            self._problem = str(error)
            await asyncio.sleep(nanoseconds_to_seconds(self._retry_policy.initial_backoff))
            return
        own_notifications = [
            entry
            for entry in outbox
            if entry.sink == self.name and not self._handle_duplicate(entry)
        ]
        for notification in own_notifications[: self._retry_policy.queue_size]:
            self._queue.enqueue(notification)
        # Notifications that came during the read may be missing from its result.
        self._overflowed = (
            self._rejected_count > 0 or len(own_notifications) > self._retry_policy.queue_size
        )

    def _coalesce_newer(self, notification: Notification) -> Notification:
        """Returns the notification, or the latest of its alert if the sink is behind.

        A rate limit never swallows a worsening.
        """
        is_behind = self._failure_count or notification.attempts
        is_limited = self._token_bucket.is_limited and not self._queue.has_worsening(
            notification.alert.id
        )
        newer = self._queue.dequeue_all_of_alert(notification) if is_behind or is_limited else []
        for old in (notification, *newer[:-1]) if newer else ():
            self._mark_superseded(old)
        self._in_flight = coalesce_missed(notification, newer)
        return self._in_flight

    def _mark_superseded(self, old: Notification) -> None:
        """Marks a notification as superseded by a later one.

        Those that make the later one urgent (the first missed of each alert, and the first of each
        urgent kind) are recorded only together with it: after a crash it must not become less
        urgent.
        """
        self._counts["superseded"] += 1
        superseded = self._superseded.setdefault(old.alert.id, {})
        slot = old.kind if superseded else "first"
        if slot in ("first", "opened", "raised") and slot not in superseded:
            superseded[slot] = old
        else:
            self._enqueue_outcome(DeliveryOutcome(replace(old, receipt={})))

    def _record_superseded(self, notification: Notification) -> None:
        """Records the notifications that this one superseded, now that it is final."""
        for old in self._superseded.pop(notification.alert.id, {}).values():
            self._enqueue_outcome(DeliveryOutcome(replace(old, receipt={})))

    async def _attempt_delivery(self, notification: Notification) -> Span | None:
        """Makes one attempt; returns the backoff after it, or None for none."""
        notification = replace(
            notification,
            receipt=await self._get_last_receipt(notification),
            attempts=notification.attempts + 1,
        )
        try:
            async with asyncio.timeout(nanoseconds_to_seconds(self._retry_policy.attempt_timeout)):
                receipt = await self._sink.deliver(notification)
        except SinkError as error:
            return self._on_failure(notification, str(error), error.retry_after, error.final)
        except TimeoutError:
            return self._on_failure(notification, "the sink did not answer in time")
        # A site's own sink may raise anything; it must not stop the worker.
        except Exception as error:  # noqa: BLE001
            return self._on_failure(notification, f"{type(error).__name__}: {error}")
        self._on_success(replace(notification, receipt=receipt))
        return None

    def _on_success(self, notification: Notification) -> None:
        if self._failure_count:
            self._failure_count, self._problem, self._since = 0, "", self._clock()
        self._last, self._rejection = self._clock(), ""
        self._counts["delivered"] += 1
        thread_receipt = (_get_thread_episode(notification), notification.receipt)
        _cache_bounded(
            self._receipts, notification.alert.id, thread_receipt, self._retry_policy.queue_size
        )
        self._record_superseded(notification)
        self._enqueue_outcome(DeliveryOutcome(notification))
        self._on_delivered(notification)

    def _on_failure(
        self,
        notification: Notification,
        error_text: str,
        retry_after: Span | None = None,
        final: bool = False,
    ) -> Span | None:
        error_text = sanitize_single_line(error_text)
        self._counts["failed"] += 1
        # A notification left over by an earlier engine gets the full time from this one's start.
        elapsed = self._clock() - max(notification.time, self._started_at)
        if final or elapsed > self._retry_policy.give_up_after:
            self._counts["dead"] += 1
            self._dead_letters.append(notification)
            self._rejection = f"{PERMANENT_REJECTION_PREFIX}{error_text}" if final else ""
            self._problem = error_text
            self._record_superseded(notification)
            self._enqueue_outcome(DeliveryOutcome(notification, error_text, is_dead_letter=True))
            return None
        if not self._failure_count:
            self._since = self._clock()
        self._failure_count += 1
        self.shutdown.retry_forbidden = retry_after is not None
        self._problem = error_text
        self._enqueue_outcome(DeliveryOutcome(notification, error_text))
        is_recorded = self._in_flight is not None and not self._in_flight.unrecorded
        self._queue.requeue(
            replace(notification, unrecorded=notification.unrecorded and not is_recorded)
        )
        return max(retry_after or 0, self._compute_backoff())

    def _compute_backoff(self) -> Span:
        backoff = self._retry_policy.initial_backoff << min(self._failure_count - 1, 30)
        return int(
            min(backoff, self._retry_policy.max_backoff) * (1 + self._retry_policy.jitter()) / 2
        )

    # -- outcomes and receipts ------------------------------------------------------------------

    def _handle_duplicate(self, notification: Notification) -> bool:
        """Whether a notification is already queued or finished here; the ledger then gets its
        outcome."""
        outcome = self._recent_outcomes.get(notification.id)
        if outcome is not None:
            if not notification.unrecorded:
                receipt = outcome.notification.receipt
                updated = replace(notification, receipt=receipt, unrecorded=False)
                self._outcome_writer.enqueue(
                    DeliveryOutcome(updated, outcome.error, outcome.is_dead_letter)
                )
            return True
        superseded = self._superseded.get(notification.alert.id, {})
        for slot, entry in superseded.items():
            if entry.id == notification.id:
                superseded[slot] = replace(
                    entry, unrecorded=entry.unrecorded and notification.unrecorded
                )
                return True
        is_in_flight = self._in_flight is not None and self._in_flight.id == notification.id
        if not is_in_flight and notification.id not in self._queue:
            return False
        if not notification.unrecorded:
            self._queue.mark_recorded(notification)
            if is_in_flight and self._in_flight is not None:
                self._in_flight = replace(self._in_flight, unrecorded=False)
        return True

    async def _get_last_receipt(self, notification: Notification) -> Mapping[str, Any]:
        """Returns the sink's last receipt for this alert; empty if the alert is new to it."""
        thread, receipt = self._receipts.get(notification.alert.id, (0, None))
        if receipt is not None:
            return receipt if thread == _get_thread_episode(notification) else {}
        if notification.kind == "opened" or notification.receipt:
            return {} if notification.kind == "opened" else notification.receipt
        try:
            async with asyncio.timeout(nanoseconds_to_seconds(RECEIPT_TIMEOUT)):
                return await self._ledger.get_last_receipt(notification.alert.id, notification.sink)
        except (CatcherError, TimeoutError):
            return {}

    def _enqueue_outcome(self, outcome: DeliveryOutcome) -> None:
        """Queues an outcome for the ledger, if the ledger has that notification."""
        notification = outcome.notification
        if outcome.is_final:
            _cache_bounded(self._recent_outcomes, notification.id, outcome, MAX_RECENT_OUTCOMES)
        in_flight = self._in_flight
        is_recorded = (
            in_flight is not None and in_flight.id == notification.id and not in_flight.unrecorded
        )
        if is_recorded or not notification.unrecorded:
            self._outcome_writer.enqueue(
                replace(outcome, notification=replace(notification, unrecorded=False))
            )


def _get_thread_episode(notification: Notification) -> int:
    """Returns the episode in which the message thread of an alert began: it is edited until its
    end."""
    return notification.alert.thread or notification.alert.episode


def _cache_bounded(cache: OrderedDict[str, Any], key: str, value: object, size: int) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > size:
        cache.popitem(last=False)
