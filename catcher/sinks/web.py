"""Requests and websockets to the outside. The only module that knows aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from catcher.model.time import SECOND, Span, from_seconds, to_seconds

Session = aiohttp.ClientSession
TROUBLE = (aiohttp.ClientError, OSError, TimeoutError)
"""What a request may end with, other than an answer."""
LONGEST_PAUSE = 3_600.0
_MOST_BYTES = 65_536
_BEAT = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; its body is cut at 64 KiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def open_session(timeout: Span) -> Session:
    """A session whose requests take no longer than `timeout`, answers and all."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=to_seconds(timeout)))


async def send(
    session: Session, method: str, url: str, headers: Mapping[str, str], body: bytes
) -> Answer:
    """One request. Redirects are not followed; TROUBLE where there is no answer in time."""
    async with session.request(
        method, url, headers=headers, data=body or None, allow_redirects=False
    ) as answer:
        cut = await answer.content.read(_MOST_BYTES)
        return Answer(answer.status, dict(answer.headers), cut)


class Socket:
    """An open websocket, as texts."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        """Sends one text; TROUBLE where the connection is gone."""
        await self._socket.send_str(text)

    async def texts(self, first: Span | None = None) -> AsyncIterator[str]:
        """What comes, until the other side closes; TimeoutError without a `first` in time."""
        limit = None if first is None else to_seconds(first)
        while True:
            async with asyncio.timeout(limit):
                message = await self._socket.receive()
            if message.type != aiohttp.WSMsgType.TEXT:
                return
            limit = None
            yield message.data


@asynccontextmanager
async def open_socket(session: Session, url: str) -> AsyncIterator[Socket]:
    """A websocket that is pinged, so that one that is dead ends by itself."""
    async with session.ws_connect(
        url, heartbeat=_BEAT, max_msg_size=2**20, timeout=aiohttp.ClientWSTimeout(ws_close=5)
    ) as socket:
        yield Socket(socket)


def retry_after(headers: Mapping[str, str], default: float = 1.0) -> Span:
    """How long a server asks to wait (RFC 9110, 10.2.3: seconds or a date); at most an hour."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    try:
        seconds = float(text)
    except ValueError:
        seconds = _until(text, default)
    return from_seconds(min(max(seconds, 0.0), LONGEST_PAUSE)) if seconds == seconds else SECOND


def _until(text: str, default: float) -> float:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return default
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime.now(UTC)).total_seconds()


def trouble_words(error: BaseException) -> str:
    """Why there was no answer, without the address: a secret may be part of it."""
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "cannot be trusted: its certificate does not fit"
    if isinstance(error, aiohttp.InvalidURL):
        return "has no usable address"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be reached: {error.strerror}"
    return f"cannot be reached: {type(error).__name__}"
