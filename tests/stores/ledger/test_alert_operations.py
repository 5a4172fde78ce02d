"""What the ledger keeps of the alert desk, and that the audit trail stays as it was written."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine

from catcher.model.alert import AuditEntry, Severity
from catcher.model.alert_operations import NotificationGroup, Shift, Silence
from catcher.model.commit import Commit
from catcher.model.time import HOUR
from catcher.ports import Query
from catcher.stores.ledger import migrations
from catcher.stores.ledger.ledger import SqlLedger
from tests.alerting.builders import (
    NIGHT,
    SERIOUS,
    WARNING,
    create_alert,
    create_change,
    create_rule,
    create_service,
)

SILENCE = Silence(
    "s1", "ana", "known", NIGHT, NIGHT + HOUR, "wind-*", {"place": "summit"}, Severity.SERIOUS
)
SHIFTS = (Shift("ana", NIGHT, "bo", "quiet"), Shift("bo", NIGHT + 8 * HOUR, "ana"))
GROUP = NotificationGroup(
    "group", create_alert(WARNING, "group"), ("console",), "k", 3, NIGHT, HOUR
)


async def test_silences_shifts_and_groups_come_back_as_they_were(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with SqlLedger(url, "engine") as ledger:
        await ledger.commit(Commit(silences=(SILENCE,), shifts=SHIFTS, groups=(GROUP,)))
    async with SqlLedger(url, "engine") as ledger:
        assert await ledger.list_silences(Query()) == [SILENCE]
        assert await ledger.list_shifts(Query(limit=1)) == [SHIFTS[1]]
        assert await ledger.list_shifts(Query(name="ana")) == [SHIFTS[0]]
        assert await ledger.list_groups(Query(state="active")) == [GROUP]


async def test_a_silence_that_ended_is_not_active() -> None:
    async with SqlLedger("sqlite://", "engine") as ledger:
        ended = replace(SILENCE, ended=NIGHT + 5, why="its time was over")
        await ledger.commit(Commit(silences=(SILENCE, ended)))
        assert await ledger.list_silences(Query(state="active")) == []
        assert await ledger.list_silences(Query(start=NIGHT)) == [ended]
        assert await ledger.list_silences(Query(start=NIGHT + 6)) == []


TAMPERING_STATEMENTS = (
    "UPDATE audit SET who = 'nobody'",
    "DELETE FROM audit",
    "DELETE FROM audit WHERE 1 = 1",
)
AUDIT_ENTRY = AuditEntry(NIGHT, "ana", "cli", "acknowledge", "abc", {"note": "seen"})


@pytest.mark.parametrize("statement", TAMPERING_STATEMENTS)
async def test_the_audit_trail_is_append_only(tmp_path: Path, statement: str) -> None:
    file = tmp_path / "ledger.db"
    async with SqlLedger(f"sqlite:///{file}", "engine") as ledger:
        await ledger.commit(Commit(audit=(AUDIT_ENTRY,)))
        expect_refusal = pytest.raises(sqlite3.IntegrityError, match="append only")
        with sqlite3.connect(file) as intruder, expect_refusal:
            intruder.execute(statement)
        intruder.close()
        assert await ledger.list_audit_entries(Query()) == [AUDIT_ENTRY]


@pytest.mark.server
@pytest.mark.parametrize("statement", [*TAMPERING_STATEMENTS, "TRUNCATE audit"])
async def test_the_audit_trail_is_append_only_on_a_server(
    postgres_url: str, statement: str
) -> None:
    async with SqlLedger(postgres_url, "engine") as ledger:
        await ledger.commit(Commit(audit=(AUDIT_ENTRY,)))
        with psycopg.connect(postgres_url) as intruder:
            with pytest.raises(psycopg.errors.RaiseException, match="append only"):
                intruder.execute(statement.encode())
            intruder.rollback()
        assert await ledger.list_audit_entries(Query()) == [AUDIT_ENTRY]


@pytest.mark.server
async def test_alert_operations_are_stored_on_a_server_too(postgres_url: str) -> None:
    async with SqlLedger(postgres_url, "engine") as ledger:
        ended = replace(SILENCE, ended=NIGHT + 5, why="its time was over")
        await ledger.commit(Commit(silences=(SILENCE, ended), shifts=SHIFTS, groups=(GROUP,)))
        assert await ledger.list_silences(Query()) == [ended]
        assert await ledger.list_shifts(Query(limit=1)) == [SHIFTS[1]]
        assert await ledger.list_groups(Query(state="active")) == [GROUP]


async def test_an_older_ledger_is_protected_when_it_is_migrated(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        migrate_to_version(connection, "0002")
    engine.dispose()
    async with SqlLedger(f"sqlite:///{file}", "engine") as ledger:
        await ledger.commit(Commit(audit=(AUDIT_ENTRY,), silences=(SILENCE,)))
        expect_refusal = pytest.raises(sqlite3.IntegrityError, match="append only")
        with sqlite3.connect(file) as intruder, expect_refusal:
            intruder.execute(TAMPERING_STATEMENTS[0])
        intruder.close()
        assert await ledger.list_silences(Query()) == [SILENCE]


def migrate_to_version(connection: Connection, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, version)


async def test_a_dead_letter_is_requeued() -> None:
    changes = create_service(create_rule()).apply_level_change(create_change(SERIOUS), NIGHT)
    async with SqlLedger("sqlite://", "engine") as ledger:
        await ledger.commit(Commit(alerts=changes.alerts, notices=changes.notifications))
        (notification,) = await ledger.list_undelivered_notifications()
        await ledger.record_delivery_outcome(notification, "refused", dead_letters=True)
        assert await ledger.list_undelivered_notifications() == []
        assert [
            notification.id
            for notification in await ledger.requeue_dead_letters([notification.id, "unknown"])
        ] == [notification.id]
        assert [
            notification.attempts for notification in await ledger.list_undelivered_notifications()
        ] == [0]
        assert await ledger.list_dead_letters(Query()) == []
        assert await ledger.requeue_dead_letters([notification.id]) == [], "it waits already"
