"""The routing tree from matchers to sinks, as written in `alerts/routes.yaml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from catcher.alerting.limits import NoiseLimits, RateLimit
from catcher.alerting.matchers import (
    MATCH_ALL,
    AlertMatcher,
    RecurringInterval,
    SeverityMatcher,
    SolarInterval,
    TimeInterval,
)
from catcher.alerting.solar import GeoLocation
from catcher.model.errors import SourceLocation
from catcher.model.time import SECOND, Span

__all__ = [
    "DEFAULT_GROUP_WAIT",
    "AlertMatcher",
    "Escalation",
    "Route",
    "RouteTree",
    "SeverityMatcher",
    "SinkSpec",
    "SolarInterval",
    "TimeInterval",
]

DEFAULT_GROUP_WAIT = 5 * SECOND
"""How long a group collects alerts before its first notification, by default."""
UNGROUPED_KINDS: frozenset[str] = frozenset({"love", "mqtt"})
"""Kinds of sinks that show the state of each alert, so they are notified of each individually."""


@dataclass(frozen=True, slots=True)
class Escalation:
    """After a delay, these sinks too: `escalate` and `undelivered`.

    `next_step` is the next step of an escalation, its delay counted from the same start.
    """

    after: Span
    to: tuple[str, ...]
    next_step: Escalation | None = None

    def iter_steps(self) -> Iterator[Escalation]:
        """Iterates over this step and those after it."""
        yield self
        if self.next_step is not None:
            yield from self.next_step.iter_steps()


@dataclass(frozen=True, slots=True)
class Route:
    """A node of the tree. What it leaves out (None, or empty `to`) it inherits from its parent.

    `mute` and `inhibit_if` apply to all routes below it. `continues` (`continue: true`) tries the
    next sibling after a match. `acknowledge` (`auto_acknowledge`) is how long after it cleared a
    latched alert is acknowledged automatically; `remind` (`reminder`) how long after its
    acknowledgement an alert that persists fires again.
    """

    matcher: AlertMatcher = MATCH_ALL
    to: tuple[str, ...] = ()
    group_by: tuple[str, ...] | None = None
    group_wait: Span | None = None
    repeat: Span | None = None
    mute: tuple[RecurringInterval, ...] = ()
    inhibit_if: AlertMatcher | None = None
    escalate: Escalation | None = None
    undelivered: Escalation | None = None
    acknowledge: Span | None = None
    remind: Span | None = None
    continues: bool = False
    routes: tuple[Route, ...] = ()
    location: SourceLocation = field(default=SourceLocation(), compare=False)


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """A sink as the site configures it: its kind and the kind's settings, secrets filled in.

    `rate_limit` bounds its messages. `ungrouped`: it is notified of each alert individually, never
    of a group; None leaves that to its kind.
    """

    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    location: SourceLocation = field(default=SourceLocation(), compare=False)
    rate_limit: RateLimit | None = None
    ungrouped: bool | None = None

    @property
    def is_ungrouped(self) -> bool:
        """Whether it is notified of each alert individually."""
        return self.kind in UNGROUPED_KINDS if self.ungrouped is None else self.ungrouped


@dataclass(frozen=True, slots=True)
class RouteTree:
    """The complete `routes.yaml`. Without a file: all alerts to the console.

    `sinks_by_person` are the sinks of each person who may be on shift; `site_location` is where the
    site is.
    """

    sinks: Mapping[str, SinkSpec] = field(
        default_factory=lambda: {"console": SinkSpec("console", "console")}
    )
    route: Route = Route(to=("console",))
    sinks_by_person: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    noise_limits: NoiseLimits = field(default_factory=NoiseLimits)
    site_location: GeoLocation | None = None

    @property
    def needs_periodic_reroute(self) -> bool:
        """Whether a route depends on the time of day or on other alerts."""
        return _needs_periodic_reroute(self.route)

    def is_ungrouped(self, sink: str) -> bool:
        """Whether a sink is notified of each alert individually."""
        spec = self.sinks.get(sink)
        return spec is not None and spec.is_ungrouped


def _needs_periodic_reroute(route: Route) -> bool:
    own_condition = route.mute or route.matcher.time_intervals or route.inhibit_if is not None
    return bool(own_condition) or any(_needs_periodic_reroute(child) for child in route.routes)
