"""What keeps the alerts bearable: when one flaps, when they are a flood, how much a sink takes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from catcher.model.time import MINUTE, SECOND, Span, format_duration, parse_duration

_RATE = re.compile(r"(\d{1,6})\s*(?:/|per)\s*(\S+)")


@dataclass(frozen=True, slots=True)
class Flapping:
    """An alert flaps that came back more often than `swings` `within` a span.

    It is calm again when it has not come back for as long as `calm`.
    """

    swings: int = 4
    within: Span = 10 * MINUTE
    calm: Span = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class Flood:
    """More than `above` new alerts `within` a span begin a flood; fewer than `below` end it.

    The numbers are those of ISA-18.2 (16.8.3) and EEMUA 191: more than 10 in 10 minutes until
    fewer than 5.
    """

    above: int = 10
    below: int = 5
    within: Span = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class Noise:
    """The bounds of a site; None switches one off."""

    flapping: Flapping | None = field(default_factory=Flapping)
    flood: Flood | None = field(default_factory=Flood)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many messages in a span; what is worse than before goes out all the same."""

    count: int
    span: Span

    @classmethod
    def parse(cls, text: str) -> Rate:
        """From `30 per 1m` or `5/10s`; ValueError says what is allowed."""
        found = _RATE.fullmatch(text.strip())
        words = f"{text!r} is no rate; write it like '30 per 1m'"
        if found is None or not int(found[1]):
            raise ValueError(words)
        try:
            span = parse_duration(found[2])
        except ValueError:
            raise ValueError(words) from None
        if span < SECOND:
            raise ValueError(words)
        return cls(int(found[1]), span)

    def __str__(self) -> str:
        return f"{self.count} per {format_duration(self.span)}"
