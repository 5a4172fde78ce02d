"""Requests from outside that prove their origin by a signature, such as Slack's."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from catcher.api.access_control import read_bounded_body
from catcher.model.errors import CatcherError
from catcher.model.text import sanitize_single_line
from catcher.model.time import MINUTE, Instant, wall_clock
from catcher.ports import EngineApi, EngineBusy, SignedCallback

Callbacks = Mapping[str, Sequence[SignedCallback]]
_MAX_AUDITED = 20
"""Refusals per minute that are audited; a flood of them must not fill the audit log."""


def add_callback_routes(
    api: FastAPI, callbacks: Callbacks, engine: EngineApi, max_bytes: int
) -> None:
    """Adds a route for each path; the first of its callbacks that accepts the signature answers."""
    rejections = _RejectionAudit(engine)
    for path, path_callbacks in callbacks.items():
        _add_callback_route(api, path, list(path_callbacks), rejections, max_bytes)


def _add_callback_route(
    api: FastAPI,
    path: str,
    callbacks: Sequence[SignedCallback],
    rejections: _RejectionAudit,
    max_bytes: int,
) -> None:
    @api.post(path)
    async def called(request: Request) -> JSONResponse:
        """A signed request from outside. Unsigned, old and repeated ones are refused and kept."""
        payload = await read_bounded_body(request, max_bytes)
        rejection = CatcherError("the body is too long") if len(payload) > max_bytes else None
        for callback in callbacks if rejection is None else ():
            try:
                return JSONResponse(dict(await callback(request.headers, payload)))
            except EngineBusy:
                raise
            except CatcherError as error:
                rejection = error
        message = rejection.message if rejection else "nobody answers here"
        await rejections.record_rejection(
            path, request.client.host if request.client else "", message
        )
        return JSONResponse({"error": message, "hint": rejection.hint if rejection else ""}, 401)


class _RejectionAudit:
    """Audits refused requests: the first of each minute one by one, the rest as a count."""

    def __init__(self, engine: EngineApi) -> None:
        self._engine = engine
        self._audited_times: deque[Instant] = deque(maxlen=_MAX_AUDITED)
        self._omitted_count = 0

    async def record_rejection(self, path: str, host: str, message: str) -> None:
        now = wall_clock()
        is_full = len(self._audited_times) == _MAX_AUDITED
        if is_full and self._audited_times[0] > now - MINUTE:
            self._omitted_count += 1
            return
        suffix = (
            f" (and {self._omitted_count} more since the last entry)" if self._omitted_count else ""
        )
        self._omitted_count = 0
        self._audited_times.append(now)
        reason = sanitize_single_line(f"{message}{suffix}")
        await self._engine.record_refusal(
            sanitize_single_line(host or "unknown", 60), "callback", path, reason
        )
