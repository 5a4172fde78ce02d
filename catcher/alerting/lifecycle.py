"""The life cycle of an alert as driven by data, a pure state machine.

States: pending, firing, acknowledged or shelved, resolved; `unknown` is a flag beside them. Each
function takes the alert's state and returns the next, with the transition and its reason. `now` is
the engine's clock; changes from the data have the data's time. After ISA-18.2: a latched alert
stays until it is acknowledged and clear; an alert that gets worse than the severity at which it was
acknowledged or shelved fires again.
"""

from __future__ import annotations

from dataclasses import replace

from catcher.alerting.flapping import carry_acknowledgement, carry_over_flapping
from catcher.alerting.transitions import (
    OptionalTransitionResult,
    Transition,
    TransitionResult,
    apply_transition,
    get_unshelved_state,
    resolve_alert,
)
from catcher.model.alert import Alert, AlertState, LevelChange, Severity
from catcher.model.rule import AlertSpec
from catcher.model.time import Instant, format_duration

CLEARED_TEXT = "condition cleared, awaiting acknowledgement"
UNKNOWN_PREFIX = "unknown: "


def apply_level_change(
    alert: Alert | None, change: LevelChange, spec: AlertSpec, now: Instant
) -> OptionalTransitionResult:
    """Applies a level change; the result is None if there is no alert and none opens."""
    if _is_late(alert, change):
        return alert, Transition("nothing", "older than what the alert stands on: changes nothing")
    if change.unknown:
        return _apply_unknown_level(alert, change, spec, now)
    if alert is None or not alert.is_active:
        return _apply_level_to_inactive(alert, change, spec, now)
    return _apply_level_to_active(_update_data(alert, change), change, spec, now)


def resolve_alert_without_rule(alert: Alert, reason: str, time: Instant) -> TransitionResult:
    """Resolves an alert whose rule was removed, latched or not."""
    if alert.state == "resolved":
        return alert, Transition("nothing", reason)
    return resolve_alert(replace(alert, shelf=None), reason, time)


def apply_unknown_timeout(alert: Alert, spec: AlertSpec, now: Instant) -> TransitionResult:
    """Opens or raises an alert whose input has been unknown for as long as the rule allows."""
    due_at = compute_unknown_deadline(alert, spec)
    if due_at is None or now < due_at or spec.unknown is None:
        return alert, Transition("nothing", "nothing is overdue")
    span = format_duration(spec.unknown.after)
    reason = f"unknown for {span}: {alert.reason.removeprefix(UNKNOWN_PREFIX)}"
    severity = max(alert.severity, spec.unknown.severity)
    time = alert.changed + spec.unknown.after
    if not alert.is_active:
        return _open_alert(alert, severity, reason, time, spec, now)
    return _raise_severity(alert, severity, reason, time, spec)


def compute_unknown_deadline(alert: Alert, spec: AlertSpec) -> Instant | None:
    """Returns when the unknown timeout of an alert is due; None if there is none."""
    if not alert.unknown or alert.unknown_since is None or spec.unknown is None:
        return None
    if alert.is_active and alert.severity >= spec.unknown.severity:
        return None
    return alert.unknown_since + spec.unknown.after


def _is_late(alert: Alert | None, change: LevelChange) -> bool:
    return alert is not None and alert.data_time is not None and change.time < alert.data_time


def _update_data(alert: Alert, change: LevelChange) -> Alert:
    return replace(
        alert,
        data_time=change.time,
        values=change.values or alert.values,
        run=change.run or alert.run,
    )


def _apply_unknown_level(
    alert: Alert | None, change: LevelChange, spec: AlertSpec, now: Instant
) -> OptionalTransitionResult:
    """Handles an unknown level: a flag on an open alert, at most pending on another."""
    if alert is not None and alert.is_active:
        reason = UNKNOWN_PREFIX + change.reason
        if alert.unknown and alert.reason == reason:
            return alert, Transition("nothing", "still unknown")
        new = replace(
            alert,
            unknown=True,
            unknown_since=alert.unknown_since if alert.unknown else now,
            changed=change.time,
        )
        return _apply_timeout_if_due(apply_transition(new, alert, "updated", reason), spec, now)
    if spec.unknown is None:
        return alert, Transition("nothing", "unknown is neither alarm nor all-clear")
    if alert is not None and alert.state == "pending":
        return alert, Transition("nothing", "still unknown")
    pending = replace(
        _create_episode(alert, change), unknown=True, unknown_since=now, data_time=None
    )
    return _apply_timeout_if_due(
        apply_transition(pending, None, "pending", change.reason), spec, now
    )


def _apply_timeout_if_due(
    result: TransitionResult, spec: AlertSpec, now: Instant
) -> TransitionResult:
    """Applies the timeout at once if it is due already, as with `for: 0s`."""
    timed_out = apply_unknown_timeout(result[0], spec, now)
    return timed_out if timed_out[1].is_change else result


def _apply_level_to_inactive(
    alert: Alert | None, change: LevelChange, spec: AlertSpec, now: Instant
) -> OptionalTransitionResult:
    if change.severity > Severity.NONE:
        new = _create_episode(alert, change)
        opened, transition = _open_alert(
            new, change.severity, change.reason, change.time, spec, now
        )
        return carry_acknowledgement(opened, alert), transition
    if alert is not None and alert.state == "pending":
        cleared = replace(alert, unknown=False, unknown_since=None, data_time=change.time)
        new, _ = resolve_alert(cleared, change.reason, change.time)
        return new, Transition("withdrawn", change.reason)
    return alert, Transition("nothing", "no level holds")


def _create_episode(alert: Alert | None, change: LevelChange) -> Alert:
    """Returns a new episode, numbered one higher, with the shelving, which outlasts an episode."""
    is_pending = alert is not None and alert.state == "pending"
    episode = (alert.episode if alert else 0) + (not is_pending)
    new = Alert(
        id=change.alert_id,
        rule=change.rule,
        key=change.key,
        per=change.per,
        episode=episode,
        thread=episode,
        sequence=alert.sequence if alert and is_pending else 0,
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
    return carry_over_flapping(new, alert)


def _open_alert(
    alert: Alert, severity: Severity, reason: str, time: Instant, spec: AlertSpec, now: Instant
) -> TransitionResult:
    shelving = alert.shelf
    if shelving is not None and (now >= shelving.ends_at or severity > shelving.severity):
        shelving = None
    new = replace(
        alert,
        state="shelved" if shelving else "firing",
        shelf=shelving,
        severity=severity,
        max_severity=severity,
        latched=_should_latch(severity, alert, spec),
        opened=time,
        changed=time,
        since=time,
        worst_since=time,
        appeared=now,
    )
    return apply_transition(new, None, "opened", reason)


def _apply_level_to_active(
    alert: Alert, change: LevelChange, spec: AlertSpec, now: Instant
) -> TransitionResult:
    was_unknown = alert.unknown
    alert = replace(alert, unknown=False, unknown_since=None)
    if change.severity > alert.severity:
        return _raise_severity(alert, change.severity, change.reason, change.time, spec)
    if change.severity < alert.severity:
        return _lower_severity(alert, change)
    if change.severity == Severity.NONE and not alert.latched:
        return resolve_alert(alert, change.reason, change.time)
    if change.reason == alert.reason and not was_unknown:
        return alert, Transition("nothing", "severity and reason are what they were")
    return apply_transition(replace(alert, changed=change.time), alert, "updated", change.reason)


def _raise_severity(
    alert: Alert, severity: Severity, reason: str, time: Instant, spec: AlertSpec
) -> TransitionResult:
    is_worst = severity > alert.max_severity
    new = replace(
        alert,
        severity=severity,
        max_severity=max(severity, alert.max_severity),
        worst_since=time if is_worst else alert.worst_since,
        since=time,
        changed=time,
    )
    shelving, acknowledgement, asides = new.shelf, new.acknowledgement, []
    if shelving is not None and severity > shelving.severity:
        asides.append(f"off the shelf of {shelving.who}: worse than {shelving.severity}")
        new = replace(new, shelf=None, state=get_unshelved_state(new))
    if acknowledgement is not None and severity > acknowledgement.severity:
        asides.append(
            f"worse than {acknowledgement.severity}, at which {acknowledgement.who} took it"
        )
        state: AlertState = "shelved" if new.state == "shelved" else "firing"
        new = replace(new, acknowledgement=None, state=state, escalated=False, handed=0)
    if asides:
        new = replace(new, aside="; ".join(asides))
    return apply_transition(
        replace(new, latched=_should_latch(new.max_severity, new, spec)), alert, "raised", reason
    )


def _lower_severity(alert: Alert, change: LevelChange) -> TransitionResult:
    if change.severity == Severity.NONE and not alert.latched:
        return resolve_alert(alert, change.reason, change.time)
    new = replace(alert, severity=change.severity, since=change.time, changed=change.time)
    is_cleared = change.severity == Severity.NONE
    reason = f"{CLEARED_TEXT} ({change.reason})" if is_cleared else change.reason
    return apply_transition(new, alert, "lowered", reason)


def _should_latch(worst: Severity, alert: Alert, spec: AlertSpec) -> bool:
    """Whether an alert stays open until it is acknowledged.

    One instance with a given life (`per` with `lasts`: one bad exposure) resolves by itself.
    """
    is_momentary = bool(alert.per) and spec.lasts is not None
    is_acknowledged = alert.acknowledgement is not None
    return worst >= spec.latch and not is_acknowledged and not is_momentary
