"""Whom an alert concerns: its ways through the tree of routes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from catcher.alerting.matching import Match, is_glob
from catcher.alerting.routing import GROUP_WAIT, HandOn, Route, RouteTree
from catcher.alerting.sun import Ground
from catcher.model.alert import Alert
from catcher.model.text import plain
from catcher.model.time import Instant, Span


@dataclass(frozen=True, slots=True)
class Grouping:
    """With which others an alert is told: those of one `key`, after `wait`."""

    key: str
    wait: Span


@dataclass(frozen=True, slots=True)
class Way:
    """One leaf that an alert came to: where it goes and why, or why it is held back.

    `number` names the leaf (`route.2.1`), `path` says what each route to it asks for.
    """

    path: tuple[str, ...]
    sinks: tuple[str, ...]
    silenced: str = ""
    repeat: Span | None = None
    escalate: HandOn | None = None
    undelivered: HandOn | None = None
    number: str = "route"
    group_by: tuple[str, ...] | None = None
    group_wait: Span | None = None
    acknowledge: Span | None = None
    remind: Span | None = None

    def grouping(self, alert: Alert) -> Grouping | None:
        """What an alert is grouped by here; None where each is told by itself."""
        if not self.group_by:
            return None
        named = ", ".join(_named(alert, name) for name in self.group_by)
        whole = hashlib.blake2b(named.encode("utf-8", "replace"), digest_size=6).hexdigest()
        return Grouping(
            f"{self.number} {whole}: {plain(named, 120)}",
            GROUP_WAIT if self.group_wait is None else self.group_wait,
        )


@dataclass(frozen=True, slots=True)
class Direction:
    """All ways of an alert. `sinks` has each sink once, in order; empty while silenced.

    `silence` is the id of the silence that holds it back, where one does.
    """

    ways: tuple[Way, ...]
    sinks: tuple[str, ...]
    silenced: str = ""
    silence: str = ""

    @property
    def repeat(self) -> Span | None:
        """The shortest time after which somebody is to be reminded."""
        return min((way.repeat for way in self._open() if way.repeat), default=None)

    @property
    def escalate(self) -> HandOn | None:
        """The earliest handing on."""
        hand_ons = [way.escalate for way in self._open() if way.escalate]
        return min(hand_ons, key=lambda one: one.after, default=None)

    @property
    def acknowledge(self) -> Span | None:
        """How long after its end a latched alert is acknowledged by itself."""
        return min((way.acknowledge for way in self.ways if way.acknowledge), default=None)

    @property
    def remind(self) -> Span | None:
        """How long after it was acknowledged an alert that goes on comes back."""
        return min((way.remind for way in self.ways if way.remind), default=None)

    def undelivered(self, sink: str) -> HandOn | None:
        """What stands in for a sink that cannot be reached."""
        hand_ons = [way.undelivered for way in self.ways if way.undelivered and sink in way.sinks]
        return min(hand_ons, key=lambda one: one.after, default=None)

    def grouping(self, alert: Alert, sink: str) -> Grouping | None:
        """With which others the alert is told to a sink; None for one that is told by itself.

        A sink that no way names (its rule does, or it was handed on) groups as the first way.
        """
        ways = list(self._open())
        way = next((one for one in ways if sink in one.sinks), ways[0] if ways else None)
        return way.grouping(alert) if way else None

    def _open(self) -> Iterator[Way]:
        return (way for way in self.ways if not way.silenced)


class Inhibitors:
    """The alerts that may inhibit others. `candidates` are those open, of one rule or of all."""

    def __init__(self, candidates: Callable[[str | None], Iterable[Alert]]) -> None:
        self._candidates = candidates

    def first(
        self, match: Match, alert: Alert, now: Instant, ground: Ground | None
    ) -> Alert | None:
        """One that fits and is not the alert itself."""
        named = match.rule and not any(map(is_glob, match.rule))
        exact: tuple[str | None, ...] = match.rule if named else (None,)
        for rule in exact:
            for other in self._candidates(rule):
                if other.id != alert.id and not match.misfit(other, now, ground):
                    return other
        return None


NOBODY = Inhibitors(lambda rule: ())
"""Where no alert is open."""


def direct(
    tree: RouteTree,
    alert: Alert,
    now: Instant,
    inhibitors: Inhibitors = NOBODY,
    extra: Iterable[str] = (),
) -> Direction:
    """Which way an alert goes. `extra` are the sinks that its rule adds with `to`.

    `inhibitors` are the alerts that may inhibit it. It is silenced when every way is.
    """
    ways = tuple(
        _way(chain, number, alert, now, tree.ground, inhibitors)
        for chain, number in _leaves(tree.route, (), "route", alert, now, tree.ground)
    )
    open_ways = [way for way in ways if not way.silenced]
    if not open_ways:
        return Direction(ways, (), "; ".join(dict.fromkeys(way.silenced for way in ways)))
    sinks = dict.fromkeys(sink for way in open_ways for sink in way.sinks)
    sinks.update(dict.fromkeys(extra))
    return Direction(ways, tuple(sinks))


def _leaves(
    route: Route, above: tuple[Route, ...], number: str, alert: Alert, now: Instant,
    ground: Ground | None,
) -> Iterator[tuple[tuple[Route, ...], str]]:  # fmt: skip
    chain, found = (*above, route), False
    for count, child in enumerate(route.routes, 1):
        if child.match.misfit(alert, now, ground):
            continue
        found = True
        yield from _leaves(child, chain, f"{number}.{count}", alert, now, ground)
        if not child.continues:
            break
    if not found:
        yield chain, number


def _way(
    chain: tuple[Route, ...], number: str, alert: Alert, now: Instant, ground: Ground | None,
    inhibitors: Inhibitors,
) -> Way:  # fmt: skip
    def last(name: str) -> Any:
        said = (getattr(route, name) for route in reversed(chain))
        return next((value for value in said if value is not None), None)

    silenced = (_silence(route, alert, now, ground, inhibitors) for route in chain)
    return Way(
        path=tuple(str(route.match) for route in chain),
        sinks=next((route.to for route in reversed(chain) if route.to), ()),
        silenced=next(filter(None, silenced), ""),
        repeat=last("repeat"),
        escalate=last("escalate"),
        undelivered=last("undelivered"),
        number=number,
        group_by=last("group_by"),
        group_wait=last("group_wait"),
        acknowledge=last("acknowledge"),
        remind=last("remind"),
    )


def _silence(
    route: Route, alert: Alert, now: Instant, ground: Ground | None, inhibitors: Inhibitors
) -> str:
    for window in route.mute:
        if window.holds(now, ground):
            return f"muted {window}"
    if route.inhibit_if is None:
        return ""
    other = inhibitors.first(route.inhibit_if, alert, now, ground)
    return f"inhibited by {other.name}" if other else ""


def _named(alert: Alert, name: str) -> str:
    """The value of one of a route's `group_by`: an attribute of the alert, or a label."""
    if name in ("rule", "key", "per", "owner"):
        return str(getattr(alert, name))
    if name == "severity":
        return str(alert.shown_severity)
    if name == "tags":
        return "+".join(alert.tags)
    return alert.labels.get(name, "")
