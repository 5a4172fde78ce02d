"""One step in an alert's life: what happened, why, and the number under which it is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from catcher.model.alert import Alert, Severity
from catcher.model.time import Instant

TransitionKind = Literal[
    "nothing", "pending", "withdrawn", "opened", "raised", "lowered", "updated", "resolved",
    "acknowledged", "unacknowledged", "shelved", "ending", "unconfirmed", "confirmed",
    "unshelved", "escalated", "assigned", "note", "calm",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Transition:
    """What happened to an alert, why, and at which severity it was shown before.

    A `muted` one is not told: the alert flaps, and this is no worse than what was told.
    """

    kind: TransitionKind
    reason: str
    previous: Severity = Severity.NONE
    muted: bool = False

    @property
    def real(self) -> bool:
        """Whether the alert is another than before."""
        return self.kind != "nothing"


Step = tuple[Alert | None, Transition]
Known = tuple[Alert, Transition]


OF_DATA: frozenset[TransitionKind] = frozenset(
    {"pending", "withdrawn", "opened", "raised", "lowered", "updated", "resolved"}
)
"""What the data say; their reason is the alert's own. What else befalls it stands `aside`."""


def step(new: Alert, old: Alert | None, kind: TransitionKind, reason: str) -> Known:
    """Numbers the change; what is told of an alert is told under that number."""
    previous = old.shown_severity if old else Severity.NONE
    new = replace(new, reason=reason) if kind in OF_DATA else replace(new, aside=reason)
    return replace(new, sequence=new.sequence + 1), Transition(kind, reason, previous)


def resolve(alert: Alert, reason: str, time: Instant) -> Known:
    """Ends an episode. What the data say of the alert is what they said last."""
    new = replace(
        alert,
        state="resolved",
        severity=Severity.NONE,
        latched=False,
        unknown=False,
        unknown_since=None,
        resolved=time,
        changed=time,
        since=time,
        escalates=alert.escalates if alert.flapping else None,
        acknowledges=None,
        reminds=None,
    )
    return step(new, alert, "resolved", reason)


def off_shelf(alert: Alert) -> Literal["acknowledged", "firing", "resolved"]:
    """The state of an alert without its shelf."""
    if alert.state == "resolved":
        return "resolved"
    return "acknowledged" if alert.acknowledgement else "firing"
