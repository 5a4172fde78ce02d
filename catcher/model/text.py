"""Text from outside, made fit to be shown to people."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Literal

Form = Literal["text", "slack", "html", "markdown", "json"]
"""What a text is written in: plain, Slack's mrkdwn, HTML, Markdown, the inside of a JSON string."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_SPACE = re.compile(r"[\s\x85\u2028\u2029]+")
# C0 and C1 controls, marks that turn the direction of text or take no room, lone surrogates.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~<>&])|^([-=.])|^(\d+)([.)])", re.MULTILINE)
ELLIPSIS = "…"


def shorten(text: str, limit: int) -> str:
    """The text if it has at most `limit` characters, else its beginning and an ellipsis."""
    return text if len(text) <= limit else text[: max(0, limit - 1)].rstrip() + ELLIPSIS


def plain(text: object, limit: int = 300) -> str:
    """One line without escapes, controls, direction marks; at most `limit` characters."""
    whole = str(text)
    # Cut first: what is far beyond the limit would be cleaned for nothing.
    head = whole[: 4 * limit + 1000]
    clean = _HIDDEN.sub("", _SPACE.sub(" ", _ANSI.sub("", head))).strip()
    return shorten(clean + ELLIPSIS if len(head) < len(whole) else clean, limit)


def visible(text: str) -> str:
    """Lines as they are, without what moves a cursor or turns the direction of text."""
    return "\n".join(_HIDDEN.sub("", _ANSI.sub("", line)) for line in text.split("\n"))


def entities(text: str) -> str:
    """Text that Slack shows as it is: no mention, no link (docs.slack.dev, formatting text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown(text: str) -> str:
    """Text that Markdown shows as it is (CommonMark 2.4: any ASCII punctuation may be escaped)."""

    def escape(found: re.Match[str]) -> str:
        if found[3]:
            return f"{found[3]}\\{found[4]}"
        mark = found[0]
        # A backslash before these is shown by some that speak of Markdown and mean less.
        return {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(mark, f"\\{mark}")

    return _MARKS.sub(escape, text)


def _inside_json(text: str) -> str:
    return json.dumps(text)[1:-1]


ESCAPES: Mapping[Form, Callable[[str], str]] = {
    "text": str,
    "slack": entities,
    "html": html.escape,
    "markdown": markdown,
    "json": _inside_json,
}
"""How plain text becomes part of a text of each form."""
