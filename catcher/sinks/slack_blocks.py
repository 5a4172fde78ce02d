"""A notice as Slack's blocks, within Slack's limits (docs.slack.dev/reference/block-kit)."""

from __future__ import annotations

import re
from typing import Any

from catcher.model.alert import Notice, Severity
from catcher.model.message import Message
from catcher.model.text import shorten

MENTION = re.compile(r"<(?:!subteam\^[A-Z0-9]+|@[A-Z0-9]+|!here|!channel|!everyone)>")
HEADER, TEXT, FIELD, FIELDS, CONTEXT = 150, 3_000, 2_000, 10, 10
_FALLBACK = 1_000
_LONGEST_LINK = 1_500
_SIGNS = {
    Severity.NONE: "⚪",
    Severity.WARNING: "🟡",
    Severity.SERIOUS: "🟠",
    Severity.CRITICAL: "🔴",
}


def blocks(notice: Notice, message: Message, mention: str = "") -> list[dict[str, Any]]:
    """Severity and name, what is wrong, the facts, the links; first whom it concerns."""
    parts: list[dict[str, Any]] = []
    if mention:
        parts.append({"type": "section", "text": _mrkdwn(mention)})
    header = escape(f"{_sign(notice)} {message.headline}", HEADER)
    parts.append({"type": "header", "text": {"type": "plain_text", "text": header, "emoji": True}})
    parts.append({"type": "section", "text": _mrkdwn(escape(message.text or "…", TEXT))})
    if message.facts and not message.custom:
        fields = [
            _mrkdwn(f"*{escape(label, 100)}*\n{escape(words, FIELD - 200)}")
            for label, words in message.facts[:FIELDS]
        ]
        parts.append({"type": "section", "fields": fields})
    links = [link(name, address) for name, address in message.links]
    shown = [_mrkdwn(one) for one in links if one][:CONTEXT]
    if shown:
        parts.append({"type": "context", "elements": shown})
    return parts


def fallback(message: Message, mention: str = "") -> str:
    """What a notification shows, and a client that knows no blocks."""
    text = escape(f"{message.headline}: {message.text}", _FALLBACK)
    return f"{mention} {text}" if mention else text


def escape(text: str, limit: int) -> str:
    """Text that Slack shows as it is: no mention, no link; at most `limit` characters escaped."""
    done = _entities(shorten(text, limit))
    return done if len(done) <= limit else _entities(shorten(text, limit // 5))


def link(name: str, address: str) -> str:
    """An address under a name; a file on this machine only as text; nothing if it is too long."""
    if len(address) > _LONGEST_LINK:
        return ""
    if not address.startswith(("http://", "https://")):
        return f"{escape(name, 100)}: {_entities(address)}"
    return f"<{_entities(address)}|{escape(name, 100).replace('|', '¦')}>"


def _sign(notice: Notice) -> str:
    return "✅" if notice.alert.state == "resolved" else _SIGNS[notice.alert.shown_severity]


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mrkdwn(text: str) -> dict[str, Any]:
    # Verbatim: Slack makes no links and mentions of what merely looks like one.
    return {"type": "mrkdwn", "text": text, "verbatim": True}
