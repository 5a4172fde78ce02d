"""What people do with an alert, and what its time being over does: pure, as the life cycle is."""

from __future__ import annotations

from dataclasses import replace

from catcher.alerting.transitions import Known, Transition, off_shelf, resolve, step
from catcher.model.alert import Acknowledgement, Alert, AlertState, Remark, Severity, Shelf
from catcher.model.problem import CatcherError
from catcher.model.text import plain
from catcher.model.time import (
    DAY,
    MAX_INSTANT,
    MINUTE,
    Instant,
    Span,
    format_duration,
    told_duration,
    told_instant,
)

LONGEST_SHELF = 30 * DAY
WARN_BEFORE = 10 * MINUTE
"""So long before its end a shelf or silence says that it ends; of a short one, a quarter."""
MOST_NOTES = 50
LONGEST_NOTE = 4_000
CATCHER = "catcher"
"""Who did what nobody did."""


def acknowledge(
    alert: Alert, severity: Severity, who: str, note: str, now: Instant, closes: bool = False
) -> Known:
    """Somebody takes an alert at the severity that they saw.

    CatcherError where it is not open, or got worse than they saw. A latched alert that has
    cleared is resolved by it; so is one that `closes`, being about a single instance.
    """
    _require_open(alert, "acknowledge")
    shown = alert.shown_severity
    if shown > severity:
        raise CatcherError(
            f"{alert.name} is {shown} by now, not {severity}: not acknowledged",
            "look at it again, then acknowledge what it is",
        )
    note = plain(note, LONGEST_NOTE)
    taken = Acknowledgement(who, shown, now, note)
    words = f"acknowledged by {who}" + (f": {note}" if note else "")
    state: AlertState = "shelved" if alert.state == "shelved" else "acknowledged"
    new = replace(
        alert, acknowledgement=taken, latched=False, state=state, escalates=None,
        acknowledges=None, taken=alert.taken if alert.taken is not None else now, aside="",
    )  # fmt: skip
    if alert.severity == Severity.NONE:
        return resolve(new, f"{words}, after the condition had cleared", alert.changed)
    if closes:
        return resolve(replace(new, shelf=None), words, alert.changed)
    return step(new, alert, "acknowledged", words)


def acknowledge_by_itself(alert: Alert, now: Instant) -> Known:
    """Takes a latched alert that has long been clear and that nobody took."""
    due = alert.acknowledges
    cleared = alert.state == "firing" and alert.latched and alert.severity == Severity.NONE
    if due is None or now < due or not cleared:
        return alert, Transition("nothing", "nothing to acknowledge")
    since = alert.since if alert.since is not None else alert.changed
    words = f"nobody took it; clear since {told_instant(since)}"
    return acknowledge(alert, alert.shown_severity, CATCHER, words, now)


def bring_back(alert: Alert, now: Instant) -> Known:
    """Brings an acknowledged alert that goes on back to the front, to remind of it."""
    taken = alert.acknowledgement
    if alert.reminds is None or now < alert.reminds or taken is None or not alert.active:
        return alert, Transition("nothing", "nobody needs to be reminded")
    if alert.state != "acknowledged" or alert.severity == Severity.NONE:
        return alert, Transition("nothing", "nobody needs to be reminded")
    words = f"{taken.who} took it {told_duration(now - taken.time)} ago and it goes on"
    new = replace(
        alert, acknowledgement=None, state="firing", reminds=None, escalated=False, handed=0
    )
    return step(new, alert, "unacknowledged", words)


# -- shelves -----------------------------------------------------------------------------------


def shelve(alert: Alert, until: Instant, who: str, reason: str, now: Instant) -> Known:
    """Puts an alert aside until an end; CatcherError where the end, owner or reason is missing."""
    _require_open(alert, "shelve")
    check_end("a shelf", until, who, reason, now)
    reason = plain(reason, LONGEST_NOTE)
    shelf = Shelf(who, alert.shown_severity, until, reason, now)
    words = f"shelved by {who} until {told_instant(until)}: {reason}"
    return step(
        replace(alert, state="shelved", shelf=shelf, escalates=None), alert, "shelved", words
    )


def check_end(what: str, until: Instant, who: str, reason: str, now: Instant) -> None:
    """CatcherError where nobody answers for it, nobody knows why, or it would never end."""
    if not who.strip() or not reason.strip():
        raise CatcherError(f"{what} needs an owner and a reason", "say who wants it and why")
    if not now < until <= now + LONGEST_SHELF:
        raise CatcherError(
            f"{what} cannot end at {told_instant(min(until, MAX_INSTANT))}",
            f"choose an end within {format_duration(LONGEST_SHELF)} from now",
        )


def unshelve(alert: Alert, why: str) -> Known:
    """Takes an alert off its shelf; CatcherError where it is on none."""
    if alert.shelf is None:
        raise CatcherError(f"{alert.name} is not shelved", "nothing needs to be done")
    new = replace(alert, shelf=None, state=off_shelf(alert))
    return step(new, alert, "unshelved", why)


def expire(alert: Alert, now: Instant) -> Known:
    """Ends a shelf whose time is over, or says that it will be soon."""
    shelf = alert.shelf
    if shelf is None or now < warn_at(shelf.time, shelf.ends):
        return alert, Transition("nothing", "no shelf has ended")
    if now < shelf.ends:
        if shelf.warned or not alert.active:
            return alert, Transition("nothing", "it was told that the shelf ends")
        words = f"the shelf of {shelf.who} ends at {told_instant(shelf.ends)}: {shelf.reason}"
        return step(replace(alert, shelf=replace(shelf, warned=True)), alert, "ending", words)
    why = (
        "its time is over" if shelf.ends == shelf.until else "nobody of the new shift confirmed it"
    )
    return unshelve(alert, f"the shelf of {shelf.who} ended, {why}: {shelf.reason}")


def warn_at(begin: Instant, end: Instant) -> Instant:
    """When it is to be said that something ends."""
    return end - min(WARN_BEFORE, (end - begin) // 4)


def next_of_shelf(alert: Alert) -> Instant | None:
    """When to look at an alert's shelf next."""
    shelf = alert.shelf
    if shelf is None:
        return None
    return shelf.ends if shelf.warned or not alert.active else warn_at(shelf.time, shelf.ends)


def ask_to_confirm(alert: Alert, by: Instant) -> Known:
    """A shelf that the new shift has to confirm, or it ends."""
    if alert.shelf is None:
        return alert, Transition("nothing", "it is on no shelf")
    shelf = replace(alert.shelf, confirm_by=by, warned=False)
    words = f"the new shift is to confirm the shelf of {shelf.who} by {told_instant(by)}"
    return step(replace(alert, shelf=shelf), alert, "unconfirmed", words)


def confirm(alert: Alert, who: str) -> Known:
    """Somebody of the new shift takes a shelf over; CatcherError where there is none."""
    if alert.shelf is None:
        raise CatcherError(f"{alert.name} is not shelved", "there is nothing to confirm")
    shelf = replace(alert.shelf, who=who, confirm_by=None, warned=False)
    words = f"the shelf is confirmed by {who}: {shelf.reason}"
    return step(replace(alert, shelf=shelf), alert, "confirmed", words)


# -- people ------------------------------------------------------------------------------------


def assign(alert: Alert, to: str, who: str) -> Known:
    """Somebody is to see to an alert."""
    _require_open(alert, "assign")
    if not to.strip():
        raise CatcherError("nobody is named", "say who is to see to it")
    if alert.assignee == to:
        return alert, Transition("nothing", f"{to} sees to it already")
    by = "" if to == who else f" by {who}"
    return step(replace(alert, assignee=to), alert, "assigned", f"assigned to {to}{by}")


def note(alert: Alert, who: str, text: str, link: tuple[str, str] | None, now: Instant) -> Known:
    """Somebody says something about an alert, and perhaps where there is more."""
    text = plain(text, LONGEST_NOTE)
    if not text and link is None:
        raise CatcherError("the note is empty", "say something, or give a link")
    notes = (*alert.notes, Remark(who, now, text))[-MOST_NOTES:] if text else alert.notes
    links = {**alert.links, link[0]: link[1]} if link else alert.links
    new = replace(alert, notes=notes, links=links)
    return step(new, alert, "note", f"{who}: {text or (link or ('', ''))[1]}")


def escalated(alert: Alert, to: tuple[str, ...]) -> Known:
    """Marks an alert that nobody took in time as handed on."""
    words = f"not acknowledged in time, handed on to {', '.join(to)}"
    return step(replace(alert, escalated=True, handed=alert.handed + 1), alert, "escalated", words)


def due_of_itself(
    alert: Alert, acknowledge: Span | None, remind: Span | None, now: Instant
) -> Alert:
    """The alert with the times at which it is acknowledged or brought back by itself."""
    cleared = alert.state == "firing" and alert.latched and alert.severity == Severity.NONE
    acknowledges = alert.acknowledges
    if not (acknowledge and cleared):
        acknowledges = None
    elif acknowledges is None:
        acknowledges = now + acknowledge
    taken = alert.acknowledgement
    goes_on = alert.state == "acknowledged" and alert.severity > Severity.NONE
    reminds = taken.time + remind if remind and goes_on and taken is not None else None
    if (acknowledges, reminds) == (alert.acknowledges, alert.reminds):
        return alert
    return replace(alert, acknowledges=acknowledges, reminds=reminds)


def _require_open(alert: Alert, deed: str) -> None:
    if not alert.active:
        raise CatcherError(
            f"{alert.name} is {alert.state}: there is nothing to {deed}",
            "`catcher alerts` lists what is open",
        )
