"""The text of a notification, for sinks to lay out each in its own way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from catcher.model.alert import Notification
from catcher.model.text import TextFormat


@dataclass(frozen=True, slots=True)
class Message:
    """Text that is safe to show, in the order that operators know; plain but for `text_format`.

    `headline` has the severity (or RESOLVED) first and then the alert's name. `text` is what the
    rule says, or what the site's own template rendered (`custom`); that is written in
    `text_format`, with text from outside escaped. `facts` are label and value: value against
    limit, since when, age of the data, state, owner. `links` are name and address: runbook, plot,
    others.
    """

    headline: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    custom: bool = False
    text_format: TextFormat = "text"


@dataclass(frozen=True, slots=True)
class SinkPreview:
    """What a sink would send for a notification: `text` as people read it, the raw `payload`."""

    text: str
    payload: Any


MessageComposer = Callable[[Notification], Message]
"""How a sink gets the text of a notification."""


class TemplateFiller(Protocol):
    """How a sink fills in templates of its settings."""

    def __call__(
        self, structure: Any, notification: Notification, text_format: TextFormat | None = None
    ) -> Any:
        """Returns a structure with its text templates filled in with a notification's values.

        A text that is one `{{ … }}` and nothing else keeps the value's type. With a `text_format`
        the structure is one template and becomes one text of that format. Raises ValueError if a
        template fails.
        """
        ...
