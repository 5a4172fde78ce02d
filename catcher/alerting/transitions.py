"""One transition of an alert: what happened, why, and its sequence number."""

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
    """What happened to an alert, why, and the display severity before.

    A `muted` one is not notified: the alert flaps, and this is no worse than was notified.
    """

    kind: TransitionKind
    reason: str
    previous: Severity = Severity.NONE
    muted: bool = False

    @property
    def is_change(self) -> bool:
        """Whether the alert changed."""
        return self.kind != "nothing"


OptionalTransitionResult = tuple[Alert | None, Transition]
TransitionResult = tuple[Alert, Transition]


DATA_TRANSITIONS: frozenset[TransitionKind] = frozenset(
    {"pending", "withdrawn", "opened", "raised", "lowered", "updated", "resolved"}
)
"""Transitions from the data; their reason is the alert's own. Other reasons go into `aside`."""


def apply_transition(
    new: Alert, old: Alert | None, kind: TransitionKind, reason: str
) -> TransitionResult:
    """Numbers the change; its notifications carry that sequence number."""
    previous = old.display_severity if old else Severity.NONE
    new = replace(new, reason=reason) if kind in DATA_TRANSITIONS else replace(new, aside=reason)
    return replace(new, sequence=new.sequence + 1), Transition(kind, reason, previous)


def resolve_alert(alert: Alert, reason: str, time: Instant) -> TransitionResult:
    """Ends an episode. The data of the alert stay what they were last."""
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
    return apply_transition(new, alert, "resolved", reason)


def get_unshelved_state(alert: Alert) -> Literal["acknowledged", "firing", "resolved"]:
    """Returns the state of an alert without its shelving."""
    if alert.state == "resolved":
        return "resolved"
    return "acknowledged" if alert.acknowledgement else "firing"
