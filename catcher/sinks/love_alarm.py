"""An alert in the form of the Watcher's event `alarm` (ts_xml, Watcher_logevent_alarm).

The same state of an alert gives the same message: LOVE-frontend compares what it is sent with what
it has, and an alarm that merely looks new would sound again each time it is resent.

Each attribute is `{"value", "dataType", "units"}` as LOVE-producer writes it. Times are seconds
TAI since 1970, 0 where there is none; severities are NONE 1, WARNING 2, SERIOUS 3, CRITICAL 4.
"""

from __future__ import annotations

from typing import Any

from catcher.model.alert import Alert, Notice, Severity
from catcher.model.message import Compose, Message, Shown
from catcher.model.text import plain, shorten
from catcher.model.time import Instant, to_seconds, utc_to_tai

PREFIX = "catcher."
LONGEST_NAME = 120
LONGEST_REASON = 1_000


def alarm_message(notice: Notice, message: Message) -> dict[str, Any]:
    """The message that carries one alarm."""
    alarm = attributes(notice.alert, reason(message))
    data = {"csc": "Watcher", "salindex": 0, "data": {"alarm": [alarm]}}
    return {"category": "event", "data": [data]}


def show(compose: Compose, notice: Notice) -> Shown:
    """The row of LOVE's alarm table, for a preview, and the message that makes it."""
    message = compose(notice)
    sent = alarm_message(notice, message)
    row = f"{notice.alert.severity}  {name(notice.alert)}\n{reason(message)}"
    return Shown(row, sent)


def subscriptions() -> list[dict[str, Any]]:
    """What a producer sends to be told of initial-state requests, old and new LOVE-manager."""
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


def name(alert: Alert) -> str:
    """`catcher.RULE.KEY.PER`; a long one is cut and ends with the alert's id."""
    parts = (alert.rule, alert.key, alert.per)
    full = PREFIX + ".".join(plain(part, 1_000) for part in parts if part)
    if len(full) <= LONGEST_NAME:
        return full
    return f"{shorten(full, LONGEST_NAME - len(alert.id) - 1)}~{alert.id}"


def reason(message: Message) -> str:
    """What is wrong, and where to look: LOVE shows no more than this text."""
    facts = [f"{label} {words}" for label, words in message.facts if label in ("value", "state")]
    text = shorten(" | ".join((message.text, *facts)), LONGEST_REASON)
    board = dict(message.links).get("board") or next((url for _, url in message.links), "")
    return f"{text} | {board}" if board else text


def attributes(alert: Alert, reason: str) -> dict[str, Any]:
    """All attributes of the Watcher's alarm. A resolved one has severity and maximum NONE."""
    taken = alert.acknowledgement
    shelf = alert.shelf if alert.state == "shelved" else None
    now = alert.severity if alert.active else Severity.NONE
    worst = alert.max_severity if alert.active else Severity.NONE
    return {
        "name": _text(name(alert)),
        "severity": _number(now),
        "reason": _text(reason),
        "maxSeverity": _number(worst),
        "acknowledged": _number(taken is not None),
        "acknowledgedBy": _text(plain(taken.who, 60) if taken else ""),
        "escalatedId": _text(alert.id if alert.escalated else ""),
        "escalateTo": _text(", ".join(alert.escalate_to)),
        "mutedSeverity": _number(shelf.severity if shelf else Severity.NONE),
        "mutedBy": _text(plain(shelf.who, 60) if shelf else ""),
        "timestampSeverityOldest": _time(alert.since or alert.opened),
        "timestampSeverityNewest": _time(alert.data_time or alert.changed),
        "timestampMaxSeverity": _time(alert.worst_since or alert.opened),
        "timestampAcknowledged": _time(taken.time if taken else alert.opened),
        "timestampAutoAcknowledge": _time(alert.acknowledges if taken is None else None),
        "timestampAutoUnacknowledge": _time(alert.reminds if taken else None),
        "timestampEscalate": _time(alert.escalates),
        "timestampUnmute": _time(shelf.ends if shelf else None),
    }


def _text(value: str) -> dict[str, Any]:
    return {"value": value, "dataType": "String", "units": "unitless"}


def _number(value: int) -> dict[str, Any]:
    # LOVE-producer calls truth values Int as well, and sends them as they are.
    plain_value = value if isinstance(value, bool) else int(value)
    return {"value": plain_value, "dataType": "Int", "units": "unitless"}


def _time(instant: Instant | None) -> dict[str, Any]:
    seconds = 0.0 if instant is None else to_seconds(utc_to_tai(instant))
    return {"value": seconds, "dataType": "Float", "units": "second"}
