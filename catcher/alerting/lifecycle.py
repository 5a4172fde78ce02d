"""The life of an alert as the data tell it, a pure state machine.

Pending, firing, acknowledged or shelved, resolved; `unknown` is a flag beside them. Each function
takes the alert as it stands and gives it as it stands then, with the transition and its reason.
`now` is the engine's clock; what the data say happens at the data's time. After ISA-18.2: a
latched alert stays until it is acknowledged and clear; what is worse than a person acknowledged
or shelved comes back to the front.
"""

from __future__ import annotations

from dataclasses import replace

from catcher.alerting.flapping import carried, still_taken
from catcher.alerting.transitions import Known, Step, Transition, off_shelf, resolve, step
from catcher.model.alert import Alert, AlertState, LevelChange, Severity
from catcher.model.rule import AlertSpec
from catcher.model.time import Instant, format_duration

CLEARED = "condition cleared, awaiting acknowledgement"
UNKNOWN = "unknown: "


def judge(alert: Alert | None, change: LevelChange, spec: AlertSpec, now: Instant) -> Step:
    """What a level change makes of an alert; None for one that is not there and stays so."""
    if _late(alert, change):
        return alert, Transition("nothing", "older than what the alert stands on: changes nothing")
    if change.unknown:
        return _lose_sight(alert, change, spec, now)
    if alert is None or not alert.active:
        return _open_if_bad(alert, change, spec, now)
    return _move(_seen(alert, change), change, spec, now)


def retire(alert: Alert, reason: str, time: Instant) -> Known:
    """Resolves an alert whose rule is gone, latched or not."""
    if alert.state == "resolved":
        return alert, Transition("nothing", reason)
    return resolve(replace(alert, shelf=None), reason, time)


def miss(alert: Alert, spec: AlertSpec, now: Instant) -> Known:
    """Tells about input that has been unknown for as long as the rule allows."""
    due = unknown_due(alert, spec)
    if due is None or now < due or spec.unknown is None:
        return alert, Transition("nothing", "nothing is overdue")
    span = format_duration(spec.unknown.after)
    words = f"unknown for {span}: {alert.reason.removeprefix(UNKNOWN)}"
    severity = max(alert.severity, spec.unknown.severity)
    time = alert.changed + spec.unknown.after
    if not alert.active:
        return _begin(alert, severity, words, time, spec, now)
    return _worsen(alert, severity, words, time, spec)


def unknown_due(alert: Alert, spec: AlertSpec) -> Instant | None:
    """When an unknown alert is to be told as one; None where it is not."""
    if not alert.unknown or alert.unknown_since is None or spec.unknown is None:
        return None
    if alert.active and alert.severity >= spec.unknown.severity:
        return None
    return alert.unknown_since + spec.unknown.after


def _late(alert: Alert | None, change: LevelChange) -> bool:
    return alert is not None and alert.data_time is not None and change.time < alert.data_time


def _seen(alert: Alert, change: LevelChange) -> Alert:
    return replace(
        alert,
        data_time=change.time,
        values=change.values or alert.values,
        run=change.run or alert.run,
    )


def _lose_sight(alert: Alert | None, change: LevelChange, spec: AlertSpec, now: Instant) -> Step:
    """The level cannot be judged: a flag on an open alert, at most pending on another."""
    if alert is not None and alert.active:
        words = UNKNOWN + change.reason
        if alert.unknown and alert.reason == words:
            return alert, Transition("nothing", "still unknown")
        new = replace(
            alert,
            unknown=True,
            unknown_since=alert.unknown_since if alert.unknown else now,
            changed=change.time,
        )
        return _after_unknown(step(new, alert, "updated", words), spec, now)
    if spec.unknown is None:
        return alert, Transition("nothing", "unknown is neither alarm nor all-clear")
    if alert is not None and alert.state == "pending":
        return alert, Transition("nothing", "still unknown")
    waiting = replace(_blank(alert, change), unknown=True, unknown_since=now, data_time=None)
    return _after_unknown(step(waiting, None, "pending", change.reason), spec, now)


def _after_unknown(sight_lost: Known, spec: AlertSpec, now: Instant) -> Known:
    """With `for: 0s` there is nothing to wait for."""
    overdue = miss(sight_lost[0], spec, now)
    return overdue if overdue[1].real else sight_lost


def _open_if_bad(alert: Alert | None, change: LevelChange, spec: AlertSpec, now: Instant) -> Step:
    if change.severity > Severity.NONE:
        new = _blank(alert, change)
        begun, moved = _begin(new, change.severity, change.reason, change.time, spec, now)
        return still_taken(begun, alert), moved
    if alert is not None and alert.state == "pending":
        gone = replace(alert, unknown=False, unknown_since=None, data_time=change.time)
        new, _ = resolve(gone, change.reason, change.time)
        return new, Transition("withdrawn", change.reason)
    return alert, Transition("nothing", "no level holds")


def _blank(alert: Alert | None, change: LevelChange) -> Alert:
    """A new episode, its number one up, with what outlasts an episode: the shelf."""
    waiting = alert is not None and alert.state == "pending"
    episode = (alert.episode if alert else 0) + (not waiting)
    new = Alert(
        id=change.alert,
        rule=change.rule,
        key=change.key,
        per=change.per,
        episode=episode,
        thread=episode,
        sequence=alert.sequence if alert and waiting else 0,
        state="pending",
        severity=Severity.NONE,
        max_severity=Severity.NONE,
        opened=change.time,
        changed=change.time,
        reason=change.reason,
        values=change.values,
        run=change.run,
        shelf=alert.shelf if alert else None,
        data_time=change.time,
    )
    return carried(new, alert)


def _begin(
    alert: Alert, severity: Severity, reason: str, time: Instant, spec: AlertSpec, now: Instant
) -> Known:
    shelf = alert.shelf
    if shelf is not None and (now >= shelf.ends or severity > shelf.severity):
        shelf = None
    new = replace(
        alert,
        state="shelved" if shelf else "firing",
        shelf=shelf,
        severity=severity,
        max_severity=severity,
        latched=_latches(severity, alert, spec),
        opened=time,
        changed=time,
        since=time,
        worst_since=time,
        appeared=now,
    )
    return step(new, None, "opened", reason)


def _move(alert: Alert, change: LevelChange, spec: AlertSpec, now: Instant) -> Known:
    seen_again = alert.unknown
    alert = replace(alert, unknown=False, unknown_since=None)
    if change.severity > alert.severity:
        return _worsen(alert, change.severity, change.reason, change.time, spec)
    if change.severity < alert.severity:
        return _improve(alert, change)
    if change.severity == Severity.NONE and not alert.latched:
        return resolve(alert, change.reason, change.time)
    if change.reason == alert.reason and not seen_again:
        return alert, Transition("nothing", "severity and reason are what they were")
    return step(replace(alert, changed=change.time), alert, "updated", change.reason)


def _worsen(alert: Alert, severity: Severity, reason: str, time: Instant, spec: AlertSpec) -> Known:
    worst = severity > alert.max_severity
    new = replace(
        alert,
        severity=severity,
        max_severity=max(severity, alert.max_severity),
        worst_since=time if worst else alert.worst_since,
        since=time,
        changed=time,
    )
    shelf, taken, asides = new.shelf, new.acknowledgement, []
    if shelf is not None and severity > shelf.severity:
        asides.append(f"off the shelf of {shelf.who}: worse than {shelf.severity}")
        new = replace(new, shelf=None, state=off_shelf(new))
    if taken is not None and severity > taken.severity:
        asides.append(f"worse than {taken.severity}, at which {taken.who} took it")
        state: AlertState = "shelved" if new.state == "shelved" else "firing"
        new = replace(new, acknowledgement=None, state=state, escalated=False, handed=0)
    if asides:
        new = replace(new, aside="; ".join(asides))
    return step(
        replace(new, latched=_latches(new.max_severity, new, spec)), alert, "raised", reason
    )


def _improve(alert: Alert, change: LevelChange) -> Known:
    if change.severity == Severity.NONE and not alert.latched:
        return resolve(alert, change.reason, change.time)
    new = replace(alert, severity=change.severity, since=change.time, changed=change.time)
    cleared = change.severity == Severity.NONE
    reason = f"{CLEARED} ({change.reason})" if cleared else change.reason
    return step(new, alert, "lowered", reason)


def _latches(worst: Severity, alert: Alert, spec: AlertSpec) -> bool:
    """Whether an alert now stays until somebody took it.

    One instance with a stated life (`per` with `lasts`: one bad exposure) closes by itself.
    """
    single = bool(alert.per) and spec.lasts is not None
    taken = alert.acknowledgement is not None
    return worst >= spec.latch and not taken and not single
