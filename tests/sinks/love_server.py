"""A local LOVE-manager: groups, initial-state requests, and a client's list of alarms by name."""

from __future__ import annotations

import asyncio
import http
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

PASSWORD = "open & sesame?"
REQUEST = {
    "category": "initial_state",
    "data": [{"csc": "Watcher", "salindex": 0, "data": {"event_name": "alarm"}}],
    "subscription": "initial_state-all-all-all",
}


@dataclass
class Love:
    """`alarms` is the list that a browser would show, merged by name as LOVE-frontend does."""

    url: str = ""
    alarms: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    heartbeats: list[dict[str, Any]] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    producers: set[ServerConnection] = field(default_factory=set)
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)
    server: Server | None = None
    refused: int = 0

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something to hold after a message or a connection."""
        async with asyncio.timeout(20), self.moved:
            await self.moved.wait_for(condition)

    async def guard(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuses a wrong password as Django Channels does: with 403."""
        parts = urlsplit(request.path)
        given = parse_qs(parts.query).get("password", [""])[0]
        if parts.path == "/manager/ws/subscription" and given == PASSWORD:
            return None
        self.refused += 1
        async with self.moved:
            self.moved.notify_all()
        return connection.respond(http.HTTPStatus.FORBIDDEN, "")

    async def take(self, connection: ServerConnection) -> None:
        """One producer, until it goes."""
        async for text in connection:
            message = json.loads(text)
            if message.get("option") == "subscribe":
                assert message["category"] == "initial_state"
                self.producers.add(connection)
            else:
                self.show(message)
            async with self.moved:
                self.moved.notify_all()
        self.producers.discard(connection)

    def show(self, message: dict[str, Any]) -> None:
        """What LOVE-frontend makes of a message of the Watcher, or of a heartbeat."""
        self.messages.append(message)
        assert message["category"] == "event" and len(message["data"]) == 1
        streams = message["data"][0]["data"]
        if message["data"][0]["csc"] == "Heartbeat":
            self.heartbeats.append(streams["stream"])
        elif "alarm" in streams:
            alarm = streams["alarm"][0]
            self.alarms[alarm["name"]["value"]] = alarm
            self.sent[alarm["name"]["value"]] += 1
        elif "stream" in streams:
            self.alarms = dict(streams["stream"]["alarms"])

    async def request_initial_state(self) -> None:
        """Somebody opened a page about alarms."""
        for producer in list(self.producers):
            await producer.send(json.dumps(REQUEST))

    async def drop_everybody(self) -> None:
        """Closes all connections, as a restart does."""
        for connection in list(self.server.connections if self.server else ()):
            await connection.close(1012)

    def value(self, name: str, attribute: str) -> Any:
        return self.alarms[name][attribute]["value"]


@asynccontextmanager
async def love_server(port: int = 0) -> AsyncIterator[Love]:
    """A local LOVE-manager on a free port."""
    love = Love()
    async with serve(love.take, "127.0.0.1", port, process_request=love.guard) as server:
        love.server = server
        port = next(iter(server.sockets)).getsockname()[1]
        love.url = f"ws://127.0.0.1:{port}/manager/ws/subscription"
        yield love
