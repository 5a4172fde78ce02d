"""A notice put into words, for sinks to lay out each in its own way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from catcher.model.alert import Notice


@dataclass(frozen=True, slots=True)
class Message:
    """Plain text, safe to show, in the order that operators know.

    `headline` has the severity (or RESOLVED) first and then the alert's name. `text` is what
    the rule says, or what the site's own template made of the notice (`custom`). `facts` are
    label and value: value against limit, since when, age of the data, state, owner. `links`
    are name and address: runbook, plot, others.
    """

    headline: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    custom: bool = False


Compose = Callable[[Notice], Message]
"""How a sink gets the words of a notice."""
