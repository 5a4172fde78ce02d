"""Limits on noise: when an alert flaps, what counts as a flood, and the rate limit of a sink."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from catcher.model.time import MINUTE, SECOND, Span, format_duration, parse_duration

_RATE_PATTERN = re.compile(r"(\d{1,6})\s*(?:/|per)\s*(\S+)")


@dataclass(frozen=True, slots=True)
class FlappingLimit:
    """An alert flaps if it came back at least `min_flaps` times `within` a span.

    It is calm again when it has not come back for `calm_after`.
    """

    min_flaps: int = 4
    within: Span = 10 * MINUTE
    calm_after: Span = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class FloodLimit:
    """A flood begins above `start_above` new alerts `within` a span and ends below `end_below`.

    The numbers are those of ISA-18.2 (16.8.3) and EEMUA 191: more than 10 in 10 minutes until fewer
    than 5.
    """

    start_above: int = 10
    end_below: int = 5
    within: Span = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class NoiseLimits:
    """The noise limits of a site; None disables one."""

    flapping: FlappingLimit | None = field(default_factory=FlappingLimit)
    flood: FloodLimit | None = field(default_factory=FloodLimit)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `count` messages in `span`; a worsening is sent all the same."""

    count: int
    span: Span

    @classmethod
    def parse(cls, text: str) -> RateLimit:
        """Parses `30 per 1m` or `5/10s`; ValueError says what is allowed."""
        match = _RATE_PATTERN.fullmatch(text.strip())
        message = f"{text!r} is no rate; write it like '30 per 1m'"
        if match is None or not int(match[1]):
            raise ValueError(message)
        try:
            span = parse_duration(match[2])
        except ValueError:
            raise ValueError(message) from None
        if span < SECOND:
            raise ValueError(message)
        return cls(int(match[1]), span)

    def __str__(self) -> str:
        return f"{self.count} per {format_duration(self.span)}"
