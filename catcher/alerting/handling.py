"""What people do with an alert, and what its time being over does: pure, as the life cycle is."""

from __future__ import annotations

from dataclasses import replace

from catcher.alerting.transitions import Known, Transition, off_shelf, resolve, step
from catcher.model.alert import Acknowledgement, Alert, AlertState, Severity, Shelf
from catcher.model.problem import CatcherError
from catcher.model.time import DAY, Instant, format_duration, format_instant

LONGEST_SHELF = 30 * DAY


def acknowledge(alert: Alert, severity: Severity, who: str, note: str, now: Instant) -> Known:
    """Somebody takes an alert at the severity that they saw.

    CatcherError where it is not open, or got worse than they saw. A latched alert that has
    cleared is resolved by it.
    """
    _require_open(alert, "acknowledge")
    shown = alert.shown_severity
    if shown > severity:
        raise CatcherError(
            f"{alert.name} is {shown} by now, not {severity}: not acknowledged",
            "look at it again, then acknowledge what it is",
        )
    taken = Acknowledgement(who, shown, now, note)
    words = f"acknowledged by {who}" + (f": {note}" if note else "")
    state: AlertState = "shelved" if alert.state == "shelved" else "acknowledged"
    new = replace(alert, acknowledgement=taken, latched=False, state=state, escalates=None)
    if alert.severity == Severity.NONE:
        return resolve(new, f"{words}, after the condition had cleared", alert.changed)
    return step(new, alert, "acknowledged", words)


def shelve(alert: Alert, until: Instant, who: str, reason: str, now: Instant) -> Known:
    """Puts an alert aside until an end; CatcherError where the end, owner or reason is missing."""
    _require_open(alert, "shelve")
    if not who.strip() or not reason.strip():
        raise CatcherError("a shelf needs an owner and a reason", "say who shelves it and why")
    if not now < until <= now + LONGEST_SHELF:
        raise CatcherError(
            f"a shelf cannot end at {format_instant(max(0, until))}",
            f"choose an end within {format_duration(LONGEST_SHELF)} from now",
        )
    shelf = Shelf(who, alert.shown_severity, until, reason, now)
    words = f"shelved by {who} until {format_instant(until)}: {reason}"
    return step(
        replace(alert, state="shelved", shelf=shelf, escalates=None), alert, "shelved", words
    )


def unshelve(alert: Alert, why: str) -> Known:
    """Takes an alert off its shelf; CatcherError where it is on none."""
    if alert.shelf is None:
        raise CatcherError(f"{alert.name} is not shelved", "nothing needs to be done")
    new = replace(alert, shelf=None, state=off_shelf(alert))
    return step(new, alert, "unshelved", why)


def expire(alert: Alert, now: Instant) -> Known:
    """Ends a shelf whose time is over."""
    if alert.shelf is None or now < alert.shelf.until:
        return alert, Transition("nothing", "no shelf has ended")
    return unshelve(alert, f"the shelf of {alert.shelf.who} ended: {alert.shelf.reason}")


def escalated(alert: Alert) -> Known:
    """Marks an alert that nobody took in time as handed on."""
    words = f"not acknowledged in time, handed on to {', '.join(alert.escalate_to)}"
    return step(replace(alert, escalated=True), alert, "escalated", words)


def _require_open(alert: Alert, deed: str) -> None:
    if not alert.active:
        raise CatcherError(
            f"{alert.name} is {alert.state}: there is nothing to {deed}",
            "`catcher alerts` lists what is open",
        )
