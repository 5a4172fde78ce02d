"""Flapping alerts: one notification when flapping starts, one when the alert is calm again.

The life cycle still follows the data, each opening an episode; only notifications change.
"""

from __future__ import annotations

from dataclasses import replace

from catcher.alerting.limits import FlappingLimit
from catcher.alerting.transitions import (
    DATA_TRANSITIONS,
    Transition,
    TransitionResult,
    apply_transition,
)
from catcher.model.alert import Alert, AlertState
from catcher.model.time import Instant, format_duration

_MAX_FLAPS = 50


def carry_over_flapping(new: Alert, old: Alert | None) -> Alert:
    """Returns a new episode with what outlasts the old one: its flaps and, while flapping, who was
    notified and who handles it."""
    if old is None:
        return new
    new = replace(new, swings=old.swings)
    if not old.flapping:
        return new
    return replace(
        new,
        flapping=True,
        thread=old.thread,
        loudest=old.loudest,
        untold=old.untold,
        sinks=old.sinks,
        bundles=old.bundles,
        told=old.told,
        aside=old.aside,
        escalates=old.escalates,
        escalate_to=old.escalate_to,
        handed=old.handed,
        escalated=old.escalated,
        assignee=old.assignee,
        notes=old.notes,
    )


def carry_acknowledgement(new: Alert, old: Alert | None) -> Alert:
    """Keeps a flapping alert acknowledged while it gets no worse."""
    acknowledgement = old.acknowledgement if old is not None and old.flapping else None
    if acknowledgement is None or new.state != "firing" or new.severity > acknowledgement.severity:
        return new
    state: AlertState = "acknowledged"
    return replace(new, state=state, acknowledgement=acknowledgement, latched=False)


def record_flap(
    new: Alert, old: Alert | None, transition: Transition, now: Instant, limit: FlappingLimit
) -> Alert:
    """Counts a return of the alert: it reopened, or rose to a severity that it already had."""
    if old is None or old.state == "pending" or transition.kind not in ("opened", "raised"):
        return new
    if transition.kind == "raised" and new.severity > old.max_severity:
        return new
    recent = [time for time in old.swings if time > now - limit.within]
    new = replace(new, swings=(*recent, now)[-_MAX_FLAPS:])
    if new.flapping or len(new.swings) < limit.min_flaps:
        return new
    reason = (
        f"flapping: came back {len(new.swings)} times in {format_duration(limit.within)}; "
        f"told again when it is worse, or calm for {format_duration(limit.calm_after)}"
    )
    previous_aside = new.aside if new.aside != old.aside else ""
    return replace(
        new, flapping=True, aside="; ".join(filter(None, (previous_aside, reason))), untold=0
    )


def mute_flapping_transition(new: Alert, old: Alert | None, transition: Transition) -> Transition:
    """Mutes the transition if the alert keeps flapping and is no worse than was notified."""
    is_flapping = old is not None and old.flapping and new.flapping
    if not is_flapping or transition.kind not in DATA_TRANSITIONS or new.severity > new.loudest:
        return transition
    return replace(transition, muted=True)


def compute_calm_due(alert: Alert, limit: FlappingLimit | None) -> Instant | None:
    """Returns when a flapping alert counts as calm, if it does not come back before."""
    if not alert.flapping:
        return None
    if limit is None or not alert.swings:
        return 0
    return alert.swings[-1] + limit.calm_after


def end_flapping_if_calm(
    alert: Alert, limit: FlappingLimit | None, now: Instant
) -> TransitionResult:
    """Ends the flapping of an alert that has not come back for long enough."""
    due_at = compute_calm_due(alert, limit)
    if due_at is None or now < due_at:
        return alert, Transition("nothing", "does not flap, or still does")
    reason = f"calm again: {alert.untold} changes were not told one by one"
    return apply_transition(
        replace(alert, flapping=False, swings=(), untold=0), alert, "calm", reason
    )


def count_suppressed_change(alert: Alert) -> Alert:
    """Counts one more change without a notification."""
    return replace(alert, untold=alert.untold + 1)


def record_notified_severity(alert: Alert) -> Alert:
    """Raises the worst severity that was notified, if this one is worse."""
    severity = alert.display_severity
    return replace(alert, loudest=severity) if severity > alert.loudest else alert
