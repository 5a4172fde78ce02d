"""Streamed HTTP requests to stores. The only module that imports urllib3.

They block and belong in a thread: responses are decompressed there too, off the event loop.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode, urlsplit

import aiohttp
import urllib3
from urllib3.exceptions import HTTPError as HTTPError
from urllib3.exceptions import IncompleteRead, ProtocolError, SSLError

from catcher.model.errors import CatcherError
from catcher.model.time import SECOND, Span, instant_from_seconds, nanoseconds_to_seconds
from catcher.ports import StoreUnavailable

# Outgoing requests and websockets. The only module that imports aiohttp.


HttpSession = aiohttp.ClientSession
REQUEST_ERRORS = (aiohttp.ClientError, OSError, TimeoutError)
"""The exceptions of a request that gets no response."""
MAX_RETRY_AFTER = 3_600.0
_MAX_BODY_SIZE = 65_536
_HEARTBEAT_INTERVAL = 20.0


@dataclass(frozen=True, slots=True)
class WebResponse:
    """A server's response; its body is cut at 64 KiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def open_session(timeout: Span) -> HttpSession:
    """Opens a session whose requests take at most `timeout`, including the response."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=nanoseconds_to_seconds(timeout))
    )


async def send_request(
    session: HttpSession, method: str, url: str, headers: Mapping[str, str], body: bytes
) -> WebResponse:
    """Sends a request without following redirects. Raises one of `REQUEST_ERRORS` on failure."""
    async with session.request(
        method, url, headers=headers, data=body or None, allow_redirects=False
    ) as response:
        content = await response.content.read(_MAX_BODY_SIZE)
        return WebResponse(response.status, dict(response.headers), content)


class WebSocket:
    """An open websocket that carries texts."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        """Sends one text. Raises one of `REQUEST_ERRORS` if the connection is gone."""
        await self._socket.send_str(text)

    async def iter_texts(self, first_timeout: Span | None = None) -> AsyncIterator[str]:
        """Yields texts until the other side closes. Raises TimeoutError if the first does not
        arrive within `first_timeout`.
        """
        timeout = None if first_timeout is None else nanoseconds_to_seconds(first_timeout)
        while True:
            async with asyncio.timeout(timeout):
                message = await self._socket.receive()
            if message.type != aiohttp.WSMsgType.TEXT:
                return
            timeout = None
            yield message.data


@asynccontextmanager
async def open_websocket(session: HttpSession, url: str) -> AsyncIterator[WebSocket]:
    """Opens a websocket that is pinged, so that a dead one ends by itself."""
    async with session.ws_connect(
        url,
        heartbeat=_HEARTBEAT_INTERVAL,
        max_msg_size=2**20,
        timeout=aiohttp.ClientWSTimeout(ws_close=5),
    ) as socket:
        yield WebSocket(socket)


def parse_retry_after(headers: Mapping[str, str], default: float = 1.0) -> Span:
    """Returns the delay a server requests (RFC 9110, 10.2.3: seconds or a date), at most 1 h."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    try:
        seconds = float(text)
    except ValueError:
        seconds = _parse_retry_date(text, default)
    return (
        instant_from_seconds(min(max(seconds, 0.0), MAX_RETRY_AFTER))
        if seconds == seconds
        else SECOND
    )


def _parse_retry_date(text: str, default: float) -> float:
    try:
        retry_at = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return default
    aware_time = retry_at if retry_at.tzinfo else retry_at.replace(tzinfo=UTC)
    return (aware_time - datetime.now(UTC)).total_seconds()


def describe_request_error(error: BaseException) -> str:
    """Returns why there was no response, without the URL: a secret may be part of it."""
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "cannot be trusted: its certificate does not fit"
    if isinstance(error, aiohttp.InvalidURL):
        return "has no usable address"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be reached: {error.strerror}"
    return f"cannot be reached: {type(error).__name__}"


CHUNK_BYTES = 2**18
MAX_ERROR_BYTES = 4096
CONNECT_TIMEOUT = 10.0
"""Seconds that a server has to accept a connection."""


@dataclass(slots=True)
class HttpResponse:
    """A streamed response. `chunks` raises StoreUnavailable if it breaks off."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]

    @property
    def content_type(self) -> str:
        """Its content type, without parameters."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    def read_error_text(self) -> str:
        """Returns the beginning of its body, for an error."""
        body = b""
        for chunk in self.chunks:
            body += chunk
            if len(body) >= MAX_ERROR_BYTES:
                break
        return body[:MAX_ERROR_BYTES].decode("utf-8", "replace")

    def read_body(self, max_bytes: int) -> bytes:
        """Returns the body. Raises CatcherError if it is longer than `max_bytes`."""
        chunks, size = [], 0
        for chunk in self.chunks:
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                raise CatcherError(
                    f"the answer is longer than {max_bytes:,} bytes",
                    "ask for less, or a shorter span",
                )
        return b"".join(chunks)


class HttpClient:
    """A server's URL with its credentials; connections are kept alive and reused."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout: Span, name: str) -> None:
        self.url = normalize_url(url)
        self.name = name
        self._headers = {"User-Agent": "catcher", **headers}
        self._pool = urllib3.PoolManager(
            num_pools=2, maxsize=8, retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=nanoseconds_to_seconds(timeout)),
        )  # fmt: skip

    @contextmanager
    def stream_request(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Iterator[HttpResponse]:
        """Sends a request; any status is a response. Raises StoreUnavailable if there is none."""
        request_headers = {**self._headers, **(headers or {})}
        url = f"{self.url}{path}"
        if parameters and method == "POST":
            body = urlencode(parameters).encode()
            request_headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif parameters:
            url += f"?{urlencode(parameters)}"
        try:
            response = self._pool.urlopen(
                method,
                url,
                body=body,
                headers=request_headers,
                preload_content=False,
                redirect=False,
            )
        except (HTTPError, OSError) as error:
            raise StoreUnavailable(
                f"{self.name} {_describe_urllib3_error(error)}", "see to the server"
            ) from None
        is_complete = False
        try:
            response_headers = {name.lower(): value for name, value in response.headers.items()}
            yield HttpResponse(response.status, response_headers, self._read_chunks(response))
            is_complete = True
        finally:
            if is_complete:
                response.release_conn()
            else:
                response.close()

    def _read_chunks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            yield from response.stream(CHUNK_BYTES, decode_content=True)
        except (IncompleteRead, ProtocolError):
            raise StoreUnavailable(
                f"{self.name} broke off in the middle of its answer; nothing of it was used",
                "see to the server, and ask again",
            ) from None
        except (HTTPError, OSError) as error:
            raise StoreUnavailable(
                f"{self.name} {_describe_urllib3_error(error)}", "see to the server"
            ) from None

    def close(self) -> None:
        """Closes the idle connections."""
        self._pool.clear()


def normalize_url(url: str) -> str:
    """Returns the URL without a trailing slash. Raises CatcherError if it is not an HTTP URL."""
    try:
        url_parts = urlsplit(url)
        is_valid = (
            url_parts.scheme in ("http", "https")
            and bool(url_parts.hostname)
            and url_parts.port != 0
        )
    except ValueError:
        is_valid = False
    if not is_valid or "?" in url or "#" in url:
        raise CatcherError(f"{url[:80]!r} is no address of a server", "write it like https://HOST")
    return url.rstrip("/")


def build_basic_auth_header(username: str, password: str) -> dict[str, str]:
    """Returns the header of basic authentication, by name and password."""
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


def parse_retry_seconds(headers: Mapping[str, str]) -> Span | None:
    """Returns the delay that an overloaded server requests; None if it gives no seconds."""
    text = headers.get("retry-after", "")
    return int(text) * SECOND if text.isascii() and text.isdigit() and len(text) < 6 else None


def _describe_urllib3_error(error: Exception) -> str:
    """Returns why there is no response, without the URL, which may contain a secret."""
    error_name = type(error).__name__
    if isinstance(error, SSLError):
        return "cannot be trusted: its certificate does not fit"
    if "Timeout" in error_name:
        return "did not answer in time"
    if isinstance(error, ProtocolError):
        return "broke the connection off"
    return f"cannot be reached ({error_name})"
