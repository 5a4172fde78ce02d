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

from catcher.model.errors import CatcherError
from catcher.model.time import MILLISECOND
from catcher.ports import Query, StoreUnavailable
from catcher.stores.ledger import connect, migrations, schema
from catcher.stores.ledger import schema as schema_columns
from catcher.stores.ledger.ledger import SqlLedger
from tests.stores.factories import (
    NOON,
    FakeClock,
    create_commit,
    create_firing,
    list_ids,
    open_ledger,
)


async def expect_open_error(ledger: SqlLedger, message: str) -> CatcherError:
    with pytest.raises(CatcherError, match=message) as error_info:
        async with ledger:
            pass
    return error_info.value


@contextmanager
def connect_in_memory() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_the_migrations_lead_to_the_tables_of_this_version() -> None:
    with connect_in_memory() as connection:
        connect.run_migrations(connection)
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema_columns.metadata) == []
        assert context.get_current_revision() == schema.VERSION
        migrated = _read_schema(connection)
    with connect_in_memory() as connection:
        connect.upgrade_schema(connection, "")
        assert MigrationContext.configure(connection).get_current_revision() == schema.VERSION
        assert _read_schema(connection) == migrated


def _read_schema(connection: Connection) -> dict[str, object]:
    """What comparing the metadata leaves out: defaults, primary and foreign keys, by table."""
    inspector = inspect(connection)
    return {
        name: (
            {column["name"]: column["default"] for column in inspector.get_columns(name)},
            inspector.get_pk_constraint(name),
            inspector.get_foreign_keys(name),
        )
        for name in inspector.get_table_names()
    }


def test_the_version_is_that_of_the_last_migration() -> None:
    (folder,) = migrations.__path__
    assert ScriptDirectory(folder).get_heads() == [schema.VERSION]


async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.write_bytes(b"Dear diary, " * 1000)
    error = await expect_open_error(open_ledger(tmp_path), "damaged or no ledger")
    assert "move the file away" in error.hint
    assert file.read_bytes() == b"Dear diary, " * 1000


async def test_a_database_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE runs (mine TEXT)")
    before = file.read_bytes()
    error = await expect_open_error(open_ledger(tmp_path), "a database of something else")
    assert "file or a database of its own" in error.hint
    assert file.read_bytes() == before


async def test_a_ledger_of_a_newer_catcher_is_left_as_it_is(tmp_path: Path) -> None:
    async with open_ledger(tmp_path):
        pass
    file = tmp_path / "ledger.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = file.read_bytes()
    error = await expect_open_error(open_ledger(tmp_path), "written by a newer Catcher")
    assert "upgrade Catcher" in error.hint
    assert file.read_bytes() == before


async def test_a_truncated_ledger_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    async with open_ledger(tmp_path) as ledger:
        await ledger.commit(create_commit(*(create_firing(NOON + n) for n in range(500))))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    await expect_open_error(open_ledger(tmp_path), "damaged")
    assert file.read_bytes() == content[: len(content) // 2]


async def test_a_folder_that_cannot_be_written_is_reported_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    error = await expect_open_error(open_ledger(tmp_path / "file"), "cannot be written")
    assert "--data" in error.hint


async def test_a_second_engine_on_the_same_file_is_refused(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as first:
        error = await expect_open_error(open_ledger(tmp_path, "engine-2"), "another engine")
        assert "stop that one first" in error.hint
        await first.commit(create_commit(create_firing(NOON)))
    async with open_ledger(tmp_path, "engine-2") as second:
        assert list_ids(await second.list_unfinished_runs()) == [create_firing(NOON).id]


async def test_a_reader_reads_beside_the_engine_and_writes_nothing(tmp_path: Path) -> None:
    reader = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await expect_open_error(reader, "no ledger .* yet")
    assert not (tmp_path / "ledger.db").exists()
    async with open_ledger(tmp_path) as engine, reader:
        await engine.commit(create_commit(create_firing(NOON)))
        assert list_ids(await reader.list_firings(Query())) == [create_firing(NOON).id]
        with pytest.raises(CatcherError, match="opened to read"):
            await reader.commit(create_commit(create_firing(NOON + 1)))


async def test_a_reader_does_not_touch_an_empty_file(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.touch()
    await expect_open_error(SqlLedger(f"sqlite:///{file}"), "is empty; `catcher run`")
    assert file.read_bytes() == b""


async def test_a_locked_ledger_is_unavailable_until_it_is_free_again(tmp_path: Path) -> None:
    clock = FakeClock()
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with SqlLedger(url, "engine-1", clock, lock_timeout=20 * MILLISECOND) as ledger:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as intruder:
            intruder.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked by another program"):
                await ledger.commit(create_commit(create_firing(NOON)))
            assert await ledger.list_firings(Query()) == []
            assert ledger.health().state == "away"
            assert "locked" in ledger.health().problem
            intruder.rollback()
        new = await ledger.commit(create_commit(create_firing(NOON)))
        assert list_ids(new.firings) == [create_firing(NOON).id]
        assert ledger.health().state == "ok"
    assert ledger.health().state == "ended"


@pytest.mark.parametrize(
    ("url", "message"),
    [("mysql://host/db", "cannot be kept in mysql"), ("not a url", "no database URL")],
)
def test_an_address_of_another_kind_is_refused(url: str, message: str) -> None:
    with pytest.raises(CatcherError, match=message):
        SqlLedger(url, "engine-1")


async def test_a_password_is_in_no_error_and_no_health() -> None:
    ledger = SqlLedger("postgresql://catcher:s3cret@127.0.0.1:1/catcher", "engine-1")
    error = await expect_open_error(ledger, "PostgreSQL|does not answer")
    assert "s3cret" not in str(error)
    assert "s3cret" not in repr(ledger.health())
