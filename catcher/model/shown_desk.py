"""What the alert desk keeps, as JSON rows."""

from __future__ import annotations

from typing import Any

from catcher.model.alert import Notice
from catcher.model.desk import Shift, Silence
from catcher.model.shown import instant, notice_row
from catcher.model.time import Instant, format_instant

Row = dict[str, Any]


def silence_row(silence: Silence) -> Row:
    """A silence; `idle` where it has held nothing back."""
    return {
        "kind": "silence",
        "id": silence.id,
        "name": silence.name,
        "labels": dict(silence.labels),
        "up_to": str(silence.severity),
        "who": silence.who,
        "reason": silence.reason,
        "created": format_instant(silence.created),
        "until": format_instant(silence.until),
        "confirm_by": instant(silence.confirm_by),
        "ends": format_instant(silence.ends),
        "covered": silence.covered,
        "held_back": silence.hits,
        "last": instant(silence.last),
        "idle": silence.idle,
        "ended": instant(silence.ended),
        "why": silence.why,
    }


def shift_row(shift: Shift | None) -> Row:
    """Who is on shift; empty texts where nobody said so."""
    if shift is None:
        return {"kind": "shift", "who": "", "since": None, "by": "", "note": ""}
    return {
        "kind": "shift",
        "who": shift.who,
        "since": format_instant(shift.since),
        "by": shift.by,
        "note": shift.note,
    }


def letter_row(notice: Notice, error: str, time: Instant) -> Row:
    """A notice that was given up, with the last error of its sink."""
    return {
        **notice_row(notice),
        "kind": "dead letter",
        "name": notice.alert.name,
        "message": notice.alert.message or notice.alert.reason,
        "error": error,
        "given_up": format_instant(time),
    }
