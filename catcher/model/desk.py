"""What the alert desk keeps beside the alerts: silences, shifts, messages about many alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from catcher.model.alert import Alert, Severity
from catcher.model.time import Instant, Span

BundleKind = Literal["group", "flood"]


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that nobody is told of until an end, with its owner and reason.

    It holds back those whose name (rule, key and per) or rule is `name`, a glob, and that have
    all `labels` (globs, too), as long as none is worse than `severity`. `covered` alerts were open
    when it was made, `hits` counts the news that it held back, `last` was the latest. `ended` and
    `why` tell of its end; `warned` that the end is near has been told. `confirm_by`: it ends then
    unless somebody of the new shift confirms it.
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
    def ends(self) -> Instant:
        """When it ends, unless somebody confirms or lifts it before."""
        return self.until if self.confirm_by is None else min(self.until, self.confirm_by)

    @property
    def idle(self) -> bool:
        """Whether it has held nothing back: perhaps it names the wrong thing."""
        return not self.hits and not self.covered

    @property
    def what(self) -> str:
        """What it holds back, in words."""
        labels = (f"{name}={glob}" for name, glob in self.labels.items())
        return " ".join([self.name, *labels])


@dataclass(frozen=True, slots=True)
class Shift:
    """Who sees to the alerts since when, and who handed over."""

    who: str
    since: Instant
    by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """One message about many alerts, to some sinks.

    `alert` is the message in the form of an alert: the worst of its members is its severity,
    and it is resolved when all of them are. `joined` counts all that were ever in it. `told` is
    when it was told last; `wait` how long it gathers before, `repeat` how often it is said
    again while nobody has taken what is open. `fallback` are the sinks that stand in, after how
    long, where one of its own cannot be reached.
    """

    kind: BundleKind
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
        """The id of its message, which commands take like that of an alert."""
        return self.alert.id

    @property
    def over(self) -> bool:
        """Whether all of it is resolved."""
        return self.alert.state == "resolved"
