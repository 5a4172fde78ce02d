"""Slack's Socket Mode: what people press comes in over a connection that we open.

docs.slack.dev/apis/events-api/using-socket-mode: `apps.connections.open` gives an address for one
use; each envelope is acknowledged by its id within three seconds; Slack says when a connection is
about to end, and then a new one is opened before the old one closes.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from catcher.model.health import HealthState
from catcher.model.time import SECOND, Span, to_seconds
from catcher.ports import SinkError
from catcher.sinks.web import TROUBLE, Session, Socket, open_socket, trouble_words

HELLO = 10 * SECOND
"""How long Slack has to greet, and how long an old connection may go on beside the new one."""
_MOST_SEEN = 1_000
_WORDS = {
    "link_disabled": "Socket Mode is switched off for the app; switch it on in the app's settings",
    "too_many_websockets": "the app has too many connections; end other engines with its token",
}

Hear = Callable[[Mapping[str, Any]], object]


class SocketMode:
    """Keeps a connection up; `hear` gets the payload of each interaction, once, and never waits.

    `address` asks Slack where to connect. `state` and `problem` say how it stands.
    """

    def __init__(
        self,
        session: Session,
        address: Callable[[], Awaitable[str]],
        hear: Hear,
        retry_first: Span = SECOND,
        retry_longest: Span = 60 * SECOND,
    ) -> None:
        self._session, self._address, self._hear = session, address, hear
        self._retry_first, self._retry_longest = retry_first, retry_longest
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._failures = 0
        self._asked: Span = 0
        self.state: HealthState = "starting"
        self.problem = ""
        self.counts = {"connections": 0, "heard": 0, "repeated": 0, "unreadable": 0}

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as connections:
            while True:
                leaving = asyncio.Event()
                connections.create_task(self._connection(leaving))
                await leaving.wait()
                pause = self._pause()
                if pause:
                    await asyncio.sleep(pause)

    def _pause(self) -> float:
        if not self._failures:
            return 0.0
        doubled = self._retry_first << min(self._failures - 1, 30)
        pause = to_seconds(min(doubled, self._retry_longest)) * random.uniform(0.5, 1.0)
        return max(pause, to_seconds(self._asked))

    async def _connection(self, leaving: asyncio.Event) -> None:
        """One connection; `leaving` is set once another one is needed."""
        try:
            async with open_socket(self._session, await self._address()) as socket:
                await self._serve(socket, leaving)
                if not leaving.is_set():
                    self._fail("Slack closed the connection")
        except SinkError as error:
            self._fail(str(error), error.retry_after or 0)
        except (*TROUBLE, ValueError) as error:
            if not leaving.is_set():
                self._fail(f"Slack {trouble_words(error)}")
        finally:
            leaving.set()

    def _fail(self, problem: str, pause: Span = 0) -> None:
        self._failures += 1
        self._asked = pause
        self.state, self.problem = "away", problem

    async def _serve(self, socket: Socket, leaving: asyncio.Event) -> None:
        limit = asyncio.timeout(None)
        async with limit:
            async for text in socket.texts(first=HELLO):
                envelope = self._read(text)
                match envelope.get("type"):
                    case "hello":
                        self.counts["connections"] += 1
                        self._failures, self.state, self.problem = 0, "ok", ""
                    case "disconnect":
                        self._told_to_leave(str(envelope.get("reason", "")))
                        leaving.set()
                        now = asyncio.get_running_loop().time()
                        limit.reschedule(now + to_seconds(HELLO))
                    case kind:
                        await self._take(socket, str(kind), envelope)

    def _told_to_leave(self, reason: str) -> None:
        if reason in _WORDS:
            self._fail(f"Slack ended the connection: {_WORDS[reason]}")

    async def _take(self, socket: Socket, kind: str, envelope: Mapping[str, Any]) -> None:
        id = envelope.get("envelope_id")
        if not isinstance(id, str) or not id:
            return
        await socket.send(json.dumps({"envelope_id": id}))
        if id in self._seen:
            self.counts["repeated"] += 1
            return
        self._seen[id] = None
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        payload = envelope.get("payload")
        if kind == "interactive" and isinstance(payload, Mapping):
            self.counts["heard"] += 1
            self._hear(payload)

    def _read(self, text: str) -> Mapping[str, Any]:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, Mapping):
            return found
        self.counts["unreadable"] += 1
        return {}
