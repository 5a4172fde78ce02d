"""SQL over the ledger's views, on both databases: what is answered, and what never is."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from catcher.model.commit import Commit
from catcher.model.problem import CatcherError, Unknown
from catcher.model.result import Metric
from catcher.model.time import SECOND
from catcher.stores import ledger_sql
from catcher.stores.ledger_sql import LedgerSql, checked
from catcher.stores.ledger_views import VIEWS
from tests.stores.making import (
    LEDGER_URL,
    NOON,
    alert_at,
    commit_of,
    done,
    firing_at,
    ledger_at,
    notice_of,
    pending,
)

PATIENCE = 10 * SECOND


async def filled(folder: Path) -> LedgerSql:
    """Three exposures with their runs, an alert with a notice."""
    async with ledger_at(folder) as ledger:
        for number in range(3):
            firing = firing_at(NOON + number * SECOND + 123_456_000)
            await ledger.commit(commit_of(firing))
            metrics = {"rms": Metric(0.1 * (number + 1), "arcsec", {"band": "rgi"[number]}),
                       "lost": Metric(None, reason="50% cloud: 'x'")}  # fmt: skip
            run = done(pending(firing), f"MC_{number}", **metrics)
            await ledger.commit(Commit(finished=(run,)))
        alert = alert_at(NOON)
        await ledger.commit(Commit(alerts=(alert,), notices=(notice_of(alert),)))
    told = folder / LEDGER_URL
    return LedgerSql(told.read_text() if told.exists() else f"sqlite:///{folder / 'ledger.db'}")


async def test_the_same_statements_have_the_same_answers(
    tmp_path: Path, either_database: str
) -> None:
    sql = await filled(tmp_path)

    async def ask(statement: str) -> list[list[object]]:
        return [list(row) for row in (await sql.ask(statement, 100, PATIENCE)).rows]

    assert await ask(
        "SELECT name, ROUND(value, 1), time, labels ->> 'band' FROM metrics "
        "WHERE name = 'rms' ORDER BY ns DESC LIMIT 2"
    ) == [
        ["rms", 0.3, "2023-07-28T12:00:02.123456Z", "i"],
        ["rms", 0.2, "2023-07-28T12:00:01.123456Z", "g"],
    ]
    assert await ask(
        "SELECT r.observation, count(*) FROM runs r JOIN metrics m ON m.run = r.id "
        "WHERE r.ns >= instant('2023-07-28T12:00:01Z') GROUP BY 1 ORDER BY 1"
    ) == [["MC_1", 2], ["MC_2", 2]]
    assert await ask(
        "WITH w AS (SELECT observation, value FROM metrics WHERE value IS NOT NULL) "
        "SELECT observation, value - LAG(value) OVER (ORDER BY observation) > 0 FROM w "
        "ORDER BY observation LIMIT 1 OFFSET 2"
    ) in ([["MC_2", True]], [["MC_2", 1]])
    clouded = "SELECT DISTINCT reason FROM metrics WHERE reason LIKE '%50% cloud: ''x%'"
    assert await ask(clouded) == [["50% cloud: 'x'"]]
    labels = "SELECT labels, count(*) FROM metrics WHERE name = 'rms' GROUP BY labels ORDER BY 1"
    assert await ask(labels) == [[f'{{"band":"{band}"}}', 1] for band in "gir"]
    assert await ask("SELECT severity, max_severity, state FROM alerts") == [
        ["serious", "serious", "firing"]
    ]
    assert await ask("SELECT places, over FROM fields LIMIT 1") == [[2, "amp"]]
    assert await ask("SELECT 1 UNION ALL SELECT 2") == [[1], [2]]
    assert await ask("SELECT CASE WHEN 1 < 2 THEN 'a' END, CAST('3' AS INT)") == [["a", 3]]


async def test_every_view_says_what_its_table_holds(tmp_path: Path, either_database: str) -> None:
    sql = await filled(tmp_path)
    for view in VIEWS.values():
        answer = await sql.ask(f"SELECT * FROM {view.name}", 100, PATIENCE)
        assert list(answer.names) == [one.name for one in view.columns]
        assert bool(answer.rows) == (view.name != "observations"), view.name


async def test_rows_and_time_are_limited(
    tmp_path: Path, either_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = await filled(tmp_path)
    answer = await sql.ask("SELECT id FROM runs", 2, PATIENCE)
    assert (len(answer.rows), answer.cut) == (2, True)
    answer = await sql.ask("SELECT id FROM runs", 3, PATIENCE)
    assert (len(answer.rows), answer.cut) == (3, False)
    twice = await sql.ask("SELECT m.name, r.rule, m.rule FROM metrics m, runs r", 1, PATIENCE)
    assert list(twice.names) == ["name", "rule", "rule_2"]
    # 6^13 rows: it would go on for days.
    many = ", ".join(f"metrics m{n}" for n in range(13))
    began = time.monotonic()
    with pytest.raises(CatcherError, match="took longer than 200ms and was ended"):
        await sql.ask(f"SELECT count(*) FROM {many}", 1, SECOND // 5)
    assert time.monotonic() - began < 60
    monkeypatch.setattr(ledger_sql, "MOST_BYTES", 100)
    with pytest.raises(CatcherError, match="ask for fewer columns or rows"):
        await sql.ask("SELECT * FROM runs", 100, PATIENCE)


async def test_a_ledger_is_asked_while_its_engine_writes(
    tmp_path: Path, either_database: str
) -> None:
    sql = await filled(tmp_path)
    async with ledger_at(tmp_path, "engine-2") as ledger:
        firing = firing_at(NOON + 60 * SECOND)
        answers = await asyncio.gather(
            *(sql.ask("SELECT count(*) FROM runs", 1, PATIENCE) for _ in range(4)),
            ledger.commit(commit_of(firing)),
        )
        assert {answer.rows[0][0] for answer in answers[:4]} <= {3, 4}  # type: ignore[union-attr]
        assert (await sql.ask("SELECT count(*) FROM runs", 1, PATIENCE)).rows == [[4]]


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
        checked(statement, dialect)


async def test_sqlite_itself_refuses_what_no_view_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the reading of statements at fault, the database would still say no."""
    sql = await filled(tmp_path)
    monkeypatch.setattr(ledger_sql, "checked", lambda statement, dialect: statement)
    for statement in (
        "SELECT fields FROM inbox", "SELECT body FROM notices_missing", "DELETE FROM runs",
        "SELECT sql FROM sqlite_master", "ATTACH DATABASE ':memory:' AS x",
        "PRAGMA user_version = 3", "CREATE TEMP TABLE x (a)",
    ):  # fmt: skip
        with pytest.raises(CatcherError):
            await sql.ask(statement, 10, PATIENCE)
    async with ledger_at(tmp_path, "engine-3") as ledger:
        assert len(await ledger.unfinished()) == 0


@pytest.mark.server
async def test_postgresql_itself_writes_nothing(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LEDGER_URL).write_text(postgres_url)
    sql = await filled(tmp_path)
    monkeypatch.setattr(ledger_sql, "checked", lambda statement, dialect: statement)
    for statement in ("DELETE FROM runs", "CREATE TABLE x (a int)", "DROP TABLE runs CASCADE"):
        with pytest.raises(CatcherError, match=r"refused|read-only"):
            await sql.ask(statement, 10, PATIENCE)
    assert (await sql.ask("SELECT count(*) FROM runs", 1, PATIENCE)).rows == [[3]]


async def test_what_is_not_there_is_named(tmp_path: Path, either_database: str) -> None:
    sql = await filled(tmp_path)
    with pytest.raises(Unknown, match="did you mean metrics"):
        await sql.ask("SELECT value FROM metric", 1, PATIENCE)
    with pytest.raises(Unknown, match=r"cannot be answered: .*valu"):
        await sql.ask("SELECT valu FROM metrics", 1, PATIENCE)


def test_without_a_ledger_nothing_is_made(tmp_path: Path) -> None:
    sql = LedgerSql(f"sqlite:///{tmp_path / 'ledger.db'}")
    with pytest.raises(CatcherError, match="there is no ledger to ask yet"):
        asyncio.run(sql.ask("SELECT 1", 1, PATIENCE))
    assert list(tmp_path.iterdir()) == []
