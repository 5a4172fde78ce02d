"""Transitions by operators, and by the expiry of what they set: pure, like the life cycle."""

from __future__ import annotations

from dataclasses import replace

from catcher.alerting.transitions import (
    Transition,
    TransitionResult,
    apply_transition,
    get_unshelved_state,
    resolve_alert,
)
from catcher.model.alert import Acknowledgement, Alert, AlertState, Comment, Severity, Shelving
from catcher.model.errors import CatcherError
from catcher.model.text import sanitize_single_line
from catcher.model.time import (
    DAY,
    MAX_INSTANT,
    MINUTE,
    Instant,
    Span,
    format_duration,
    humanize_duration,
    humanize_instant,
)

MAX_SHELVING = 30 * DAY
EXPIRY_WARNING = 10 * MINUTE
"""How long before its end a shelving or silence warns; at most a quarter of its duration."""
MAX_COMMENTS = 50
MAX_COMMENT_LENGTH = 4_000
SYSTEM_ACTOR = "catcher"
"""The actor of changes that no person made."""


def acknowledge_alert(
    alert: Alert, severity: Severity, actor: str, comment: str, now: Instant, close: bool = False
) -> TransitionResult:
    """Acknowledges an alert at the severity that the operator saw.

    Raises CatcherError if it is not open, or got worse than that. A latched alert that has cleared
    is resolved; so is any if `close`, for alerts about a single instance.
    """
    _require_open(alert, "acknowledge")
    display_severity = alert.display_severity
    if display_severity > severity:
        raise CatcherError(
            f"{alert.name} is {display_severity} by now, not {severity}: not acknowledged",
            "look at it again, then acknowledge what it is",
        )
    comment = sanitize_single_line(comment, MAX_COMMENT_LENGTH)
    acknowledgement = Acknowledgement(actor, display_severity, now, comment)
    reason = f"acknowledged by {actor}" + (f": {comment}" if comment else "")
    state: AlertState = "shelved" if alert.state == "shelved" else "acknowledged"
    new = replace(
        alert, acknowledgement=acknowledgement, latched=False, state=state, escalates=None,
        acknowledges=None, taken=alert.taken if alert.taken is not None else now, aside="",
    )  # fmt: skip
    if alert.severity == Severity.NONE:
        return resolve_alert(new, f"{reason}, after the condition had cleared", alert.changed)
    if close:
        return resolve_alert(replace(new, shelf=None), reason, alert.changed)
    return apply_transition(new, alert, "acknowledged", reason)


def auto_acknowledge(alert: Alert, now: Instant) -> TransitionResult:
    """Acknowledges a latched alert that has long been clear without anybody acknowledging it."""
    due_at = alert.acknowledges
    is_cleared = alert.state == "firing" and alert.latched and alert.severity == Severity.NONE
    if due_at is None or now < due_at or not is_cleared:
        return alert, Transition("nothing", "nothing to acknowledge")
    since = alert.since if alert.since is not None else alert.changed
    comment = f"nobody took it; clear since {humanize_instant(since)}"
    return acknowledge_alert(alert, alert.display_severity, SYSTEM_ACTOR, comment, now)


def auto_unacknowledge(alert: Alert, now: Instant) -> TransitionResult:
    """Makes an acknowledged alert that persists fire again, as a reminder."""
    acknowledgement = alert.acknowledgement
    if (
        alert.reminds is None
        or now < alert.reminds
        or acknowledgement is None
        or not alert.is_active
    ):
        return alert, Transition("nothing", "nobody needs to be reminded")
    if alert.state != "acknowledged" or alert.severity == Severity.NONE:
        return alert, Transition("nothing", "nobody needs to be reminded")
    reason = (
        f"{acknowledgement.who} took it "
        f"{humanize_duration(now - acknowledgement.time)} ago and it goes on"
    )
    new = replace(
        alert, acknowledgement=None, state="firing", reminds=None, escalated=False, handed=0
    )
    return apply_transition(new, alert, "unacknowledged", reason)


# -- shelving ----------------------------------------------------------------------------------


def shelve_alert(
    alert: Alert, until: Instant, actor: str, reason: str, now: Instant
) -> TransitionResult:
    """Shelves an alert until a time; CatcherError if the end, owner or reason is missing."""
    _require_open(alert, "shelve")
    validate_suppression_request("a shelf", until, actor, reason, now)
    reason = sanitize_single_line(reason, MAX_COMMENT_LENGTH)
    shelving = Shelving(actor, alert.display_severity, until, reason, now)
    description = f"shelved by {actor} until {humanize_instant(until)}: {reason}"
    return apply_transition(
        replace(alert, state="shelved", shelf=shelving, escalates=None),
        alert,
        "shelved",
        description,
    )


def validate_suppression_request(
    subject: str, until: Instant, actor: str, reason: str, now: Instant
) -> None:
    """Raises CatcherError if there is no owner or no reason, or it would end too late or never."""
    if not actor.strip() or not reason.strip():
        raise CatcherError(f"{subject} needs an owner and a reason", "say who wants it and why")
    if not now < until <= now + MAX_SHELVING:
        raise CatcherError(
            f"{subject} cannot end at {humanize_instant(min(until, MAX_INSTANT))}",
            f"choose an end within {format_duration(MAX_SHELVING)} from now",
        )


def unshelve_alert(alert: Alert, reason: str) -> TransitionResult:
    """Unshelves an alert; CatcherError if it is not shelved."""
    if alert.shelf is None:
        raise CatcherError(f"{alert.name} is not shelved", "nothing needs to be done")
    new = replace(alert, shelf=None, state=get_unshelved_state(alert))
    return apply_transition(new, alert, "unshelved", reason)


def end_or_warn_shelving(alert: Alert, now: Instant) -> TransitionResult:
    """Ends a shelving that has expired, or warns that it will soon."""
    shelving = alert.shelf
    if shelving is None or now < get_warning_time(shelving.time, shelving.ends_at):
        return alert, Transition("nothing", "no shelf has ended")
    if now < shelving.ends_at:
        if shelving.warned or not alert.is_active:
            return alert, Transition("nothing", "it was told that the shelf ends")
        reason = (
            f"the shelf of {shelving.who} ends at "
            f"{humanize_instant(shelving.ends_at)}: {shelving.reason}"
        )
        return apply_transition(
            replace(alert, shelf=replace(shelving, warned=True)), alert, "ending", reason
        )
    cause = (
        "its time is over"
        if shelving.ends_at == shelving.until
        else "nobody of the new shift confirmed it"
    )
    return unshelve_alert(alert, f"the shelf of {shelving.who} ended, {cause}: {shelving.reason}")


def get_warning_time(start: Instant, end: Instant) -> Instant:
    """Returns when to warn that something ends."""
    return end - min(EXPIRY_WARNING, (end - start) // 4)


def get_next_shelving_due(alert: Alert) -> Instant | None:
    """Returns when an alert's shelving needs attention next."""
    shelving = alert.shelf
    if shelving is None:
        return None
    return (
        shelving.ends_at
        if shelving.warned or not alert.is_active
        else get_warning_time(shelving.time, shelving.ends_at)
    )


def request_shelving_confirmation(alert: Alert, deadline: Instant) -> TransitionResult:
    """Requires the new shift to confirm a shelving before a deadline; it ends otherwise."""
    if alert.shelf is None:
        return alert, Transition("nothing", "it is on no shelf")
    shelving = replace(alert.shelf, confirm_by=deadline, warned=False)
    reason = (
        f"the new shift is to confirm the shelf of {shelving.who} by {humanize_instant(deadline)}"
    )
    return apply_transition(replace(alert, shelf=shelving), alert, "unconfirmed", reason)


def confirm_shelving(alert: Alert, actor: str) -> TransitionResult:
    """Makes somebody of the new shift the owner of a shelving; CatcherError if there is none."""
    if alert.shelf is None:
        raise CatcherError(f"{alert.name} is not shelved", "there is nothing to confirm")
    shelving = replace(alert.shelf, who=actor, confirm_by=None, warned=False)
    reason = f"the shelf is confirmed by {actor}: {shelving.reason}"
    return apply_transition(replace(alert, shelf=shelving), alert, "confirmed", reason)


# -- assignment and comments -------------------------------------------------------------------


def assign_alert(alert: Alert, assignee: str, actor: str) -> TransitionResult:
    """Assigns an alert to a person."""
    _require_open(alert, "assign")
    if not assignee.strip():
        raise CatcherError("nobody is named", "say who is to see to it")
    if alert.assignee == assignee:
        return alert, Transition("nothing", f"{assignee} sees to it already")
    suffix = "" if assignee == actor else f" by {actor}"
    return apply_transition(
        replace(alert, assignee=assignee), alert, "assigned", f"assigned to {assignee}{suffix}"
    )


def add_comment(
    alert: Alert, actor: str, text: str, link: tuple[str, str] | None, now: Instant
) -> TransitionResult:
    """Adds a comment and an optional link to an alert."""
    text = sanitize_single_line(text, MAX_COMMENT_LENGTH)
    if not text and link is None:
        raise CatcherError("the note is empty", "say something, or give a link")
    comments = (*alert.notes, Comment(actor, now, text))[-MAX_COMMENTS:] if text else alert.notes
    links = {**alert.links, link[0]: link[1]} if link else alert.links
    new = replace(alert, notes=comments, links=links)
    return apply_transition(new, alert, "note", f"{actor}: {text or (link or ('', ''))[1]}")


def mark_escalated(alert: Alert, sinks: tuple[str, ...]) -> TransitionResult:
    """Marks an alert that was not acknowledged in time as escalated."""
    reason = f"not acknowledged in time, handed on to {', '.join(sinks)}"
    return apply_transition(
        replace(alert, escalated=True, handed=alert.handed + 1), alert, "escalated", reason
    )


def set_auto_action_times(
    alert: Alert, auto_acknowledge_after: Span | None, reminder_after: Span | None, now: Instant
) -> Alert:
    """Returns the alert with the times of its automatic acknowledgement and reminder."""
    is_cleared = alert.state == "firing" and alert.latched and alert.severity == Severity.NONE
    acknowledge_at = alert.acknowledges
    if not (auto_acknowledge_after and is_cleared):
        acknowledge_at = None
    elif acknowledge_at is None:
        acknowledge_at = now + auto_acknowledge_after
    acknowledgement = alert.acknowledgement
    is_ongoing = alert.state == "acknowledged" and alert.severity > Severity.NONE
    remind_at = (
        acknowledgement.time + reminder_after
        if reminder_after and is_ongoing and acknowledgement is not None
        else None
    )
    if (acknowledge_at, remind_at) == (alert.acknowledges, alert.reminds):
        return alert
    return replace(alert, acknowledges=acknowledge_at, reminds=remind_at)


def _require_open(alert: Alert, action: str) -> None:
    if not alert.is_active:
        raise CatcherError(
            f"{alert.name} is {alert.state}: there is nothing to {action}",
            "`catcher alerts` lists what is open",
        )
