"""A file that is no ledger, is damaged, is too new or is in use is told from one that serves."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect

from catcher.model.problem import CatcherError
from catcher.model.time import MILLISECOND
from catcher.ports import Query, StoreAway
from catcher.stores import ledger_opening, migrations, schema, schema_columns
from catcher.stores.ledger import SqlLedger
from tests.stores.making import NOON, FakeClock, commit_of, firing_at, ids, ledger_at


async def opening_fails(ledger: SqlLedger, words: str) -> CatcherError:
    with pytest.raises(CatcherError, match=words) as caught:
        async with ledger:
            pass
    return caught.value


@contextmanager
def connected() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_the_migrations_lead_to_the_tables_of_this_version() -> None:
    with connected() as connection:
        ledger_opening.migrate(connection)
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema_columns.metadata) == []
        assert context.get_current_revision() == schema.VERSION
        migrated = _details(connection)
    with connected() as connection:
        ledger_opening.upgrade(connection, "")
        assert MigrationContext.configure(connection).get_current_revision() == schema.VERSION
        assert _details(connection) == migrated


def _details(connection: Connection) -> dict[str, object]:
    """What comparing the metadata leaves out: defaults, primary and foreign keys, by table."""
    seen = inspect(connection)
    return {
        name: (
            {column["name"]: column["default"] for column in seen.get_columns(name)},
            seen.get_pk_constraint(name),
            seen.get_foreign_keys(name),
        )
        for name in seen.get_table_names()
    }


def test_the_version_is_that_of_the_last_migration() -> None:
    (folder,) = migrations.__path__
    assert ScriptDirectory(folder).get_heads() == [schema.VERSION]


async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.write_bytes(b"Dear diary, " * 1000)
    error = await opening_fails(ledger_at(tmp_path), "damaged or no ledger")
    assert "move the file away" in error.hint
    assert file.read_bytes() == b"Dear diary, " * 1000


async def test_a_database_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE runs (mine TEXT)")
    before = file.read_bytes()
    error = await opening_fails(ledger_at(tmp_path), "a database of something else")
    assert "file or a database of its own" in error.hint
    assert file.read_bytes() == before


async def test_a_ledger_of_a_newer_catcher_is_left_as_it_is(tmp_path: Path) -> None:
    async with ledger_at(tmp_path):
        pass
    file = tmp_path / "ledger.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
        other.commit()
    before = file.read_bytes()
    error = await opening_fails(ledger_at(tmp_path), "written by a newer Catcher")
    assert "upgrade Catcher" in error.hint
    assert file.read_bytes() == before


async def test_a_ledger_cut_short_is_told_so(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    async with ledger_at(tmp_path) as ledger:
        await ledger.commit(commit_of(*(firing_at(NOON + n) for n in range(500))))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    await opening_fails(ledger_at(tmp_path), "damaged")
    assert file.read_bytes() == whole[: len(whole) // 2]


async def test_a_folder_that_cannot_be_written_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    error = await opening_fails(ledger_at(tmp_path / "file"), "cannot be written")
    assert "--data" in error.hint


async def test_a_second_engine_on_the_same_file_is_turned_away(tmp_path: Path) -> None:
    async with ledger_at(tmp_path) as first:
        error = await opening_fails(ledger_at(tmp_path, "engine-2"), "another engine")
        assert "stop that one first" in error.hint
        await first.commit(commit_of(firing_at(NOON)))
    async with ledger_at(tmp_path, "engine-2") as second:
        assert ids(await second.unfinished()) == [firing_at(NOON).id]


async def test_a_visitor_reads_beside_the_engine_and_writes_nothing(tmp_path: Path) -> None:
    visitor = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await opening_fails(visitor, "no ledger .* yet")
    assert not (tmp_path / "ledger.db").exists()
    async with ledger_at(tmp_path) as engine, visitor:
        await engine.commit(commit_of(firing_at(NOON)))
        assert ids(await visitor.firings(Query())) == [firing_at(NOON).id]
        with pytest.raises(CatcherError, match="opened to read"):
            await visitor.commit(commit_of(firing_at(NOON + 1)))


async def test_a_visitor_does_not_touch_an_empty_file(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.touch()
    await opening_fails(SqlLedger(f"sqlite:///{file}"), "is empty; `catcher run`")
    assert file.read_bytes() == b""


async def test_a_locked_ledger_is_away_until_it_is_free_again(tmp_path: Path) -> None:
    clock = FakeClock()
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with SqlLedger(url, "engine-1", clock, patience=20 * MILLISECOND) as ledger:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreAway, match="locked by another program"):
                await ledger.commit(commit_of(firing_at(NOON)))
            assert await ledger.firings(Query()) == []
            assert ledger.health().state == "away"
            assert "locked" in ledger.health().problem
            other.rollback()
        new = await ledger.commit(commit_of(firing_at(NOON)))
        assert ids(new.firings) == [firing_at(NOON).id]
        assert ledger.health().state == "ok"
    assert ledger.health().state == "ended"


@pytest.mark.parametrize(
    ("url", "words"),
    [("mysql://host/db", "cannot be kept in mysql"), ("not a url", "no database URL")],
)
def test_an_address_of_another_kind_is_refused(url: str, words: str) -> None:
    with pytest.raises(CatcherError, match=words):
        SqlLedger(url, "engine-1")


async def test_a_password_is_in_no_error_and_no_health() -> None:
    ledger = SqlLedger("postgresql://catcher:s3cret@127.0.0.1:1/catcher", "engine-1")
    error = await opening_fails(ledger, "PostgreSQL|does not answer")
    assert "s3cret" not in str(error)
    assert "s3cret" not in repr(ledger.health())
