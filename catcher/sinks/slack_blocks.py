"""A notification as Slack blocks, within Slack's limits (docs.slack.dev/reference/block-kit).

External text is in plain and rich text only, which Slack shows as it is: no mention, link, bold or
emoji is made of it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from catcher.model.alert import Notification, Severity
from catcher.model.message import Message
from catcher.model.text import escape_slack, truncate_text

Block = dict[str, Any]
MENTION_PATTERN = re.compile(r"<(?:!subteam\^[A-Z0-9]+|@[A-Z0-9]+|!here|!channel|!everyone)>")
MAX_HEADER, MAX_TEXT, MAX_FACT, MAX_FACTS, MAX_CONTEXT, MAX_BUTTON_URL = (
    150,
    3_000,
    1_000,
    12,
    10,
    3_000,
)
ACKNOWLEDGE_ACTION, SHELVE_ACTION, UNSHELVE_ACTION, OPEN_ACTION = (
    "catcher_acknowledge", "catcher_shelve", "catcher_unshelve", "catcher_open",
)  # fmt: skip
_MAX_FALLBACK = 1_000
_MAX_LINK = 1_500
_HALF_ENTITY = re.compile(r"&[a-z]{0,4}…?$")
_SEVERITY_EMOJI = {
    Severity.NONE: "⚪",
    Severity.WARNING: "🟡",
    Severity.SERIOUS: "🟠",
    Severity.CRITICAL: "🔴",
}
_CHANGE_LABELS = {
    "raised": "worse",
    "lowered": "better",
    "resolved": "over",
    "updated": "changed",
    "reminder": "still so",
}


def build_blocks(
    notification: Notification, message: Message, mention: str = "", interactive: bool = False
) -> list[Block]:
    """Builds the blocks: mention, severity and name, what is wrong, facts, links, buttons.

    `interactive`: whether button presses are received; without it there is only Open.
    """
    parts: list[Block] = []
    if mention:
        parts.append({"type": "section", "text": _build_mrkdwn(mention)})
    header = truncate_text(f"{_get_emoji(notification)} {message.headline}", MAX_HEADER)
    parts.append({"type": "header", "text": _build_plain_text(header)})
    parts.append({"type": "section", "text": _build_text_object(message)})
    if message.facts and not message.custom:
        parts.append(_build_facts_block(message))
    links = [format_link(name, url) for name, url in message.links]
    link_elements = [_build_mrkdwn(entry) for entry in links if entry][:MAX_CONTEXT]
    if link_elements:
        parts.append({"type": "context", "elements": link_elements})
    button_elements = _build_buttons(notification, message, interactive)
    if button_elements:
        parts.append({"type": "actions", "elements": button_elements})
    return parts


def build_thread_blocks(notification: Notification, message: Message) -> list[Block]:
    """Builds one line for the thread: what has changed, when, by whom."""
    facts = dict(message.facts)
    parts = [
        f"{_get_emoji(notification)} "
        f"{_CHANGE_LABELS.get(notification.kind, notification.kind)}: {message.headline}"
    ]
    parts += [facts[label] for label in ("severity", "state") if label in facts]
    if notification.kind in ("raised", "lowered"):
        parts.append(facts.get("value", ""))
    line = truncate_text(", ".join(part for part in parts if part), MAX_TEXT)
    return [{"type": "section", "text": _build_plain_text(line)}]


def format_fallback_text(message: Message, mention: str = "") -> str:
    """Returns the text of Slack's own notification, and for clients without blocks."""
    text = escape_text(f"{message.headline}: ", MAX_HEADER) + _escape_message(
        message, _MAX_FALLBACK
    )
    return f"{mention} {text}" if mention else text


def escape_text(text: str, limit: int) -> str:
    """Escapes text so that Slack shows it as it is; at most `limit` characters escaped."""
    escaped = escape_slack(truncate_text(text, limit))
    return escaped if len(escaped) <= limit else escape_slack(truncate_text(text, limit // 5))


def format_link(name: str, url: str) -> str:
    """Formats a URL under a name; a local file only as text; empty if it is too long."""
    if len(url) > _MAX_LINK:
        return ""
    if not url.startswith(("http://", "https://")):
        return f"{escape_text(name, 100)}: {escape_slack(url)}"
    return f"<{escape_slack(url)}|{escape_text(name, 100).replace('|', '¦')}>"


def _build_text_object(message: Message) -> Block:
    if message.text_format == "slack":
        return _build_mrkdwn(_escape_message(message, MAX_TEXT) or "…")
    return _build_plain_text(truncate_text(message.text, MAX_TEXT) or "…")


def _escape_message(message: Message, limit: int) -> str:
    """Escapes the text, unless the site's template has; never cuts an entity in two."""
    if message.text_format != "slack":
        return escape_text(message.text, limit)
    shortened = truncate_text(message.text, limit)
    return _HALF_ENTITY.sub("…", shortened) if shortened != message.text else shortened


def _build_facts_block(message: Message) -> Block:
    elements: list[Block] = []
    for index, (label, value) in enumerate(message.facts[:MAX_FACTS]):
        prefix = "\n" if index else ""
        elements.append({"type": "text", "text": f"{prefix}{label}  ", "style": {"bold": True}})
        elements.append({"type": "text", "text": truncate_text(value, MAX_FACT)})
    section = {"type": "rich_text_section", "elements": elements}
    return {"type": "rich_text", "elements": [section]}


def _build_buttons(notification: Notification, message: Message, interactive: bool) -> list[Block]:
    alert, elements = notification.alert, []
    if interactive and alert.is_active and notification.kind != "test":
        button_value = {
            "alert": alert.id, "severity": int(alert.display_severity), "episode": alert.episode,
        }  # fmt: skip
        value = json.dumps(button_value)
        if alert.state != "acknowledged":
            elements.append(
                _build_button("Acknowledge", ACKNOWLEDGE_ACTION, value=value, style="primary")
            )
        if alert.state == "shelved":
            elements.append(_build_button("Unshelve", UNSHELVE_ACTION, value=value))
        else:
            elements.append(_build_button("Shelve 30 m", SHELVE_ACTION, value=value))
    url = _find_page_url(message)
    if url:
        elements.append(_build_button("Open", OPEN_ACTION, url=url))
    return elements


def _find_page_url(message: Message) -> str:
    """Returns the board's page of the alert, or the first URL that a browser can open."""
    links = {
        name: url for name, url in message.links
        if url.startswith(("http://", "https://")) and len(url) <= MAX_BUTTON_URL
    }  # fmt: skip
    return links.get("board") or next(iter(links.values()), "")


def _build_button(label: str, action: str, **extra: str) -> Block:
    return {"type": "button", "text": _build_plain_text(label), "action_id": action, **extra}


def _get_emoji(notification: Notification) -> str:
    if notification.kind == "test":
        return "🔧"
    return (
        "✅"
        if notification.alert.state == "resolved"
        else _SEVERITY_EMOJI[notification.alert.display_severity]
    )


def _build_plain_text(text: str) -> Block:
    return {"type": "plain_text", "text": text, "emoji": False}


def _build_mrkdwn(text: str) -> Block:
    # Verbatim: Slack makes no links and mentions of what merely looks like them.
    return {"type": "mrkdwn", "text": text, "verbatim": True}
