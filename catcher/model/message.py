"""A notice put into words, for sinks to lay out each in its own way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from catcher.model.alert import Notice
from catcher.model.text import Form


@dataclass(frozen=True, slots=True)
class Message:
    """Text that is safe to show, in the order that operators know; plain but for `form`.

    `headline` has the severity (or RESOLVED) first and then the alert's name. `text` is what
    the rule says, or what the site's own template made of the notice (`custom`); that is written
    in `form`, with what came from outside escaped. `facts` are label and value: value against
    limit, since when, age of the data, state, owner. `links` are name and address: runbook,
    plot, others.
    """

    headline: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    custom: bool = False
    form: Form = "text"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a sink would make of a notice: `text` as a person reads it, `sent` as it goes out."""

    text: str
    sent: Any


Compose = Callable[[Notice], Message]
"""How a sink gets the words of a notice."""


class Fill(Protocol):
    """How a sink fills in templates of its settings."""

    def __call__(self, structure: Any, notice: Notice, form: Form | None = None) -> Any:
        """A structure whose texts are templates, with a notice's values.

        A text that is one `{{ … }}` and nothing else keeps the value's type. With a `form` the
        structure is one template and becomes one text of that form. ValueError says what failed.
        """
        ...
