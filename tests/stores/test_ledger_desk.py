"""What the ledger keeps of the alert desk, and that the audit trail stays as it was written."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from catcher.model.alert import AuditEntry, Severity
from catcher.model.commit import Commit
from catcher.model.desk import Bundle, Shift, Silence
from catcher.model.time import HOUR
from catcher.ports import Query
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


@pytest.mark.parametrize(
    "deed", ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit", "DELETE FROM audit WHERE 1"]
)
async def test_the_audit_trail_is_append_only(tmp_path: Path, deed: str) -> None:
    file = tmp_path / "ledger.db"
    entry = AuditEntry(NIGHT, "ana", "cli", "acknowledge", "abc", {"note": "seen"})
    async with SqlLedger(f"sqlite:///{file}", "engine") as ledger:
        await ledger.commit(Commit(audit=(entry,)))
        with (
            sqlite3.connect(file) as other,
            pytest.raises(sqlite3.IntegrityError, match="append only"),
        ):
            other.execute(deed)
        other.close()
        assert await ledger.audit(Query()) == [entry]


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
