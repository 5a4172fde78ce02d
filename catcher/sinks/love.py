"""Alerts in LOVE, beside those of the Watcher, in the Watcher's own form.

    # alerts/routes.yaml
    sinks:
      love: {love: {url: "ws://love.example/manager/ws/subscription",
                    password: "${LOVE_PASSWORD}"}}

LOVE keeps alarms by name. So each message has one alarm (`alarm`, never the stream `alarms`,
which replaces every client's whole list and would erase the Watcher's), and each name begins
with `catcher.`. The whole list of open alerts is sent when the connection comes up, when somebody
asks for the initial state, and every 30 s, since the Watcher's list erases ours in turn.
LOVE's acknowledge button speaks to the Watcher, not to us: the reason has the board's address.
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

from catcher.model.alert import Alert, Notice
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Clock, Instant, Span, to_seconds
from catcher.ports import Row, SinkError
from catcher.sinks.love_alarm import alarm_message, subscriptions

# At DEBUG websockets logs the request line, which has the password in it.
_WIRE_LOG = logging.getLogger("catcher.sinks.love.wire")
_WIRE_LOG.setLevel(logging.INFO)
_AFTER_WATCHER = 2 * SECOND
"""The Watcher answers an initial state too, with its whole list; ours comes again after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
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

    `active` gives the open alerts; of these, the ones that this sink was told of are sent.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        compose: Compose,
        active: Callable[[], Iterable[Alert]],
        clock: Clock,
    ) -> None:
        self.name = name
        self._settings, self._compose = settings, compose
        self._active, self._clock = active, clock
        self._socket: ClientConnection | None = None
        self._again = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._state: HealthState = "starting"
        self._since, self._problem = clock(), ""
        self._last: Instant | None = None
        self._counts = {"sent": 0, "connections": 0, "unreadable": 0}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay_connected(), name=f"LOVE sink {self.name}")
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
        self._become("ended", "")

    async def deliver(self, notice: Notice) -> Row:
        """Sends the alert as it stands; SinkError while LOVE is away."""
        socket = self._socket
        if socket is None:
            raise SinkError(self._problem or "LOVE is not connected yet")
        try:
            await self._send(socket, notice)
        except (OSError, WebSocketException) as error:
            raise SinkError(f"LOVE went away: {_words(error)}") from error
        self._last = notice.time
        return {}

    async def say(self, message: Row) -> None:
        """Sends what is not about an alert; SinkError while LOVE is away."""
        socket = self._socket
        if socket is None:
            raise SinkError(self._problem or "LOVE is not connected yet")
        try:
            await socket.send(json.dumps(message, allow_nan=False))
        except (OSError, WebSocketException) as error:
            raise SinkError(f"LOVE went away: {_words(error)}") from error

    def health(self) -> Health:
        """`away` while there is no connection, with the reason."""
        return Health(
            self.name, "love", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    # -- the connection --------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        tries = 0
        while True:
            words = "LOVE closed the connection"
            connections = self._counts["connections"]
            try:
                async with self._connect() as socket:
                    await self._serve(socket)
            except* (OSError, WebSocketException) as errors:
                words = _words(errors.exceptions[0])
            self._become("away", words)
            tries = 0 if self._counts["connections"] > connections else tries + 1
            pause = min(self._settings.retry_first << min(tries, 30), self._settings.retry_longest)
            await asyncio.sleep(to_seconds(pause) * random.uniform(0.5, 1.0))

    def _connect(self) -> connect:
        address = f"{self._settings.url}?{urlencode({'password': self._settings.password})}"
        return connect(
            address, logger=_WIRE_LOG, proxy=None, max_size=2**20, max_queue=64, open_timeout=10
        )

    async def _serve(self, socket: ClientConnection) -> None:
        """Until the connection ends: answers requests and repeats what is open."""
        self._counts["connections"] += 1
        self._again.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._repeat(socket))
                tasks.create_task(self._register(socket))
                self._socket = socket
                self._become("ok", "")
                async for text in socket:
                    self._hear(text)
                raise ConnectionError("LOVE closed the connection")
        finally:
            self._socket = None

    async def _register(self, socket: ClientConnection) -> None:
        while True:
            for request in subscriptions():
                await socket.send(json.dumps(request))
            await asyncio.sleep(to_seconds(self._settings.register))

    async def _repeat(self, socket: ClientConnection) -> None:
        """Sends each open alert when asked to, once more soon after, and at intervals."""
        pause = 0
        while True:
            asked = self._again.is_set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(to_seconds(pause)):
                    asked = await self._again.wait()
            self._again.clear()
            for alert in self._mine():
                notice = Notice("", self.name, "updated", alert, alert.sequence, self._clock())
                await self._send(socket, notice)
            pause = min(_AFTER_WATCHER, self._settings.resend) if asked else self._settings.resend

    def _mine(self) -> list[Alert]:
        return [alert for alert in self._active() if self.name in alert.sinks]

    def _hear(self, text: str | bytes) -> None:
        """An initial-state request about the Watcher is answered with all that is open."""
        try:
            message = json.loads(text)
            wanted = message.get("category") == "initial_state" and any(
                one.get("csc") in ("Watcher", "all") for one in message.get("data", ())
            )
        except (ValueError, AttributeError, TypeError, RecursionError):
            self._counts["unreadable"] += 1
            return
        if wanted:
            self._again.set()

    async def _send(self, socket: ClientConnection, notice: Notice) -> None:
        await socket.send(json.dumps(alarm_message(notice, self._compose(notice)), allow_nan=False))
        self._counts["sent"] += 1

    def _become(self, state: HealthState, problem: str) -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem


def _words(error: BaseException) -> str:
    """What went wrong, without the address: the password is part of that."""
    if isinstance(error, BaseExceptionGroup):
        return _words(error.exceptions[0])
    if isinstance(error, InvalidStatus):
        code = error.response.status_code
        hint = "; check the password" if code in (401, 403) else ""
        return f"LOVE refused the connection (HTTP {code}){hint}"
    if isinstance(error, TimeoutError):
        return "LOVE did not answer in time"
    if isinstance(error, OSError):
        return f"LOVE cannot be reached: {error.strerror or type(error).__name__}"
    return f"the connection to LOVE ended: {type(error).__name__}"
