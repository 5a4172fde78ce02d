"""Suggests topic and field names that were probably meant by unknown ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from catcher.model.errors import NotFound
from catcher.model.text import sanitize_single_line

MAX_CANDIDATES = 20_000
_DIGITS = re.compile(r"(\d+)")


def suggest_names(name: str, known_names: Sequence[str], count: int = 3) -> list[str]:
    """Returns names that were probably meant: similar, or with a similar end, ignoring case."""
    lowered = name[:200].lower()
    folded = {candidate.lower(): candidate for candidate in known_names[:MAX_CANDIDATES]}
    matches = [folded[lowered]] if lowered in folded else []
    if lowered:
        matches += [
            candidate
            for lowered_name, candidate in folded.items()
            if lowered_name.endswith(f".{lowered}")
        ]
    if len(matches) < count:
        matches += [folded[match] for match in get_close_matches(lowered, folded, count, 0.6)]
    if len(matches) < count:
        by_suffix: dict[str, str] = {}
        for lowered_name, candidate in folded.items():
            by_suffix.setdefault(lowered_name.rsplit(".", 1)[-1], candidate)
        close_suffixes = get_close_matches(lowered.rsplit(".", 1)[-1], by_suffix, count, 0.75)
        matches += [by_suffix[match] for match in close_suffixes]
    return list(dict.fromkeys(matches))[:count]


def build_unknown_topic_error(topic: str, known_topics: Sequence[str], store_name: str) -> NotFound:
    """Returns the error for a topic of which a store holds nothing."""
    return NotFound(
        f"{store_name} holds no topic {sanitize_single_line(topic, 120)!r}",
        _build_hint(topic, known_topics, "topics"),
    )


def build_unknown_field_error(field: str, topic: str, known_fields: Sequence[str]) -> NotFound:
    """Returns the error for a field that a topic does not have."""
    message = (
        f"{sanitize_single_line(topic, 120)} has no field {sanitize_single_line(field, 120)!r}"
    )
    return NotFound(message, _build_hint(field, known_fields, "fields"))


def _build_hint(name: str, known_names: Sequence[str], noun: str) -> str:
    suggestions = suggest_names(name, known_names)
    if suggestions:
        return (
            "did you mean "
            f"{' or '.join(sanitize_single_line(suggestion, 120) for suggestion in suggestions)}?"
        )
    if not known_names:
        return f"no {noun} are held at all"
    examples = ", ".join(
        sanitize_single_line(suggestion, 60) for suggestion in list(known_names)[:8]
    )
    return f"there are {examples}{' …' if len(known_names) > 8 else ''}"


def sort_naturally(names: Iterable[str]) -> list[str]:
    """Returns names sorted as people do: field2 before field10."""
    return sorted(names, key=lambda name: [
        (0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part)
        for part in _DIGITS.split(name)
    ])  # fmt: skip
