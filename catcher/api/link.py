"""HTTP to a running engine, for commands and for clients elsewhere. The only importer of httpx.

Whatever goes wrong is a CatcherError in the words of the engine, or of what befell the way to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from catcher.model.problem import CatcherError, NoEngine, Unknown

PATIENCE = 30.0
MOST_BYTES = 1024 * 2**20
"""An artifact that is larger is not taken."""
BROKEN = "nothing of it was used: ask again"


def headers(token: str, channel: str) -> dict[str, str]:
    """What every request says: by which way it came, and the token."""
    if not (token.isascii() and token.isprintable()):
        raise CatcherError("the token has characters that no token has", "copy it once more")
    said = {"X-Catcher-Channel": channel}
    return {**said, "Authorization": f"Bearer {token}"} if token else said


def ask(method: str, url: str, said: Mapping[str, str], whatever: bool, **how: Any) -> Any:
    """What the engine answers; with `whatever` also when it says that it is not well."""
    try:
        answer = httpx.request(
            method, url, timeout=PATIENCE, trust_env=False, headers=said, **how
        )  # fmt: skip
    except httpx.HTTPError as trouble:
        raise _away(url, trouble) from trouble
    if not answer.is_success and not (whatever and answer.status_code == 503):
        raise _refusal(answer.status_code, answer.content)
    return _json(answer.content, answer.status_code)


class Link:
    """A way to one engine, open for as long as its context lasts."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._headers = headers(token, "client")

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(
            base_url=self._url, headers=self._headers, timeout=PATIENCE, trust_env=False
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def json(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """What stands at a path."""
        data = await self.whole(path, parameters)
        return _json(data, 200)

    async def whole(self, path: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """The bytes at a path, all of them."""
        data = bytearray()
        async with self.stream("GET", path, params=parameters) as chunks:
            async for chunk in chunks:
                data += chunk
                if len(data) > MOST_BYTES:
                    raise CatcherError(f"{path} has more than {MOST_BYTES // 2**20} MiB")
        return bytes(data)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, patience: float = PATIENCE, **how: Any
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer to a request, chunk by chunk; a refusal is raised before the first."""
        try:
            async with self._client.stream(method, path, timeout=patience, **how) as answer:
                if not answer.is_success:
                    raise _refusal(answer.status_code, await answer.aread())
                yield answer.aiter_bytes()
        except httpx.RemoteProtocolError as trouble:
            raise CatcherError("the engine's answer broke off", BROKEN) from trouble
        except httpx.ReadTimeout as trouble:
            raise CatcherError(
                f"the engine at {self._url} did not answer within {patience:.0f} s", "ask for less"
            ) from trouble
        except (httpx.HTTPError, httpx.InvalidURL) as trouble:
            raise _away(self._url, trouble) from trouble


def _away(url: str, trouble: Exception) -> NoEngine:
    return NoEngine(
        f"no engine answers at {url} ({type(trouble).__name__})",
        "start one with `catcher run`, or name its folder with --data",
    )


def _json(data: bytes, status: int) -> Any:
    try:
        return httpx.Response(200, content=data).json()
    except ValueError as error:
        raise CatcherError(
            f"what answers there is no engine (status {status}, no JSON)", "look at the address"
        ) from error


def _refusal(status: int, data: bytes) -> CatcherError:
    try:
        body = _json(data, status)
    except CatcherError:
        body = {}
    body = body if isinstance(body, dict) else {}
    words = str(body.get("error") or body.get("detail") or f"the engine answered {status}")
    hint = str(body.get("hint", ""))
    if status == 401:
        hint = hint or "give the token of `api: {token: …}`: token=…, or $CATCHER_TOKEN"
    return Unknown(words, hint) if status == 404 else CatcherError(words, hint)
