"""Slack's Socket Mode: button presses arrive over an outgoing connection.

docs.slack.dev/apis/events-api/using-socket-mode: `apps.connections.open` returns a URL for one use;
each envelope is acknowledged by its id within three seconds; Slack announces when a connection is
about to end, and a new one is then opened before the old one closes.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from catcher.model.health import HealthState
from catcher.model.time import SECOND, Span, nanoseconds_to_seconds
from catcher.ports import SinkError
from catcher.transport.http import (
    REQUEST_ERRORS,
    HttpSession,
    WebSocket,
    describe_request_error,
    open_websocket,
)

HELLO_TIMEOUT = 10 * SECOND
"""How long to wait for Slack's hello, and how long an old connection may overlap the new one."""
_MAX_SEEN = 1_000
_DISCONNECT_MESSAGES = {
    "link_disabled": "Socket Mode is switched off for the app; switch it on in the app's settings",
    "too_many_websockets": "the app has too many connections; end other engines with its token",
}

PayloadHandler = Callable[[Mapping[str, Any]], object]


class SocketModeClient:
    """Keeps a connection open; `on_payload` gets each interaction once, and must not block.

    `fetch_url` asks Slack where to connect. `state` and `problem` are its current health.
    """

    def __init__(
        self,
        session: HttpSession,
        fetch_url: Callable[[], Awaitable[str]],
        on_payload: PayloadHandler,
        retry_first: Span = SECOND,
        retry_longest: Span = 60 * SECOND,
    ) -> None:
        self._session, self._fetch_url, self._on_payload = session, fetch_url, on_payload
        self._retry_first, self._retry_longest = retry_first, retry_longest
        self._seen_envelopes: OrderedDict[str, None] = OrderedDict()
        self._failure_count = 0
        self._requested_pause: Span = 0
        self.state: HealthState = "starting"
        self.problem = ""
        self.counts = {"connections": 0, "heard": 0, "repeated": 0, "unreadable": 0}

    async def run(self) -> None:
        """Runs until cancelled."""
        async with asyncio.TaskGroup() as task_group:
            while True:
                closing = asyncio.Event()
                task_group.create_task(self._run_connection(closing))
                await closing.wait()
                backoff = self._compute_backoff()
                if backoff:
                    await asyncio.sleep(backoff)

    def _compute_backoff(self) -> float:
        if not self._failure_count:
            return 0.0
        backoff = self._retry_first << min(self._failure_count - 1, 30)
        delay = nanoseconds_to_seconds(min(backoff, self._retry_longest)) * random.uniform(0.5, 1.0)
        return max(delay, nanoseconds_to_seconds(self._requested_pause))

    async def _run_connection(self, closing: asyncio.Event) -> None:
        """Runs one connection; `closing` is set once another one is needed."""
        try:
            async with open_websocket(self._session, await self._fetch_url()) as socket:
                await self._process_messages(socket, closing)
                if not closing.is_set():
                    self._record_failure("Slack closed the connection")
        except SinkError as error:
            self._record_failure(str(error), error.retry_after or 0)
        except (*REQUEST_ERRORS, ValueError) as error:
            if not closing.is_set():
                self._record_failure(f"Slack {describe_request_error(error)}")
        finally:
            closing.set()

    def _record_failure(self, problem: str, pause: Span = 0) -> None:
        self._failure_count += 1
        self._requested_pause = pause
        self.state, self.problem = "away", problem

    async def _process_messages(self, socket: WebSocket, closing: asyncio.Event) -> None:
        deadline = asyncio.timeout(None)
        async with deadline:
            async for text in socket.iter_texts(first_timeout=HELLO_TIMEOUT):
                envelope = self._parse_envelope(text)
                match envelope.get("type"):
                    case "hello":
                        self.counts["connections"] += 1
                        self._failure_count, self.state, self.problem = 0, "ok", ""
                    case "disconnect":
                        self._on_disconnect(str(envelope.get("reason", "")))
                        closing.set()
                        now = asyncio.get_running_loop().time()
                        deadline.reschedule(now + nanoseconds_to_seconds(HELLO_TIMEOUT))
                    case kind:
                        await self._handle_envelope(socket, str(kind), envelope)

    def _on_disconnect(self, reason: str) -> None:
        if reason in _DISCONNECT_MESSAGES:
            self._record_failure(f"Slack ended the connection: {_DISCONNECT_MESSAGES[reason]}")

    async def _handle_envelope(
        self, socket: WebSocket, kind: str, envelope: Mapping[str, Any]
    ) -> None:
        envelope_id = envelope.get("envelope_id")
        if not isinstance(envelope_id, str) or not envelope_id:
            return
        await socket.send(json.dumps({"envelope_id": envelope_id}))
        if envelope_id in self._seen_envelopes:
            self.counts["repeated"] += 1
            return
        self._seen_envelopes[envelope_id] = None
        if len(self._seen_envelopes) > _MAX_SEEN:
            self._seen_envelopes.popitem(last=False)
        payload = envelope.get("payload")
        if kind == "interactive" and isinstance(payload, Mapping):
            self.counts["heard"] += 1
            self._on_payload(payload)

    def _parse_envelope(self, text: str) -> Mapping[str, Any]:
        try:
            envelope = json.loads(text)
        except (ValueError, RecursionError):
            envelope = None
        if isinstance(envelope, Mapping):
            return envelope
        self.counts["unreadable"] += 1
        return {}
