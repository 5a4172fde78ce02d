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
from catcher.stores.documents import document, read_document
from catcher.stores.ledger import SqlLedger
from tests.stores.making import (
    NOON,
    alert_at,
    commit_of,
    done,
    event_at,
    firing_at,
    ids,
    ledger_at,
    pending,
)

pytestmark = pytest.mark.usefixtures("either_database")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqlLedger]:
    async with ledger_at(tmp_path) as opened:
        yield opened


async def night(ledger: SqlLedger, exposures: int = 6) -> list[Run]:
    """Exposures a second apart, by turns in r and g, their runs finished; newest last."""
    made = []
    for n in range(exposures):
        rule = "images" if n % 3 == 2 else "mount-jitter"
        metric = Metric(float(n), "arcsec", {"band": "rg"[n % 2], "detector": f"R2{n}"})
        run = done(pending(firing_at(NOON + n * SECOND, rule)), f"MC_{n}", rms=metric)
        made.append(run)
    await ledger.commit(commit_of(*(run.firing for run in made), finished=tuple(made)))
    return made


async def test_runs_come_newest_first_up_to_the_limit(ledger: SqlLedger) -> None:
    made = await night(ledger)
    assert ids(await ledger.runs(Query())) == ids(made[::-1])
    assert ids(await ledger.runs(Query(limit=2))) == ids([made[5], made[4]])
    assert await ledger.runs(Query(limit=0)) == []


async def test_runs_are_found_by_what_is_known_of_them(ledger: SqlLedger) -> None:
    made = await night(ledger)
    waiting = pending(firing_at(NOON + 9 * SECOND))
    await ledger.commit(commit_of(waiting.firing))
    assert ids(await ledger.runs(Query(rule="images"))) == ids([made[5], made[2]])
    assert ids(await ledger.runs(Query(id=made[1].id))) == [made[1].id]
    assert ids(await ledger.runs(Query(state="pending"))) == [waiting.id]
    assert ids(await ledger.runs(Query(observation="MC_3"))) == [made[3].id]
    assert ids(await ledger.runs(Query(labels={"band": "g"}))) == ids([made[5], made[3], made[1]])
    span = Query(start=NOON + SECOND, end=NOON + 2 * SECOND)
    assert ids(await ledger.runs(span)) == ids([made[2], made[1]])
    assert await ledger.runs(Query(name="another_job")) == []


async def test_firings_are_found_by_observation_too(ledger: SqlLedger) -> None:
    made = await night(ledger)
    assert await ledger.firings(Query(observation="MC_4")) == [made[4].firing]
    assert await ledger.firings(Query(rule="images", limit=1)) == [made[5].firing]


async def test_metrics_are_found_by_name_and_labels(ledger: SqlLedger) -> None:
    await night(ledger)
    points = await ledger.metrics(Query(name="rms", labels={"band": "r"}, limit=2))
    assert [(point.value, point.unit, point.observation) for point in points] == [
        (4.0, "arcsec", "MC_4"),
        (2.0, "arcsec", "MC_2"),
    ]
    both = Query(labels={"band": "g", "detector": "R23"})
    assert [point.value for point in await ledger.metrics(both)] == [3.0]
    assert await ledger.metrics(Query(labels={"band": "R"})) == []
    assert await ledger.metrics(Query(name="seeing")) == []


async def test_a_label_cannot_be_forged_through_another_ones_text(ledger: SqlLedger) -> None:
    forged = Metric(1.0, labels={"note": '"band":"r"', "BAND": "r", "a%": "b_"})
    run = done(pending(firing_at(NOON)), rms=forged)
    await ledger.commit(commit_of(run.firing, finished=(run,)))
    assert await ledger.metrics(Query(labels={"band": "r"})) == []
    assert await ledger.metrics(Query(labels={"ax": "b_"})) == []
    assert len(await ledger.metrics(Query(labels={"a%": "b_"}))) == 1


async def test_an_unknown_metric_is_kept_as_unknown_with_its_reason(ledger: SqlLedger) -> None:
    unknown = Metric(float("nan"), "m/s", reason="too few samples")
    run = done(pending(firing_at(NOON)), speed=unknown)
    await ledger.commit(commit_of(run.firing, finished=(run,)))
    (kept,) = await ledger.runs(Query())
    assert kept.metrics["speed"] == Metric(None, "m/s", {}, "too few samples")
    assert [point.value for point in await ledger.metrics(Query())] == [None]


async def test_artifacts_are_found_by_run_name_and_observation(ledger: SqlLedger) -> None:
    made = await night(ledger)
    (record,) = await ledger.artifacts(Query(observation="MC_2"))
    assert record == made[2].artifacts[0]
    assert await ledger.artifacts(Query(id=made[2].id)) == [record]
    assert len(await ledger.artifacts(Query(name="jitter.png", limit=4))) == 4


async def test_alerts_are_found_by_state_label_and_the_span_they_reach_into(
    ledger: SqlLedger,
) -> None:
    old = alert_at(NOON, per="MC_1", state="resolved", resolved=NOON + SECOND)
    again = alert_at(NOON + 5 * SECOND, per="MC_1", episode=2, state="acknowledged")
    calm = alert_at(NOON + 7 * SECOND, per="MC_2", state="pending", labels={"system": "dome"})
    await ledger.commit(Commit(alerts=(old, again, calm)))
    assert await ledger.alerts(Query()) == [calm, again, old]
    assert await ledger.alerts(Query(state="active")) == [again]
    assert await ledger.alerts(Query(state="open")) == [calm, again]
    assert await ledger.alerts(Query(state="resolved")) == [old]
    assert await ledger.alerts(Query(id=old.id)) == [again, old]
    assert await ledger.alerts(Query(labels={"system": "dome"})) == [calm]
    assert await ledger.alerts(Query(observation="MC_2")) == [calm]
    assert await ledger.alerts(Query(end=NOON + 2 * SECOND)) == [old]
    assert await ledger.alerts(Query(start=NOON + 2 * SECOND)) == [calm, again]


async def test_an_alert_is_kept_as_it_last_stood(ledger: SqlLedger) -> None:
    opened = alert_at(NOON)
    worse = replace(opened, severity=Severity.CRITICAL, unknown=True, sequence=2)
    await ledger.commit(Commit(alerts=(opened,)))
    await ledger.commit(Commit(alerts=(worse,)))
    assert await ledger.alerts(Query()) == [worse]


async def test_the_audit_trail_is_found_by_who_what_and_subject(ledger: SqlLedger) -> None:
    took = AuditEntry(NOON, "ana", "slack", "acknowledge", "a1", {"severity": "SERIOUS"})
    shelved = AuditEntry(NOON + 1, "ben", "cli", "shelve", "a2")
    await ledger.commit(Commit(audit=(took, shelved)))
    assert await ledger.audit(Query()) == [shelved, took]
    assert await ledger.audit(Query(name="ana")) == [took]
    assert await ledger.audit(Query(id="a2")) == [shelved]
    assert await ledger.audit(Query(state="shelve", end=NOON)) == []


async def test_no_attribute_of_a_run_or_a_firing_is_lost(ledger: SqlLedger) -> None:
    firing = Firing(
        "r", "301", NOON, "for", "held 2m", event_at(NOON, a=[1, {"b": None}]), {"v": 1}
    )
    firing = replace(firing, once="MC_9", manual=True, quiet=True)
    run = replace(
        done(Run(firing.id, firing, "mount_jitter")),
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
    unset = [one.name for one in fields(Run) if getattr(run, one.name) == one.default]
    assert not unset, "this test has to set every attribute"
    await ledger.commit(commit_of(firing))
    await ledger.commit(Commit(finished=(replace(run, id="whole"),)))
    (kept,) = await ledger.runs(Query(id="whole"))
    np.testing.assert_array_equal(kept.fields["noise"].values, run.fields["noise"].values)
    assert replace(kept, fields={}) == replace(run, id="whole", fields={}, artifacts=kept.artifacts)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@given(JSON)
def test_any_value_becomes_a_document_that_can_be_read(value: Any) -> None:
    read_document(document(value))


async def test_hostile_fields_are_kept_without_harm(ledger: SqlLedger) -> None:
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
    firing = Firing("r", "k\ud800", NOON, "c", "\ud800", event_at(NOON, **hostile), hostile)
    assert ids((await ledger.commit(commit_of(firing))).firings) == [firing.id]
    (kept,) = await ledger.firings(Query())
    assert kept.event is not None
    assert kept.event.fields["quote"] == hostile["quote"]
    assert kept.event.fields["array"] == [0, 1, 2]
    assert kept.event.fields["inf"] is None
    assert kept.id == firing.id


async def test_an_observation_of_impossible_length_is_kept(ledger: SqlLedger) -> None:
    endless = Observation("exposure", "MC_1", NOON, NOON + 10**300)
    await ledger.commit(Commit(observations=(endless,)))
    assert await ledger.observation("exposure", "MC_1") == replace(endless, end=MAX_INSTANT)


async def test_many_readers_see_whole_commits_while_the_engine_writes(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    visitor = ledger_at(tmp_path, "")
    async with visitor:
        for n in range(20):
            pair = [firing_at(NOON + n, "mount-jitter"), firing_at(NOON + n, "images")]
            await ledger.commit(commit_of(*pair))
            seen = await visitor.runs(Query(limit=1000))
            assert len(seen) == 2 * (n + 1)
            assert {run.rule for run in seen} == {"mount-jitter", "images"}
