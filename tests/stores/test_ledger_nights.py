"""What the ledger knows of a night: its observations, and how the runs about them ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from catcher.model.commit import Commit
from catcher.model.observation import Observation
from catcher.model.time import HOUR, SECOND
from catcher.ports import Query
from catcher.stores.ledger import SqlLedger
from tests.stores.making import NOON, commit_of, done, firing_at, ledger_at, pending

pytestmark = pytest.mark.usefixtures("either_database")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqlLedger]:
    async with ledger_at(tmp_path) as opened:
        yield opened


async def test_observations_of_a_kind_and_a_span_newest_first(ledger: SqlLedger) -> None:
    made = [
        Observation("exposure", f"E{n}", NOON + n * HOUR, NOON + n * HOUR + 30 * SECOND)
        for n in range(4)
    ]
    other = Observation("visit", "V", NOON + HOUR, NOON + HOUR)
    await ledger.commit(Commit(observations=(*made, other)))
    span = Query(name="exposure", start=NOON + HOUR, end=NOON + 3 * HOUR)
    assert [one.id for one in await ledger.observations(span)] == ["E3", "E2", "E1"]
    assert await ledger.observations(replace(span, limit=1)) == [made[3]]
    assert len(await ledger.observations(Query())) == 5


async def test_outcomes_are_of_the_latest_whole_run_of_each_rule(ledger: SqlLedger) -> None:
    first = done(pending(firing_at(NOON, "images")), "E1")
    again = replace(done(pending(firing_at(NOON + HOUR, "images")), "E1"), state="failed")
    mount = done(pending(firing_at(NOON, "mount")), "E1")
    part = replace(first, id=f"{first.id}.R22", part="R22", parent=first.id, state="timeout")
    later = done(pending(firing_at(NOON + 2 * HOUR, "images")), "E'2\"")
    runs = (again, first, mount, part, later)
    await ledger.commit(commit_of(*(run.firing for run in runs), finished=runs))
    assert await ledger.outcomes(["E1", "E'2\"", "E3"]) == {
        "E1": {"images": "failed", "mount": "done"},
        "E'2\"": {"images": "done"},
    }
    assert await ledger.outcomes([]) == {}
