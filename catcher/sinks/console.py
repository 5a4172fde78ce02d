"""Notices as plain lines, on the terminal or in a log file.

    # alerts/routes.yaml
    sinks:
      console: {}                       # the same as console: {console: {}}
      quiet-console: {console: {links: false}}

One line a notice, the severity first:

    SERIOUS mount-jitter MC_O_1: Mount shook 0.12 arcsec | since 2025-04-24 00:05:13Z | owner tma
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from catcher.model.alert import Notice
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose, Message
from catcher.model.time import Instant
from catcher.ports import Row, SinkError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`links`: whether addresses (runbook, plot, board) are written too."""

    links: bool = True


class ConsoleSink:
    """Writes one line for each notice with `write` (a line without its end)."""

    def __init__(
        self, name: str, settings: Settings, compose: Compose, write: Callable[[str], None] = print
    ) -> None:
        self.name = name
        self._settings = settings
        self._compose = compose
        self._write = write
        self._last: Instant | None = None
        self._problem = ""

    async def deliver(self, notice: Notice) -> Row:
        """SinkError where the stream is closed."""
        try:
            self._write(line(self._compose(notice), self._settings.links))
        except (OSError, ValueError) as error:
            self._problem = str(error)
            raise SinkError(f"nothing can be written: {error}") from error
        self._last, self._problem = notice.time, ""
        return {}

    def health(self) -> Health:
        """`away` after a line that could not be written."""
        state: HealthState = "away" if self._problem else "ok"
        return Health(self.name, "console", state, last=self._last, problem=self._problem)


def line(message: Message, links: bool) -> str:
    """All of a message in one line, in its order."""
    if message.custom:
        return message.text
    facts = [f"{label} {words}" for label, words in message.facts]
    addresses = [f"{name} {address}" for name, address in message.links] if links else []
    return " | ".join([f"{message.headline}: {message.text}", *facts, *addresses])
