"""Who may speak to the API: this machine only, and no web page that somebody looks at here."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.middleware.base import RequestResponseEndpoint

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def guard(
    api: FastAPI, most: int, token: str = "", signed: frozenset[str] = frozenset(),
    posters: Mapping[str, str] | None = None, readers: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Refuses foreign hosts and origins (DNS rebinding, forged requests) and bodies over `most`.

    With a token, any host may come that brings it (`Authorization: Bearer TOKEN`); without it,
    all that they hear is whether the engine lives. `posters` have tokens of their own, by name,
    which let them post events and nothing else; where there are some, nobody posts without one.
    `readers` have tokens that let them read and nothing else.
    Requests to the `signed` paths prove by themselves where they come from.
    """
    names = dict(posters or {})

    @api.middleware("http")
    async def check(request: Request, call: RequestResponseEndpoint) -> Response:
        if request.url.path in signed:
            return await call(request)
        poster = _named(request, names) if posts(request) else ""
        request.state.poster = poster
        known = poster or (reads(request) and _named(request, dict(readers or {})))
        refusal = None if known else _stranger(request, token, bool(names))
        if refusal is not None:
            return refusal
        origin = request.headers.get("origin")
        if origin is not None and _hostname(origin) not in LOOPBACK:
            return _refuse(403, "requests from other sites are refused")
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers and not bounded(request):
            return _refuse(411, "say how long the body is (Content-Length)")
        if not length.isdigit() or int(length) > most:
            return _refuse(413, f"the body is larger than {most} bytes; post fewer events at once")
        return await call(request)


def _stranger(request: Request, token: str, named: bool) -> JSONResponse | None:
    """Why somebody without a token for posts is not let in."""
    host = _hostname(f"//{request.headers.get('host', '')}")
    brought = bool(token) and _brings(request, token)
    if token and not (brought or told_to_all(request)):
        return _refuse(401, "this API wants a token (Authorization: Bearer …)")
    if not token and host not in LOOPBACK:
        return _refuse(403, "this API answers on loopback only, under a name of loopback")
    if named and posts(request) and not brought:
        return _refuse(401, "posting wants a token (Authorization: Bearer …)")
    return None


def posts(request: Request) -> bool:
    """Whether events are posted."""
    return request.method == "POST" and bounded(request)


def reads(request: Request) -> bool:
    """Whether nothing can be changed by it."""
    return request.method in ("GET", "HEAD") or request.url.path.startswith("/read/")


def _named(request: Request, tokens: Mapping[str, str]) -> str:
    """Under which name the token that was brought is known; each is compared, however many."""
    fits = [name for name, token in tokens.items() if _brings(request, token)]
    return fits[0] if fits else ""


def told_to_all(request: Request) -> bool:
    """Whether only `ok`, or for how long the engine has hung, is asked: machines may have no
    token. The verbose form shows paths and code, so it needs one."""
    plain = request.url.path == "/healthz" and not request.url.query
    return plain and request.method in ("GET", "HEAD")


def bounded(request: Request) -> bool:
    """Whether the route itself reads no more of the body than it may be long."""
    return request.url.path in ("/events", "/api/v2/write") or request.url.path.startswith("/http/")


def _brings(request: Request, token: str) -> bool:
    """Whether a request brings a token, as `Bearer` or in InfluxDB's way as `Token`."""
    scheme, _, brought = request.headers.get("authorization", "").partition(" ")
    fits = hmac.compare_digest(brought.strip().encode(), token.encode())
    return fits and scheme.lower() in ("bearer", "token")


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _refuse(status: int, words: str) -> JSONResponse:
    return JSONResponse({"error": words, "hint": ""}, status)


async def bounded_body(request: Request, most: int) -> bytes:
    """The body, read only as far as it may be long; a longer one comes back cut at `most` + 1."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            break
    return bytes(body[: most + 1])
