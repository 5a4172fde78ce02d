"""Small servers that answer as ConsDB and the logs of an observatory do, over real tables."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.servers import find_free_port

SCHEMA: dict[str, dict[str, list[str | None]]] = {
    "cdb_lsstcam.exposure": {
        "exposure_id": ["BIGINT", "Unique identifier"], "obs_start": ["TIMESTAMP", "Start, TAI"],
        "band": ["VARCHAR(32)", "Band"], "airmass": ["DOUBLE PRECISION", None],
        "day_obs": ["INTEGER", ""], "seq_num": ["INTEGER", ""],
    },
    "cdb_lsstcam.exposure_quicklook": {
        "exposure_id": ["BIGINT", ""], "psf_sigma_median": ["DOUBLE PRECISION", "PSF sigma"],
    },
}  # fmt: skip


def create_consdb_tables(rows: int) -> sqlite3.Connection:
    """Exposures a minute apart from 2023-07-28T12:00:37 TAI, and what was measured of them."""
    connection = sqlite3.connect(":memory:")
    connection.execute("ATTACH ':memory:' AS cdb_lsstcam")
    for table, columns in SCHEMA.items():
        connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
    for n in range(rows):
        start = f"2023-07-28T12:{n:02d}:37.000000"
        connection.execute(
            "INSERT INTO cdb_lsstcam.exposure VALUES (?, ?, ?, ?, 20230728, ?)",
            (n, start, "r" if n % 2 else "g", 1 + n / 10 if n != 3 else None, n),
        )
        connection.execute(
            "INSERT INTO cdb_lsstcam.exposure_quicklook VALUES (?, ?)", (n, 2 + n / 10)
        )
    return connection


@asynccontextmanager
async def serve_application(application: web.Application) -> AsyncIterator[str]:
    """Its address while it runs."""
    runner = web.AppRunner(application)
    await runner.setup()
    port = find_free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def run_consdb(rows: int = 10, statements: list[str] | None = None) -> AsyncIterator[str]:
    """ConsDB as its HTTP service answers; statements are carried out by SQLite."""
    connection = create_consdb_tables(rows)

    async def handle_query(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer t0ken":
            return web.json_response({"message": "who are you"}, status=401)
        statement = (await request.json())["query"]
        if statements is not None:
            statements.append(statement)
        try:
            cursor = connection.execute(statement)
        except sqlite3.Error as error:
            return web.json_response({"message": str(error)}, status=500)
        names = [column[0] for column in cursor.description]
        return web.json_response({"columns": names, "data": [list(row) for row in cursor]})

    async def list_instruments(request: web.Request) -> web.Response:
        return web.json_response(["lsstcam"])

    async def list_tables(request: web.Request) -> web.Response:
        return web.json_response(list(SCHEMA))

    async def list_columns(request: web.Request) -> web.Response:
        return web.json_response(SCHEMA[request.match_info["table"]])

    application = web.Application()
    application.router.add_post("/consdb/query", handle_query)
    application.router.add_get("/consdb/schema", list_instruments)
    application.router.add_get("/consdb/schema/{instrument}", list_tables)
    application.router.add_get("/consdb/schema/{instrument}/{table}", list_columns)
    async with serve_application(application) as address:
        yield f"{address}/consdb"


def create_message(n: int, **changes: Any) -> dict[str, Any]:
    """The n-th message, a minute after the one before, TAI."""
    return {
        "id": f"id-{n}", "site_id": "summit", "message_text": f"note {n}", "level": 20 + n % 2,
        "tags": ["cloud"], "urls": [], "user_id": "ana", "user_agent": "LOVE", "is_human": True,
        "is_valid": True, "date_added": f"2023-07-28T{12 + n // 60}:{n % 60:02d}:37.000000",
        "date_invalidated": None, "parent_id": None, **changes,
    }  # fmt: skip


@asynccontextmanager
async def run_log(messages: list[dict[str, Any]]) -> AsyncIterator[str]:
    """A log as its HTTP service answers, with its filters, orders and pages."""

    async def find_messages(request: web.Request) -> web.Response:
        parameters = request.query
        if int(parameters.get("limit", "50")) <= 1:
            return web.json_response({"detail": "limit: greater than 1"}, status=422)
        assert not re.search(r"[Z+]", parameters["min_date_added"])
        matches = [
            entry for entry in messages
            if parameters["min_date_added"] <= entry["date_added"] < parameters["max_date_added"]
        ]  # fmt: skip
        matches.sort(
            key=lambda entry: entry["date_added"], reverse=parameters["order_by"].startswith("-")
        )
        first = int(parameters.get("offset", "0"))
        return web.json_response(matches[first : first + int(parameters["limit"])])

    async def read_configuration(request: web.Request) -> web.Response:
        return web.json_response({"site_id": "summit"})

    application = web.Application()
    application.router.add_get("/messages", find_messages)
    application.router.add_get("/configuration", read_configuration)
    async with serve_application(application) as address:
        yield address
