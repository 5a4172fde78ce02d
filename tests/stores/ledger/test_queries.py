"""How the past is found again: newest first, by rule, time, observation, label and state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.model.alert import AuditEntry, Severity
from catcher.model.commit import Commit
from catcher.model.observation import Observation
from catcher.model.result import Metric
from catcher.model.run import Firing, Run
from catcher.model.time import MAX_INSTANT, SECOND
from catcher.ports import Query
from catcher.stores.ledger.ledger import SqlLedger
from catcher.stores.ledger.mappers import decode_json, encode_json
from tests.stores.factories import (
    NOON,
    create_alert,
    create_commit,
    create_event,
    create_firing,
    create_run,
    finish_run,
    list_ids,
    open_ledger,
)

pytestmark = pytest.mark.usefixtures("either_database")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqlLedger]:
    async with open_ledger(tmp_path) as store:
        yield store


async def commit_night(ledger: SqlLedger, exposures: int = 6) -> list[Run]:
    """Exposures a second apart, by turns in r and g, their runs finished; newest last."""
    runs = []
    for n in range(exposures):
        rule = "images" if n % 3 == 2 else "mount-jitter"
        metric = Metric(float(n), "arcsec", {"band": "rg"[n % 2], "detector": f"R2{n}"})
        run = finish_run(create_run(create_firing(NOON + n * SECOND, rule)), f"MC_{n}", rms=metric)
        runs.append(run)
    await ledger.commit(create_commit(*(run.firing for run in runs), finished=tuple(runs)))
    return runs


async def test_runs_come_newest_first_up_to_the_limit(ledger: SqlLedger) -> None:
    runs = await commit_night(ledger)
    assert list_ids(await ledger.list_runs(Query())) == list_ids(runs[::-1])
    assert list_ids(await ledger.list_runs(Query(limit=2))) == list_ids([runs[5], runs[4]])
    assert await ledger.list_runs(Query(limit=0)) == []


async def test_runs_are_found_by_what_is_known_of_them(ledger: SqlLedger) -> None:
    runs = await commit_night(ledger)
    waiting = create_run(create_firing(NOON + 9 * SECOND))
    await ledger.commit(create_commit(waiting.firing))
    assert list_ids(await ledger.list_runs(Query(rule="images"))) == list_ids([runs[5], runs[2]])
    assert list_ids(await ledger.list_runs(Query(id=runs[1].id))) == [runs[1].id]
    assert list_ids(await ledger.list_runs(Query(state="pending"))) == [waiting.id]
    assert list_ids(await ledger.list_runs(Query(observation="MC_3"))) == [runs[3].id]
    assert list_ids(await ledger.list_runs(Query(labels={"band": "g"}))) == list_ids(
        [runs[5], runs[3], runs[1]]
    )
    span = Query(start=NOON + SECOND, end=NOON + 2 * SECOND)
    assert list_ids(await ledger.list_runs(span)) == list_ids([runs[2], runs[1]])
    assert await ledger.list_runs(Query(name="another_job")) == []


async def test_firings_are_found_by_observation_too(ledger: SqlLedger) -> None:
    runs = await commit_night(ledger)
    assert await ledger.list_firings(Query(observation="MC_4")) == [runs[4].firing]
    assert await ledger.list_firings(Query(rule="images", limit=1)) == [runs[5].firing]


async def test_metrics_are_found_by_name_and_labels(ledger: SqlLedger) -> None:
    await commit_night(ledger)
    points = await ledger.list_metrics(Query(name="rms", labels={"band": "r"}, limit=2))
    assert [(point.value, point.unit, point.observation) for point in points] == [
        (4.0, "arcsec", "MC_4"),
        (2.0, "arcsec", "MC_2"),
    ]
    both_labels = Query(labels={"band": "g", "detector": "R23"})
    assert [point.value for point in await ledger.list_metrics(both_labels)] == [3.0]
    assert await ledger.list_metrics(Query(labels={"band": "R"})) == []
    assert await ledger.list_metrics(Query(name="seeing")) == []


async def test_a_label_cannot_be_forged_through_another_ones_text(ledger: SqlLedger) -> None:
    forged = Metric(1.0, labels={"note": '"band":"r"', "BAND": "r", "a%": "b_"})
    run = finish_run(create_run(create_firing(NOON)), rms=forged)
    await ledger.commit(create_commit(run.firing, finished=(run,)))
    assert await ledger.list_metrics(Query(labels={"band": "r"})) == []
    assert await ledger.list_metrics(Query(labels={"ax": "b_"})) == []
    assert len(await ledger.list_metrics(Query(labels={"a%": "b_"}))) == 1


async def test_an_unknown_metric_is_stored_as_unknown_with_its_reason(ledger: SqlLedger) -> None:
    unknown = Metric(float("nan"), "m/s", reason="too few samples")
    run = finish_run(create_run(create_firing(NOON)), speed=unknown)
    await ledger.commit(create_commit(run.firing, finished=(run,)))
    (stored,) = await ledger.list_runs(Query())
    assert stored.metrics["speed"] == Metric(None, "m/s", {}, "too few samples")
    assert [point.value for point in await ledger.list_metrics(Query())] == [None]


async def test_artifacts_are_found_by_run_name_and_observation(ledger: SqlLedger) -> None:
    runs = await commit_night(ledger)
    (record,) = await ledger.list_artifacts(Query(observation="MC_2"))
    assert record == runs[2].artifacts[0]
    assert await ledger.list_artifacts(Query(id=runs[2].id)) == [record]
    assert len(await ledger.list_artifacts(Query(name="jitter.png", limit=4))) == 4


async def test_alerts_are_found_by_state_label_and_the_span_they_reach_into(
    ledger: SqlLedger,
) -> None:
    old = create_alert(NOON, per="MC_1", state="resolved", resolved=NOON + SECOND)
    reopened = create_alert(NOON + 5 * SECOND, per="MC_1", episode=2, state="acknowledged")
    pending = create_alert(
        NOON + 7 * SECOND, per="MC_2", state="pending", labels={"system": "dome"}
    )
    await ledger.commit(Commit(alerts=(old, reopened, pending)))
    assert await ledger.list_alerts(Query()) == [pending, reopened, old]
    assert await ledger.list_alerts(Query(state="active")) == [reopened]
    assert await ledger.list_alerts(Query(state="open")) == [pending, reopened]
    assert await ledger.list_alerts(Query(state="resolved")) == [old]
    assert await ledger.list_alerts(Query(id=old.id)) == [reopened, old]
    assert await ledger.list_alerts(Query(labels={"system": "dome"})) == [pending]
    assert await ledger.list_alerts(Query(observation="MC_2")) == [pending]
    assert await ledger.list_alerts(Query(end=NOON + 2 * SECOND)) == [old]
    assert await ledger.list_alerts(Query(start=NOON + 2 * SECOND)) == [pending, reopened]


async def test_an_alert_is_stored_in_its_last_state(ledger: SqlLedger) -> None:
    opening = create_alert(NOON)
    worse = replace(opening, severity=Severity.CRITICAL, unknown=True, sequence=2)
    await ledger.commit(Commit(alerts=(opening,)))
    await ledger.commit(Commit(alerts=(worse,)))
    assert await ledger.list_alerts(Query()) == [worse]


async def test_the_audit_trail_is_found_by_who_what_and_subject(ledger: SqlLedger) -> None:
    acknowledgement = AuditEntry(NOON, "ana", "slack", "acknowledge", "a1", {"severity": "SERIOUS"})
    shelving = AuditEntry(NOON + 1, "ben", "cli", "shelve", "a2")
    await ledger.commit(Commit(audit=(acknowledgement, shelving)))
    assert await ledger.list_audit_entries(Query()) == [shelving, acknowledgement]
    assert await ledger.list_audit_entries(Query(name="ana")) == [acknowledgement]
    assert await ledger.list_audit_entries(Query(id="a2")) == [shelving]
    assert await ledger.list_audit_entries(Query(state="shelve", end=NOON)) == []


async def test_no_attribute_of_a_run_or_a_firing_is_lost(ledger: SqlLedger) -> None:
    firing = Firing(
        "r", "301", NOON, "for", "held 2m", create_event(NOON, a=[1, {"b": None}]), {"v": 1}
    )
    firing = replace(firing, once="MC_9", manual=True, quiet=True)
    run = replace(
        finish_run(Run(firing.id, firing, "mount_jitter")),
        state="failed",
        part="R22",
        parent="abc",
        attempt=2,
        priority=5,
        created=NOON - 1,
        engine="engine-1",
        job_digest="d1",
        columns={"band": "r"},
        error="ValueError: no",
        traceback="Traceback …",
        note="a note",
        missed_deadline=True,
        heartbeat=NOON + 1,
    )
    unset = [field.name for field in fields(Run) if getattr(run, field.name) == field.default]
    assert not unset, "this test has to set every attribute"
    await ledger.commit(create_commit(firing))
    await ledger.commit(Commit(finished=(replace(run, id="whole"),)))
    (stored,) = await ledger.list_runs(Query(id="whole"))
    np.testing.assert_array_equal(stored.fields["noise"].values, run.fields["noise"].values)
    assert replace(stored, fields={}) == replace(
        run, id="whole", fields={}, artifacts=stored.artifacts
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@given(JSON)
def test_any_value_becomes_a_document_that_can_be_read(value: Any) -> None:
    decode_json(encode_json(value))


async def test_hostile_fields_are_stored_without_harm(ledger: SqlLedger) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    hostile = {
        "surrogate": "\ud800",
        "nul": "a\0b",
        "huge": 10**5000,
        "inf": float("inf"),
        "numpy": np.float32(1.5),
        "array": np.arange(3),
        "deep": deep,
        "quote": "'; DROP TABLE runs; --",
    }
    firing = Firing("r", "k\ud800", NOON, "c", "\ud800", create_event(NOON, **hostile), hostile)
    assert list_ids((await ledger.commit(create_commit(firing))).firings) == [firing.id]
    (stored,) = await ledger.list_firings(Query())
    assert stored.event is not None
    assert stored.event.fields["quote"] == hostile["quote"]
    assert stored.event.fields["array"] == [0, 1, 2]
    assert stored.event.fields["inf"] is None
    assert stored.id == firing.id


async def test_an_observation_of_impossible_length_is_stored(ledger: SqlLedger) -> None:
    endless = Observation("exposure", "MC_1", NOON, NOON + 10**300)
    await ledger.commit(Commit(observations=(endless,)))
    assert await ledger.find_observation("exposure", "MC_1") == replace(endless, end=MAX_INSTANT)


async def test_many_readers_see_whole_commits_while_the_engine_writes(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    reader = open_ledger(tmp_path, "")
    async with reader:
        for n in range(20):
            pair = [create_firing(NOON + n, "mount-jitter"), create_firing(NOON + n, "images")]
            await ledger.commit(create_commit(*pair))
            runs = await reader.list_runs(Query(limit=1000))
            assert len(runs) == 2 * (n + 1)
            assert {run.rule for run in runs} == {"mount-jitter", "images"}
