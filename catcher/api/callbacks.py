"""Requests from outside that prove by themselves where they come from, such as Slack's."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from catcher.api.guard import bounded_body
from catcher.model.problem import CatcherError
from catcher.model.text import plain
from catcher.model.time import MINUTE, Instant, wall_clock
from catcher.ports import Busy, Callback, Door

Callbacks = Mapping[str, Sequence[Callback]]
_MOST_NOTED = 20
"""Refusals that go into the audit trail in a minute; a flood of them must not fill it."""


def serve_callbacks(api: FastAPI, callbacks: Callbacks, door: Door, most: int) -> None:
    """Adds a route for each path; the first of its callbacks whose proof fits answers."""
    book = _Refusals(door)
    for path, ones in callbacks.items():
        _serve(api, path, list(ones), book, most)


def _serve(
    api: FastAPI, path: str, callbacks: Sequence[Callback], book: _Refusals, most: int
) -> None:
    @api.post(path)
    async def called(request: Request) -> JSONResponse:
        """A signed request from outside. Unsigned, old and repeated ones are refused and kept."""
        payload = await bounded_body(request, most)
        refusal = CatcherError("the body is too long") if len(payload) > most else None
        for callback in callbacks if refusal is None else ():
            try:
                return JSONResponse(dict(await callback(request.headers, payload)))
            except Busy:
                raise
            except CatcherError as error:
                refusal = error
        words = refusal.message if refusal else "nobody answers here"
        await book.note(path, request.client.host if request.client else "", words)
        return JSONResponse({"error": words, "hint": refusal.hint if refusal else ""}, 401)


class _Refusals:
    """Puts refusals into the audit trail, the first of each minute one by one."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._noted: deque[Instant] = deque(maxlen=_MOST_NOTED)
        self._unnoted = 0

    async def note(self, path: str, host: str, words: str) -> None:
        now = wall_clock()
        full = len(self._noted) == _MOST_NOTED
        if full and self._noted[0] > now - MINUTE:
            self._unnoted += 1
            return
        more = f" (and {self._unnoted} more since the last entry)" if self._unnoted else ""
        self._unnoted = 0
        self._noted.append(now)
        reason = plain(f"{words}{more}")
        await self._door.refuse(plain(host or "unknown", 60), "callback", path, reason)
