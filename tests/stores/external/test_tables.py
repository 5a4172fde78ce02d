"""Rows of other services are read as telemetry: ConsDB, logs, a scheduler's database."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from aiohttp import web

from catcher.model.errors import CatcherError, NotFound
from catcher.model.event import Event
from catcher.model.telemetry import PushdownPredicate
from catcher.model.time import MINUTE, SECOND
from catcher.ports import StoreUnavailable
from catcher.stores.external.consdb import ConsDb, ConsDbSettings
from catcher.stores.external.rubin_logs import LogSettings, RubinLogTable
from catcher.stores.external.sql_database import DatabaseSettings, SqlDatabaseTables
from catcher.stores.external.tables import (
    ExternalTableClient,
    ExternalTableHistory,
    NamespacedHistory,
)
from catcher.stores.history.embedded import EmbeddedHistory
from tests.servers import find_free_port
from tests.stores.external.fake_servers import (
    create_message,
    run_consdb,
    run_log,
    serve_application,
)
from tests.stores.factories import NOON, FakeClock

EXPOSURE = "cdb.cdb_lsstcam.exposure"
QUICKLOOK = "cdb.cdb_lsstcam.exposure_quicklook"


@asynccontextmanager
async def open_history(
    name: str, tables: ExternalTableClient
) -> AsyncIterator[ExternalTableHistory]:
    async with ExternalTableHistory(name, tables, FakeClock(NOON + 60 * MINUTE)) as history:
        yield history


async def test_exposures_of_consdb_are_a_topic_with_their_times_in_utc() -> None:
    async with (
        run_consdb() as url,
        open_history("cdb", ConsDb(ConsDbSettings(url, "t0ken"))) as records,
    ):
        assert await records.list_topics() == [EXPOSURE, QUICKLOOK]
        fields = {field.name: field for field in await records.list_fields(EXPOSURE)}
        assert (fields["airmass"].type, fields["band"].type) == ("float", "string")
        assert fields["exposure_id"].about == "Unique identifier"
        span = (NOON + 2 * MINUTE, NOON + 4 * MINUTE)
        series = await records.read(EXPOSURE, ["airmass", "exposure_id"], *span)
        assert series.time.tolist() == [(NOON + n * MINUTE) / SECOND for n in (2, 3, 4)]
        np.testing.assert_array_equal(series["airmass"], [1.2, np.nan, 1.4])
        assert series["exposure_id"].tolist() == [2.0, 3.0, 4.0]
        red = await records.read(EXPOSURE, [], 0, 2**62, lambda row: row["band"] == "r")
        assert red["seq_num"].tolist() == [1.0, 3.0, 5.0, 7.0, 9.0]
        newest = await records.read_latest(EXPOSURE, ["seq_num"], 2)
        assert newest["seq_num"].tolist() == [8.0, 9.0]
        assert await records.find_latest_time(EXPOSURE) == NOON + 9 * MINUTE
        events = [event async for batch in records.read_events(EXPOSURE, *span) for event in batch]
        assert [event.fields["band"] for event in events] == ["g", "r", "g"]


async def test_a_table_without_a_time_is_joined_with_its_exposure() -> None:
    async with (
        run_consdb() as url,
        open_history("cdb", ConsDb(ConsDbSettings(url, "t0ken"))) as records,
    ):
        series = await records.read(QUICKLOOK, ["psf_sigma_median"], NOON, NOON + 2 * MINUTE)
        assert series["psf_sigma_median"].tolist() == [2.0, 2.1, 2.2]


async def test_names_of_consdb_cannot_be_used_to_ask_for_something_else() -> None:
    statements: list[str] = []
    settings = ConsDbSettings("http://x", "t0ken")
    async with (
        run_consdb(3, statements) as url,
        open_history("cdb", ConsDb(replace(settings, url=url))) as records,
    ):
        for topic in ('cdb.x"; DROP TABLE y; --', "cdb.cdb_lsstcam.expossure", "cdb."):
            with pytest.raises(NotFound, match="no topic"):
                await records.read(topic, [], 0, 1)
        with pytest.raises(NotFound, match="no field 'air mass'; did you mean airmass"):
            await records.read(EXPOSURE, ["air mass"], 0, 1)
        with pytest.raises(NotFound):
            await records.read(EXPOSURE, ['x" FROM y; --'], 0, 1)
    assert statements == []


async def test_a_wrong_token_and_an_unavailable_service_are_reported() -> None:
    async with (
        run_consdb() as url,
        open_history("cdb", ConsDb(ConsDbSettings(url, "wrong"))) as records,
    ):
        with pytest.raises(StoreUnavailable, match=r"refused the credentials: .*see to `token`"):
            await records.read(EXPOSURE, [], 0, 1)
        assert records.health().state == "away"
    unavailable = ConsDbSettings(f"http://127.0.0.1:{find_free_port()}/consdb")
    async with open_history("cdb", ConsDb(unavailable)) as records:
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await records.list_topics()


@pytest.mark.parametrize(
    "body", ["<html>", '{"columns": ["a"]}', "[1", '{"columns": [], "data": [[1]]}']
)
async def test_nonsense_is_no_answer(body: str) -> None:
    async def send_nonsense(request: web.Request) -> web.Response:
        if request.path.endswith("/query"):
            return web.Response(text=body)
        table = request.path.count("/") > 2
        return web.json_response({"obs_start": ["TIMESTAMP", ""]} if table else ["exposure"])

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", send_nonsense)
    async with (
        serve_application(application) as url,
        open_history("cdb", ConsDb(ConsDbSettings(url))) as records,
    ):
        with pytest.raises(StoreUnavailable, match="not its own; nothing of it was used"):
            await records.read("cdb.exposure", [], 0, 1)


async def test_the_exposure_log_is_read_page_by_page() -> None:
    messages = [create_message(n, obs_id=f"MC_{n}", exposure_flag="junk" if n == 5 else "none")
             for n in range(180)]  # fmt: skip
    async with (
        run_log(messages) as url,
        open_history("exp", RubinLogTable(LogSettings(url), "exposurelog")) as records,
    ):
        assert await records.list_topics() == ["exp.messages"]
        span = (NOON + MINUTE, NOON + 170 * MINUTE)
        events = [
            event async for batch in records.read_events("exp.messages", *span) for event in batch
        ]
        assert [event.time for event in events] == [NOON + n * MINUTE for n in range(1, 171)]
        assert events[4].fields["exposure_flag"] == "junk"
        junk = PushdownPredicate(
            lambda row: row["exposure_flag"] == "junk", {}, frozenset({"exposure_flag"})
        )
        series = await records.read("exp.messages", ["level"], 0, NOON + 200 * MINUTE, junk)
        assert (len(series), series["level"].tolist()) == (1, [21.0])
        assert await records.find_latest_time("exp.messages") == NOON + 60 * MINUTE


async def test_more_than_a_page_of_messages_is_no_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catcher.stores.external.rubin_logs.PAGE_SIZE", 7)
    async with (
        run_log([create_message(n) for n in range(30)]) as url,
        open_history("night", RubinLogTable(LogSettings(url), "narrativelog")) as records,
    ):
        series = await records.read("night.messages", ["level"], 0, 2**62)
        assert len(series) == 30
        fields = {field.name: field for field in await records.list_fields("night.messages")}
        assert fields["time_lost"].unit == "h"


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def create_scheduler_database(path: Path) -> str:
    """The observations of a scheduler as its simulations write them."""
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE observations (observationId INTEGER, observationStartMJD REAL, "
            "airmass DOUBLE, filter TEXT)"
        )
        connection.execute("CREATE TABLE info (parameter TEXT, value TEXT)")
        for n in range(5):
            mjd = 60153.5 + (37 + 60 * n) / 86400
            connection.execute(
                "INSERT INTO observations VALUES (?, ?, ?, 'r')", (n, mjd, 1 + n / 10)
            )
    connection.close()
    return f"sqlite:///{path}"


async def test_a_schedulers_database_is_read_and_never_written(tmp_path: Path) -> None:
    url = create_scheduler_database(tmp_path / "opsim.db")
    before = (tmp_path / "opsim.db").read_bytes()
    settings = DatabaseSettings(url, time="observationStartMJD", scale="tai")
    tables = SqlDatabaseTables(settings)
    async with open_history("sched", tables) as records:
        assert await records.list_topics() == ["sched.observations"]
        types = {
            field.name: field.type for field in await records.list_fields("sched.observations")
        }
        assert types == {"airmass": "float", "filter": "string", "observationId": "integer",
            "observationStartMJD": "float"}  # fmt: skip
        series = await records.read("sched.observations", ["airmass"], NOON, NOON + 2 * MINUTE)
        assert series["airmass"].tolist() == [1.0, 1.1, 1.2]
        np.testing.assert_allclose(series.time, NOON / SECOND + 60 * np.arange(3), atol=1e-4)
        newest = await records.read_latest("sched.observations", ["airmass"], 1)
        assert newest["airmass"].tolist() == [1.4]
        with pytest.raises(NotFound, match="no field 'airmas'; did you mean airmass"):
            await records.read("sched.observations", ["airmas"], 0, 1)
        with tables._engine.connect() as connection, pytest.raises(Exception, match="readonly"):
            connection.exec_driver_sql("DELETE FROM observations")
    assert (tmp_path / "opsim.db").read_bytes() == before
    assert list_names(tmp_path) == ["opsim.db"]


@pytest.mark.server
async def test_a_database_of_postgresql_is_read_and_never_written(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE visits (time TIMESTAMP, seeing NUMERIC, note TEXT)")
        connection.execute(
            "INSERT INTO visits SELECT timestamp '2023-07-28 12:00' + n * interval '1 minute', "
            "0.5 + n, 'fine' FROM generate_series(0, 4) AS n"
        )
    tables = SqlDatabaseTables(DatabaseSettings(postgres_url.replace("?options=", "?options=")))
    async with open_history("sched", tables) as records:
        series = await records.read("sched.visits", ["seeing"], NOON, NOON + MINUTE)
        assert (series["seeing"].tolist(), series.time[0]) == ([0.5, 1.5], NOON / SECOND)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///nowhere.db", "there is no database"),
        ("sqlite://", "there is no database"),
        ("no url", "cannot be read"),
        ("oracle+strange://h/x", "driver"),
    ],
)
def test_a_database_that_cannot_be_opened_is_reported(
    url: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CatcherError, match=message):
        SqlDatabaseTables(DatabaseSettings(url))


async def test_telemetry_and_records_are_one_history(tmp_path: Path) -> None:
    clock = FakeClock(NOON + 60 * MINUTE)
    async with run_consdb() as url, EmbeddedHistory(None, clock=clock) as live:
        await live.append([Event("wind", NOON, {"speed": 3.0})])
        good = ConsDb(ConsDbSettings(url, "t0ken"))
        bad = RubinLogTable(LogSettings(f"http://127.0.0.1:{find_free_port()}"), "exposurelog")
        async with (
            ExternalTableHistory("cdb", good, clock) as cdb,
            ExternalTableHistory("off", bad, clock) as off,
        ):
            history = NamespacedHistory(live, {"cdb": cdb, "off": off})
            await history.append([Event("wind", NOON + SECOND, {"speed": 4.0})])
            assert await history.list_topics() == [EXPOSURE, QUICKLOOK, "wind"]
            assert (await history.read("wind", ["speed"], 0, 2**62))["speed"].tolist() == [3, 4]
            assert len(await history.read(EXPOSURE, ["airmass"], NOON, NOON + MINUTE)) == 2
            assert await history.get_watermark(EXPOSURE) == clock()
            with pytest.raises(StoreUnavailable):
                await history.list_fields("off.anything")


def test_secrets_are_not_shown() -> None:
    settings: list[Any] = [
        ConsDbSettings("http://x", "s3cret"), LogSettings("http://x", "s3cret"),
        DatabaseSettings("postgresql://u:s3cret@h/x"),
    ]  # fmt: skip
    assert "s3cret" not in repr(settings)
    assert (
        "s3cret"
        not in SqlDatabaseTables(DatabaseSettings("postgresql://u:s3cret@h/x")).display_name
    )
