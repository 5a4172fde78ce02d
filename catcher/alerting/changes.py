"""The outcome of one alerting step, or why it was refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from catcher.model.alert import Alert, AuditEntry, Notification
from catcher.model.alert_operations import NotificationGroup, Shift, Silence
from catcher.model.errors import CatcherError


@dataclass(frozen=True, slots=True)
class AlertChanges:
    """The outcome of one step: changed alerts, notifications to send, audit entries.

    Silences, shifts and groups are only those that changed.
    """

    alerts: tuple[Alert, ...] = ()
    notifications: tuple[Notification, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    silences: tuple[Silence, ...] = ()
    shifts: tuple[Shift, ...] = ()
    groups: tuple[NotificationGroup, ...] = ()


NO_CHANGES = AlertChanges()


def merge_changes(changes: Iterable[AlertChanges]) -> AlertChanges:
    """Merges the changes of several steps into one, in order."""
    non_empty = [change for change in changes if change is not NO_CHANGES]
    if len(non_empty) < 2:
        return non_empty[0] if non_empty else NO_CHANGES
    return AlertChanges(
        tuple(alert for change in non_empty for alert in change.alerts),
        tuple(notification for change in non_empty for notification in change.notifications),
        tuple(entry for change in non_empty for entry in change.audit),
        tuple(silence for change in non_empty for silence in change.silences),
        tuple(shift for change in non_empty for shift in change.shifts),
        tuple(group for change in non_empty for group in change.groups),
    )


def merge_simultaneous_raises(notifications: Sequence[Notification]) -> list[Notification]:
    """Merges the notifications of one step if an alert got worse twice at one instant.

    `warning: always` beside `serious: …` is such a step. The later notification replaces both.
    """
    by_id: dict[str, Notification] = {}
    latest: dict[tuple[str, str], Notification] = {}
    for notification in notifications:
        key, merged = (notification.alert.id, notification.sink), notification
        previous = latest.get(key)
        if previous is not None and _is_raise_at_same_time(previous, notification):
            del by_id[previous.id]
            merged = replace(notification, kind=previous.kind, previous=previous.previous)
        latest[key] = by_id[merged.id] = merged
    return list(by_id.values())


def _is_raise_at_same_time(previous: Notification, following: Notification) -> bool:
    is_worse = previous.kind in ("opened", "raised") and following.kind == "raised"
    old, new = previous.alert, following.alert
    return is_worse and (old.episode, old.changed) == (new.episode, new.changed)


class ActionRefused(CatcherError):
    """An operator action was refused; `audit_entry` records who asked for what."""

    def __init__(self, error: CatcherError, audit_entry: AuditEntry) -> None:
        super().__init__(error.message, error.hint)
        self.audit_entry = audit_entry
