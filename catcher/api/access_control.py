"""Access control of the API: this machine only, and no web page that is open in a browser here."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.middleware.base import RequestResponseEndpoint

LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "::1"}


def add_access_control(
    api: FastAPI, max_bytes: int, token: str = "", signed_paths: frozenset[str] = frozenset(),
    posters: Mapping[str, str] | None = None, readers: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Refuses foreign hosts and origins (DNS rebinding, forged requests) and too large bodies.
    A body has at most `max_bytes`. With a token, any host that sends it is allowed (`Authorization:
    Bearer TOKEN`); other hosts only learn whether the engine is alive. `posters` have tokens of
    their own, by name, which let them post events and nothing else; if there are any, posting needs
    a token. `readers` have tokens that let them read and nothing else. Requests to the
    `signed_paths` prove their origin by themselves.
    """
    poster_tokens = dict(posters or {})

    @api.middleware("http")
    async def check_request(request: Request, call_next: RequestResponseEndpoint) -> Response:
        if request.url.path in signed_paths:
            return await call_next(request)
        poster = _find_token_name(request, poster_tokens) if is_event_post(request) else ""
        request.state.poster = poster
        caller = poster or (
            is_read_only(request) and _find_token_name(request, dict(readers or {}))
        )
        rejection = (
            None if caller else _reject_invalid_credentials(request, token, bool(poster_tokens))
        )
        if rejection is not None:
            return rejection
        origin = request.headers.get("origin")
        if origin is not None and _parse_hostname(origin) not in LOOPBACK_HOSTS:
            return _build_rejection(403, "requests from other sites are refused")
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers and not has_route_body_limit(request):
            return _build_rejection(411, "say how long the body is (Content-Length)")
        if not length.isdigit() or int(length) > max_bytes:
            return _build_rejection(
                413, f"the body is larger than {max_bytes} bytes; post fewer events at once"
            )
        return await call_next(request)


def _reject_invalid_credentials(
    request: Request, token: str, posting_needs_token: bool
) -> JSONResponse | None:
    """Returns why a request without a named token is refused, or None."""
    host = _parse_hostname(f"//{request.headers.get('host', '')}")
    has_valid_token = bool(token) and _has_token(request, token)
    if token and not (has_valid_token or is_public_probe(request)):
        return _build_rejection(401, "this API wants a token (Authorization: Bearer …)")
    if not token and host not in LOOPBACK_HOSTS:
        return _build_rejection(403, "this API answers on loopback only, under a name of loopback")
    if posting_needs_token and is_event_post(request) and not has_valid_token:
        return _build_rejection(401, "posting wants a token (Authorization: Bearer …)")
    return None


def is_event_post(request: Request) -> bool:
    """True if a request posts events."""
    return request.method == "POST" and has_route_body_limit(request)


def is_read_only(request: Request) -> bool:
    """True if a request cannot change anything."""
    return request.method in ("GET", "HEAD") or request.url.path.startswith("/read/")


def _find_token_name(request: Request, tokens: Mapping[str, str]) -> str:
    """Returns the name of the token in a request; compares all of them, in constant time each."""
    matches = [name for name, token in tokens.items() if _has_token(request, token)]
    return matches[0] if matches else ""


def is_public_probe(request: Request) -> bool:
    """True if only `ok`, or how long the engine has hung, is requested: probes may have no token.
    The verbose form shows paths and code, so it needs one.
    """
    is_liveness = request.url.path == "/healthz" and not request.url.query
    return is_liveness and request.method in ("GET", "HEAD")


def has_route_body_limit(request: Request) -> bool:
    """True if the route itself limits how much of the body it reads."""
    return request.url.path in ("/events", "/api/v2/write") or request.url.path.startswith("/http/")


def _has_token(request: Request, token: str) -> bool:
    """True if a request has a token, as `Bearer` or in InfluxDB's form as `Token`."""
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    is_equal = hmac.compare_digest(presented.strip().encode(), token.encode())
    return is_equal and scheme.lower() in ("bearer", "token")


def _parse_hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _build_rejection(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message, "hint": ""}, status)


async def read_bounded_body(request: Request, max_bytes: int) -> bytes:
    """Reads the body up to its limit; a longer one is cut at `max_bytes` + 1."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            break
    return bytes(body[: max_bytes + 1])
