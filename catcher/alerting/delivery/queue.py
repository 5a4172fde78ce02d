"""The notifications queued for one sink: in order for each alert, critical ones first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from catcher.model.alert import Notification, Severity
from catcher.model.time import Instant


def is_worsening(notification: Notification) -> bool:
    """Whether a notification says that an alert got worse, or is critical."""
    is_critical = notification.alert.display_severity >= Severity.CRITICAL
    return notification.kind == "raised" or (notification.kind == "opened" and is_critical)


@dataclass(frozen=True, slots=True)
class OverdueNotification:
    """A notification that its sink has not received since `since`, or never will."""

    notification: Notification
    since: Instant
    is_given_up: bool = False


class NotificationQueue:
    """At most `max_size` notifications. Alerts take turns; ones that were critical go first."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._by_alert: dict[str, deque[Notification]] = {}
        self._urgent_ids: dict[str, None] = {}
        self._normal_ids: dict[str, None] = {}
        self._worsening_ids: dict[str, None] = {}
        self._ids: set[str] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id: str) -> bool:
        return id in self._ids

    def __iter__(self) -> Iterator[Notification]:
        return (
            notification
            for notifications in list(self._by_alert.values())
            for notification in list(notifications)
        )

    @property
    def is_full(self) -> bool:
        """Whether it accepts no more."""
        return len(self._ids) >= self._max_size

    def enqueue(self, notification: Notification) -> None:
        """Appends a notification after the others of its alert."""
        self._ids.add(notification.id)
        self._by_alert.setdefault(notification.alert.id, deque()).append(notification)
        self._add_to_order(notification)

    def requeue(self, notification: Notification) -> None:
        """Puts a notification before the others of its alert, but after the other alerts."""
        self._ids.add(notification.id)
        self._by_alert.setdefault(notification.alert.id, deque()).appendleft(notification)
        self._remove_from_order(notification.alert.id)
        self._add_to_order(notification)

    def mark_recorded(self, notification: Notification) -> None:
        """Marks a queued notification as recorded in the ledger."""
        queue = self._by_alert.get(notification.alert.id, deque())
        for index, entry in enumerate(queue):
            if entry.id == notification.id:
                queue[index] = replace(entry, unrecorded=False)

    def dequeue(self, only_worsening: bool = False) -> Notification | None:
        """Returns the next notification, or None if the queue has none (or no worsening one)."""
        order = self._worsening_ids if only_worsening else self._urgent_ids or self._normal_ids
        alert_id = next(iter(order), None)
        if alert_id is None:
            return None
        self._remove_from_order(alert_id)
        queue = self._by_alert[alert_id]
        notification = queue.popleft()
        self._ids.discard(notification.id)
        if queue:
            for entry in queue:
                self._add_to_order(entry)
        else:
            del self._by_alert[alert_id]
        return notification

    def has_worsening(self, alert_id: str) -> bool:
        """Whether any notification of an alert says that it got worse."""
        return alert_id in self._worsening_ids

    def dequeue_all_of_alert(self, notification: Notification) -> list[Notification]:
        """Removes and returns all queued notifications of the same alert, in order."""
        newer = list(self._by_alert.pop(notification.alert.id, ()))
        self._remove_from_order(notification.alert.id)
        self._ids.difference_update(entry.id for entry in newer)
        return newer

    def _add_to_order(self, notification: Notification) -> None:
        if is_worsening(notification):
            self._worsening_ids.setdefault(notification.alert.id)
        if notification.alert.max_severity >= Severity.CRITICAL:
            self._normal_ids.pop(notification.alert.id, None)
            self._urgent_ids.setdefault(notification.alert.id)
        elif notification.alert.id not in self._urgent_ids:
            self._normal_ids.setdefault(notification.alert.id)

    def _remove_from_order(self, alert_id: str) -> None:
        for order in (self._urgent_ids, self._normal_ids, self._worsening_ids):
            order.pop(alert_id, None)


def coalesce_missed(missed: Notification, newer: list[Notification]) -> Notification:
    """Returns the one notification to send after an outage instead of all these: the latest state.

    It keeps the kind `opened` or `raised` if that is news to the sink: an edit pings nobody.
    """
    if not newer:
        return missed
    last = newer[-1]
    kinds = {missed.kind, *(entry.kind for entry in newer)}
    kind = last.kind
    if last.alert.state != "resolved":
        if "opened" in kinds:
            kind = "opened"
        elif "raised" in kinds and last.alert.display_severity > missed.previous:
            kind = "raised"
    return replace(last, kind=kind, previous=missed.previous, attempts=missed.attempts)
