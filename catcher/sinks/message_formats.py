"""Formats a message as lines, HTML and Markdown, and an alert's state as JSON.

In the order that operators know: severity and name, what is wrong, the facts, the links.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from catcher.model.alert import Alert, Notification, Severity
from catcher.model.message import Message
from catcher.model.text import ESCAPES, TextFormat, escape_markdown, sanitize_single_line
from catcher.model.time import Instant, format_instant

MAX_TEXT_LENGTH = 2_000
SEVERITY_COLOURS: Mapping[Severity, str] = {
    Severity.NONE: "#2e7d32",
    Severity.WARNING: "#b58900",
    Severity.SERIOUS: "#d9480f",
    Severity.CRITICAL: "#b71c1c",
}
_LABEL_STYLE = "display:inline-block;min-width:5.5em;color:#666"
_BODY_STYLE = "font-family:sans-serif;font-size:15px;line-height:1.4;color:#222;max-width:640px"


def get_severity_colour(notification: Notification) -> str:
    """Returns the colour of the displayed severity; green once it is resolved."""
    alert = notification.alert
    return SEVERITY_COLOURS[Severity.NONE if alert.state == "resolved" else alert.display_severity]


def format_one_line(message: Message, links: bool = True) -> str:
    """Formats the complete message as one line."""
    if message.custom:
        return message.text
    facts = [f"{label} {value}" for label, value in message.facts]
    urls = [f"{name} {url}" for name, url in message.links] if links else []
    return " | ".join([f"{message.headline}: {message.text}", *facts, *urls])


def format_plain_body(message: Message) -> str:
    """Formats a message as plain lines, without its headline."""
    if message.custom:
        return message.text
    facts = [f"{label}: {value}" for label, value in message.facts]
    links = [f"{name}: {url}" for name, url in message.links]
    return "\n".join([message.text, "", *facts, *links]).rstrip()


def render_html(notification: Notification, message: Message) -> str:
    """Renders a message as HTML for mail programs: inline styles, no images."""
    bar = f"border-left:6px solid {get_severity_colour(notification)};padding:2px 14px"
    parts = [f'<div style="{_BODY_STYLE}"><div style="{bar}">']
    parts.append(f'<div style="font-weight:bold">{html.escape(message.headline)}</div>')
    parts.append(f'<div style="font-size:17px">{_escape_message_text(message, "html")}</div></div>')
    if message.facts and not message.custom:
        # Not a table: converting it to the text part of a mail would put each cell on a line.
        rows = "".join(
            f'<div><span style="{_LABEL_STYLE}">'
            f"{html.escape(label)}:</span> {html.escape(value)}</div>"
            for label, value in message.facts
        )
        parts.append(f'<div style="margin:12px 0">{rows}</div>')
    links = " &middot; ".join(
        f'<a href="{html.escape(url)}">{html.escape(name)}</a>' for name, url in message.links
    )
    if links and not message.custom:
        parts.append(f"<div>{links}</div>")
    return "".join([*parts, "</div>"])


def render_markdown(message: Message) -> str:
    """Renders a message as Markdown, without its headline; external text is escaped."""
    text = _escape_message_text(message, "markdown")
    if message.custom:
        return text
    facts = [
        f"- **{escape_markdown(label)}** {escape_markdown(value)}" for label, value in message.facts
    ]
    links = [
        # A URL in angle brackets may contain brackets and parentheses.
        f"[{escape_markdown(name)}](<{url}>)" if url.startswith("http") else escape_markdown(url)
        for name, url in message.links
    ]
    parts = [text, "\n".join(facts), " · ".join(links)]
    return "\n\n".join(part for part in parts if part)


def _escape_message_text(message: Message, text_format: TextFormat) -> str:
    return (
        message.text if message.text_format == text_format else ESCAPES[text_format](message.text)
    )


def build_state_payload(notification: Notification, message: Message) -> dict[str, Any]:
    """Returns an alert's current state and its notification as JSON; times are ISO 8601 UTC."""
    alert, acknowledgement, shelving = (
        notification.alert,
        notification.alert.acknowledgement,
        notification.alert.shelf,
    )
    active_shelving = shelving if alert.state == "shelved" else None
    return {
        "id": alert.id,
        "rule": alert.rule,
        "key": sanitize_single_line(alert.key, MAX_TEXT_LENGTH),
        "per": sanitize_single_line(alert.per, MAX_TEXT_LENGTH),
        "episode": alert.episode,
        "sequence": alert.sequence,
        "state": alert.state,
        "severity": int(alert.severity),
        "severity_name": str(alert.severity),
        "shown_severity": int(alert.display_severity),
        "max_severity": int(alert.max_severity),
        "unknown": alert.unknown,
        "latched": alert.latched,
        **_build_time_fields(alert),
        "reason": sanitize_single_line(alert.reason, MAX_TEXT_LENGTH),
        "owner": sanitize_single_line(alert.owner),
        "runbook": alert.runbook,
        "tags": [sanitize_single_line(tag) for tag in alert.tags],
        "labels": {
            sanitize_single_line(name): sanitize_single_line(value)
            for name, value in alert.labels.items()
        },
        "acknowledged_by": sanitize_single_line(acknowledgement.who) if acknowledgement else "",
        "acknowledged_note": sanitize_single_line(acknowledgement.note, MAX_TEXT_LENGTH)
        if acknowledgement
        else "",
        "shelved_by": sanitize_single_line(active_shelving.who) if active_shelving else "",
        "shelved_until": _format_optional_time(active_shelving.until if active_shelving else None),
        "escalated_to": list(alert.escalate_to) if alert.escalated else [],
        "run": alert.run,
        "notice": notification.id,
        "change": notification.kind,
        "previous": str(notification.previous),
        "unrecorded": notification.unrecorded,
        "time": _format_optional_time(notification.time),
        "headline": sanitize_single_line(message.headline),
        "message": message.text[:MAX_TEXT_LENGTH],
        "links": dict(message.links),
    }


def _build_time_fields(alert: Alert) -> dict[str, str | None]:
    return {
        "opened": _format_optional_time(alert.opened),
        "changed": _format_optional_time(alert.changed),
        "resolved": _format_optional_time(alert.resolved),
        "data_time": _format_optional_time(alert.data_time),
    }


def _format_optional_time(instant: Instant | None) -> str | None:
    return None if instant is None else format_instant(max(0, instant))
