"""HTTP to a running engine, for commands and for remote clients. The only importer of httpx.
Every failure raises a CatcherError with the engine's message, or with that of the connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from catcher.model.errors import CatcherError, EngineNotRunning, NotFound

REQUEST_TIMEOUT = 30.0
MAX_RESPONSE_BYTES = 1024 * 2**20
"""A larger artifact is refused."""
BROKEN_HINT = "nothing of it was used: ask again"


def build_headers(token: str, channel: str) -> dict[str, str]:
    """Returns the headers of every request: the channel it came by, and the token."""
    if not (token.isascii() and token.isprintable()):
        raise CatcherError("the token has characters that no token has", "copy it once more")
    headers = {"X-Catcher-Channel": channel}
    return {**headers, "Authorization": f"Bearer {token}"} if token else headers


def request_json(
    method: str, url: str, headers: Mapping[str, str], accept_unhealthy: bool, **options: Any
) -> Any:
    """Returns the engine's answer; with `accept_unhealthy` also that of an unhealthy one."""
    try:
        response = httpx.request(
            method, url, timeout=REQUEST_TIMEOUT, trust_env=False, headers=headers, **options
        )  # fmt: skip
    except httpx.HTTPError as error:
        raise _build_unreachable_error(url, error) from error
    if not response.is_success and not (accept_unhealthy and response.status_code == 503):
        raise _error_from_response(response.status_code, response.content)
    return _parse_json(response.content, response.status_code)


class EngineHttp:
    """A connection to one engine, open for as long as its context lasts."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._headers = build_headers(token, "client")

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(
            base_url=self._url, headers=self._headers, timeout=REQUEST_TIMEOUT, trust_env=False
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def get_json(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """Returns the JSON at a path."""
        data = await self.get_bytes(path, parameters)
        return _parse_json(data, 200)

    async def get_bytes(self, path: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """Returns the bytes at a path, all of them."""
        data = bytearray()
        async with self.stream_response("GET", path, params=parameters) as chunks:
            async for chunk in chunks:
                data += chunk
                if len(data) > MAX_RESPONSE_BYTES:
                    raise CatcherError(f"{path} has more than {MAX_RESPONSE_BYTES // 2**20} MiB")
        return bytes(data)

    @asynccontextmanager
    async def stream_response(
        self, method: str, path: str, timeout: float = REQUEST_TIMEOUT, **options: Any
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Streams the answer to a request in chunks; a refusal is raised before the first."""
        try:
            async with self._client.stream(method, path, timeout=timeout, **options) as response:
                if not response.is_success:
                    raise _error_from_response(response.status_code, await response.aread())
                yield response.aiter_bytes()
        except httpx.RemoteProtocolError as error:
            raise CatcherError("the engine's answer broke off", BROKEN_HINT) from error
        except httpx.ReadTimeout as error:
            raise CatcherError(
                f"the engine at {self._url} did not answer within {timeout:.0f} s", "ask for less"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _build_unreachable_error(self._url, error) from error


def _build_unreachable_error(url: str, error: Exception) -> EngineNotRunning:
    return EngineNotRunning(
        f"no engine answers at {url} ({type(error).__name__})",
        "start one with `catcher run`, or name its folder with --data",
    )


def _parse_json(data: bytes, status: int) -> Any:
    try:
        return httpx.Response(200, content=data).json()
    except ValueError as error:
        raise CatcherError(
            f"what answers there is no engine (status {status}, no JSON)", "look at the address"
        ) from error


def _error_from_response(status: int, data: bytes) -> CatcherError:
    try:
        body = _parse_json(data, status)
    except CatcherError:
        body = {}
    body = body if isinstance(body, dict) else {}
    message = str(body.get("error") or body.get("detail") or f"the engine answered {status}")
    hint = str(body.get("hint", ""))
    if status == 401:
        hint = hint or "give the token of `api: {token: …}`: token=…, or $CATCHER_TOKEN"
    return NotFound(message, hint) if status == 404 else CatcherError(message, hint)
