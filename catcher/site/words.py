"""Which word was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from catcher.site.nodes import quoted

MOST_SUGGESTIONS = 50
"""Who makes more mistakes at once has not slipped; guessing what was meant would only take long."""
_MOST_KNOWN = 2_000

_MEANT = {
    "if": ("when",), "condition": ("when",), "cond": ("when",), "filter": ("where",),
    "topic": ("event",), "name": ("rule", "run"), "id": ("rule",), "description": ("about",),
    "doc": ("about",), "summary": ("about",), "params": ("with",), "args": ("with",),
    "arguments": ("with",), "kwargs": ("with",), "parameters": ("with",),
    "interval": ("every",), "period": ("every",), "cron": ("schedule",), "hold": ("for",),
    "duration": ("for", "last"), "function": ("run",), "script": ("run",), "job": ("run",),
    "retries": ("retry",), "group_by": ("by",), "key": ("by",), "text": ("message",),
    "warn": ("warning",), "error": ("serious",), "severity": ("warning",), "on": ("trigger",),
    "timezone": ("zone",), "tz": ("zone",), "once": ("once_per",), "lat": ("latitude",),
    "lon": ("longitude",), "hostname": ("host",), "window": ("last",), "sinks": ("to",),
}  # fmt: skip


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or what there is to choose from."""
    names = list(dict.fromkeys(known))
    if best := closest(name, names):
        return f"did you mean {quoted(best)}?"
    return f"choose from {', '.join(names[:20])}" if names else ""


def closest(name: str, known: Sequence[str]) -> str:
    """The known name that was probably meant; empty if there is none."""
    word = name[:60]
    for meant in _MEANT.get(word.lower(), ()):
        if meant in known:
            return meant
    folded = {other.lower().replace("-", "_"): other for other in known[:_MOST_KNOWN]}
    best = get_close_matches(word.lower().replace("-", "_"), folded, 1, 0.6)
    return folded[best[0]] if best else ""
