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
from catcher.stores.ledger.ledger import SqlLedger
from tests.stores.factories import (
    NOON,
    create_commit,
    create_firing,
    create_run,
    finish_run,
    open_ledger,
)

pytestmark = pytest.mark.usefixtures("either_database")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqlLedger]:
    async with open_ledger(tmp_path) as store:
        yield store


async def test_observations_of_a_kind_and_a_span_newest_first(ledger: SqlLedger) -> None:
    exposures = [
        Observation("exposure", f"E{n}", NOON + n * HOUR, NOON + n * HOUR + 30 * SECOND)
        for n in range(4)
    ]
    visit = Observation("visit", "V", NOON + HOUR, NOON + HOUR)
    await ledger.commit(Commit(observations=(*exposures, visit)))
    span = Query(name="exposure", start=NOON + HOUR, end=NOON + 3 * HOUR)
    assert [observation.id for observation in await ledger.list_observations(span)] == [
        "E3",
        "E2",
        "E1",
    ]
    assert await ledger.list_observations(replace(span, limit=1)) == [exposures[3]]
    assert len(await ledger.list_observations(Query())) == 5


async def test_outcomes_are_of_the_latest_parent_run_of_each_rule(ledger: SqlLedger) -> None:
    first = finish_run(create_run(create_firing(NOON, "images")), "E1")
    repeated = replace(
        finish_run(create_run(create_firing(NOON + HOUR, "images")), "E1"), state="failed"
    )
    mount = finish_run(create_run(create_firing(NOON, "mount")), "E1")
    part = replace(first, id=f"{first.id}.R22", part="R22", parent=first.id, state="timeout")
    later = finish_run(create_run(create_firing(NOON + 2 * HOUR, "images")), "E'2\"")
    runs = (repeated, first, mount, part, later)
    await ledger.commit(create_commit(*(run.firing for run in runs), finished=runs))
    assert await ledger.get_latest_run_states(["E1", "E'2\"", "E3"]) == {
        "E1": {"images": "failed", "mount": "done"},
        "E'2\"": {"images": "done"},
    }
    assert await ledger.get_latest_run_states([]) == {}
