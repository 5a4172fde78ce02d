"""Which sinks hear of a change of an alert, and as what."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from catcher.alerting.routing import Direction
from catcher.alerting.transitions import Transition, TransitionKind
from catcher.model.alert import Alert, Notice, NoticeKind, Severity
from catcher.model.time import Instant

KINDS: dict[TransitionKind, NoticeKind] = {
    "opened": "opened",
    "raised": "raised",
    "lowered": "lowered",
    "resolved": "resolved",
    "updated": "updated",
    "acknowledged": "updated",
    "shelved": "updated",
    "unshelved": "reminder",
    "escalated": "updated",
}
"""As what a transition is told; what is not here is told to nobody."""


NEWS: frozenset[NoticeKind] = frozenset({"opened", "raised", "test"})
"""What may be the first that a sink hears of an alert; all else is `opened` to it then."""


def hearers(alert: Alert, transition: Transition, direction: Direction) -> tuple[str, ...]:
    """The sinks that hear of a transition, each once.

    News goes the alert's way; all else to those who know of the alert already, so that each
    who heard of it hears its end. On a shelf only the shelf itself and the end are told.
    """
    kind = transition.kind
    if kind not in KINDS or (alert.state == "shelved" and kind not in ("shelved", "resolved")):
        return ()
    if kind not in ("opened", "raised", "unshelved"):
        return alert.sinks if not direction.silenced or kind != "updated" else ()
    if direction.silenced:
        return ()
    return tuple(dict.fromkeys((*alert.sinks, *direction.sinks)))


def notices(
    alert: Alert, kind: NoticeKind, sinks: Iterable[str], now: Instant, previous: Severity
) -> tuple[Alert, tuple[Notice, ...]]:
    """The notices of one change, and the alert that knows who has heard of it."""
    sinks = tuple(sinks)
    if not sinks:
        return alert, ()
    known = tuple(dict.fromkeys((*alert.sinks, *sinks)))
    first: NoticeKind = kind if kind in NEWS else "opened"
    as_told = {sink: kind if sink in alert.sinks else first for sink in sinks}
    alert = replace(alert, told=now, sinks=known)
    told = tuple(
        Notice(
            id=notice_id(alert, sink, kind),
            sink=sink,
            kind=as_told[sink],
            alert=alert,
            sequence=alert.sequence,
            time=now,
            previous=previous,
        )
        for sink in sinks
    )
    return alert, told


def notice_id(alert: Alert, sink: str, kind: NoticeKind) -> str:
    """16 hex digits: the same change told to the same sink has the same id, ever."""
    text = f"{alert.id}\0{alert.episode}\0{alert.sequence}\0{sink}\0{kind}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
