"""A local service that keeps the requests it gets, and a local mail server (RFC 5321)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiohttp import web


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeHttpService:
    """`responses` are given first, one a request (None: never); then it is content with all."""

    url: str = ""
    requests: list[ReceivedRequest] = field(default_factory=list)
    responses: list[web.StreamResponse | None] = field(default_factory=list)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(ReceivedRequest(request.method, request.path_qs, headers, body))
        response = self.responses.pop(0) if self.responses else web.json_response({"id": "made"})
        if response is None:
            await asyncio.Event().wait()
        assert response is not None
        return response


@asynccontextmanager
async def http_service() -> AsyncIterator[FakeHttpService]:
    """A service on a free port."""
    server = FakeHttpService()
    app = web.Application(client_max_size=10 * 2**20)
    app.router.add_route("*", "/{path:.*}", server.handle_request)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@dataclass
class FakeMailServer:
    """Keeps mails; `refusals` are answers to RCPT, one a mail, before it takes any."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    async def handle_session(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        def send_reply(reply: str) -> None:
            writer.write(f"{reply}\r\n".encode())

        send_reply("220 mail.example ESMTP")
        while line := await reader.readline():
            command = line.split()[0].upper() if line.split() else b""
            match command:
                case b"EHLO":
                    send_reply("250-mail.example")
                    send_reply("250 8BITMIME")
                case b"RCPT" if self.refusals:
                    send_reply(self.refusals.pop(0))
                case b"DATA":
                    send_reply("354 go on")
                    await writer.drain()
                    text = await reader.readuntil(b"\r\n.\r\n")
                    mail = message_from_bytes(text[:-5], policy=cast(Any, policy.default))
                    self.mails.append(cast(EmailMessage, mail))
                    send_reply("250 kept")
                case b"QUIT":
                    send_reply("221 bye")
                    break
                case _:
                    send_reply("250 ok")
            await writer.drain()
        writer.close()


@asynccontextmanager
async def mail_server() -> AsyncIterator[FakeMailServer]:
    """A mail server on a free port."""
    mail = FakeMailServer()
    server = await asyncio.start_server(mail.handle_session, "127.0.0.1", 0)
    mail.port = server.sockets[0].getsockname()[1]
    async with server:
        yield mail
