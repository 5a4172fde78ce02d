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
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Service:
    """`answers` are given first, one a request (None: never); then it is content with all."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answers: list[web.StreamResponse | None] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Request(request.method, request.path_qs, headers, body))
        answer = self.answers.pop(0) if self.answers else web.json_response({"id": "made"})
        if answer is None:
            await asyncio.Event().wait()
        assert answer is not None
        return answer


@asynccontextmanager
async def service() -> AsyncIterator[Service]:
    """A service on a free port."""
    one = Service()
    app = web.Application(client_max_size=10 * 2**20)
    app.router.add_route("*", "/{path:.*}", one.take)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield one
    finally:
        await runner.cleanup()


@dataclass
class MailServer:
    """Keeps mails; `refusals` are answers to RCPT, one a mail, before it takes any."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(words: str) -> None:
            writer.write(f"{words}\r\n".encode())

        say("220 mail.example ESMTP")
        while line := await reader.readline():
            verb = line.split()[0].upper() if line.split() else b""
            match verb:
                case b"EHLO":
                    say("250-mail.example")
                    say("250 8BITMIME")
                case b"RCPT" if self.refusals:
                    say(self.refusals.pop(0))
                case b"DATA":
                    say("354 go on")
                    await writer.drain()
                    text = await reader.readuntil(b"\r\n.\r\n")
                    mail = message_from_bytes(text[:-5], policy=cast(Any, policy.default))
                    self.mails.append(cast(EmailMessage, mail))
                    say("250 kept")
                case b"QUIT":
                    say("221 bye")
                    break
                case _:
                    say("250 ok")
            await writer.drain()
        writer.close()


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """A mail server on a free port."""
    one = MailServer()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    async with server:
        yield one
