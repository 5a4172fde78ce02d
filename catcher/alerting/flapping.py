"""An alert that comes and goes: it is told once that it flaps, and again when it is calm.

Its life goes on as the data say, each opening an episode; only the telling changes.
"""

from __future__ import annotations

from dataclasses import replace

from catcher.alerting.noise import Flapping
from catcher.alerting.transitions import OF_DATA, Known, Transition, step
from catcher.model.alert import Alert, AlertState
from catcher.model.time import Instant, format_duration

_MOST = 50


def carried(new: Alert, old: Alert | None) -> Alert:
    """A new episode with what outlasts the one before: how often it came back, and while it
    flaps who heard of it and who took it."""
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


def still_taken(new: Alert, old: Alert | None) -> Alert:
    """One that flaps and was acknowledged stays so while it is no worse."""
    taken = old.acknowledgement if old is not None and old.flapping else None
    if taken is None or new.state != "firing" or new.severity > taken.severity:
        return new
    state: AlertState = "acknowledged"
    return replace(new, state=state, acknowledgement=taken, latched=False)


def swing(new: Alert, old: Alert | None, moved: Transition, now: Instant, law: Flapping) -> Alert:
    """Counts an alert that came back: opened anew, or rose to where it had been."""
    if old is None or old.state == "pending" or moved.kind not in ("opened", "raised"):
        return new
    if moved.kind == "raised" and new.severity > old.max_severity:
        return new
    recent = [time for time in old.swings if time > now - law.within]
    new = replace(new, swings=(*recent, now)[-_MOST:])
    if new.flapping or len(new.swings) < law.swings:
        return new
    words = (
        f"flapping: came back {len(new.swings)} times in {format_duration(law.within)}; "
        f"told again when it is worse, or calm for {format_duration(law.calm)}"
    )
    before = new.aside if new.aside != old.aside else ""
    return replace(new, flapping=True, aside="; ".join(filter(None, (before, words))), untold=0)


def muted(new: Alert, old: Alert | None, moved: Transition) -> Transition:
    """The transition, not to be told where the alert flaps on and is no worse than was told."""
    flaps_on = old is not None and old.flapping and new.flapping
    if not flaps_on or moved.kind not in OF_DATA or new.severity > new.loudest:
        return moved
    return replace(moved, muted=True)


def calm_due(alert: Alert, law: Flapping | None) -> Instant | None:
    """When a flapping alert is calm, if it does not come back before."""
    if not alert.flapping:
        return None
    if law is None or not alert.swings:
        return 0
    return alert.swings[-1] + law.calm


def calm(alert: Alert, law: Flapping | None, now: Instant) -> Known:
    """Ends the flapping of an alert that has not come back for long enough."""
    due = calm_due(alert, law)
    if due is None or now < due:
        return alert, Transition("nothing", "does not flap, or still does")
    words = f"calm again: {alert.untold} changes were not told one by one"
    return step(replace(alert, flapping=False, swings=(), untold=0), alert, "calm", words)


def unseen(alert: Alert) -> Alert:
    """One more change that nobody is told of now."""
    return replace(alert, untold=alert.untold + 1)


def heard(alert: Alert) -> Alert:
    """What is told now is the worst that was told, if it is worse."""
    shown = alert.shown_severity
    return replace(alert, loudest=shown) if shown > alert.loudest else alert
