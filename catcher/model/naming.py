"""Names of topics and fields that are not there, and which were probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from catcher.model.problem import Unknown
from catcher.model.text import plain

MOST_KNOWN = 20_000
_DIGITS = re.compile(r"(\d+)")


def meant(name: str, known: Sequence[str], count: int = 3) -> list[str]:
    """Names that were probably meant: alike as a whole, or ending alike, whatever the case."""
    word = name[:200].lower()
    folded = {other.lower(): other for other in known[:MOST_KNOWN]}
    found = [folded[word]] if word in folded else []
    if word:
        found += [other for low, other in folded.items() if low.endswith(f".{word}")]
    if len(found) < count:
        found += [folded[near] for near in get_close_matches(word, folded, count, 0.6)]
    if len(found) < count:
        tails: dict[str, str] = {}
        for low, other in folded.items():
            tails.setdefault(low.rsplit(".", 1)[-1], other)
        near_tails = get_close_matches(word.rsplit(".", 1)[-1], tails, count, 0.75)
        found += [tails[near] for near in near_tails]
    return list(dict.fromkeys(found))[:count]


def unknown_topic(topic: str, known: Sequence[str], place: str) -> Unknown:
    """The error for a topic of which a store holds nothing."""
    return Unknown(f"{place} holds no topic {plain(topic, 120)!r}", _hint(topic, known, "topics"))


def unknown_field(field: str, topic: str, known: Sequence[str]) -> Unknown:
    """The error for a field that a topic does not have."""
    message = f"{plain(topic, 120)} has no field {plain(field, 120)!r}"
    return Unknown(message, _hint(field, known, "fields"))


def _hint(name: str, known: Sequence[str], what: str) -> str:
    near = meant(name, known)
    if near:
        return f"did you mean {' or '.join(plain(one, 120) for one in near)}?"
    if not known:
        return f"no {what} are held at all"
    some = ", ".join(plain(one, 60) for one in list(known)[:8])
    return f"there are {some}{' …' if len(known) > 8 else ''}"


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted as people do: field2 before field10."""
    return sorted(names, key=lambda name: [
        (0, int(piece), "") if piece.isdigit() and piece.isascii() else (1, 0, piece)
        for piece in _DIGITS.split(name)
    ])  # fmt: skip
