"""Alert commands on a running engine, executed between two steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from catcher.alerting import AlertChanges, AlertService
from catcher.alerting.alarm_statistics import compute_statistics, statistics_to_json
from catcher.engine.engine import Engine
from catcher.engine.unit_of_work import UnitOfWork
from catcher.model.alert import Alert, AuditEntry, Notification, Severity
from catcher.model.alert_operations import Shift, Silence
from catcher.model.errors import CatcherError, NotFound
from catcher.model.time import Instant, Span
from catcher.ports import DeadLetter, Query, Row

MAX_DEAD_LETTERS = 10_000
MAX_EPISODES = 1_000_000
EnqueueNotifications = Callable[[Sequence[Notification]], None]


def discard_notifications(notifications: Sequence[Notification]) -> None:
    """Discards notifications, for a virtual engine without a dispatcher."""


class AlertCommands:
    """The alert commands of an engine's API."""

    _engine: Engine
    _channel: str
    _enqueue_notifications: EnqueueNotifications

    async def acknowledge_alert(
        self, alert: str, severity: Severity | None, who: str, note: str
    ) -> Alert:
        """Acknowledges an alert; refused if it got worse than the severity that was seen."""
        return await self._apply_to_alert(
            alert,
            lambda service, now: service.acknowledge_alert(
                alert, severity, who, note, now, self._channel
            ),
        )

    async def shelve_alert(self, alert: str, span: Span, who: str, reason: str) -> Alert:
        """Shelves an alert for a span."""
        return await self._apply_to_alert(
            alert,
            lambda service, now: service.shelve_alert(
                alert, now + span, who, reason, now, self._channel
            ),
        )

    async def unshelve_alert(self, alert: str, who: str) -> Alert:
        """Unshelves an alert."""
        return await self._apply_to_alert(
            alert, lambda service, now: service.unshelve_alert(alert, who, now, self._channel)
        )

    async def add_comment(self, alert: str, who: str, text: str, link: str = "") -> Alert:
        """Adds a comment to an alert, with a link to more."""
        return await self._apply_to_alert(
            alert,
            lambda service, now: service.add_comment(alert, text, who, now, self._channel, link),
        )

    async def assign_alert(self, alert: str, to: str, who: str) -> Alert:
        """Assigns an alert to a person."""
        return await self._apply_to_alert(
            alert, lambda service, now: service.assign_alert(alert, to, who, now, self._channel)
        )

    async def confirm_suppression(self, id: str, who: str) -> str:
        """Confirms a shelf or silence of the previous shift; returns its complete id."""
        work = await self._apply_change(
            lambda service, now: service.confirm_suppression(id, who, now, self._channel)
        )
        return work.silences[0].id if work.silences else work.alerts[0].id

    async def create_silence(
        self, name: str, labels: Mapping[str, str], severity: Severity, span: Span, who: str,
        reason: str,
    ) -> Silence:  # fmt: skip
        """Silences matching alerts for a span, up to a severity."""
        work = await self._apply_change(
            lambda service, now: service.add_silence(
                name, labels, severity, now + span, who, reason, now, self._channel
            )
        )
        return work.silences[0]

    async def end_silence(self, id: str, who: str) -> Silence:
        """Ends a silence early."""
        work = await self._apply_change(
            lambda service, now: service.end_silence(id, who, now, self._channel)
        )
        return work.silences[-1]

    def list_silences(self) -> Sequence[Silence]:
        """Returns the active silences, the next to end first."""
        return self._engine.components.alert_service.list_silences()

    async def hand_over_shift(self, to: str, who: str, note: str) -> Shift:
        """Hands the shift over to another person, from now on."""
        work = await self._apply_change(
            lambda service, now: service.hand_over_shift(to, who, note, now, self._channel)
        )
        return work.shifts[-1]

    def get_current_shift(self) -> Shift | None:
        """Returns the current shift; None if nobody is on shift."""
        return self._engine.components.alert_service.shift

    async def list_dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Returns notifications that were given up, newest first; `id` an alert, `name` a sink."""
        return await self._engine.components.ledger.list_dead_letters(query)

    async def requeue_dead_letters(self, ids: Sequence[str], who: str) -> int:
        """Queues dead letters for delivery again, all if no id is given; returns how many.

        An id may be abbreviated to a unique prefix. What is sent is the current state of each
        alert, under the idempotency key of the dead letter. Raises NotFound for an unknown id.
        """
        components = self._engine.components
        letters = await components.ledger.list_dead_letters(Query(limit=MAX_DEAD_LETTERS))
        known_ids = sorted(letter.notice.id for letter in letters)
        letter_ids = [_resolve_letter_id(known_ids, id) for id in dict.fromkeys(ids)]
        requeued = await components.ledger.requeue_dead_letters(letter_ids or known_ids)

        def build_work(now: Instant) -> UnitOfWork:
            detail = {
                "notices": [notification.id for notification in requeued][:100],
                "count": len(requeued),
            }
            entry = AuditEntry(now, who, self._channel, "resend", "dead letters", detail)
            return UnitOfWork(audit=[entry])

        await self._engine.submit_command(build_work)
        self._enqueue_notifications(
            [self._refresh_notification(notification) for notification in requeued]
        )
        return len(requeued)

    def _refresh_notification(self, notification: Notification) -> Notification:
        try:
            alert = self._engine.components.alert_service.get_alert(notification.alert.id)
        except CatcherError:
            return notification
        if (alert.episode, alert.sequence) <= (
            notification.alert.episode,
            notification.alert.sequence,
        ):
            return notification
        kind = "resolved" if alert.state == "resolved" else notification.kind
        return replace(notification, alert=alert, kind=kind)

    async def compute_alarm_statistics(
        self, start: Instant, end: Instant, longitude: float | None = None
    ) -> Row:
        """Returns the alarm statistics of ISA-18.2 over a span."""
        query = Query(start=start, end=end, limit=MAX_EPISODES)
        episodes = await self._engine.components.ledger.list_alerts(query)
        return statistics_to_json(compute_statistics(episodes, start, end, longitude))

    async def _apply_to_alert(
        self, alert: str, change: Callable[[AlertService, Instant], AlertChanges]
    ) -> Alert:
        await self._apply_change(change)
        return self._engine.components.alert_service.get_alert(alert)

    async def _apply_change(
        self, change: Callable[[AlertService, Instant], AlertChanges]
    ) -> UnitOfWork:
        def build_work(now: Instant) -> UnitOfWork:
            work = UnitOfWork()
            work.add_changes(change(self._engine.components.alert_service, now))
            return work

        work: Any = await self._engine.submit_command(build_work)
        return work if isinstance(work, UnitOfWork) else UnitOfWork()


def _resolve_letter_id(known_ids: Sequence[str], id: str) -> str:
    """Returns the one dead letter with this id or prefix; raises NotFound otherwise."""
    matches = [letter_id for letter_id in known_ids if id and letter_id.startswith(id)]
    if id in matches or len(matches) == 1:
        return id if id in matches else matches[0]
    message = f"{len(matches)} dead letters begin with" if matches else "no dead letter is called"
    raise NotFound(f"{message} {id[:80]!r}", "`catcher dead-letters` lists them")
