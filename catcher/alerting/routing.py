"""The tree of matchers to sinks, as `alerts/routes.yaml` writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from catcher.alerting.matching import (
    EVERY,
    Match,
    SeverityTest,
    SunWindow,
    TimeWindow,
    Window,
)
from catcher.alerting.noise import Noise, Rate
from catcher.alerting.sun import Ground
from catcher.model.problem import Place
from catcher.model.time import SECOND, Span

__all__ = [
    "GROUP_WAIT",
    "HandOn",
    "Match",
    "Route",
    "RouteTree",
    "SeverityTest",
    "SinkSpec",
    "SunWindow",
    "TimeWindow",
]

GROUP_WAIT = 5 * SECOND
"""How long a group gathers before it is told, unless its route says otherwise."""
EACH: frozenset[str] = frozenset({"love", "mqtt"})
"""Kinds of sinks that show a state for each alert, so that they hear of each one by itself."""


@dataclass(frozen=True, slots=True)
class HandOn:
    """After this long, these sinks too: `escalate` and `undelivered`.

    `then` is the next step of an escalation, its time counted from the same beginning.
    """

    after: Span
    to: tuple[str, ...]
    then: HandOn | None = None

    def steps(self) -> Iterator[HandOn]:
        """This one and those after it."""
        yield self
        if self.then is not None:
            yield from self.then.steps()


@dataclass(frozen=True, slots=True)
class Route:
    """A node of the tree. What it leaves out (None, or empty `to`) it has from its parent.

    `mute` and `inhibit_if` hold for all below it. `continues` (`continue: true`) goes on to the
    next sibling after a match. `acknowledge` (`auto_acknowledge`) is how long after its end a
    latched alert is acknowledged by itself; `remind` (`reminder`) how long after it was
    acknowledged one that goes on comes back.
    """

    match: Match = EVERY
    to: tuple[str, ...] = ()
    group_by: tuple[str, ...] | None = None
    group_wait: Span | None = None
    repeat: Span | None = None
    mute: tuple[Window, ...] = ()
    inhibit_if: Match | None = None
    escalate: HandOn | None = None
    undelivered: HandOn | None = None
    acknowledge: Span | None = None
    remind: Span | None = None
    continues: bool = False
    routes: tuple[Route, ...] = ()
    place: Place = field(default=Place(), compare=False)


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """A sink as the site names it: its kind and the kind's settings, secrets filled in.

    `rate` bounds its messages. `each`: it hears of each alert by itself, never of many in one
    message; None leaves that to its kind.
    """

    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    place: Place = field(default=Place(), compare=False)
    rate: Rate | None = None
    each: bool | None = None

    @property
    def one_by_one(self) -> bool:
        """Whether it hears of each alert by itself."""
        return self.kind in EACH if self.each is None else self.each


@dataclass(frozen=True, slots=True)
class RouteTree:
    """The whole of `routes.yaml`. Without a file: all alerts to the console.

    `people` are the sinks of each person who may be on shift; `ground` is where the site is.
    """

    sinks: Mapping[str, SinkSpec] = field(
        default_factory=lambda: {"console": SinkSpec("console", "console")}
    )
    route: Route = Route(to=("console",))
    people: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    noise: Noise = field(default_factory=Noise)
    ground: Ground | None = None

    @property
    def timed(self) -> bool:
        """Whether a way depends on the time of day or on other alerts."""
        return _timed(self.route)

    def one_by_one(self, sink: str) -> bool:
        """Whether a sink hears of each alert by itself."""
        spec = self.sinks.get(sink)
        return spec is not None and spec.one_by_one


def _timed(route: Route) -> bool:
    own = route.mute or route.match.time or route.inhibit_if is not None
    return bool(own) or any(_timed(child) for child in route.routes)
