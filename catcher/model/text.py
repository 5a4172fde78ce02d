"""Text from outside, made fit to be shown to people."""

from __future__ import annotations

import re

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_SPACE = re.compile(r"[\s\x85\u2028\u2029]+")
# C0 and C1 controls, marks that turn the direction of text or take no room, lone surrogates.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
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
