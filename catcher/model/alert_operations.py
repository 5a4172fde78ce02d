"""What the alert pipeline stores beside the alerts: silences, shifts, notification groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from catcher.model.alert import Alert, Severity
from catcher.model.time import Instant, Span

NotificationGroupKind = Literal["group", "flood"]


@dataclass(frozen=True, slots=True)
class Silence:
    """Suppresses notifications of matching alerts until an end, with its owner and reason.

    It matches alerts whose name (rule, key and per) or rule is `name`, a glob, and that have
    all `labels` (globs, too), as long as none is worse than `severity`. `covered` alerts were
    open when it was created, `hits` counts the changes that it suppressed, `last` was the latest.
    `ended` and `why` describe its end; `warned`: its upcoming end has been notified. `confirm_by`:
    it ends then unless somebody of the new shift confirms it.
    """

    id: str
    who: str
    reason: str
    created: Instant
    until: Instant
    name: str = "*"
    labels: Mapping[str, str] = field(default_factory=dict)
    severity: Severity = Severity.SERIOUS
    covered: int = 0
    hits: int = 0
    last: Instant | None = None
    warned: bool = False
    confirm_by: Instant | None = None
    ended: Instant | None = None
    why: str = ""

    @property
    def ends_at(self) -> Instant:
        """When it ends, unless somebody confirms or lifts it before."""
        return self.until if self.confirm_by is None else min(self.until, self.confirm_by)

    @property
    def is_unused(self) -> bool:
        """True if it has suppressed nothing: perhaps it has the wrong name."""
        return not self.hits and not self.covered

    @property
    def matchers_text(self) -> str:
        """What it suppresses, in words."""
        labels = (f"{name}={glob}" for name, glob in self.labels.items())
        return " ".join([self.name, *labels])


@dataclass(frozen=True, slots=True)
class Shift:
    """Who handles the alerts since when, and who handed over."""

    who: str
    since: Instant
    by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class NotificationGroup:
    """One message about many alerts, to some sinks.

    `alert` is the message in the form of an alert: the worst of its members is its severity,
    and it is resolved when all of them are. `joined` counts all alerts that were ever in it.
    `told` is when it was last sent; `wait` how long it gathers alerts before, `repeat` how often
    it is sent again while nobody has acknowledged the open alerts. `fallback` is after how long
    which other sinks are used, if one of its own is unavailable.
    """

    kind: NotificationGroupKind
    alert: Alert
    sinks: tuple[str, ...]
    key: str = ""
    joined: int = 0
    told: Instant | None = None
    wait: Span = 0
    repeat: Span | None = None
    fallback: tuple[Span, tuple[str, ...]] | None = None

    @property
    def id(self) -> str:
        """The id of its message, which commands accept like that of an alert."""
        return self.alert.id

    @property
    def is_resolved(self) -> bool:
        """True if all of it is resolved."""
        return self.alert.state == "resolved"
