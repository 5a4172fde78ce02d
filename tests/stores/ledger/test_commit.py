"""What a commit promises: all or nothing, each firing once, each result once."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from catcher.model.alert import AuditEntry
from catcher.model.commit import Commit, TriggerState
from catcher.model.errors import CatcherError
from catcher.model.event import ReceivedEvent
from catcher.model.observation import Observation
from catcher.model.result import Metric
from catcher.model.run import Run
from catcher.model.time import SECOND
from catcher.ports import Query
from catcher.stores.ledger.ledger import SqlLedger
from tests.stores.factories import (
    NOON,
    FakeClock,
    create_alert,
    create_commit,
    create_event,
    create_firing,
    create_notification,
    create_run,
    finish_run,
    list_ids,
    open_ledger,
)

pytestmark = pytest.mark.usefixtures("either_database")


async def test_a_firing_with_a_known_identity_is_omitted_with_its_run(tmp_path: Path) -> None:
    first, second = create_firing(NOON), create_firing(NOON + SECOND)
    async with open_ledger(tmp_path) as ledger:
        new = await ledger.commit(create_commit(first))
        repeated = await ledger.commit(create_commit(first, second))
        assert list_ids(new.firings) == list_ids(new.runs) == [first.id]
        assert list_ids(repeated.firings) == list_ids(repeated.runs) == [second.id]
        assert list_ids(await ledger.list_firings(Query())) == [second.id, first.id]


async def test_a_firing_that_comes_twice_in_one_commit_is_new_once(tmp_path: Path) -> None:
    firing = create_firing(NOON)
    async with open_ledger(tmp_path) as ledger:
        new = await ledger.commit(create_commit(firing, firing))
        assert list_ids(new.firings) == list_ids(new.runs) == [firing.id]


async def test_a_value_of_once_per_has_its_run_once_even_after_a_restart(tmp_path: Path) -> None:
    first, repeated = (
        create_firing(NOON, once_value="MC_1"),
        create_firing(NOON + SECOND, once_value="MC_1"),
    )
    other_rule = create_firing(NOON + SECOND, rule="images", once_value="MC_1")
    async with open_ledger(tmp_path) as ledger:
        assert list_ids((await ledger.commit(create_commit(first))).firings) == [first.id]
    async with open_ledger(tmp_path) as ledger:
        second = await ledger.commit(create_commit(repeated, other_rule))
        assert list_ids(second.firings) == list_ids(second.runs) == [other_rule.id]
        assert list_ids(await ledger.list_firings(Query(rule="mount-jitter"))) == [first.id]


async def test_of_two_firings_with_one_value_in_one_commit_the_first_counts(tmp_path: Path) -> None:
    first, second = (
        create_firing(NOON, once_value="MC_1"),
        create_firing(NOON + SECOND, once_value="MC_1"),
    )
    async with open_ledger(tmp_path) as ledger:
        assert list_ids((await ledger.commit(create_commit(first, second))).firings) == [first.id]


async def test_a_manual_firing_ignores_once_per_and_uses_nothing_up(tmp_path: Path) -> None:
    manual = create_firing(NOON, once_value="MC_1", manual=True)
    automatic = create_firing(NOON, once_value="MC_1")
    repeated = create_firing(NOON + SECOND, once_value="MC_1", manual=True)
    async with open_ledger(tmp_path) as ledger:
        for firing in (manual, automatic, repeated):
            new = await ledger.commit(create_commit(firing))
            assert list_ids(new.firings) == list_ids(new.runs) == [firing.id]


async def test_an_inbox_event_that_is_there_is_omitted(tmp_path: Path) -> None:
    first, second = (
        ReceivedEvent(create_event(NOON, n=1), NOON),
        ReceivedEvent(create_event(NOON, n=2), NOON),
    )
    async with open_ledger(tmp_path) as ledger:
        assert (await ledger.commit(Commit(inbox=(first, first)))).inbox == (first,)
        assert (await ledger.commit(Commit(inbox=(first, second)))).inbox == (second,)


async def test_when_a_part_cannot_be_written_nothing_is(tmp_path: Path) -> None:
    firing = create_firing(NOON, once_value="MC_1")
    commit = create_commit(
        firing,
        inbox=(ReceivedEvent(create_event(NOON), NOON),),
        alerts=(create_alert(NOON),),
        notices=(create_notification(create_alert(NOON)),),
        states=(TriggerState("mount-jitter", "", "m1", {"armed": False}),),
        observations=(Observation("exposure", "MC_1", NOON, NOON + SECOND),),
        positions={"efd": "17"},
    )
    impossible = AuditEntry(2**70, "ana", "cli", "fire", "mount-jitter")
    async with open_ledger(tmp_path) as ledger:
        with pytest.raises(CatcherError, match="cannot keep"):
            await ledger.commit(replace(commit, audit=(impossible,)))
        assert not await ledger.list_firings(Query())
        assert not await ledger.list_runs(Query())
        assert not await ledger.list_alerts(Query())
        assert not await ledger.list_undelivered_notifications()
        assert not await ledger.list_trigger_states()
        assert not await ledger.get_source_positions()
        assert await ledger.find_observation("exposure", "MC_1") is None
        new = await ledger.commit(commit)
        assert (new.firings, new.inbox) == ((firing,), commit.inbox)


async def test_a_finished_run_is_found_with_all_its_results(tmp_path: Path) -> None:
    firing = create_firing(NOON)
    async with open_ledger(tmp_path) as ledger:
        await ledger.commit(create_commit(firing))
        await ledger.commit(Commit(finished=(finish_run(create_run(firing)),)))
        (run,) = await ledger.list_runs(Query(state="done"))
        assert run.metrics["image_impact_rms"] == Metric(0.07, "arcsec", {"band": "r"})
        assert list(run.fields["noise"].ids) == ["C00", "C01"]
        assert run.artifacts[0].name == "jitter.png"
        assert run.firing == firing


async def test_the_results_of_a_finished_run_are_not_written_again(tmp_path: Path) -> None:
    run = create_run(create_firing(NOON))
    async with open_ledger(tmp_path) as ledger:
        await ledger.commit(create_commit(run.firing))
        first = await ledger.commit(Commit(finished=(finish_run(run, rms=Metric(0.07)),)))
        second = await ledger.commit(Commit(finished=(finish_run(run, rms=Metric(9.0)),)))
        assert list_ids(first.finished) == [run.id]
        assert second.finished == ()
        assert [point.value for point in await ledger.list_metrics(Query())] == [0.07]


async def test_a_run_created_and_finished_in_one_commit_is_stored(tmp_path: Path) -> None:
    run = create_run(create_firing(NOON))
    async with open_ledger(tmp_path) as ledger:
        new = await ledger.commit(replace(create_commit(run.firing), finished=(finish_run(run),)))
        assert list_ids(new.runs) == list_ids(new.finished) == [run.id]
        assert list_ids(await ledger.list_runs(Query(state="done"))) == [run.id]


async def test_the_parts_of_a_run_are_stored_although_they_never_were_pending(
    tmp_path: Path,
) -> None:
    run = create_run(create_firing(NOON))
    part = replace(finish_run(run), id=f"{run.id}.R22_S11", part="R22_S11", parent=run.id)
    part = replace(part, artifacts=())
    async with open_ledger(tmp_path) as ledger:
        await ledger.commit(create_commit(run.firing))
        assert list_ids((await ledger.commit(Commit(finished=(part,)))).finished) == [part.id]
        (stored,) = await ledger.list_runs(Query(id=part.id))
        assert (stored.part, stored.parent) == ("R22_S11", run.id)


async def test_a_run_is_claimed_once(tmp_path: Path) -> None:
    run = create_run(create_firing(NOON), engine="engine-1")
    async with open_ledger(tmp_path) as ledger:
        await ledger.commit(create_commit(run.firing))
        assert await ledger.claim_run(run)
        assert not await ledger.claim_run(run)
        assert list_ids(await ledger.list_runs(Query(state="running"))) == [run.id]
        await ledger.commit(Commit(finished=(finish_run(run),)))
        assert not await ledger.claim_run(run)


async def test_a_running_run_has_a_heartbeat_and_others_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.stores.ledger.leader_election.RENEWAL_INTERVAL", 0.01)
    clock = FakeClock()
    running, waiting, finished = (
        create_run(create_firing(NOON + n), engine="engine-1") for n in range(3)
    )
    async with open_ledger(tmp_path, clock=clock) as ledger:
        await ledger.commit(create_commit(running.firing, waiting.firing, finished.firing))
        assert await ledger.claim_run(running)
        assert await ledger.claim_run(finished)
        await ledger.commit(Commit(finished=(finish_run(finished),)))
        clock.now += 7 * SECOND
        async with asyncio.timeout(30):
            for pause in itertools.repeat(0.01):
                if await read_heartbeat(ledger, running) == clock.now:
                    break
                await asyncio.sleep(pause)
        assert await read_heartbeat(ledger, waiting) is None
        assert await read_heartbeat(ledger, finished) == NOON


async def read_heartbeat(ledger: SqlLedger, run: Run) -> int | None:
    (stored,) = await ledger.list_runs(Query(id=run.id))
    return stored.heartbeat


async def test_a_retry_goes_back_to_pending_and_can_be_claimed_again(tmp_path: Path) -> None:
    run = create_run(create_firing(NOON))
    async with open_ledger(tmp_path) as ledger:
        await ledger.commit(create_commit(run.firing))
        assert await ledger.claim_run(run)
        retried = await ledger.commit(Commit(runs=(replace(run, attempt=1, error="it hung"),)))
        assert list_ids(retried.runs) == [run.id]
        assert await ledger.claim_run(replace(run, attempt=1))


async def test_a_new_engine_resumes_what_the_old_one_left(tmp_path: Path) -> None:
    still_pending, still_running, finished = (create_run(create_firing(NOON + n)) for n in range(3))
    async with open_ledger(tmp_path) as old:
        await old.commit(create_commit(still_running.firing, finished.firing, still_pending.firing))
        assert await old.claim_run(still_running)
        assert await old.list_unfinished_runs() == []
        await old.commit(Commit(finished=(finish_run(finished),)))
    async with open_ledger(tmp_path) as new:
        assert list_ids(await new.list_unfinished_runs()) == [still_pending.id, still_running.id]
        assert await new.claim_run(still_running)
        assert not await new.claim_run(still_running)
        assert list_ids(await new.list_unfinished_runs()) == [still_pending.id]


async def test_states_positions_and_observations_are_the_last_written(tmp_path: Path) -> None:
    armed = TriggerState("wind-high", "301", "m1", {"armed": True, "since": None})
    fired = replace(armed, state={"armed": False, "since": NOON})
    observation = Observation(
        "exposure", "MC_1", NOON, NOON + SECOND, "/d/MC_1.fits", {"band": "r"}
    )
    longer = replace(observation, end=NOON + 2 * SECOND)
    async with open_ledger(tmp_path) as ledger:
        await ledger.commit(
            Commit(states=(armed,), positions={"efd": "1"}, observations=(observation,))
        )
        await ledger.commit(Commit(states=(fired,), positions={"efd": "2"}, observations=(longer,)))
    async with open_ledger(tmp_path) as ledger:
        assert await ledger.list_trigger_states() == [fired]
        assert await ledger.get_source_positions() == {"efd": "2"}
        assert await ledger.find_observation("exposure", "MC_1") == longer
        await ledger.commit(Commit(states=(replace(fired, state={}),)))
        assert await ledger.list_trigger_states() == []


async def test_parts_of_a_state_are_separate_and_removed_with_their_rule(tmp_path: Path) -> None:
    state = TriggerState("wind-high", "301", "m1", {"deltas": {"once": [0, ["b"]]}})
    part = replace(state, state={"items": ["a"]}, part="once")
    other_part = replace(part, rule="other")
    async with open_ledger(tmp_path) as ledger:
        await ledger.commit(Commit(states=(part, state, other_part)))
        assert await ledger.list_trigger_states() == [state, part, other_part]
        await ledger.commit(Commit(states=(replace(part, state={}),)))
        assert await ledger.list_trigger_states() == [state, other_part]
        await ledger.commit(Commit(states=(part,), removed_rules=("other",)))
        assert await ledger.list_trigger_states() == [state, part]


async def test_a_notification_is_written_once_and_waits_for_its_outcome(tmp_path: Path) -> None:
    alert = create_alert(NOON)
    first, second = create_notification(alert, 1), create_notification(alert, 2, kind="raised")
    async with open_ledger(tmp_path) as ledger:
        assert (await ledger.commit(Commit(notices=(first, first)))).notices == (first,)
        assert (await ledger.commit(Commit(notices=(first, second)))).notices == (second,)
        await ledger.record_delivery_outcome(first, error="the channel is archived")
        undelivered = await ledger.list_undelivered_notifications()
        assert [(notification.id, notification.attempts) for notification in undelivered] == [
            (first.id, 1),
            (second.id, 0),
        ]
        await ledger.record_delivery_outcome(replace(first, receipt={"ts": "17.2"}))
    async with open_ledger(tmp_path) as ledger:
        (remaining,) = await ledger.list_undelivered_notifications()
        assert remaining == replace(second, receipt={"ts": "17.2"})


async def test_a_receipt_goes_to_the_next_notification_of_that_alert_and_sink_only(
    tmp_path: Path,
) -> None:
    alert, other_alert = create_alert(NOON), create_alert(NOON, per="MC_2")
    delivered = create_notification(alert, 1, receipt={"ts": "1"})
    waiting = (
        create_notification(alert, 2),
        create_notification(alert, 2, sink="love"),
        create_notification(other_alert, 1),
    )
    async with open_ledger(tmp_path) as ledger:
        await ledger.commit(Commit(notices=(delivered, *waiting)))
        await ledger.record_delivery_outcome(delivered)
        receipts = [
            dict(notification.receipt)
            for notification in await ledger.list_undelivered_notifications()
        ]
        assert receipts == [{"ts": "1"}, {}, {}]


async def test_a_notification_that_is_given_up_becomes_a_dead_letter(tmp_path: Path) -> None:
    notification = create_notification(create_alert(NOON))
    async with open_ledger(tmp_path) as ledger:
        await ledger.commit(Commit(notices=(notification,)))
        await ledger.record_delivery_outcome(
            notification, error="no such channel", dead_letters=True
        )
        assert await ledger.list_undelivered_notifications() == []
        (letter,) = await ledger.list_dead_letters(Query(name="slack"))
        assert (letter.error, letter.notice.id, letter.time) == (
            "no such channel",
            notification.id,
            NOON,
        )
        assert await ledger.list_dead_letters(Query(name="love")) == []


async def test_it_serves_in_memory_too() -> None:
    firing = create_firing(NOON)
    async with SqlLedger("sqlite://", "backtest", lambda: NOON) as ledger:
        await ledger.commit(create_commit(firing))
        await ledger.commit(Commit(finished=(finish_run(create_run(firing)),)))
        assert list_ids(await ledger.list_runs(Query())) == [firing.id]
