"""Firings become results: arguments, attempts, artifacts, overlap, and what the ledger says."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catcher.model.commit import Commit
from catcher.model.event import Event, Series
from catcher.model.observation import Observation
from catcher.model.result import Metric
from catcher.model.rule import Input, Overlap
from catcher.model.run import Firing, Run
from catcher.model.time import MILLISECOND, SECOND
from catcher.ports import Query, StoreAway
from catcher.stores.history import EmbeddedHistory
from catcher.stores.ledger import SqlLedger
from catcher.working import Observations
from catcher.working.forms import decode
from tests.working.conftest import NIGHT, READOUT, TOPIC, World, job_rule, open_world

GATED = """
    @job
    async def one(entered, gate, event: Event):
        entered.put_nowait(event.fields.get("n"))
        await gate.wait()
        return {"n": event.fields.get("n", 0)}
"""


def gates() -> dict[str, Any]:
    """A gate that jobs wait at, and a queue that says who does."""
    return {"entered": asyncio.Queue(), "gate": asyncio.Event()}


async def submitted(world: World, shop: Any, count: int, **changes: Any) -> list[Run]:
    """So many runs of the rule `r`, submitted in order."""
    runs = []
    for n in range(count):
        event = Event(TOPIC, world.clock() + n, {"n": n})
        runs.append(await world.pending(number=n, event=event, **changes))
        shop.submit(runs[-1])
    return runs


# -- one run --------------------------------------------------------------------------------


async def test_a_run_reads_computes_and_keeps(world: World) -> None:
    job = """
        @job
        def one(azimuth: Series, factor: float, event: Event, observation: Observation,
                band: str = "none"):
            mean = float(azimuth["position"].mean()) * factor
            return Result(
                metrics={"mean": Metric(mean, "deg"), "bad": float("nan")},
                fields={"noise": Field("amp", ["C00"], [1.5])},
                artifacts={"table.json": {"id": observation.id, "event": event.topic}},
                note=band,
            )
    """
    await world.telemetry([{"position": float(n)} for n in range(61)])
    event = await world.exposure("MC_O_20230728_000042")
    rule = job_rule(
        inputs={"azimuth": Input(topic=TOPIC, during="exposure")}, arguments={"factor": 2.0}
    )
    async with world.workshop(rule, one=job) as shop:
        shop.submit(pending := await world.pending(event=event))
        (run,) = await world.until(lambda runs: len(runs) == 1)
    assert (run.state, run.error, run.attempt, run.note) == ("done", "", 1, "none")
    assert (run.observation, run.columns) == ("MC_O_20230728_000042", {"band": "r"})
    assert run.metrics["mean"] == Metric(90.0, "deg")
    assert run.metrics["bad"].value is None
    assert run.fields["noise"].values.tolist() == [1.5]
    assert [(one.name, one.samples) for one in run.inputs] == [("azimuth", 31), ("factor", 0)]
    assert run.inputs[1].address == "with:2.0"
    assert (run.engine, run.started, run.finished, len(run.job_digest)) == (
        "here",
        NIGHT,
        NIGHT,
        16,
    )
    (artifact,) = run.artifacts
    assert artifact.key == f"r/2023/07/28/{pending.id}/table.json"
    data = await world.objects.get(artifact.key)
    assert decode("table.json", data) == {"id": "MC_O_20230728_000042", "event": event.topic}
    assert artifact.checksum == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert (artifact.size, artifact.mime) == (len(data), "application/json")
    assert artifact.url == world.objects.url(artifact.key)
    kept = await world.ledger.metrics(Query(rule="r", name="mean"))
    assert [(point.value, point.unit) for point in kept] == [(90.0, "deg")]


async def test_perform_carries_out_without_claim_or_report(world: World) -> None:
    async with world.workshop(job_rule(), one="@job\ndef one(): return {'n': 1}") as shop:
        run = await shop.perform(await world.pending())
    assert (run.state, run.metrics["n"].value, world.reported) == ("done", 1.0, [])


async def test_a_job_gets_only_what_it_takes(world: World) -> None:
    job = "@job\ndef one(observation: Observation | None, event=None): return {'n': 1}"
    async with world.workshop(job_rule(), one=job) as shop:
        assert (await shop.perform(await world.pending())).state == "done"


async def test_whole_seconds_are_ints_for_a_job_that_wants_ints(world: World) -> None:
    job = "@job\ndef one(count: int): return {'n': len(range(count))}"
    async with world.workshop(job_rule(arguments={"count": 3.0}), one=job) as shop:
        assert (await shop.perform(await world.pending())).metrics["n"].value == 3


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("def one(observation: Observation)", "needs an observation: no observation is known"),
        ("def one(missing)", "missing 1 required"),
        ("def other()", "no job 'one'"),
    ],
)
async def test_a_run_that_cannot_begin_says_why(world: World, job: str, words: str) -> None:
    async with world.workshop(job_rule(), one=f"@job\n{job}: ...") as shop:
        run = await shop.perform(await world.pending())
    assert run.state == "failed"
    assert words in run.error


async def test_a_job_that_needs_an_event_is_told_that_none_fired_it(world: World) -> None:
    async with world.workshop(job_rule(), one="@job\ndef one(event: Event): ...") as shop:
        run = await world.pending()
        timed = Run(run.id, run.firing.__class__("r", "", NIGHT, "every", "why"), "one")
        assert "needs an event" in (await shop.perform(timed)).error


async def test_a_failed_run_keeps_traceback_and_print(world: World) -> None:
    job = "@job\ndef one():\n    print('so far')\n    raise ValueError('no')"
    async with world.workshop(job_rule(), one=job) as shop:
        shop.submit(await world.pending())
        (run,) = await world.until(lambda runs: len(runs) == 1)
    assert (run.state, run.error) == ("failed", "ValueError: no")
    assert 'File "jobs/one.py", line 5, in one' in run.traceback
    assert run.traceback.endswith("The job printed:\nso far\n")


# -- attempts -------------------------------------------------------------------------------

COUNTED = """
    @job
    async def one(calls, good=99):
        calls.append(1)
        if len(calls) < good:
            raise OSError("not yet")
        return {"n": len(calls)}
"""


async def test_a_failure_is_tried_again_with_growing_pauses(world: World) -> None:
    calls: list[int] = []
    rule = job_rule(retry=3, arguments={"calls": calls, "good": 3})
    async with world.workshop(rule, one=COUNTED) as shop:
        run = await shop.perform(await world.pending())
    assert (run.state, run.attempt, world.pauses) == ("done", 3, [1.0, 2.0])


async def test_retries_end(world: World) -> None:
    calls: list[int] = []
    async with world.workshop(job_rule(retry=2, arguments={"calls": calls}), one=COUNTED) as shop:
        run = await shop.perform(await world.pending())
    assert (run.state, run.attempt, len(calls)) == ("failed", 3, 3)


async def test_a_timeout_is_tried_again_too(world: World) -> None:
    job = "import asyncio\n@job\nasync def one(): await asyncio.Event().wait()"
    async with world.workshop(job_rule(retry=1, timeout=MILLISECOND), one=job) as shop:
        run = await shop.perform(await world.pending())
    assert (run.state, run.attempt) == ("timeout", 2)


async def test_nonsense_and_missing_inputs_are_not_tried_again(world: World) -> None:
    async with world.workshop(job_rule(retry=5), one="@job\nasync def one(): return [1]") as shop:
        assert (await shop.perform(await world.pending())).attempt == 1
    rule = job_rule(retry=5, inputs={"x": Input(topic=TOPIC, during="exposure")})
    async with world.workshop(rule, one="@job\nasync def one(x): ...") as shop:
        run = await shop.perform(await world.pending(number=1))
    assert (run.attempt, world.pauses) == (1, [])
    assert "no exposure is known for imageName=None" in run.error


async def test_an_artifact_that_cannot_be_kept_costs_the_numbers_nothing(world: World) -> None:
    job = "@job\nasync def one(): return Result({'n': 1}, {}, {'a.txt': 'x'}, note='fine')"
    async with world.workshop(job_rule("bad/../name"), one=job) as shop:
        run = await shop.perform(await world.pending("bad/../name"))
    assert (run.state, run.metrics["n"].value, run.artifacts) == ("done", 1.0, ())
    assert run.note.startswith("fine; a.txt could not be kept")


async def test_a_missed_deadline_is_seen_and_counted(world: World) -> None:
    job = "@job\nasync def one(clock): clock.now += 31 * 10**9; return {}"
    rule = job_rule(deadline=30 * SECOND, arguments={"clock": world.clock})
    async with world.workshop(rule, one=job) as shop:
        shop.submit(await world.pending())
        (run,) = await world.until(lambda runs: len(runs) == 1)
        assert run.missed_deadline
        assert shop.health().counts["missed_deadline"] == 1


# -- overlap --------------------------------------------------------------------------------


async def test_queue_runs_one_at_a_time_in_order(world: World) -> None:
    held = gates()
    async with world.workshop(job_rule(arguments=held), one=GATED) as shop:
        runs = await submitted(world, shop, 3)
        assert await held["entered"].get() == 0
        counts = shop.health().counts
        assert (counts["running"], counts["waiting"]) == (1, 2)
        assert [await world.state(run) for run in runs] == ["running", "pending", "pending"]
        held["gate"].set()
        done = await world.until(lambda runs: len(runs) == 3)
    assert [run.metrics["n"].value for run in done] == [0, 1, 2]


async def test_latest_drops_what_waited(world: World) -> None:
    held = gates()
    rule = job_rule(overlap=Overlap("latest"), arguments=held)
    async with world.workshop(rule, one=GATED) as shop:
        runs = await submitted(world, shop, 4)
        assert await held["entered"].get() == 0
        await world.until(lambda runs: len(runs) == 2)
        held["gate"].set()
        await world.until(lambda runs: len(runs) == 4)
        assert shop.dropped() == {"r": 2}
    assert [await world.state(run) for run in runs] == ["done", "dropped", "dropped", "done"]
    assert "overlap: latest" in world.reported[0].error


async def test_skip_drops_while_one_runs(world: World) -> None:
    held = gates()
    rule = job_rule(overlap=Overlap("skip"), arguments=held)
    async with world.workshop(rule, one=GATED) as shop:
        runs = await submitted(world, shop, 3)
        await world.until(lambda runs: len(runs) == 2)
        held["gate"].set()
        await world.until(lambda runs: len(runs) == 3)
    assert [await world.state(run) for run in runs] == ["done", "dropped", "dropped"]


async def test_parallel_runs_so_many_at_once(world: World) -> None:
    held = gates()
    rule = job_rule(overlap=Overlap("parallel", 2), arguments=held)
    async with world.workshop(rule, one=GATED) as shop:
        await submitted(world, shop, 3)
        assert {await held["entered"].get(), await held["entered"].get()} == {0, 1}
        assert shop.health().counts["waiting"] == 1
        held["gate"].set()
        await world.until(lambda runs: len(runs) == 3)


async def test_a_run_by_hand_replaces_nothing_and_is_not_dropped(world: World) -> None:
    held = gates()
    rule = job_rule(overlap=Overlap("skip"), arguments=held)
    async with world.workshop(rule, one=GATED) as shop:
        await submitted(world, shop, 1)
        shop.submit(await world.pending(number=9, manual=True))
        await held["entered"].get()
        await held["entered"].get()
        held["gate"].set()
        done = await world.until(lambda runs: len(runs) == 2)
    assert [run.state for run in done] == ["done", "done"]


async def test_one_rule_does_not_wait_for_another(world: World) -> None:
    held = gates()
    slow, quick = job_rule("slow", arguments=held), job_rule("quick", run="two")
    files = {"one": GATED, "two": "@job\nasync def two(): return {}"}
    async with world.workshop(slow, quick, **files) as shop:
        shop.submit(await world.pending("slow"))
        await held["entered"].get()
        shop.submit(await world.pending("quick"))
        assert (await world.until(lambda runs: len(runs) == 1))[0].rule == "quick"
        held["gate"].set()


async def test_a_queue_longer_than_memory_is_read_back_from_the_ledger(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.working.workshop.MOST_HELD", 2)
    held = gates()
    async with world.workshop(job_rule(arguments=held), one=GATED) as shop:
        await submitted(world, shop, 6)
        assert shop.health().counts["spilled"] > 0
        held["gate"].set()
        done = await world.until(lambda runs: len(runs) == 6)
    assert [run.metrics["n"].value for run in done] == [0, 1, 2, 3, 4, 5]


async def test_one_that_the_ledger_has_no_more_has_failed_and_holds_nobody_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.working.workshop.MOST_HELD", 1)
    held = gates()
    async with world.workshop(job_rule(arguments=held), one=GATED) as shop:
        shop.submit(await world.pending(number=0))
        await held["entered"].get()
        shop.submit(await world.pending(number=1))
        never_kept = replace(await world.pending(number=2), firing=firing_of("forgotten"))
        never_kept = replace(never_kept, id=never_kept.firing.id)
        shop.submit(never_kept)
        shop.submit(await world.pending(number=3))
        held["gate"].set()
        done = await world.until(lambda runs: len(runs) == 4)
    assert [run.state for run in done] == ["done", "done", "failed", "done"]
    assert done[2].firing.id == never_kept.id
    assert "does not have it any more" in done[2].error


def firing_of(cause: str) -> Firing:
    return Firing("r", "", NIGHT, cause, "why")


# -- beginnings and ends --------------------------------------------------------------------


async def test_a_run_whose_rule_is_gone_is_dropped(world: World) -> None:
    async with world.workshop(job_rule(), one="@job\ndef one(): ...") as shop:
        shop.submit(await world.pending("another"))
        (run,) = await world.until(lambda runs: len(runs) == 1)
    assert (run.state, run.error) == ("dropped", "its rule is no longer there, or runs no job")


async def test_a_run_that_is_over_already_is_not_done_again(world: World) -> None:
    calls: list[int] = []
    rule = job_rule(arguments={"calls": calls, "good": 0})
    async with world.workshop(rule, one=COUNTED) as shop:
        run = await world.pending()
        await world.ledger.commit(Commit(finished=(await shop.perform(run),)))
        shop.submit(run)
        (told,) = await world.until(lambda runs: len(runs) == 1)
    assert (told.state, len(calls), await world.state(run)) == ("replaced", 1, "done")


async def test_a_graceful_stop_lets_what_runs_end_and_hands_back_the_rest(world: World) -> None:
    held = gates()
    async with world.workshop(job_rule(arguments=held), one=GATED) as shop:
        runs = await submitted(world, shop, 3)
        await held["entered"].get()
        stopping = asyncio.create_task(shop.drain())
        held["gate"].set()
        assert await stopping == 2
    assert [await world.state(run) for run in runs] == ["done", "pending", "pending"]


async def test_a_stop_has_a_limit(world: World) -> None:
    held = gates()
    async with world.workshop(job_rule(arguments=held), one=GATED) as shop:
        runs = await submitted(world, shop, 2)
        await held["entered"].get()
        assert await shop.drain(limit=MILLISECOND) == 2
    assert world.reported == []
    assert [await world.state(run) for run in runs] == ["running", "pending"]


async def test_what_was_left_is_taken_up_in_order(world: World) -> None:
    held = gates()
    rule = job_rule(arguments=held)
    async with world.workshop(rule, one=GATED) as shop:
        runs = [await world.pending(number=n) for n in range(3)]
        held["gate"].set()
        shop.recover(runs)
        done = await world.until(lambda runs: len(runs) == 3)
    assert [run.id for run in done] == [run.id for run in runs]


async def test_a_swap_holds_for_what_begins_after_it(world: World) -> None:
    held = gates()
    rule = job_rule(arguments=held)
    async with world.workshop(rule, one=GATED) as shop:
        await submitted(world, shop, 3)
        await held["entered"].get()
        edited = job_rule(run="two", overlap=Overlap("parallel", 2))
        other = world.workshop(edited, two="@job\nasync def two(): return {'two': 2}")
        shop.swap({"r": edited}, other.registry)
        done = await world.until(lambda runs: len(runs) == 2)
        assert [list(run.metrics) for run in done] == [["two"], ["two"]]
        held["gate"].set()
        await world.until(lambda runs: len(runs) == 3)
        assert list(world.reported[2].metrics) == ["n"]


class Distant(EmbeddedHistory):
    """A history that does not answer the first questions."""

    refusals = 3

    async def read(self, *what: Any, **how: Any) -> Series:
        if self.refusals:
            self.refusals -= 1
            raise StoreAway("the archive is away", retry_after=7 * SECOND)
        return await super().read(*what, **how)


class Shy(SqlLedger):
    """A ledger that does not answer the first questions for an observation."""

    refusals = 2

    async def observation(self, kind: str, id: str) -> Observation | None:
        if self.refusals:
            self.refusals -= 1
            raise StoreAway("the ledger is away")
        return await super().observation(kind, id)


async def test_an_input_whose_store_is_away_is_waited_for(world: World) -> None:
    rule = job_rule(inputs={"seen": Input(topic=TOPIC, last=SECOND)})
    job = "@job\ndef one(seen): return {'n': len(seen.time)}"
    async with Distant(None, clock=world.clock) as world.history:
        await world.telemetry([{"x": 1.0}])
        async with world.workshop(rule, one=job) as shop:
            shop.submit(await world.pending())
            (run,) = await world.until(lambda runs: len(runs) == 1)
    assert (run.state, run.attempt, run.metrics["n"].value) == ("done", 1, 1)
    assert world.pauses == [7.0, 7.0, 7.0]


async def test_a_ledger_that_is_away_as_a_run_begins_is_waited_for(world: World) -> None:
    async with Shy("sqlite://", "shy", world.clock) as shy:
        world.observations = Observations(world.specs, shy)
        async with world.workshop(job_rule(), one="@job\ndef one(): return {}") as shop:
            event = Event(READOUT, NIGHT, {"imageName": "long ago"})
            shop.submit(await world.pending(event=event))
            (run,) = await world.until(lambda runs: len(runs) == 1)
    assert (run.state, world.pauses) == ("done", [0.5, 1.0])


async def test_while_the_ledger_is_away_work_waits(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    async with (
        open_world(tmp_path, f"sqlite:///{file}") as world,
        world.workshop(job_rule(), one="@job\nasync def one(): return {}") as shop,
    ):
        run = await world.pending()
        with closing(sqlite3.connect(file)) as intruder:
            intruder.execute("BEGIN IMMEDIATE")
            shop.submit(run)
            await world.until(lambda runs: len(world.pauses) >= 2)
            assert (world.reported, world.pauses[:2]) == ([], [0.5, 1.0])
            assert shop.health().counts["store_away"] >= 2
        assert (await world.until(lambda runs: len(runs) == 1))[0].state == "done"
