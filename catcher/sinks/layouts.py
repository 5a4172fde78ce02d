"""A message laid out as lines, as HTML and as Markdown, and an alert's state as JSON.

In the order that operators know: severity and name, what is wrong, the facts, the links.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from catcher.model.alert import Alert, Notice, Severity
from catcher.model.message import Message
from catcher.model.text import ESCAPES, Form, markdown, plain
from catcher.model.time import Instant, format_instant

LONGEST_TEXT = 2_000
COLOURS: Mapping[Severity, str] = {
    Severity.NONE: "#2e7d32",
    Severity.WARNING: "#b58900",
    Severity.SERIOUS: "#d9480f",
    Severity.CRITICAL: "#b71c1c",
}
_LABEL = "display:inline-block;min-width:5.5em;color:#666"
_BODY = "font-family:sans-serif;font-size:15px;line-height:1.4;color:#222;max-width:640px"


def colour(notice: Notice) -> str:
    """Of the severity as a display shows it; green once it is resolved."""
    alert = notice.alert
    return COLOURS[Severity.NONE if alert.state == "resolved" else alert.shown_severity]


def one_line(message: Message, links: bool = True) -> str:
    """All of a message in one line."""
    if message.custom:
        return message.text
    facts = [f"{label} {words}" for label, words in message.facts]
    addresses = [f"{name} {address}" for name, address in message.links] if links else []
    return " | ".join([f"{message.headline}: {message.text}", *facts, *addresses])


def lines(message: Message) -> str:
    """A message as plain lines, without its headline."""
    if message.custom:
        return message.text
    facts = [f"{label}: {words}" for label, words in message.facts]
    links = [f"{name}: {address}" for name, address in message.links]
    return "\n".join([message.text, "", *facts, *links]).rstrip()


def as_html(notice: Notice, message: Message) -> str:
    """A message as HTML that mail programs show: styles stand in the elements, no picture."""
    bar = f"border-left:6px solid {colour(notice)};padding:2px 14px"
    parts = [f'<div style="{_BODY}"><div style="{bar}">']
    parts.append(f'<div style="font-weight:bold">{html.escape(message.headline)}</div>')
    parts.append(f'<div style="font-size:17px">{_inside(message, "html")}</div></div>')
    if message.facts and not message.custom:
        # Not a table: what makes the text part of a mail from this would put each cell on a line.
        rows = "".join(
            f'<div><span style="{_LABEL}">{html.escape(label)}:</span> {html.escape(words)}</div>'
            for label, words in message.facts
        )
        parts.append(f'<div style="margin:12px 0">{rows}</div>')
    links = " &middot; ".join(
        f'<a href="{html.escape(address)}">{html.escape(name)}</a>'
        for name, address in message.links
    )
    if links and not message.custom:
        parts.append(f"<div>{links}</div>")
    return "".join([*parts, "</div>"])


def as_markdown(message: Message) -> str:
    """A message as Markdown, without its headline; what comes from outside is escaped."""
    text = _inside(message, "markdown")
    if message.custom:
        return text
    facts = [f"- **{markdown(label)}** {markdown(words)}" for label, words in message.facts]
    links = [
        # An address in angle brackets may hold brackets and parentheses.
        f"[{markdown(name)}](<{address}>)" if address.startswith("http") else markdown(address)
        for name, address in message.links
    ]
    parts = [text, "\n".join(facts), " · ".join(links)]
    return "\n\n".join(part for part in parts if part)


def _inside(message: Message, form: Form) -> str:
    return message.text if message.form == form else ESCAPES[form](message.text)


def state(notice: Notice, message: Message) -> dict[str, Any]:
    """An alert's present state and what was just told of it, as JSON; times are ISO 8601 UTC."""
    alert, taken, shelf = notice.alert, notice.alert.acknowledgement, notice.alert.shelf
    shelved = shelf if alert.state == "shelved" else None
    return {
        "id": alert.id,
        "rule": alert.rule,
        "key": plain(alert.key, LONGEST_TEXT),
        "per": plain(alert.per, LONGEST_TEXT),
        "episode": alert.episode,
        "sequence": alert.sequence,
        "state": alert.state,
        "severity": int(alert.severity),
        "severity_name": str(alert.severity),
        "shown_severity": int(alert.shown_severity),
        "max_severity": int(alert.max_severity),
        "unknown": alert.unknown,
        "latched": alert.latched,
        **_times(alert),
        "reason": plain(alert.reason, LONGEST_TEXT),
        "owner": plain(alert.owner),
        "runbook": alert.runbook,
        "tags": [plain(one) for one in alert.tags],
        "labels": {plain(name): plain(one) for name, one in alert.labels.items()},
        "acknowledged_by": plain(taken.who) if taken else "",
        "acknowledged_note": plain(taken.note, LONGEST_TEXT) if taken else "",
        "shelved_by": plain(shelved.who) if shelved else "",
        "shelved_until": _time(shelved.until if shelved else None),
        "escalated_to": list(alert.escalate_to) if alert.escalated else [],
        "run": alert.run,
        "notice": notice.id,
        "change": notice.kind,
        "previous": str(notice.previous),
        "unrecorded": notice.unrecorded,
        "time": _time(notice.time),
        "headline": plain(message.headline),
        "message": message.text[:LONGEST_TEXT],
        "links": dict(message.links),
    }


def _times(alert: Alert) -> dict[str, str | None]:
    return {
        "opened": _time(alert.opened),
        "changed": _time(alert.changed),
        "resolved": _time(alert.resolved),
        "data_time": _time(alert.data_time),
    }


def _time(instant: Instant | None) -> str | None:
    return None if instant is None else format_instant(max(0, instant))
