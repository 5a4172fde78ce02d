"""A notice as Slack's blocks, within Slack's limits (docs.slack.dev/reference/block-kit).

What comes from outside stands in plain and rich text only, which Slack shows as it is: no
mention, no link, no bold, no emoji is made of it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from catcher.model.alert import Notice, Severity
from catcher.model.message import Message
from catcher.model.text import entities, shorten

Block = dict[str, Any]
MENTION = re.compile(r"<(?:!subteam\^[A-Z0-9]+|@[A-Z0-9]+|!here|!channel|!everyone)>")
HEADER, TEXT, FACT, FACTS, CONTEXT, BUTTON_URL = 150, 3_000, 1_000, 12, 10, 3_000
ACKNOWLEDGE, SHELVE, UNSHELVE, OPEN = (
    "catcher_acknowledge", "catcher_shelve", "catcher_unshelve", "catcher_open",
)  # fmt: skip
_FALLBACK = 1_000
_LONGEST_LINK = 1_500
_HALF_ENTITY = re.compile(r"&[a-z]{0,4}…?$")
_SIGNS = {
    Severity.NONE: "⚪",
    Severity.WARNING: "🟡",
    Severity.SERIOUS: "🟠",
    Severity.CRITICAL: "🔴",
}
_DONE = {
    "raised": "worse",
    "lowered": "better",
    "resolved": "over",
    "updated": "changed",
    "reminder": "still so",
}


def blocks(
    notice: Notice, message: Message, mention: str = "", buttons: bool = False
) -> list[Block]:
    """Severity and name, what is wrong, the facts, the links, the buttons; first whom it concerns.

    `buttons`: whether somebody hears when one of them is pressed; without, there is only Open.
    """
    parts: list[Block] = []
    if mention:
        parts.append({"type": "section", "text": _mrkdwn(mention)})
    header = shorten(f"{_sign(notice)} {message.headline}", HEADER)
    parts.append({"type": "header", "text": _literal(header)})
    parts.append({"type": "section", "text": _text(message)})
    if message.facts and not message.custom:
        parts.append(_facts(message))
    links = [link(name, address) for name, address in message.links]
    shown = [_mrkdwn(one) for one in links if one][:CONTEXT]
    if shown:
        parts.append({"type": "context", "elements": shown})
    pressed = _buttons(notice, message, buttons)
    if pressed:
        parts.append({"type": "actions", "elements": pressed})
    return parts


def history(notice: Notice, message: Message) -> list[Block]:
    """One line for the thread: what has changed, when, by whom."""
    facts = dict(message.facts)
    words = [f"{_sign(notice)} {_DONE.get(notice.kind, notice.kind)}: {message.headline}"]
    words += [facts[label] for label in ("severity", "state") if label in facts]
    if notice.kind in ("raised", "lowered"):
        words.append(facts.get("value", ""))
    line = shorten(", ".join(one for one in words if one), TEXT)
    return [{"type": "section", "text": _literal(line)}]


def fallback(message: Message, mention: str = "") -> str:
    """What a notification shows, and a client that knows no blocks."""
    text = escape(f"{message.headline}: ", HEADER) + _escaped(message, _FALLBACK)
    return f"{mention} {text}" if mention else text


def escape(text: str, limit: int) -> str:
    """Text that Slack shows as it is: no mention, no link; at most `limit` characters escaped."""
    done = entities(shorten(text, limit))
    return done if len(done) <= limit else entities(shorten(text, limit // 5))


def link(name: str, address: str) -> str:
    """An address under a name; a file on this machine only as text; nothing if it is too long."""
    if len(address) > _LONGEST_LINK:
        return ""
    if not address.startswith(("http://", "https://")):
        return f"{escape(name, 100)}: {entities(address)}"
    return f"<{entities(address)}|{escape(name, 100).replace('|', '¦')}>"


def _text(message: Message) -> Block:
    if message.form == "slack":
        return _mrkdwn(_escaped(message, TEXT) or "…")
    return _literal(shorten(message.text, TEXT) or "…")


def _escaped(message: Message, limit: int) -> str:
    """The text escaped, as it is or by the site's template; no entity is cut in two."""
    if message.form != "slack":
        return escape(message.text, limit)
    cut = shorten(message.text, limit)
    return _HALF_ENTITY.sub("…", cut) if cut != message.text else cut


def _facts(message: Message) -> Block:
    lines: list[Block] = []
    for number, (label, words) in enumerate(message.facts[:FACTS]):
        start = "\n" if number else ""
        lines.append({"type": "text", "text": f"{start}{label}  ", "style": {"bold": True}})
        lines.append({"type": "text", "text": shorten(words, FACT)})
    section = {"type": "rich_text_section", "elements": lines}
    return {"type": "rich_text", "elements": [section]}


def _buttons(notice: Notice, message: Message, heard: bool) -> list[Block]:
    alert, made = notice.alert, []
    if heard and alert.active and notice.kind != "test":
        seen = {
            "alert": alert.id, "severity": int(alert.shown_severity), "episode": alert.episode,
        }  # fmt: skip
        value = json.dumps(seen)
        if alert.state != "acknowledged":
            made.append(_button("Acknowledge", ACKNOWLEDGE, value=value, style="primary"))
        if alert.state == "shelved":
            made.append(_button("Unshelve", UNSHELVE, value=value))
        else:
            made.append(_button("Shelve 30 m", SHELVE, value=value))
    address = _page(message)
    if address:
        made.append(_button("Open", OPEN, url=address))
    return made


def _page(message: Message) -> str:
    """The board's page of the alert, or else the first address that a browser can open."""
    links = {
        name: url for name, url in message.links
        if url.startswith(("http://", "https://")) and len(url) <= BUTTON_URL
    }  # fmt: skip
    return links.get("board") or next(iter(links.values()), "")


def _button(words: str, action: str, **more: str) -> Block:
    return {"type": "button", "text": _literal(words), "action_id": action, **more}


def _sign(notice: Notice) -> str:
    if notice.kind == "test":
        return "🔧"
    return "✅" if notice.alert.state == "resolved" else _SIGNS[notice.alert.shown_severity]


def _literal(text: str) -> Block:
    return {"type": "plain_text", "text": text, "emoji": False}


def _mrkdwn(text: str) -> Block:
    # Verbatim: Slack makes no links and mentions of what merely looks like one.
    return {"type": "mrkdwn", "text": text, "verbatim": True}
