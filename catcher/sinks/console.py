"""Notices as plain lines, on the terminal or in a log file.

    # alerts/routes.yaml
    sinks:
      console: {}                       # the same as console: {console: {}}
      quiet-console: {console: {links: false}}
      log: {console: {form: json}}      # for a collector of logs

One line a notice, the severity first, or its state as one JSON object:

    SERIOUS mount-jitter MC_O_1: Mount shook 0.12 arcsec | since 2025-04-24 00:05:13Z | owner tma
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from catcher.model.alert import Notice
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose, Shown
from catcher.model.time import Instant
from catcher.ports import Row, SinkError
from catcher.sinks.layouts import one_line, state


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`links`: whether addresses (runbook, plot, board) are written too, in a line for people."""

    links: bool = True
    form: Literal["line", "json"] = "line"


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
            self._write(line(self._settings, self._compose, notice))
        except (OSError, ValueError) as error:
            self._problem = str(error)
            raise SinkError(f"nothing can be written: {error}") from error
        self._last, self._problem = notice.time, ""
        return {}

    def health(self) -> Health:
        """`away` after a line that could not be written."""
        how: HealthState = "away" if self._problem else "ok"
        return Health(self.name, "console", how, last=self._last, problem=self._problem)


def line(settings: Settings, compose: Compose, notice: Notice) -> str:
    """A notice in one line."""
    message = compose(notice)
    if settings.form == "json":
        # ASCII: what turns the direction of text must not do so in a terminal.
        return json.dumps(state(notice, message))
    return one_line(message, settings.links)


def show(settings: Settings, compose: Compose, notice: Notice) -> Shown:
    """The line as it would be written, for a preview."""
    text = line(settings, compose, notice)
    return Shown(text, text)
