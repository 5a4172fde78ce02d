"""Routes for monitoring: liveness, readiness, metrics and backlog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from catcher.ports import Row

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NO_STORE_HEADERS = {"Cache-Control": "no-store"}


class MonitoringApi(Protocol):
    """The status of the engine itself, for monitoring from outside."""

    def get_liveness_problem(self) -> str:
        """Returns why the engine counts as hung; empty while it is alive."""
        ...

    def get_runtime_status(self) -> Row:
        """Returns phase, iterations, lag, and what last blocked the event loop, with its stack."""
        ...

    async def list_readiness_problems(self) -> Sequence[str]:
        """Returns why the engine is not ready, as messages; empty if it is."""
        ...

    async def render_metrics(self) -> str:
        """Renders all metrics in the text format of Prometheus."""
        ...

    def count_waiting_runs(self) -> Sequence[Row]:
        """Returns the rules that run jobs, with running, waiting and dropped runs."""
        ...


def add_health_routes(api: FastAPI, monitoring: MonitoringApi) -> None:
    """Adds the routes of this file."""

    @api.get("/healthz")
    async def healthz(verbose: str | None = None) -> Response:
        """Whether the engine lives: 200, or 503 with the reason. With `?verbose` how it does."""
        problem = monitoring.get_liveness_problem()
        status = 503 if problem else 200
        if verbose is not None:
            return JSONResponse(
                dict(monitoring.get_runtime_status()), status, headers=NO_STORE_HEADERS
            )
        return PlainTextResponse(f"{problem or 'ok'}\n", status, headers=NO_STORE_HEADERS)

    @api.get("/readyz")
    async def readyz() -> Response:
        """Whether it does its work: 200, or 503 with `problems` in words."""
        problems = list(await monitoring.list_readiness_problems())
        body = {"ready": not problems, "problems": problems}
        return JSONResponse(body, 503 if problems else 200, headers=NO_STORE_HEADERS)

    @api.get("/metrics")
    async def figures() -> Response:
        """All figures, in the text form of Prometheus."""
        return Response(
            await monitoring.render_metrics(),
            media_type=METRICS_MEDIA_TYPE,
            headers=NO_STORE_HEADERS,
        )

    @api.get("/backlog")
    async def backlog() -> list[Row]:
        """The rules that run jobs: what goes on, waits, was dropped, and the time to drain."""
        return [dict(row) for row in monitoring.count_waiting_runs()]
