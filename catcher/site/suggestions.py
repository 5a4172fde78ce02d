"""Suggests which word was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from catcher.site.yaml_tree import quote_text

MAX_SUGGESTIONS = 50
"""With more mistakes than this at once, guessing what was meant would only take long."""
_MAX_CANDIDATES = 2_000

_SYNONYMS = {
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


def format_suggestion(name: str, known_names: Iterable[str]) -> str:
    """Returns `did you mean 'x'?`, or what there is to choose from."""
    names = list(dict.fromkeys(known_names))
    if best := find_closest_name(name, names):
        return f"did you mean {quote_text(best)}?"
    return f"choose from {', '.join(names[:20])}" if names else ""


def find_closest_name(name: str, known_names: Sequence[str]) -> str:
    """Returns the known name that was probably meant; empty if there is none."""
    shortened = name[:60]
    for synonym in _SYNONYMS.get(shortened.lower(), ()):
        if synonym in known_names:
            return synonym
    names_by_key = {
        known_name.lower().replace("-", "_"): known_name
        for known_name in known_names[:_MAX_CANDIDATES]
    }
    matches = get_close_matches(shortened.lower().replace("-", "_"), names_by_key, 1, 0.6)
    return names_by_key[matches[0]] if matches else ""
