"""What a commit promises: all or nothing, each firing once, each result once."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from catcher.model.alert import AuditEntry
from catcher.model.commit import Commit, TriggerState
from catcher.model.event import Arrived
from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.model.result import Metric
from catcher.model.run import Run
from catcher.model.time import SECOND
from catcher.ports import Query
from catcher.stores.ledger import SqlLedger
from tests.stores.making import (
    NOON,
    FakeClock,
    alert_at,
    commit_of,
    done,
    event_at,
    firing_at,
    ids,
    ledger_at,
    notice_of,
    pending,
)

pytestmark = pytest.mark.usefixtures("either_database")


async def test_a_firing_with_a_known_identity_is_left_out_with_its_run(tmp_path: Path) -> None:
    first, second = firing_at(NOON), firing_at(NOON + SECOND)
    async with ledger_at(tmp_path) as ledger:
        new = await ledger.commit(commit_of(first))
        again = await ledger.commit(commit_of(first, second))
        assert ids(new.firings) == ids(new.runs) == [first.id]
        assert ids(again.firings) == ids(again.runs) == [second.id]
        assert ids(await ledger.firings(Query())) == [second.id, first.id]


async def test_a_firing_that_comes_twice_in_one_commit_is_new_once(tmp_path: Path) -> None:
    firing = firing_at(NOON)
    async with ledger_at(tmp_path) as ledger:
        new = await ledger.commit(commit_of(firing, firing))
        assert ids(new.firings) == ids(new.runs) == [firing.id]


async def test_a_value_of_once_per_has_its_run_once_even_after_a_restart(tmp_path: Path) -> None:
    first, repeated = firing_at(NOON, once="MC_1"), firing_at(NOON + SECOND, once="MC_1")
    other_rule = firing_at(NOON + SECOND, rule="images", once="MC_1")
    async with ledger_at(tmp_path) as ledger:
        assert ids((await ledger.commit(commit_of(first))).firings) == [first.id]
    async with ledger_at(tmp_path) as ledger:
        again = await ledger.commit(commit_of(repeated, other_rule))
        assert ids(again.firings) == ids(again.runs) == [other_rule.id]
        assert ids(await ledger.firings(Query(rule="mount-jitter"))) == [first.id]


async def test_of_two_firings_with_one_value_in_one_commit_the_first_counts(tmp_path: Path) -> None:
    first, second = firing_at(NOON, once="MC_1"), firing_at(NOON + SECOND, once="MC_1")
    async with ledger_at(tmp_path) as ledger:
        assert ids((await ledger.commit(commit_of(first, second))).firings) == [first.id]


async def test_a_firing_by_hand_ignores_once_per_and_uses_nothing_up(tmp_path: Path) -> None:
    by_hand = firing_at(NOON, once="MC_1", manual=True)
    automatic = firing_at(NOON, once="MC_1")
    again_by_hand = firing_at(NOON + SECOND, once="MC_1", manual=True)
    async with ledger_at(tmp_path) as ledger:
        for firing in (by_hand, automatic, again_by_hand):
            new = await ledger.commit(commit_of(firing))
            assert ids(new.firings) == ids(new.runs) == [firing.id]


async def test_an_inbox_event_that_is_there_is_left_out(tmp_path: Path) -> None:
    one, two = Arrived(event_at(NOON, n=1), NOON), Arrived(event_at(NOON, n=2), NOON)
    async with ledger_at(tmp_path) as ledger:
        assert (await ledger.commit(Commit(inbox=(one, one)))).inbox == (one,)
        assert (await ledger.commit(Commit(inbox=(one, two)))).inbox == (two,)


async def test_when_a_part_cannot_be_written_nothing_is(tmp_path: Path) -> None:
    firing = firing_at(NOON, once="MC_1")
    whole = commit_of(
        firing,
        inbox=(Arrived(event_at(NOON), NOON),),
        alerts=(alert_at(NOON),),
        notices=(notice_of(alert_at(NOON)),),
        states=(TriggerState("mount-jitter", "", "m1", {"armed": False}),),
        observations=(Observation("exposure", "MC_1", NOON, NOON + SECOND),),
        positions={"efd": "17"},
    )
    impossible = AuditEntry(2**70, "ana", "cli", "fire", "mount-jitter")
    async with ledger_at(tmp_path) as ledger:
        with pytest.raises(CatcherError, match="cannot keep"):
            await ledger.commit(replace(whole, audit=(impossible,)))
        assert not await ledger.firings(Query())
        assert not await ledger.runs(Query())
        assert not await ledger.alerts(Query())
        assert not await ledger.undelivered()
        assert not await ledger.states()
        assert not await ledger.positions()
        assert await ledger.observation("exposure", "MC_1") is None
        new = await ledger.commit(whole)
        assert (new.firings, new.inbox) == ((firing,), whole.inbox)


async def test_a_finished_run_is_found_with_all_it_made(tmp_path: Path) -> None:
    firing = firing_at(NOON)
    async with ledger_at(tmp_path) as ledger:
        await ledger.commit(commit_of(firing))
        await ledger.commit(Commit(finished=(done(pending(firing)),)))
        (run,) = await ledger.runs(Query(state="done"))
        assert run.metrics["image_impact_rms"] == Metric(0.07, "arcsec", {"band": "r"})
        assert list(run.fields["noise"].ids) == ["C00", "C01"]
        assert run.artifacts[0].name == "jitter.png"
        assert run.firing == firing


async def test_the_results_of_a_run_that_is_over_are_not_written_again(tmp_path: Path) -> None:
    run = pending(firing_at(NOON))
    async with ledger_at(tmp_path) as ledger:
        await ledger.commit(commit_of(run.firing))
        first = await ledger.commit(Commit(finished=(done(run, rms=Metric(0.07)),)))
        second = await ledger.commit(Commit(finished=(done(run, rms=Metric(9.0)),)))
        assert ids(first.finished) == [run.id]
        assert second.finished == ()
        assert [point.value for point in await ledger.metrics(Query())] == [0.07]


async def test_a_run_made_and_finished_in_one_commit_is_kept(tmp_path: Path) -> None:
    run = pending(firing_at(NOON))
    async with ledger_at(tmp_path) as ledger:
        new = await ledger.commit(replace(commit_of(run.firing), finished=(done(run),)))
        assert ids(new.runs) == ids(new.finished) == [run.id]
        assert ids(await ledger.runs(Query(state="done"))) == [run.id]


async def test_the_parts_of_a_run_are_kept_although_they_never_were_pending(tmp_path: Path) -> None:
    whole = pending(firing_at(NOON))
    part = replace(done(whole), id=f"{whole.id}.R22_S11", part="R22_S11", parent=whole.id)
    part = replace(part, artifacts=())
    async with ledger_at(tmp_path) as ledger:
        await ledger.commit(commit_of(whole.firing))
        assert ids((await ledger.commit(Commit(finished=(part,)))).finished) == [part.id]
        (kept,) = await ledger.runs(Query(id=part.id))
        assert (kept.part, kept.parent) == ("R22_S11", whole.id)


async def test_a_run_is_claimed_once(tmp_path: Path) -> None:
    run = pending(firing_at(NOON), engine="engine-1")
    async with ledger_at(tmp_path) as ledger:
        await ledger.commit(commit_of(run.firing))
        assert await ledger.claim(run)
        assert not await ledger.claim(run)
        assert ids(await ledger.runs(Query(state="running"))) == [run.id]
        await ledger.commit(Commit(finished=(done(run),)))
        assert not await ledger.claim(run)


async def test_a_run_that_goes_on_is_heard_of_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.stores.ledger_lease.RENEWED", 0.01)
    clock = FakeClock()
    going_on, waiting, over = (pending(firing_at(NOON + n), engine="engine-1") for n in range(3))
    async with ledger_at(tmp_path, clock=clock) as ledger:
        await ledger.commit(commit_of(going_on.firing, waiting.firing, over.firing))
        assert await ledger.claim(going_on)
        assert await ledger.claim(over)
        await ledger.commit(Commit(finished=(done(over),)))
        clock.now += 7 * SECOND
        async with asyncio.timeout(30):
            for pause in itertools.repeat(0.01):
                if await heartbeat(ledger, going_on) == clock.now:
                    break
                await asyncio.sleep(pause)
        assert await heartbeat(ledger, waiting) is None
        assert await heartbeat(ledger, over) == NOON


async def heartbeat(ledger: SqlLedger, run: Run) -> int | None:
    (found,) = await ledger.runs(Query(id=run.id))
    return found.heartbeat


async def test_a_retry_goes_back_to_pending_and_can_be_claimed_again(tmp_path: Path) -> None:
    run = pending(firing_at(NOON))
    async with ledger_at(tmp_path) as ledger:
        await ledger.commit(commit_of(run.firing))
        assert await ledger.claim(run)
        again = await ledger.commit(Commit(runs=(replace(run, attempt=1, error="it hung"),)))
        assert ids(again.runs) == [run.id]
        assert await ledger.claim(replace(run, attempt=1))


async def test_a_new_engine_takes_up_what_the_old_one_left(tmp_path: Path) -> None:
    left_pending, left_running, finished = (pending(firing_at(NOON + n)) for n in range(3))
    async with ledger_at(tmp_path) as old:
        await old.commit(commit_of(left_running.firing, finished.firing, left_pending.firing))
        assert await old.claim(left_running)
        assert await old.unfinished() == []
        await old.commit(Commit(finished=(done(finished),)))
    async with ledger_at(tmp_path) as new:
        assert ids(await new.unfinished()) == [left_pending.id, left_running.id]
        assert await new.claim(left_running)
        assert not await new.claim(left_running)
        assert ids(await new.unfinished()) == [left_pending.id]


async def test_states_positions_and_observations_are_the_last_written(tmp_path: Path) -> None:
    armed = TriggerState("wind-high", "301", "m1", {"armed": True, "since": None})
    fired = replace(armed, state={"armed": False, "since": NOON})
    seen = Observation("exposure", "MC_1", NOON, NOON + SECOND, "/d/MC_1.fits", {"band": "r"})
    longer = replace(seen, end=NOON + 2 * SECOND)
    async with ledger_at(tmp_path) as ledger:
        await ledger.commit(Commit(states=(armed,), positions={"efd": "1"}, observations=(seen,)))
        await ledger.commit(Commit(states=(fired,), positions={"efd": "2"}, observations=(longer,)))
    async with ledger_at(tmp_path) as ledger:
        assert await ledger.states() == [fired]
        assert await ledger.positions() == {"efd": "2"}
        assert await ledger.observation("exposure", "MC_1") == longer
        await ledger.commit(Commit(states=(replace(fired, state={}),)))
        assert await ledger.states() == []


async def test_parts_of_a_state_are_kept_apart_and_go_with_their_rule(tmp_path: Path) -> None:
    whole = TriggerState("wind-high", "301", "m1", {"deltas": {"once": [0, ["b"]]}})
    part = replace(whole, state={"items": ["a"]}, part="once")
    other = replace(part, rule="other")
    async with ledger_at(tmp_path) as ledger:
        await ledger.commit(Commit(states=(part, whole, other)))
        assert await ledger.states() == [whole, part, other]
        await ledger.commit(Commit(states=(replace(part, state={}),)))
        assert await ledger.states() == [whole, other]
        await ledger.commit(Commit(states=(part,), forgotten=("other",)))
        assert await ledger.states() == [whole, part]


async def test_a_notice_is_written_once_and_waits_until_it_is_settled(tmp_path: Path) -> None:
    alert = alert_at(NOON)
    first, second = notice_of(alert, 1), notice_of(alert, 2, kind="raised")
    async with ledger_at(tmp_path) as ledger:
        assert (await ledger.commit(Commit(notices=(first, first)))).notices == (first,)
        assert (await ledger.commit(Commit(notices=(first, second)))).notices == (second,)
        await ledger.settle(first, error="the channel is archived")
        waiting = await ledger.undelivered()
        assert [(one.id, one.attempts) for one in waiting] == [(first.id, 1), (second.id, 0)]
        await ledger.settle(replace(first, receipt={"ts": "17.2"}))
    async with ledger_at(tmp_path) as ledger:
        (left,) = await ledger.undelivered()
        assert left == replace(second, receipt={"ts": "17.2"})


async def test_a_receipt_goes_to_the_next_notice_of_that_alert_and_sink_only(
    tmp_path: Path,
) -> None:
    alert, other = alert_at(NOON), alert_at(NOON, per="MC_2")
    delivered = notice_of(alert, 1, receipt={"ts": "1"})
    waiting = (notice_of(alert, 2), notice_of(alert, 2, sink="love"), notice_of(other, 1))
    async with ledger_at(tmp_path) as ledger:
        await ledger.commit(Commit(notices=(delivered, *waiting)))
        await ledger.settle(delivered)
        receipts = [dict(notice.receipt) for notice in await ledger.undelivered()]
        assert receipts == [{"ts": "1"}, {}, {}]


async def test_a_notice_that_is_given_up_becomes_a_dead_letter(tmp_path: Path) -> None:
    notice = notice_of(alert_at(NOON))
    async with ledger_at(tmp_path) as ledger:
        await ledger.commit(Commit(notices=(notice,)))
        await ledger.settle(notice, error="no such channel", dead=True)
        assert await ledger.undelivered() == []
        (letter,) = await ledger.dead_letters(Query(name="slack"))
        assert (letter.error, letter.notice.id, letter.time) == ("no such channel", notice.id, NOON)
        assert await ledger.dead_letters(Query(name="love")) == []


async def test_it_serves_in_memory_too() -> None:
    firing = firing_at(NOON)
    async with SqlLedger("sqlite://", "backtest", lambda: NOON) as ledger:
        await ledger.commit(commit_of(firing))
        await ledger.commit(Commit(finished=(done(pending(firing)),)))
        assert ids(await ledger.runs(Query())) == [firing.id]
