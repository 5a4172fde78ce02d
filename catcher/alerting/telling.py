"""Which sinks hear of a change of an alert, as what, and by itself or with others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from catcher.alerting import flapping
from catcher.alerting.bundles import Bundles
from catcher.alerting.directing import Direction
from catcher.alerting.floods import FloodWatch
from catcher.alerting.routing import RouteTree
from catcher.alerting.transitions import Transition, TransitionKind
from catcher.model.alert import Alert, Notice, NoticeKind, Severity
from catcher.model.desk import Bundle
from catcher.model.time import SECOND, Instant

KINDS: dict[TransitionKind, NoticeKind] = {
    "opened": "opened",
    "raised": "raised",
    "lowered": "lowered",
    "resolved": "resolved",
    "updated": "updated",
    "acknowledged": "updated",
    "unacknowledged": "reminder",
    "shelved": "updated",
    "ending": "reminder",
    "unconfirmed": "updated",
    "confirmed": "updated",
    "unshelved": "reminder",
    "escalated": "updated",
    "assigned": "updated",
    "note": "updated",
    "calm": "updated",
}
"""As what a transition is told; what is not here is told to nobody."""
NEWS: frozenset[NoticeKind] = frozenset({"opened", "raised", "test"})
"""What may be the first that a sink hears of an alert; all else is `opened` to it then."""
ON_SHELF: frozenset[TransitionKind] = frozenset(
    {"shelved", "ending", "unconfirmed", "confirmed", "resolved"}
)
"""What is told of an alert on its shelf."""
Told = tuple[Alert, tuple[Notice, ...]]


def kind_of(alert: Alert, transition: Transition) -> NoticeKind | None:
    """As what a transition is told."""
    if transition.kind == "calm" and alert.state == "resolved":
        return "resolved"
    return KINDS.get(transition.kind)


def hearers(alert: Alert, transition: Transition, direction: Direction) -> tuple[str, ...]:
    """The sinks that hear of a transition, each once.

    News goes the alert's way; all else to those who know of the alert already, so that each
    who heard of it hears its end. On a shelf only the shelf itself and the end are told.
    """
    kind = transition.kind
    known = tuple(dict.fromkeys((*alert.sinks, *alert.bundles)))
    if kind not in KINDS or (alert.state == "shelved" and kind not in ON_SHELF):
        return ()
    if kind == "calm" and alert.state != "resolved":
        kind = "unshelved"
    news = kind in ("opened", "raised", "unshelved", "unacknowledged")
    if not news and not (kind == "updated" and alert.unknown):
        return known if not direction.silenced or kind != "updated" else ()
    if direction.silenced:
        return ()
    return tuple(dict.fromkeys((*known, *direction.sinks)))


def notices(
    alert: Alert, kind: NoticeKind, sinks: Iterable[str], now: Instant, previous: Severity
) -> Told:
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


class Teller:
    """Tells changes: alone, in a group, in the summary of a flood, or not while one flaps."""

    def __init__(self, bundles: Bundles, flood: FloodWatch) -> None:
        self._bundles, self._flood = bundles, flood

    def tell(
        self, alert: Alert, transition: Transition, direction: Direction, tree: RouteTree,
        now: Instant,
    ) -> Told:  # fmt: skip
        """What a transition comes to in notices, and the alert that knows who heard of it."""
        if alert.held_back != direction.silenced:
            alert = replace(alert, held_back=direction.silenced)
        kind = kind_of(alert, transition)
        sinks = hearers(alert, transition, direction)
        if kind is None or not sinks:
            return alert, ()
        if transition.muted:
            self._bundles.touch(alert, now)
            return flapping.unseen(alert), ()
        return self.spread(alert, kind, sinks, direction, tree, now, transition.previous)

    def spread(
        self, alert: Alert, kind: NoticeKind, sinks: Iterable[str], direction: Direction,
        tree: RouteTree, now: Instant, previous: Severity,
    ) -> Told:  # fmt: skip
        """Tells some sinks one thing: each by itself, or in the message that is for many."""
        alone = []
        for sink in sinks:
            if not self._goes_alone(alert, kind, sink, direction, tree):
                alert = self._with_others(alert, sink, direction, now)
                continue
            alone.append(sink)
            if sink in alert.bundles:
                self._bundles.leave(alert.bundles[sink], alert.id, now)
                rest = {name: id for name, id in alert.bundles.items() if name != sink}
                alert = replace(alert, bundles=rest)
        alert, told = notices(alert, kind, alone, now, previous)
        return flapping.heard(alert), told

    def _goes_alone(
        self, alert: Alert, kind: NoticeKind, sink: str, direction: Direction, tree: RouteTree
    ) -> bool:
        """What is critical always does; so does a worsening, unless there is a flood."""
        worse = kind in NEWS and alert.shown_severity >= Severity.CRITICAL
        if worse or tree.one_by_one(sink):
            return True
        if sink in alert.bundles:
            return kind == "raised" and not self._flood.on
        if sink in alert.sinks:
            return True
        return not self._flood.on and direction.grouping(alert, sink) is None

    def _with_others(self, alert: Alert, sink: str, direction: Direction, now: Instant) -> Alert:
        if sink in alert.bundles and self._bundles.find(alert.bundles[sink]):
            self._bundles.touch(alert, now)
            return alert
        grouping, hand_on = direction.grouping(alert, sink), direction.undelivered(sink)
        fallback = (hand_on.after, hand_on.to) if hand_on else None
        if self._flood.on:
            id = self._bundles.join(
                "flood", sink, [sink], alert, now, FLOOD_WAIT, direction.repeat, fallback
            )
        elif grouping is not None:
            id = self._bundles.join(
                "group", grouping.key, [sink], alert, now, grouping.wait, direction.repeat,
                fallback,
            )  # fmt: skip
        else:
            return alert
        return replace(alert, bundles={**alert.bundles, sink: id})

    def instead(self, alert: Alert, sinks: Iterable[str], now: Instant) -> Told:
        """Tells those who stand in for a sink how an alert stands: by itself, and as news."""
        alert, told = notices(alert, "opened", sinks, now, Severity.NONE)
        return flapping.heard(alert), told

    def alone(self, alert: Alert, now: Instant) -> Told:
        """Tells the only member of a group that nobody was told of."""
        sinks, alert = tuple(alert.bundles), replace(alert, bundles={})
        alert, told = notices(alert, "opened", sinks, now, Severity.NONE)
        return flapping.heard(alert), told

    def of_bundle(self, bundle: Bundle, previous: Alert) -> tuple[Bundle, tuple[Notice, ...]]:
        """The notices of a bundle that is told now, and the bundle that knows who heard."""
        now = bundle.told if bundle.told is not None else bundle.alert.changed
        kind = _kind_of_bundle(bundle.alert, previous)
        alert, told = notices(bundle.alert, kind, bundle.sinks, now, previous.severity)
        return replace(bundle, alert=alert), told


FLOOD_WAIT = 2 * SECOND
"""How long the first summary of a flood gathers."""


def _kind_of_bundle(alert: Alert, previous: Alert) -> NoticeKind:
    if previous.sequence == 0:
        return "opened"
    if alert.state == "resolved":
        return "resolved"
    if alert.severity != previous.severity:
        return "raised" if alert.severity > previous.severity else "lowered"
    return "reminder" if alert.reason == previous.reason else "updated"
