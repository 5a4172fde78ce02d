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
INITIAL_STATE_REQUEST = {
    "category": "initial_state",
    "data": [{"csc": "Watcher", "salindex": 0, "data": {"event_name": "alarm"}}],
    "subscription": "initial_state-all-all-all",
}


@dataclass
class FakeLoveManager:
    """`alarms` is the list that a browser would show, merged by name as LOVE-frontend does."""

    url: str = ""
    alarms: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    heartbeats: list[dict[str, Any]] = field(default_factory=list)
    sent_counts: Counter[str] = field(default_factory=Counter)
    producers: set[ServerConnection] = field(default_factory=set)
    state_changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    server: Server | None = None
    refused_count: int = 0

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits for something to hold after a message or a connection."""
        async with asyncio.timeout(20), self.state_changed:
            await self.state_changed.wait_for(condition)

    async def check_password(
        self, connection: ServerConnection, request: Request
    ) -> Response | None:
        """Refuses a wrong password as Django Channels does: with 403."""
        url = urlsplit(request.path)
        password = parse_qs(url.query).get("password", [""])[0]
        if url.path == "/manager/ws/subscription" and password == PASSWORD:
            return None
        self.refused_count += 1
        async with self.state_changed:
            self.state_changed.notify_all()
        return connection.respond(http.HTTPStatus.FORBIDDEN, "")

    async def handle_connection(self, connection: ServerConnection) -> None:
        """One producer, until it goes."""
        async for text in connection:
            message = json.loads(text)
            if message.get("option") == "subscribe":
                assert message["category"] == "initial_state"
                self.producers.add(connection)
            else:
                self.apply_message(message)
            async with self.state_changed:
                self.state_changed.notify_all()
        self.producers.discard(connection)

    def apply_message(self, message: dict[str, Any]) -> None:
        """What LOVE-frontend makes of a message of the Watcher, or of a heartbeat."""
        self.messages.append(message)
        assert message["category"] == "event" and len(message["data"]) == 1
        streams = message["data"][0]["data"]
        if message["data"][0]["csc"] == "Heartbeat":
            self.heartbeats.append(streams["stream"])
        elif "alarm" in streams:
            alarm = streams["alarm"][0]
            self.alarms[alarm["name"]["value"]] = alarm
            self.sent_counts[alarm["name"]["value"]] += 1
        elif "stream" in streams:
            self.alarms = dict(streams["stream"]["alarms"])

    async def request_initial_state(self) -> None:
        """Somebody opened a page about alarms."""
        for producer in list(self.producers):
            await producer.send(json.dumps(INITIAL_STATE_REQUEST))

    async def close_connections(self) -> None:
        """Closes all connections, as a restart does."""
        for connection in list(self.server.connections if self.server else ()):
            await connection.close(1012)

    def get_value(self, name: str, attribute: str) -> Any:
        return self.alarms[name][attribute]["value"]


@asynccontextmanager
async def love_server(port: int = 0) -> AsyncIterator[FakeLoveManager]:
    """A local LOVE-manager on a free port."""
    love = FakeLoveManager()
    async with serve(
        love.handle_connection, "127.0.0.1", port, process_request=love.check_password
    ) as server:
        love.server = server
        port = next(iter(server.sockets)).getsockname()[1]
        love.url = f"ws://127.0.0.1:{port}/manager/ws/subscription"
        yield love
