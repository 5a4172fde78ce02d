"""SQL over the ledger's views, on both databases: what is answered, and what never is."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from catcher.model.commit import Commit
from catcher.model.errors import CatcherError, NotFound
from catcher.model.result import Metric
from catcher.model.time import SECOND
from catcher.stores.ledger import readonly_sql
from catcher.stores.ledger.readonly_sql import LedgerSql, validate_statement
from catcher.stores.ledger.sql_views import VIEWS
from tests.stores.factories import (
    LEDGER_URL_FILE,
    NOON,
    create_alert,
    create_commit,
    create_firing,
    create_notification,
    create_run,
    finish_run,
    open_ledger,
)

TIMEOUT = 10 * SECOND


async def create_filled_ledger(folder: Path) -> LedgerSql:
    """Three exposures with their runs, an alert with a notice."""
    async with open_ledger(folder) as ledger:
        for number in range(3):
            firing = create_firing(NOON + number * SECOND + 123_456_000)
            await ledger.commit(create_commit(firing))
            metrics = {"rms": Metric(0.1 * (number + 1), "arcsec", {"band": "rgi"[number]}),
                       "lost": Metric(None, reason="50% cloud: 'x'")}  # fmt: skip
            run = finish_run(create_run(firing), f"MC_{number}", **metrics)
            await ledger.commit(Commit(finished=(run,)))
        alert = create_alert(NOON)
        await ledger.commit(Commit(alerts=(alert,), notices=(create_notification(alert),)))
    url_file = folder / LEDGER_URL_FILE
    return LedgerSql(
        url_file.read_text() if url_file.exists() else f"sqlite:///{folder / 'ledger.db'}"
    )


async def test_the_same_statements_have_the_same_answers(
    tmp_path: Path, either_database: str
) -> None:
    sql = await create_filled_ledger(tmp_path)

    async def run_sql(statement: str) -> list[list[object]]:
        return [list(row) for row in (await sql.query(statement, 100, TIMEOUT)).rows]

    assert await run_sql(
        "SELECT name, ROUND(value, 1), time, labels ->> 'band' FROM metrics "
        "WHERE name = 'rms' ORDER BY ns DESC LIMIT 2"
    ) == [
        ["rms", 0.3, "2023-07-28T12:00:02.123456Z", "i"],
        ["rms", 0.2, "2023-07-28T12:00:01.123456Z", "g"],
    ]
    assert await run_sql(
        "SELECT r.observation, count(*) FROM runs r JOIN metrics m ON m.run = r.id "
        "WHERE r.ns >= instant('2023-07-28T12:00:01Z') GROUP BY 1 ORDER BY 1"
    ) == [["MC_1", 2], ["MC_2", 2]]
    assert await run_sql(
        "WITH w AS (SELECT observation, value FROM metrics WHERE value IS NOT NULL) "
        "SELECT observation, value - LAG(value) OVER (ORDER BY observation) > 0 FROM w "
        "ORDER BY observation LIMIT 1 OFFSET 2"
    ) in ([["MC_2", True]], [["MC_2", 1]])
    by_reason = "SELECT DISTINCT reason FROM metrics WHERE reason LIKE '%50% cloud: ''x%'"
    assert await run_sql(by_reason) == [["50% cloud: 'x'"]]
    labels = "SELECT labels, count(*) FROM metrics WHERE name = 'rms' GROUP BY labels ORDER BY 1"
    assert await run_sql(labels) == [[f'{{"band":"{band}"}}', 1] for band in "gir"]
    assert await run_sql("SELECT severity, max_severity, state FROM alerts") == [
        ["serious", "serious", "firing"]
    ]
    assert await run_sql("SELECT places, over FROM fields LIMIT 1") == [[2, "amp"]]
    assert await run_sql("SELECT 1 UNION ALL SELECT 2") == [[1], [2]]
    assert await run_sql("SELECT CASE WHEN 1 < 2 THEN 'a' END, CAST('3' AS INT)") == [["a", 3]]


async def test_every_view_shows_what_its_table_has(tmp_path: Path, either_database: str) -> None:
    sql = await create_filled_ledger(tmp_path)
    for view in VIEWS.values():
        result = await sql.query(f"SELECT * FROM {view.name}", 100, TIMEOUT)
        assert list(result.names) == [column.name for column in view.columns]
        assert bool(result.rows) == (view.name != "observations"), view.name


async def test_rows_and_time_are_limited(
    tmp_path: Path, either_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = await create_filled_ledger(tmp_path)
    result = await sql.query("SELECT id FROM runs", 2, TIMEOUT)
    assert (len(result.rows), result.cut) == (2, True)
    result = await sql.query("SELECT id FROM runs", 3, TIMEOUT)
    assert (len(result.rows), result.cut) == (3, False)
    duplicated = await sql.query("SELECT m.name, r.rule, m.rule FROM metrics m, runs r", 1, TIMEOUT)
    assert list(duplicated.names) == ["name", "rule", "rule_2"]
    # 6^13 rows: it would go on for days.
    join_list = ", ".join(f"metrics m{n}" for n in range(13))
    started = time.monotonic()
    with pytest.raises(CatcherError, match="took longer than 200ms and was ended"):
        await sql.query(f"SELECT count(*) FROM {join_list}", 1, SECOND // 5)
    assert time.monotonic() - started < 60
    monkeypatch.setattr(readonly_sql, "MAX_RESULT_BYTES", 100)
    with pytest.raises(CatcherError, match="ask for fewer columns or rows"):
        await sql.query("SELECT * FROM runs", 100, TIMEOUT)


async def test_a_ledger_is_queried_while_its_engine_writes(
    tmp_path: Path, either_database: str
) -> None:
    sql = await create_filled_ledger(tmp_path)
    async with open_ledger(tmp_path, "engine-2") as ledger:
        firing = create_firing(NOON + 60 * SECOND)
        results = await asyncio.gather(
            *(sql.query("SELECT count(*) FROM runs", 1, TIMEOUT) for _ in range(4)),
            ledger.commit(create_commit(firing)),
        )
        assert {result.rows[0][0] for result in results[:4]} <= {3, 4}  # type: ignore[union-attr]
        assert (await sql.query("SELECT count(*) FROM runs", 1, TIMEOUT)).rows == [[4]]


FORBIDDEN = [
    "DELETE FROM runs", "UPDATE runs SET state = 'done'", "INSERT INTO runs VALUES (1)",
    "DROP TABLE runs", "CREATE TABLE x (a int)", "ALTER TABLE runs ADD x int", "VACUUM",
    "ATTACH DATABASE '/tmp/x' AS x", "PRAGMA writable_schema = 1", "COPY runs TO '/tmp/x'",
    "SELECT 1; DELETE FROM runs", "SELECT 1;;SELECT 2", "EXPLAIN SELECT 1", "",
    "SELECT * INTO x FROM runs", "SELECT * FROM runs FOR UPDATE", "SELECT * FROM inbox",
    "SELECT * FROM main.runs", "SELECT * FROM public.runs", "SELECT * FROM sqlite_master",
    "SELECT * FROM pg_catalog.pg_user", "SELECT * FROM information_schema.tables",
    "SELECT pg_sleep(10)", "SELECT pg_read_file('/etc/passwd')", "SELECT load_extension('x')",
    "SELECT set_config('role', 'x', false)", "SELECT query_to_xml('SELECT 1', true, true, '')",
    "SELECT * FROM pg_read_file('/etc/passwd')", "SELECT * FROM generate_series(1, 1000000000)",
    "SELECT readfile('/etc/passwd')", "SELECT randomblob(1000000000)", "SELECT current_user",
    "SELECT session_user", "SELECT current_setting('data_directory')", "SELECT version()",
    "SELECT lo_import('/etc/passwd')", "SELECT nextval('x')", "SELECT 'pg_user'::regclass",
    "WITH RECURSIVE x AS (SELECT 1 UNION ALL SELECT 1 FROM x) SELECT * FROM x",
    "WITH runs AS (SELECT 1) SELECT * FROM runs", "WITH x AS (DELETE FROM runs) SELECT 1",
    "SELECT * FROM runs TABLESAMPLE SYSTEM (1)", "SELECT $1", "SELECT ?", "SELECT :x",
    "SELECT * FROM LATERAL (SELECT 1) x", "SELECT instant(ns) FROM runs",
    "SELECT instant('never')", "SELECT repeat('x', 1000000000)", "SELECT (",
    "SELECT '" + "x" * 30_000 + "'", "SELECT " + "(" * 3000 + "1" + ")" * 3000, "\0", "SELECT \0",
]  # fmt: skip


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize("statement", FORBIDDEN, ids=lambda text: text[:40])
def test_nothing_else_is_answered(statement: str, dialect: str) -> None:
    with pytest.raises(CatcherError):
        validate_statement(statement, dialect)


async def test_sqlite_itself_refuses_what_no_view_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the reading of statements at fault, the database would still say no."""
    sql = await create_filled_ledger(tmp_path)
    monkeypatch.setattr(readonly_sql, "validate_statement", lambda statement, dialect: statement)
    for statement in (
        "SELECT fields FROM inbox", "SELECT body FROM notices_missing", "DELETE FROM runs",
        "SELECT sql FROM sqlite_master", "ATTACH DATABASE ':memory:' AS x",
        "PRAGMA user_version = 3", "CREATE TEMP TABLE x (a)",
    ):  # fmt: skip
        with pytest.raises(CatcherError):
            await sql.query(statement, 10, TIMEOUT)
    async with open_ledger(tmp_path, "engine-3") as ledger:
        assert len(await ledger.list_unfinished_runs()) == 0


@pytest.mark.server
async def test_postgresql_itself_writes_nothing(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LEDGER_URL_FILE).write_text(postgres_url)
    sql = await create_filled_ledger(tmp_path)
    monkeypatch.setattr(readonly_sql, "validate_statement", lambda statement, dialect: statement)
    for statement in ("DELETE FROM runs", "CREATE TABLE x (a int)", "DROP TABLE runs CASCADE"):
        with pytest.raises(CatcherError, match=r"refused|read-only"):
            await sql.query(statement, 10, TIMEOUT)
    assert (await sql.query("SELECT count(*) FROM runs", 1, TIMEOUT)).rows == [[3]]


async def test_what_is_not_there_is_named(tmp_path: Path, either_database: str) -> None:
    sql = await create_filled_ledger(tmp_path)
    with pytest.raises(NotFound, match="did you mean metrics"):
        await sql.query("SELECT value FROM metric", 1, TIMEOUT)
    with pytest.raises(NotFound, match=r"cannot be answered: .*valu"):
        await sql.query("SELECT valu FROM metrics", 1, TIMEOUT)


def test_without_a_ledger_nothing_is_created(tmp_path: Path) -> None:
    sql = LedgerSql(f"sqlite:///{tmp_path / 'ledger.db'}")
    with pytest.raises(CatcherError, match="there is no ledger to ask yet"):
        asyncio.run(sql.query("SELECT 1", 1, TIMEOUT))
    assert list(tmp_path.iterdir()) == []
