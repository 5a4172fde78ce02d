"""An alert as the Watcher's event `alarm` (ts_xml, Watcher_logevent_alarm).

The same state of an alert gives the same message: LOVE-frontend compares it with what it has, and
an alarm that merely looks new would sound again each time it is resent.

Each attribute is `{"value", "dataType", "units"}` as LOVE-producer writes it. Times are seconds TAI
since 1970, 0 if there is none; severities are NONE 1, WARNING 2, SERIOUS 3, CRITICAL 4.
"""

from __future__ import annotations

from typing import Any

from catcher.model.alert import Alert, Notification, Severity
from catcher.model.message import Message, MessageComposer, SinkPreview
from catcher.model.text import sanitize_single_line, truncate_text
from catcher.model.time import Instant, nanoseconds_to_seconds, utc_to_tai

NAME_PREFIX = "catcher."
MAX_NAME_LENGTH = 120
MAX_REASON_LENGTH = 1_000


def build_alarm_message(notification: Notification, message: Message) -> dict[str, Any]:
    """Builds the message with one alarm."""
    alarm = build_alarm_attributes(notification.alert, format_reason(message))
    data = {"csc": "Watcher", "salindex": 0, "data": {"alarm": [alarm]}}
    return {"category": "event", "data": [data]}


def build_preview(compose: MessageComposer, notification: Notification) -> SinkPreview:
    """Returns a preview: the row of LOVE's alarm table, and its message."""
    message = compose(notification)
    payload = build_alarm_message(notification, message)
    row = (
        f"{notification.alert.severity}  "
        f"{build_alarm_name(notification.alert)}\n{format_reason(message)}"
    )
    return SinkPreview(row, payload)


def build_subscription_requests() -> list[dict[str, Any]]:
    """Returns the subscriptions to initial-state requests, for old and new LOVE-manager."""
    return [
        {
            "option": "subscribe",
            "category": "initial_state",
            "csc": csc,
            "salindex": "all",
            "stream": "all",
        }
        for csc in ("all", "Watcher")
    ]


def build_alarm_name(alert: Alert) -> str:
    """Returns `catcher.RULE.KEY.PER`; a long one is truncated and ends with the alert's id."""
    parts = (alert.rule, alert.key, alert.per)
    full_name = NAME_PREFIX + ".".join(sanitize_single_line(part, 1_000) for part in parts if part)
    if len(full_name) <= MAX_NAME_LENGTH:
        return full_name
    return f"{truncate_text(full_name, MAX_NAME_LENGTH - len(alert.id) - 1)}~{alert.id}"


def format_reason(message: Message) -> str:
    """Returns what is wrong, and where to look: LOVE shows no more than this text."""
    facts = [f"{label} {value}" for label, value in message.facts if label in ("value", "state")]
    text = truncate_text(" | ".join((message.text, *facts)), MAX_REASON_LENGTH)
    board_url = dict(message.links).get("board") or next((url for _, url in message.links), "")
    return f"{text} | {board_url}" if board_url else text


def build_alarm_attributes(alert: Alert, reason: str) -> dict[str, Any]:
    """Returns the attributes of the Watcher's alarm; severity and maximum NONE once resolved."""
    acknowledgement = alert.acknowledgement
    shelving = alert.shelf if alert.state == "shelved" else None
    severity = alert.severity if alert.is_active else Severity.NONE
    max_severity = alert.max_severity if alert.is_active else Severity.NONE
    return {
        "name": _build_string_attribute(build_alarm_name(alert)),
        "severity": _build_int_attribute(severity),
        "reason": _build_string_attribute(reason),
        "maxSeverity": _build_int_attribute(max_severity),
        "acknowledged": _build_int_attribute(acknowledgement is not None),
        "acknowledgedBy": _build_string_attribute(
            sanitize_single_line(acknowledgement.who, 60) if acknowledgement else ""
        ),
        "escalatedId": _build_string_attribute(alert.id if alert.escalated else ""),
        "escalateTo": _build_string_attribute(", ".join(alert.escalate_to)),
        "mutedSeverity": _build_int_attribute(shelving.severity if shelving else Severity.NONE),
        "mutedBy": _build_string_attribute(
            sanitize_single_line(shelving.who, 60) if shelving else ""
        ),
        "timestampSeverityOldest": _build_time_attribute(alert.since or alert.opened),
        "timestampSeverityNewest": _build_time_attribute(alert.data_time or alert.changed),
        "timestampMaxSeverity": _build_time_attribute(alert.worst_since or alert.opened),
        "timestampAcknowledged": _build_time_attribute(
            acknowledgement.time if acknowledgement else alert.opened
        ),
        "timestampAutoAcknowledge": _build_time_attribute(
            alert.acknowledges if acknowledgement is None else None
        ),
        "timestampAutoUnacknowledge": _build_time_attribute(
            alert.reminds if acknowledgement else None
        ),
        "timestampEscalate": _build_time_attribute(alert.escalates),
        "timestampUnmute": _build_time_attribute(shelving.ends_at if shelving else None),
    }


def _build_string_attribute(value: str) -> dict[str, Any]:
    return {"value": value, "dataType": "String", "units": "unitless"}


def _build_int_attribute(value: int) -> dict[str, Any]:
    # LOVE-producer declares booleans as Int as well, but sends them as booleans.
    plain_value = value if isinstance(value, bool) else int(value)
    return {"value": plain_value, "dataType": "Int", "units": "unitless"}


def _build_time_attribute(instant: Instant | None) -> dict[str, Any]:
    seconds = 0.0 if instant is None else nanoseconds_to_seconds(utc_to_tai(instant))
    return {"value": seconds, "dataType": "Float", "units": "second"}
