"""Makes text from outside fit to be shown to people."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Literal

TextFormat = Literal["text", "slack", "html", "markdown", "json"]
"""What a text is written in: plain, Slack's mrkdwn, HTML, Markdown, the inside of a JSON string."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_WHITESPACE = re.compile(r"[\s\x85\u2028\u2029]+")
# C0 and C1 controls, marks that turn the direction of text or have no width, lone surrogates.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_MARKDOWN_CHARS = re.compile(r"([\\`*_{}\[\]()#+!|~<>&])|^([-=.])|^(\d+)([.)])", re.MULTILINE)
ELLIPSIS = "…"


def truncate_text(text: str, limit: int) -> str:
    """Returns the text if it has at most `limit` characters, else its beginning and an ellipsis."""
    return text if len(text) <= limit else text[: max(0, limit - 1)].rstrip() + ELLIPSIS


def sanitize_single_line(text: object, limit: int = 300) -> str:
    """Returns one line without escapes, controls, direction marks; at most `limit` characters."""
    full_text = str(text)
    # Cut first: what is far beyond the limit would be cleaned for nothing.
    head = full_text[: 4 * limit + 1000]
    clean = _INVISIBLE.sub("", _WHITESPACE.sub(" ", _ANSI.sub("", head))).strip()
    return truncate_text(clean + ELLIPSIS if len(head) < len(full_text) else clean, limit)


def strip_control_characters(text: str) -> str:
    """Returns the lines without what moves a cursor or turns the direction of text."""
    return "\n".join(_INVISIBLE.sub("", _ANSI.sub("", line)) for line in text.split("\n"))


def escape_slack(text: str) -> str:
    """Escapes text for Slack: no mention, no link (docs.slack.dev, formatting text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_markdown(text: str) -> str:
    """Escapes text for Markdown (CommonMark 2.4: any ASCII punctuation may be escaped)."""

    def escape(match: re.Match[str]) -> str:
        if match[3]:
            return f"{match[3]}\\{match[4]}"
        character = match[0]
        # A backslash before these is shown by some programs that support only part of Markdown.
        return {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(character, f"\\{character}")

    return _MARKDOWN_CHARS.sub(escape, text)


def _escape_json(text: str) -> str:
    return json.dumps(text)[1:-1]


ESCAPES: Mapping[TextFormat, Callable[[str], str]] = {
    "text": str,
    "slack": escape_slack,
    "html": html.escape,
    "markdown": escape_markdown,
    "json": _escape_json,
}
"""How plain text is escaped in a text of each format."""
