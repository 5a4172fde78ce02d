"""Notifications as plain lines, on the terminal or in a log file.

    # alerts/routes.yaml
    sinks:
      console: {}                       # the same as console: {console: {}}
      quiet-console: {console: {links: false}}
      log: {console: {form: json}}      # for a collector of logs

One line per notification, the severity first, or its state as one JSON object:

    SERIOUS mount-jitter MC_O_1: Mount shook 0.12 arcsec | since 2025-04-24 00:05:13Z | owner tma
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from catcher.model.alert import Notification
from catcher.model.health import Health, HealthState
from catcher.model.message import MessageComposer, SinkPreview
from catcher.model.time import Instant
from catcher.ports import Row, SinkError
from catcher.sinks.message_formats import build_state_payload, format_one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSinkSettings:
    """`links`: whether addresses (runbook, plot, board) are written too, in a line for people."""

    links: bool = True
    form: Literal["line", "json"] = "line"


class ConsoleSink:
    """Writes one line for each notification with `write` (a line without its end)."""

    def __init__(
        self,
        name: str,
        settings: ConsoleSinkSettings,
        compose: MessageComposer,
        write: Callable[[str], None] = print,
    ) -> None:
        self.name = name
        self._settings = settings
        self._compose = compose
        self._write = write
        self._last: Instant | None = None
        self._problem = ""

    async def deliver(self, notification: Notification) -> Row:
        """Writes the line; SinkError if the stream is closed."""
        try:
            self._write(format_notification(self._settings, self._compose, notification))
        except (OSError, ValueError) as error:
            self._problem = str(error)
            raise SinkError(f"nothing can be written: {error}") from error
        self._last, self._problem = notification.time, ""
        return {}

    def health(self) -> Health:
        """Returns the health, `away` after a line that could not be written."""
        health_state: HealthState = "away" if self._problem else "ok"
        return Health(self.name, "console", health_state, last=self._last, problem=self._problem)


def format_notification(
    settings: ConsoleSinkSettings, compose: MessageComposer, notification: Notification
) -> str:
    """Formats a notification as one line."""
    message = compose(notification)
    if settings.form == "json":
        # ASCII, so that no character can reverse the text direction in a terminal.
        return json.dumps(build_state_payload(notification, message))
    return format_one_line(message, settings.links)


def build_preview(
    settings: ConsoleSinkSettings, compose: MessageComposer, notification: Notification
) -> SinkPreview:
    """Returns a preview of the line."""
    text = format_notification(settings, compose, notification)
    return SinkPreview(text, text)
