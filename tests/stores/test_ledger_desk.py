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
from catcher.model.commit import Commit
from catcher.model.desk import Bundle, Shift, Silence
from catcher.model.time import HOUR
from catcher.ports import Query
from catcher.stores import migrations
from catcher.stores.ledger import SqlLedger
from tests.alerting.making import NIGHT, SERIOUS, WARNING, alert, alerting, change, rule

SILENCE = Silence(
    "s1", "ana", "known", NIGHT, NIGHT + HOUR, "wind-*", {"place": "summit"}, Severity.SERIOUS
)
SHIFTS = (Shift("ana", NIGHT, "bo", "quiet"), Shift("bo", NIGHT + 8 * HOUR, "ana"))
BUNDLE = Bundle("group", alert(WARNING, "group"), ("console",), "k", 3, NIGHT, HOUR)


async def test_silences_shifts_and_bundles_come_back_as_they_were(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with SqlLedger(url, "engine") as ledger:
        await ledger.commit(Commit(silences=(SILENCE,), shifts=SHIFTS, bundles=(BUNDLE,)))
    async with SqlLedger(url, "engine") as ledger:
        assert await ledger.silences(Query()) == [SILENCE]
        assert await ledger.shifts(Query(limit=1)) == [SHIFTS[1]]
        assert await ledger.shifts(Query(name="ana")) == [SHIFTS[0]]
        assert await ledger.bundles(Query(state="active")) == [BUNDLE]


async def test_a_silence_that_ended_is_not_in_force() -> None:
    async with SqlLedger("sqlite://", "engine") as ledger:
        ended = replace(SILENCE, ended=NIGHT + 5, why="its time was over")
        await ledger.commit(Commit(silences=(SILENCE, ended)))
        assert await ledger.silences(Query(state="active")) == []
        assert await ledger.silences(Query(start=NIGHT)) == [ended]
        assert await ledger.silences(Query(start=NIGHT + 6)) == []


DEEDS = ("UPDATE audit SET who = 'nobody'", "DELETE FROM audit", "DELETE FROM audit WHERE 1 = 1")
ENTRY = AuditEntry(NIGHT, "ana", "cli", "acknowledge", "abc", {"note": "seen"})


@pytest.mark.parametrize("deed", DEEDS)
async def test_the_audit_trail_is_append_only(tmp_path: Path, deed: str) -> None:
    file = tmp_path / "ledger.db"
    async with SqlLedger(f"sqlite:///{file}", "engine") as ledger:
        await ledger.commit(Commit(audit=(ENTRY,)))
        refused = pytest.raises(sqlite3.IntegrityError, match="append only")
        with sqlite3.connect(file) as other, refused:
            other.execute(deed)
        other.close()
        assert await ledger.audit(Query()) == [ENTRY]


@pytest.mark.server
@pytest.mark.parametrize("deed", [*DEEDS, "TRUNCATE audit"])
async def test_the_audit_trail_is_append_only_on_a_server(postgres_url: str, deed: str) -> None:
    async with SqlLedger(postgres_url, "engine") as ledger:
        await ledger.commit(Commit(audit=(ENTRY,)))
        with psycopg.connect(postgres_url) as other:
            with pytest.raises(psycopg.errors.RaiseException, match="append only"):
                other.execute(deed.encode())
            other.rollback()
        assert await ledger.audit(Query()) == [ENTRY]


@pytest.mark.server
async def test_the_desk_is_kept_on_a_server_too(postgres_url: str) -> None:
    async with SqlLedger(postgres_url, "engine") as ledger:
        ended = replace(SILENCE, ended=NIGHT + 5, why="its time was over")
        await ledger.commit(Commit(silences=(SILENCE, ended), shifts=SHIFTS, bundles=(BUNDLE,)))
        assert await ledger.silences(Query()) == [ended]
        assert await ledger.shifts(Query(limit=1)) == [SHIFTS[1]]
        assert await ledger.bundles(Query(state="active")) == [BUNDLE]


async def test_an_older_ledger_is_guarded_when_it_is_brought_up_to_date(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        migrate_to(connection, "0002")
    engine.dispose()
    async with SqlLedger(f"sqlite:///{file}", "engine") as ledger:
        await ledger.commit(Commit(audit=(ENTRY,), silences=(SILENCE,)))
        refused = pytest.raises(sqlite3.IntegrityError, match="append only")
        with sqlite3.connect(file) as other, refused:
            other.execute(DEEDS[0])
        other.close()
        assert await ledger.silences(Query()) == [SILENCE]


def migrate_to(connection: Connection, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, version)


async def test_a_dead_letter_waits_again() -> None:
    step = alerting(rule()).apply(change(SERIOUS), NIGHT)
    async with SqlLedger("sqlite://", "engine") as ledger:
        await ledger.commit(Commit(alerts=step.alerts, notices=step.notices))
        (notice,) = await ledger.undelivered()
        await ledger.settle(notice, "refused", dead=True)
        assert await ledger.undelivered() == []
        assert [one.id for one in await ledger.revive([notice.id, "unknown"])] == [notice.id]
        assert [one.attempts for one in await ledger.undelivered()] == [0]
        assert await ledger.dead_letters(Query()) == []
        assert await ledger.revive([notice.id]) == [], "it waits already"
