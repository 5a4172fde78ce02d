"""Messages about many alerts: notification groups, and the summaries of a flood.

A group has the form of an alert, so that every sink can show it and edit it as it changes. It says
how many alerts there are, of which rules, and how many are still open.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from catcher.alerting.timers import DelayQueue
from catcher.model.alert import Alert, AlertState, Severity
from catcher.model.alert_operations import NotificationGroup, NotificationGroupKind
from catcher.model.text import sanitize_single_line
from catcher.model.time import SECOND, Instant, Span

UPDATE_INTERVAL: Span = 30 * SECOND
"""The minimum time between two notifications of one group."""
_MAX_NAMED, _MAX_RULES, _MAX_MEMBERS, _MAX_NAME_LENGTH = 10, 8, 5_000, 60
AlertLookup = Callable[[str], Alert | None]


class NotificationGroups:
    """The open groups, with their members."""

    def __init__(self) -> None:
        self._groups: dict[str, NotificationGroup] = {}
        self._ids_by_key: dict[tuple[NotificationGroupKind, str], str] = {}
        self._members: dict[str, dict[str, None]] = {}
        self._timers = DelayQueue()

    def __iter__(self) -> Iterator[NotificationGroup]:
        return iter(list(self._groups.values()))

    def __len__(self) -> int:
        return len(self._groups)

    def restore(self, groups: Iterable[NotificationGroup], alerts: Iterable[Alert]) -> None:
        """Restores the open groups; members are the alerts that name their group.

        Resolved members count, too: an unchanged message is not sent again.
        """
        for group in groups:
            if not group.is_resolved:
                self._groups[group.id] = group
                self._ids_by_key[group.kind, group.key] = group.id
                self._members[group.id] = {}
                notified_at = group.told
                self._timers.schedule(
                    group.id, 0 if notified_at is None else notified_at + UPDATE_INTERVAL
                )
        for alert in alerts:
            for group_id in alert.bundles.values():
                if group_id in self._members:
                    self._members[group_id][alert.id] = None
        for group_id, members in self._members.items():
            # Members that joined after the last notification were not stored with the group.
            joined = max(self._groups[group_id].joined, len(members))
            self._groups[group_id] = replace(self._groups[group_id], joined=joined)

    def find_by_id(self, id: str) -> NotificationGroup | None:
        """Returns an open group by its id."""
        return self._groups.get(id)

    def list_member_ids(self, id: str) -> list[str]:
        """Returns the ids of the alerts in a group."""
        return list(self._members.get(id, ()))

    def add_alert(
        self,
        kind: NotificationGroupKind,
        key: str,
        sinks: Iterable[str],
        alert: Alert,
        now: Instant,
        wait: Span,
        repeat: Span | None,
        fallback: tuple[Span, tuple[str, ...]] | None = None,
    ) -> str:
        """Adds an alert to the open group of a key, or to a new one; returns the group's id."""
        group_id = self._ids_by_key.get((kind, key), "")
        group = self._groups.get(group_id)
        if group is None:
            group = _create_group(kind, key, now, wait, repeat, fallback)
            group_id = self._ids_by_key[kind, key] = group.id
            self._members[group_id] = {}
        is_member = alert.id in self._members[group_id]
        self._groups[group_id] = replace(
            group,
            sinks=tuple(dict.fromkeys((*group.sinks, *sinks))),
            joined=group.joined + (not is_member),
        )
        self._members[group_id][alert.id] = None
        self._schedule_update(self._groups[group_id], now)
        return group_id

    def schedule_updates_for_alert(self, alert: Alert, now: Instant) -> None:
        """Schedules a notification of each group of an alert that changed."""
        for group_id in dict.fromkeys(alert.bundles.values()):
            if group_id in self._groups:
                self._schedule_update(self._groups[group_id], now)

    def remove_alert(self, id: str, alert_id: str, now: Instant) -> None:
        """Removes an alert that is notified individually from now on."""
        if self._members.get(id, {}).pop(alert_id, 0) is None and id in self._groups:
            group = self._groups[id]
            self._groups[id] = replace(group, joined=group.joined - 1)
            self._schedule_update(group, now)

    def pop_due_ids(self, now: Instant) -> list[str]:
        """Returns the ids of the groups whose notification is due."""
        return [id for id in self._timers.pop_due_ids(now) if id in self._groups]

    def update_group(self, group: NotificationGroup) -> None:
        """Stores a group after its notification."""
        if group.id in self._groups:
            self._groups[group.id] = group

    def remove_group(self, id: str) -> None:
        """Removes a group that is resolved or was never sent."""
        group = self._groups.pop(id)
        self._members.pop(id, None)
        self._ids_by_key.pop((group.kind, group.key), None)
        self._timers.schedule(id, None)

    def refresh_summary_if_changed(
        self, id: str, find_alert: AlertLookup, now: Instant, finished: bool = False
    ) -> NotificationGroup | None:
        """Returns the group with a new summary and sequence number; None if nothing changed."""
        group = self._groups[id]
        members = [
            alert for alert_id in self._members[id] if (alert := find_alert(alert_id)) is not None
        ]
        summary = _build_summary_alert(group, members, now, finished)
        is_unchanged = (summary.reason, summary.severity, summary.state) == (
            group.alert.reason, group.alert.severity, group.alert.state,
        )  # fmt: skip
        is_repeat_due = group.repeat and group.told is not None and now >= group.told + group.repeat
        if (
            is_unchanged
            and group.told is not None
            and not (is_repeat_due and summary.state == "firing")
        ):
            self._schedule_repeat(group)
            return None
        if len(self._members[id]) > _MAX_MEMBERS:
            self._members[id] = {member.id: None for member in members if member.is_active}
        group = replace(group, alert=replace(summary, sequence=summary.sequence + 1), told=now)
        if group.is_resolved:
            self.remove_group(id)
        else:
            self._groups[id] = group
            self._schedule_repeat(group)
        return group

    def _schedule_update(self, group: NotificationGroup, now: Instant) -> None:
        if group.told is None:
            self._timers.schedule(group.id, group.alert.opened + group.wait)
        else:
            self._timers.schedule(group.id, max(now, group.told + UPDATE_INTERVAL))

    def _schedule_repeat(self, group: NotificationGroup) -> None:
        due_at = group.told + group.repeat if group.told is not None and group.repeat else None
        self._timers.schedule(group.id, due_at)


def _create_group(
    kind: NotificationGroupKind, key: str, now: Instant, wait: Span, repeat: Span | None,
    fallback: tuple[Span, tuple[str, ...]] | None,
) -> NotificationGroup:  # fmt: skip
    digest = hashlib.blake2b(f"{kind}\0{key}\0{now}".encode("utf-8", "replace"), digest_size=6)
    title = key.partition(": ")[2] if kind == "group" else ""
    alert = Alert(
        id=digest.hexdigest(), rule=kind, key=title, per="", episode=1, thread=1, state="firing",
        severity=Severity.NONE, max_severity=Severity.NONE, opened=now, changed=now, reason="",
        since=now, worst_since=now, appeared=now,
    )  # fmt: skip
    return NotificationGroup(kind, alert, (), key, wait=wait, repeat=repeat, fallback=fallback)


def _build_summary_alert(
    group: NotificationGroup, members: list[Alert], now: Instant, finished: bool
) -> Alert:
    """Summarizes a group: how many alerts, of which rules, how bad, how many are open."""
    active_members = [member for member in members if member.is_active]
    worst_severity = max(
        (member.display_severity for member in active_members), default=Severity.NONE
    )
    handled_count = sum(member.state != "firing" for member in active_members)
    state: AlertState = "firing"
    if finished or not active_members:
        state = "resolved"
    elif handled_count == len(active_members):
        state = "acknowledged"
    summary = _format_summary(group, members, active_members, handled_count)
    alert = group.alert
    return replace(
        alert,
        state=state,
        severity=Severity.NONE if state == "resolved" else worst_severity,
        max_severity=max(alert.max_severity, worst_severity),
        reason=summary,
        message=summary,
        resolved=now if state == "resolved" else None,
        changed=now,
        since=now if worst_severity != alert.severity else alert.since,
        worst_since=now if worst_severity > alert.max_severity else alert.worst_since,
        data_time=max((member.data_time for member in members if member.data_time), default=None),
        values={"alerts": group.joined, "open": len(active_members)},
    )


def _format_summary(
    group: NotificationGroup, members: list[Alert], active_members: list[Alert], handled_count: int
) -> str:
    rules = Counter(member.rule for member in members)
    rule_counts = [f"{count} {rule}" for rule, count in rules.most_common(_MAX_RULES)]
    if len(rules) > _MAX_RULES:
        rule_counts.append(f"{len(rules) - _MAX_RULES} more rules")
    severities = Counter(member.display_severity for member in active_members)
    severity_counts = [
        f"{severities[severity]} {severity}" for severity in sorted(severities, reverse=True)
    ]
    noun = "alerts in a flood, told together" if group.kind == "flood" else "alerts"
    parts = [f"{group.joined} {noun}: {', '.join(rule_counts)}"]
    parts.append(
        f"{len(active_members)} open ({', '.join(severity_counts)})"
        if active_members
        else "all are over"
    )
    if handled_count:
        parts.append(f"{handled_count} taken or shelved")
    ordered = sorted(
        active_members, key=lambda member: (-member.display_severity, member.opened, member.id)
    )
    names = ", ".join(
        sanitize_single_line(member.name, _MAX_NAME_LENGTH) for member in ordered[:_MAX_NAMED]
    )
    suffix = f" and {len(ordered) - _MAX_NAMED} more" if len(ordered) > _MAX_NAMED else ""
    return "; ".join(parts) + (f": {names}{suffix}" if names else "")
