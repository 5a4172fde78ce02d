"""Alerts in LOVE, beside those of the Watcher, in the Watcher's own format.

    # alerts/routes.yaml
    sinks:
      love: {love: {url: "ws://love.example/manager/ws/subscription",
                    password: "${LOVE_PASSWORD}"}}

LOVE keeps alarms by name. So each message has one alarm (`alarm`, never the stream `alarms`, which
replaces every client's whole list and would erase the Watcher's), and each name begins with
`catcher.`. All open alerts are sent when the connection opens, when somebody requests the initial
state, and every 30 s, since the Watcher's list erases ours in turn. LOVE's acknowledge button
addresses the Watcher, not us: the reason has the board's URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from catcher.model.alert import Alert, Notification
from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.message import MessageComposer
from catcher.model.time import SECOND, Clock, Instant, Span, nanoseconds_to_seconds
from catcher.ports import Row, SinkError
from catcher.sinks.love_alarm import build_alarm_message, build_subscription_requests

# At DEBUG websockets logs the request line, which contains the password.
_WIRE_LOG = logging.getLogger("catcher.sinks.love.wire")
_WIRE_LOG.setLevel(logging.INFO)
_WATCHER_DELAY = 2 * SECOND
"""The Watcher answers an initial-state request, too, with its whole list; ours is resent then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoveSinkSettings:
    """`url` of LOVE-manager's subscription websocket, `password` of its producers.

    `resend`: how often each open alert is sent again; `register`: how often we ask again to
    be told of initial-state requests (LOVE's message bus forgets).
    """

    url: str
    password: str = field(default="", repr=False)
    resend: Span = 30 * SECOND
    register: Span = 60 * SECOND
    retry_first: Span = SECOND
    retry_longest: Span = 60 * SECOND

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.query:
            raise CatcherError(
                "the LOVE url is no websocket address",
                "write it like ws://love.example/manager/ws/subscription, the password apart",
            )


class LoveSink:
    """A producer of LOVE-manager, connected while its context lasts.

    `list_active` returns the open alerts; those that this sink was notified of are sent.
    """

    def __init__(
        self,
        name: str,
        settings: LoveSinkSettings,
        compose: MessageComposer,
        list_active: Callable[[], Iterable[Alert]],
        clock: Clock,
    ) -> None:
        self.name = name
        self._settings, self._compose = settings, compose
        self._list_active, self._clock = list_active, clock
        self._socket: ClientConnection | None = None
        self._resend_requested = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._state: HealthState = "starting"
        self._since, self._problem = clock(), ""
        self._last: Instant | None = None
        self._counts = {"sent": 0, "connections": 0, "unreadable": 0}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run_connections(), name=f"LOVE sink {self.name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._set_state("ended", "")

    async def deliver(self, notification: Notification) -> Row:
        """Sends the alert's state; SinkError while LOVE is unavailable."""
        socket = self._socket
        if socket is None:
            raise SinkError(self._problem or "LOVE is not connected yet")
        try:
            await self._send_alarm(socket, notification)
        except (OSError, WebSocketException) as error:
            raise SinkError(f"LOVE went away: {_describe_error(error)}") from error
        self._last = notification.time
        return {}

    async def send_message(self, message: Row) -> None:
        """Sends a message that is not about an alert; SinkError while LOVE is unavailable."""
        socket = self._socket
        if socket is None:
            raise SinkError(self._problem or "LOVE is not connected yet")
        try:
            await socket.send(json.dumps(message, allow_nan=False))
        except (OSError, WebSocketException) as error:
            raise SinkError(f"LOVE went away: {_describe_error(error)}") from error

    def health(self) -> Health:
        """Returns the health, `away` while there is no connection, with the reason."""
        return Health(
            self.name, "love", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    # -- connection ------------------------------------------------------------------------------

    async def _run_connections(self) -> None:
        attempts = 0
        while True:
            problem = "LOVE closed the connection"
            connection_count = self._counts["connections"]
            try:
                async with self._connect() as socket:
                    await self._serve_connection(socket)
            except* (OSError, WebSocketException) as errors:
                problem = _describe_error(errors.exceptions[0])
            self._set_state("away", problem)
            attempts = 0 if self._counts["connections"] > connection_count else attempts + 1
            pause = min(
                self._settings.retry_first << min(attempts, 30), self._settings.retry_longest
            )
            await asyncio.sleep(nanoseconds_to_seconds(pause) * random.uniform(0.5, 1.0))

    def _connect(self) -> connect:
        url = f"{self._settings.url}?{urlencode({'password': self._settings.password})}"
        return connect(
            url, logger=_WIRE_LOG, proxy=None, max_size=2**20, max_queue=64, open_timeout=10
        )

    async def _serve_connection(self, socket: ClientConnection) -> None:
        """Answers requests and resends open alerts until the connection ends."""
        self._counts["connections"] += 1
        self._resend_requested.set()
        try:
            async with asyncio.TaskGroup() as task_group:
                task_group.create_task(self._resend_alerts(socket))
                task_group.create_task(self._renew_subscriptions(socket))
                self._socket = socket
                self._set_state("ok", "")
                async for text in socket:
                    self._handle_message(text)
                raise ConnectionError("LOVE closed the connection")
        finally:
            self._socket = None

    async def _renew_subscriptions(self, socket: ClientConnection) -> None:
        while True:
            for request in build_subscription_requests():
                await socket.send(json.dumps(request))
            await asyncio.sleep(nanoseconds_to_seconds(self._settings.register))

    async def _resend_alerts(self, socket: ClientConnection) -> None:
        """Sends each open alert on request, once more soon after, and at intervals."""
        pause = 0
        while True:
            is_requested = self._resend_requested.is_set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(nanoseconds_to_seconds(pause)):
                    is_requested = await self._resend_requested.wait()
            self._resend_requested.clear()
            for alert in self._list_own_alerts():
                notification = Notification(
                    "", self.name, "updated", alert, alert.sequence, self._clock()
                )
                await self._send_alarm(socket, notification)
            pause = (
                min(_WATCHER_DELAY, self._settings.resend)
                if is_requested
                else self._settings.resend
            )

    def _list_own_alerts(self) -> list[Alert]:
        return [alert for alert in self._list_active() if self.name in alert.sinks]

    def _handle_message(self, text: str | bytes) -> None:
        """Schedules a resend of all open alerts for an initial-state request about the Watcher."""
        try:
            message = json.loads(text)
            is_request = message.get("category") == "initial_state" and any(
                entry.get("csc") in ("Watcher", "all") for entry in message.get("data", ())
            )
        except (ValueError, AttributeError, TypeError, RecursionError):
            self._counts["unreadable"] += 1
            return
        if is_request:
            self._resend_requested.set()

    async def _send_alarm(self, socket: ClientConnection, notification: Notification) -> None:
        await socket.send(
            json.dumps(
                build_alarm_message(notification, self._compose(notification)), allow_nan=False
            )
        )
        self._counts["sent"] += 1

    def _set_state(self, state: HealthState, problem: str) -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem


def _describe_error(error: BaseException) -> str:
    """Describes an error without the URL, which contains the password."""
    if isinstance(error, BaseExceptionGroup):
        return _describe_error(error.exceptions[0])
    if isinstance(error, InvalidStatus):
        code = error.response.status_code
        hint = "; check the password" if code in (401, 403) else ""
        return f"LOVE refused the connection (HTTP {code}){hint}"
    if isinstance(error, TimeoutError):
        return "LOVE did not answer in time"
    if isinstance(error, OSError):
        return f"LOVE cannot be reached: {error.strerror or type(error).__name__}"
    return f"the connection to LOVE ended: {type(error).__name__}"
