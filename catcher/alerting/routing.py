"""Whom an alert concerns: a tree of matchers to sinks, as `alerts/routes.yaml` writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from catcher.alerting.matching import EVERY, Match, SeverityTest, TimeWindow
from catcher.model.alert import Alert
from catcher.model.problem import Place
from catcher.model.time import Instant, Span

__all__ = [
    "NOT_YET",
    "Active",
    "Direction",
    "HandOn",
    "Match",
    "Route",
    "RouteTree",
    "SeverityTest",
    "SinkSpec",
    "TimeWindow",
    "Way",
    "direct",
    "explain",
]

NOT_YET: frozenset[str] = frozenset({"group_by", "group_wait"})
"""Keys of a route that are read and checked but change nothing yet; `check` says so."""


@dataclass(frozen=True, slots=True)
class HandOn:
    """After this long, these sinks too: `escalate` and `undelivered`."""

    after: Span
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A node of the tree. What it leaves out (None, or empty `to`) it has from its parent.

    `mute` and `inhibit_if` hold for all below it. `continues` (`continue: true`) goes on to the
    next sibling after a match.
    """

    match: Match = EVERY
    to: tuple[str, ...] = ()
    group_by: tuple[str, ...] | None = None
    group_wait: Span | None = None
    repeat: Span | None = None
    mute: tuple[TimeWindow, ...] = ()
    inhibit_if: Match | None = None
    escalate: HandOn | None = None
    undelivered: HandOn | None = None
    continues: bool = False
    routes: tuple[Route, ...] = ()
    place: Place = field(default=Place(), compare=False)


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """A sink as the site names it: its kind and the kind's settings, secrets filled in."""

    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    place: Place = field(default=Place(), compare=False)


@dataclass(frozen=True, slots=True)
class RouteTree:
    """The whole of `routes.yaml`. Without a file: all alerts to the console."""

    sinks: Mapping[str, SinkSpec] = field(
        default_factory=lambda: {"console": SinkSpec("console", "console")}
    )
    route: Route = Route(to=("console",))

    @property
    def timed(self) -> bool:
        """Whether a way depends on the time of day or on other alerts."""
        return _timed(self.route)


@dataclass(frozen=True, slots=True)
class Way:
    """One leaf that an alert came to: where it goes and why, or why it is held back."""

    path: tuple[str, ...]
    sinks: tuple[str, ...]
    silenced: str = ""
    repeat: Span | None = None
    escalate: HandOn | None = None
    undelivered: HandOn | None = None


@dataclass(frozen=True, slots=True)
class Direction:
    """All ways of an alert. `sinks` has each sink once, in order; empty while silenced."""

    ways: tuple[Way, ...]
    sinks: tuple[str, ...]
    silenced: str = ""

    @property
    def repeat(self) -> Span | None:
        """The shortest time after which somebody is to be reminded."""
        return min((way.repeat for way in self._open() if way.repeat), default=None)

    @property
    def escalate(self) -> HandOn | None:
        """The earliest handing on."""
        hand_ons = [way.escalate for way in self._open() if way.escalate]
        return min(hand_ons, key=lambda one: one.after, default=None)

    def undelivered(self, sink: str) -> HandOn | None:
        """What stands in for a sink that cannot be reached."""
        hand_ons = [way.undelivered for way in self.ways if way.undelivered and sink in way.sinks]
        return min(hand_ons, key=lambda one: one.after, default=None)

    def _open(self) -> Iterator[Way]:
        return (way for way in self.ways if not way.silenced)


Active = Callable[[], Iterable[Alert]]


def direct(
    tree: RouteTree, alert: Alert, now: Instant, active: Active, extra: Iterable[str] = ()
) -> Direction:
    """Which way an alert goes. `extra` are the sinks that its rule adds with `to`.

    `active` are the alerts that may inhibit it. It is silenced when every way is.
    """
    ways = tuple(_way(chain, alert, now, active) for chain in _leaves(tree.route, (), alert, now))
    open_ways = [way for way in ways if not way.silenced]
    if not open_ways:
        return Direction(ways, (), "; ".join(way.silenced for way in ways))
    sinks = dict.fromkeys(sink for way in open_ways for sink in way.sinks)
    sinks.update(dict.fromkeys(extra))
    return Direction(ways, tuple(sinks))


def explain(tree: RouteTree, alert: Alert, now: Instant) -> list[str]:
    """The whole tree line by line, each route with whether the alert fits it and why not."""
    return list(_explain(tree.route, "route", alert, now))


def _timed(route: Route) -> bool:
    own = route.mute or route.match.time or route.inhibit_if is not None
    return bool(own) or any(_timed(child) for child in route.routes)


def _leaves(
    route: Route, above: tuple[Route, ...], alert: Alert, now: Instant
) -> Iterator[tuple[Route, ...]]:
    chain, found = (*above, route), False
    for child in route.routes:
        if child.match.misfit(alert, now):
            continue
        found = True
        yield from _leaves(child, chain, alert, now)
        if not child.continues:
            break
    if not found:
        yield chain


def _way(chain: tuple[Route, ...], alert: Alert, now: Instant, active: Active) -> Way:
    way = Way((), ())
    for route in chain:
        way = Way(
            path=(*way.path, str(route.match)),
            sinks=route.to or way.sinks,
            silenced=way.silenced or _silence(route, alert, now, active),
            repeat=way.repeat if route.repeat is None else route.repeat,
            escalate=route.escalate or way.escalate,
            undelivered=route.undelivered or way.undelivered,
        )
    return way


def _silence(route: Route, alert: Alert, now: Instant, active: Active) -> str:
    for window in route.mute:
        if window.holds(now):
            return f"muted {window}"
    if route.inhibit_if is None:
        return ""
    for other in active():
        if other.id != alert.id and not route.inhibit_if.misfit(other, now):
            return f"inhibited by {other.name}"
    return ""


def _explain(route: Route, name: str, alert: Alert, now: Instant) -> Iterator[str]:
    misfit = route.match.misfit(alert, now)
    verdict = f"no ({misfit} does not fit)" if misfit else "yes"
    to = f" to {', '.join(route.to)}" if route.to else ""
    yield f"{name} [{route.match}]{to}: {verdict}"
    if misfit:
        return
    for number, child in enumerate(route.routes, 1):
        yield from _explain(child, f"{name}.{number}", alert, now)
        if not child.match.misfit(alert, now) and not child.continues:
            return
