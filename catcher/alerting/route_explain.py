"""Explains how an alert is routed, line by line."""

from __future__ import annotations

from collections.abc import Iterator

from catcher.alerting.route_tree import Route, RouteTree
from catcher.alerting.router import NO_INHIBITION, InhibitionIndex, RouteMatch, RoutingDecision
from catcher.model.alert import Alert
from catcher.model.time import Instant, format_duration


def explain_routing(
    tree: RouteTree, alert: Alert, now: Instant, inhibitors: InhibitionIndex = NO_INHIBITION
) -> list[str]:
    """Returns the tree as far as the alert came, each route with whether it matches, or why not."""
    return list(_explain_route(tree, tree.route, "route", alert, now, inhibitors))


def _explain_route(
    tree: RouteTree,
    route: Route,
    name: str,
    alert: Alert,
    now: Instant,
    inhibitors: InhibitionIndex,
) -> Iterator[str]:
    mismatch = route.matcher.find_failed_condition(alert, now, tree.site_location)
    verdict = f"no ({mismatch} does not fit)" if mismatch else "yes"
    targets = f" to {', '.join(route.to)}" if route.to else ""
    yield f"{name} [{route.matcher}]{targets}: {verdict}"
    if mismatch:
        return
    for interval in route.mute:
        is_muted = interval.contains_instant(now, tree.site_location)
        yield f"{name} mute {interval}: {'held back now' if is_muted else 'not now'}"
    if route.inhibit_if is not None:
        inhibitor = inhibitors.find_inhibitor(route.inhibit_if, alert, now, tree.site_location)
        description = f"held back by {inhibitor.name}" if inhibitor else "no such alert is open"
        yield f"{name} inhibit_if [{route.inhibit_if}]: {description}"
    for index, child in enumerate(route.routes, 1):
        yield from _explain_route(tree, child, f"{name}.{index}", alert, now, inhibitors)
        if (
            not child.matcher.find_failed_condition(alert, now, tree.site_location)
            and not child.continues
        ):
            return


def describe_matches(decision: RoutingDecision, alert: Alert) -> list[str]:
    """Describes the effect of each route match: sinks, grouping, reminders, escalation."""
    return [f"{match.route_number}: {_describe_match(match, alert)}" for match in decision.matches]


def _describe_match(match: RouteMatch, alert: Alert) -> str:
    if match.silence_reason:
        return f"nobody now ({match.silence_reason})"
    parts = [f"to {', '.join(match.sinks)}"]
    group_key = match.build_group_key(alert)
    if group_key is not None:
        parts.append(
            f"told together with others of {', '.join(match.group_by or ())} "
            f"after {format_duration(group_key.wait)}"
        )
    if match.repeat_interval:
        parts.append(f"again every {format_duration(match.repeat_interval)}")
    for step in match.escalation.iter_steps() if match.escalation else ():
        parts.append(f"if nobody takes it in {format_duration(step.after)} to {', '.join(step.to)}")
    if match.fallback:
        parts.append(
            f"if not delivered in {format_duration(match.fallback.after)} "
            f"to {', '.join(match.fallback.to)}"
        )
    if match.auto_acknowledge_after:
        parts.append(
            f"acknowledged by itself {format_duration(match.auto_acknowledge_after)} after its end"
        )
    if match.reminder_after:
        parts.append(
            f"back {format_duration(match.reminder_after)} after somebody took it, if it goes on"
        )
    return "; ".join(parts)
