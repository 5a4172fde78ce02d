"""Whether the engine lives and is ready, its figures, and what waits: for machines that watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from catcher.ports import Row

FIGURES = "text/plain; version=0.0.4; charset=utf-8"
NEVER_KEPT = {"Cache-Control": "no-store"}


class SelfWatch(Protocol):
    """How the engine itself does, for those who look from outside."""

    def alive(self) -> str:
        """Why the engine counts as hung; empty while it lives."""
        ...

    def vitals(self) -> Row:
        """Phase, turns, lag, and what last blocked the event loop, with its stack."""
        ...

    async def unready(self) -> Sequence[str]:
        """Why the engine is not ready, in words; none when it is."""
        ...

    async def exposition(self) -> str:
        """All figures in the text form of Prometheus."""
        ...

    def backlog(self) -> Sequence[Row]:
        """The rules that run jobs, with what goes on, waits and was dropped."""
        ...


def signs(api: FastAPI, watch: SelfWatch) -> None:
    """Adds the routes of this file."""

    @api.get("/healthz")
    async def healthz(verbose: str | None = None) -> Response:
        """Whether the engine lives: 200, or 503 with the reason. With `?verbose` how it does."""
        problem = watch.alive()
        status = 503 if problem else 200
        if verbose is not None:
            return JSONResponse(dict(watch.vitals()), status, headers=NEVER_KEPT)
        return PlainTextResponse(f"{problem or 'ok'}\n", status, headers=NEVER_KEPT)

    @api.get("/readyz")
    async def readyz() -> Response:
        """Whether it does its work: 200, or 503 with `problems` in words."""
        problems = list(await watch.unready())
        body = {"ready": not problems, "problems": problems}
        return JSONResponse(body, 503 if problems else 200, headers=NEVER_KEPT)

    @api.get("/metrics")
    async def figures() -> Response:
        """All figures, in the text form of Prometheus."""
        return Response(await watch.exposition(), media_type=FIGURES, headers=NEVER_KEPT)

    @api.get("/backlog")
    async def backlog() -> list[Row]:
        """The rules that run jobs: what goes on, waits, was dropped, and the time to drain."""
        return [dict(row) for row in watch.backlog()]
