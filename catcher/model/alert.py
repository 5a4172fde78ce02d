"""Alerts, their severities and states, and the notifications about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

from catcher.model.time import Instant


class Severity(IntEnum):
    """Severities, numbered as in LOVE and the Watcher."""

    NONE = 1
    WARNING = 2
    SERIOUS = 3
    CRITICAL = 4

    @classmethod
    def parse(cls, text: str) -> Severity:
        """Parses `warning` or `WARNING`; raises ValueError with the allowed values."""
        try:
            return cls[text.strip().upper()]
        except KeyError:
            raise ValueError(
                f"{text!r} is no severity; choose none, warning, serious or critical"
            ) from None

    def __str__(self) -> str:
        return self.name


AlertState = Literal["pending", "firing", "acknowledged", "shelved", "resolved"]
NotificationKind = Literal["opened", "raised", "lowered", "resolved", "updated", "reminder", "test"]


def compute_alert_id(rule: str, key: str, per: str) -> str:
    """Returns 12 hex digits that identify an alert for as long as its rule keeps its name."""
    text = f"{rule}\0{key}\0{per}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class LevelChange:
    """The rule evaluator's decision on one alert: its current severity, and why.

    `severity` is the highest active level, NONE if there is none. `unknown` means that the
    level cannot be evaluated now, with the reason in `reason`; the severity is then the last
    known one. `values` are the names that a message may show.
    """

    rule: str
    key: str
    per: str
    severity: Severity
    time: Instant
    reason: str
    values: Mapping[str, Any] = field(default_factory=dict)
    unknown: bool = False
    run: str = ""
    firing: str = ""

    @property
    def alert_id(self) -> str:
        """The id of the alert that this is about."""
        return compute_alert_id(self.rule, self.key, self.per)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who acknowledged an alert, at which severity, and their note."""

    who: str
    severity: Severity
    time: Instant
    note: str = ""


@dataclass(frozen=True, slots=True)
class Shelving:
    """The shelving of an alert until an end, with its owner and reason.

    `warned`: its upcoming end has been notified. `confirm_by`: when it ends unless somebody of
    the new shift confirms it.
    """

    who: str
    severity: Severity
    until: Instant
    reason: str
    time: Instant
    warned: bool = False
    confirm_by: Instant | None = None

    @property
    def ends_at(self) -> Instant:
        """When it ends, unless somebody confirms or lifts it before."""
        return self.until if self.confirm_by is None else min(self.until, self.confirm_by)


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on an alert: who wrote it, and when."""

    who: str
    time: Instant
    text: str


@dataclass(frozen=True, slots=True)
class Alert:
    """The current state of one alert.

    `episode` counts its openings, from 1 or, if earlier ones may have been deleted, from the
    greatest known number on.

    `severity` is what its condition says now, `max_severity` the worst of this episode, at
    which a latched alert stays until it is acknowledged. `links` map names to addresses.

    `opened`, `changed`, `since` (at its current severity), `worst_since` and `data_time` are
    times of the data. `appeared` (when it opened), `taken` (when somebody first acknowledged
    it), `told` (the last notification), `unknown_since`, `escalates` (when it was or will be
    escalated, to `escalate_to`, the `handed`th time) and `acknowledges` and `reminds` (when it
    will be acknowledged or brought back automatically) are times of the engine's clock, as are
    user actions.

    `sinks` were notified of this episode, so they are notified of its end too; `bundles` are the
    group messages by which other sinks were notified of it, by sink. `held_back` says why nobody
    is notified of it now. `flapping` alerts are notified again when they are stable; `swings` are
    the latest times at which it came back, `untold` counts changes that were not notified one by
    one, `thread` is the episode in which the message about it began, `loudest` the worst severity
    notified in it. `assignee` is the person who handles it, where `owner` is who is responsible
    for the rule; `aside` is the last thing that happened to it other than by its data: a shelf
    that ended, an escalation.
    """

    id: str
    rule: str
    key: str
    per: str
    episode: int
    state: AlertState
    severity: Severity
    max_severity: Severity
    opened: Instant
    changed: Instant
    reason: str
    message: str = ""
    resolved: Instant | None = None
    unknown: bool = False
    latched: bool = False
    owner: str = ""
    runbook: str = ""
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    attachment: str = ""
    run: str = ""
    acknowledgement: Acknowledgement | None = None
    shelf: Shelving | None = None
    sequence: int = 0
    data_time: Instant | None = None
    since: Instant | None = None
    worst_since: Instant | None = None
    unknown_since: Instant | None = None
    told: Instant | None = None
    escalates: Instant | None = None
    escalate_to: tuple[str, ...] = ()
    escalated: bool = False
    sinks: tuple[str, ...] = ()
    bundles: Mapping[str, str] = field(default_factory=dict)
    held_back: str = ""
    flapping: bool = False
    swings: tuple[Instant, ...] = ()
    untold: int = 0
    thread: int = 0
    loudest: Severity = Severity.NONE
    handed: int = 0
    appeared: Instant | None = None
    taken: Instant | None = None
    acknowledges: Instant | None = None
    reminds: Instant | None = None
    assignee: str = ""
    notes: tuple[Comment, ...] = ()
    aside: str = ""

    @property
    def name(self) -> str:
        """Rule, key and per in one line, as operators read it."""
        return " ".join(part for part in (self.rule, self.key, self.per) if part)

    @property
    def display_severity(self) -> Severity:
        """What a display shows: the worst of the episode while latched, else the current one."""
        return self.max_severity if self.latched else self.severity

    @property
    def is_active(self) -> bool:
        """True if it is firing, acknowledged or shelved."""
        return self.state in ("firing", "acknowledged", "shelved")


@dataclass(frozen=True, slots=True)
class Notification:
    """One message about an alert on its way to one sink.

    `id` is the idempotency key: the same change never has two. `sequence` orders the
    notifications of one alert. `alert` is the alert after the change.
    """

    id: str
    sink: str
    kind: NotificationKind
    alert: Alert
    sequence: int
    time: Instant
    previous: Severity = Severity.NONE
    attempts: int = 0
    receipt: Mapping[str, Any] = field(default_factory=dict)
    unrecorded: bool = False


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what when, from which channel. Append only."""

    time: Instant
    who: str
    channel: str
    what: str
    subject: str
    detail: Mapping[str, Any] = field(default_factory=dict)
