"""Which way an alert goes through the routes, told line by line."""

from __future__ import annotations

from collections.abc import Iterator

from catcher.alerting.directing import NOBODY, Direction, Inhibitors, Way
from catcher.alerting.routing import Route, RouteTree
from catcher.model.alert import Alert
from catcher.model.time import Instant, format_duration


def explain(
    tree: RouteTree, alert: Alert, now: Instant, inhibitors: Inhibitors = NOBODY
) -> list[str]:
    """The tree as far as the alert came, each route with whether it fits, and why not."""
    return list(_explain(tree, tree.route, "route", alert, now, inhibitors))


def _explain(
    tree: RouteTree, route: Route, name: str, alert: Alert, now: Instant, inhibitors: Inhibitors
) -> Iterator[str]:
    misfit = route.match.misfit(alert, now, tree.ground)
    verdict = f"no ({misfit} does not fit)" if misfit else "yes"
    to = f" to {', '.join(route.to)}" if route.to else ""
    yield f"{name} [{route.match}]{to}: {verdict}"
    if misfit:
        return
    for window in route.mute:
        holds = window.holds(now, tree.ground)
        yield f"{name} mute {window}: {'held back now' if holds else 'not now'}"
    if route.inhibit_if is not None:
        other = inhibitors.first(route.inhibit_if, alert, now, tree.ground)
        words = f"held back by {other.name}" if other else "no such alert is open"
        yield f"{name} inhibit_if [{route.inhibit_if}]: {words}"
    for number, child in enumerate(route.routes, 1):
        yield from _explain(tree, child, f"{name}.{number}", alert, now, inhibitors)
        if not child.match.misfit(alert, now, tree.ground) and not child.continues:
            return


def ways_in_words(direction: Direction, alert: Alert) -> list[str]:
    """What each way comes to: sinks, grouping, reminders, handing on."""
    return [f"{way.number}: {_way(way, alert)}" for way in direction.ways]


def _way(way: Way, alert: Alert) -> str:
    if way.silenced:
        return f"nobody now ({way.silenced})"
    parts = [f"to {', '.join(way.sinks)}"]
    grouping = way.grouping(alert)
    if grouping is not None:
        parts.append(
            f"told together with others of {', '.join(way.group_by or ())} "
            f"after {format_duration(grouping.wait)}"
        )
    if way.repeat:
        parts.append(f"again every {format_duration(way.repeat)}")
    for step in way.escalate.steps() if way.escalate else ():
        parts.append(f"if nobody takes it in {format_duration(step.after)} to {', '.join(step.to)}")
    if way.undelivered:
        parts.append(
            f"if not delivered in {format_duration(way.undelivered.after)} "
            f"to {', '.join(way.undelivered.to)}"
        )
    if way.acknowledge:
        parts.append(f"acknowledged by itself {format_duration(way.acknowledge)} after its end")
    if way.remind:
        parts.append(f"back {format_duration(way.remind)} after somebody took it, if it goes on")
    return "; ".join(parts)
