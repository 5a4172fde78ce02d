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

from catcher.jobs import Observations
from catcher.jobs.artifact_codecs import decode_artifact
from catcher.model.commit import Commit
from catcher.model.event import Event, Series
from catcher.model.observation import Observation
from catcher.model.result import Metric
from catcher.model.rule import InputSpec, OverlapPolicy
from catcher.model.run import Firing, Run
from catcher.model.time import MILLISECOND, SECOND
from catcher.ports import Query, StoreUnavailable
from catcher.stores.history.embedded import EmbeddedHistory
from catcher.stores.ledger.ledger import SqlLedger
from tests.jobs.conftest import NIGHT, READOUT, TOPIC, JobHarness, create_job_rule, open_harness

GATED_JOB = """
    @job
    async def one(entered, gate, event: Event):
        entered.put_nowait(event.fields.get("n"))
        await gate.wait()
        return {"n": event.fields.get("n", 0)}
"""


def create_gate() -> dict[str, Any]:
    """A gate that jobs wait at, and a queue that says who does."""
    return {"entered": asyncio.Queue(), "gate": asyncio.Event()}


async def submit_runs(harness: JobHarness, scheduler: Any, count: int, **changes: Any) -> list[Run]:
    """So many runs of the rule `r`, submitted in order."""
    runs = []
    for n in range(count):
        event = Event(TOPIC, harness.clock() + n, {"n": n})
        runs.append(await harness.create_pending_run(number=n, event=event, **changes))
        scheduler.submit(runs[-1])
    return runs


# -- one run --------------------------------------------------------------------------------


async def test_a_run_reads_computes_and_stores(harness: JobHarness) -> None:
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
    await harness.append_telemetry([{"position": float(n)} for n in range(61)])
    event = await harness.declare_exposure("MC_O_20230728_000042")
    rule = create_job_rule(
        inputs={"azimuth": InputSpec(topic=TOPIC, during="exposure")}, arguments={"factor": 2.0}
    )
    async with harness.create_scheduler(rule, one=job) as scheduler:
        scheduler.submit(pending := await harness.create_pending_run(event=event))
        (run,) = await harness.wait_until(lambda runs: len(runs) == 1)
    assert (run.state, run.error, run.attempt, run.note) == ("done", "", 1, "none")
    assert (run.observation, run.columns) == ("MC_O_20230728_000042", {"band": "r"})
    assert run.metrics["mean"] == Metric(90.0, "deg")
    assert run.metrics["bad"].value is None
    assert run.fields["noise"].values.tolist() == [1.5]
    assert [(record.name, record.samples) for record in run.inputs] == [
        ("azimuth", 31),
        ("factor", 0),
    ]
    assert run.inputs[1].address == "with:2.0"
    assert (run.engine, run.started, run.finished, len(run.job_digest)) == (
        "here",
        NIGHT,
        NIGHT,
        16,
    )
    (artifact,) = run.artifacts
    assert artifact.key == f"r/2023/07/28/{pending.id}/table.json"
    data = await harness.objects.get(artifact.key)
    assert decode_artifact("table.json", data) == {
        "id": "MC_O_20230728_000042",
        "event": event.topic,
    }
    assert artifact.checksum == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert (artifact.size, artifact.mime) == (len(data), "application/json")
    assert artifact.url == harness.objects.build_url(artifact.key)
    points = await harness.ledger.list_metrics(Query(rule="r", name="mean"))
    assert [(point.value, point.unit) for point in points] == [(90.0, "deg")]


async def test_perform_runs_without_claim_or_report(harness: JobHarness) -> None:
    async with harness.create_scheduler(
        create_job_rule(), one="@job\ndef one(): return {'n': 1}"
    ) as scheduler:
        run = await scheduler.execute_immediately(await harness.create_pending_run())
    assert (run.state, run.metrics["n"].value, harness.reported_runs) == ("done", 1.0, [])


async def test_a_job_gets_only_the_arguments_it_has(harness: JobHarness) -> None:
    job = "@job\ndef one(observation: Observation | None, event=None): return {'n': 1}"
    async with harness.create_scheduler(create_job_rule(), one=job) as scheduler:
        assert (
            await scheduler.execute_immediately(await harness.create_pending_run())
        ).state == "done"


async def test_whole_seconds_are_ints_for_a_job_that_declares_ints(harness: JobHarness) -> None:
    job = "@job\ndef one(count: int): return {'n': len(range(count))}"
    async with harness.create_scheduler(
        create_job_rule(arguments={"count": 3.0}), one=job
    ) as scheduler:
        assert (await scheduler.execute_immediately(await harness.create_pending_run())).metrics[
            "n"
        ].value == 3


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("def one(observation: Observation)", "needs an observation: no observation is known"),
        ("def one(missing)", "missing 1 required"),
        ("def other()", "no job 'one'"),
    ],
)
async def test_a_run_that_cannot_start_says_why(
    harness: JobHarness, job: str, message: str
) -> None:
    async with harness.create_scheduler(create_job_rule(), one=f"@job\n{job}: ...") as scheduler:
        run = await scheduler.execute_immediately(await harness.create_pending_run())
    assert run.state == "failed"
    assert message in run.error


async def test_a_job_that_needs_an_event_fails_when_none_fired_it(harness: JobHarness) -> None:
    async with harness.create_scheduler(
        create_job_rule(), one="@job\ndef one(event: Event): ..."
    ) as scheduler:
        run = await harness.create_pending_run()
        timed_run = Run(run.id, run.firing.__class__("r", "", NIGHT, "every", "why"), "one")
        assert "needs an event" in (await scheduler.execute_immediately(timed_run)).error


async def test_a_failed_run_has_traceback_and_output(harness: JobHarness) -> None:
    job = "@job\ndef one():\n    print('so far')\n    raise ValueError('no')"
    async with harness.create_scheduler(create_job_rule(), one=job) as scheduler:
        scheduler.submit(await harness.create_pending_run())
        (run,) = await harness.wait_until(lambda runs: len(runs) == 1)
    assert (run.state, run.error) == ("failed", "ValueError: no")
    assert 'File "jobs/one.py", line 5, in one' in run.traceback
    assert run.traceback.endswith("The job printed:\nso far\n")


# -- attempts -------------------------------------------------------------------------------

COUNTED_JOB = """
    @job
    async def one(calls, good=99):
        calls.append(1)
        if len(calls) < good:
            raise OSError("not yet")
        return {"n": len(calls)}
"""


async def test_a_failure_is_retried_with_growing_pauses(harness: JobHarness) -> None:
    calls: list[int] = []
    rule = create_job_rule(retry=3, arguments={"calls": calls, "good": 3})
    async with harness.create_scheduler(rule, one=COUNTED_JOB) as scheduler:
        run = await scheduler.execute_immediately(await harness.create_pending_run())
    assert (run.state, run.attempt, harness.pauses) == ("done", 3, [1.0, 2.0])


async def test_retries_end(harness: JobHarness) -> None:
    calls: list[int] = []
    async with harness.create_scheduler(
        create_job_rule(retry=2, arguments={"calls": calls}), one=COUNTED_JOB
    ) as scheduler:
        run = await scheduler.execute_immediately(await harness.create_pending_run())
    assert (run.state, run.attempt, len(calls)) == ("failed", 3, 3)


async def test_a_timeout_is_retried_too(harness: JobHarness) -> None:
    job = "import asyncio\n@job\nasync def one(): await asyncio.Event().wait()"
    async with harness.create_scheduler(
        create_job_rule(retry=1, timeout=MILLISECOND), one=job
    ) as scheduler:
        run = await scheduler.execute_immediately(await harness.create_pending_run())
    assert (run.state, run.attempt) == ("timeout", 2)


async def test_nonsense_and_missing_inputs_are_not_retried(harness: JobHarness) -> None:
    async with harness.create_scheduler(
        create_job_rule(retry=5), one="@job\nasync def one(): return [1]"
    ) as scheduler:
        assert (
            await scheduler.execute_immediately(await harness.create_pending_run())
        ).attempt == 1
    rule = create_job_rule(retry=5, inputs={"x": InputSpec(topic=TOPIC, during="exposure")})
    async with harness.create_scheduler(rule, one="@job\nasync def one(x): ...") as scheduler:
        run = await scheduler.execute_immediately(await harness.create_pending_run(number=1))
    assert (run.attempt, harness.pauses) == (1, [])
    assert "no exposure is known for imageName=None" in run.error


async def test_an_artifact_that_cannot_be_stored_does_not_affect_the_metrics(
    harness: JobHarness,
) -> None:
    job = "@job\nasync def one(): return Result({'n': 1}, {}, {'a.txt': 'x'}, note='fine')"
    async with harness.create_scheduler(create_job_rule("bad/../name"), one=job) as scheduler:
        run = await scheduler.execute_immediately(await harness.create_pending_run("bad/../name"))
    assert (run.state, run.metrics["n"].value, run.artifacts) == ("done", 1.0, ())
    assert run.note.startswith("fine; a.txt could not be kept")


async def test_a_missed_deadline_is_seen_and_counted(harness: JobHarness) -> None:
    job = "@job\nasync def one(clock): clock.now += 31 * 10**9; return {}"
    rule = create_job_rule(deadline=30 * SECOND, arguments={"clock": harness.clock})
    async with harness.create_scheduler(rule, one=job) as scheduler:
        scheduler.submit(await harness.create_pending_run())
        (run,) = await harness.wait_until(lambda runs: len(runs) == 1)
        assert run.missed_deadline
        assert scheduler.health().counts["missed_deadline"] == 1


# -- overlap --------------------------------------------------------------------------------


async def test_queue_runs_one_at_a_time_in_order(harness: JobHarness) -> None:
    gate = create_gate()
    async with harness.create_scheduler(
        create_job_rule(arguments=gate), one=GATED_JOB
    ) as scheduler:
        runs = await submit_runs(harness, scheduler, 3)
        assert await gate["entered"].get() == 0
        counts = scheduler.health().counts
        assert (counts["running"], counts["waiting"]) == (1, 2)
        assert [await harness.read_state(run) for run in runs] == ["running", "pending", "pending"]
        gate["gate"].set()
        finished = await harness.wait_until(lambda runs: len(runs) == 3)
    assert [run.metrics["n"].value for run in finished] == [0, 1, 2]


async def test_latest_drops_what_waited(harness: JobHarness) -> None:
    gate = create_gate()
    rule = create_job_rule(overlap=OverlapPolicy("latest"), arguments=gate)
    async with harness.create_scheduler(rule, one=GATED_JOB) as scheduler:
        runs = await submit_runs(harness, scheduler, 4)
        assert await gate["entered"].get() == 0
        await harness.wait_until(lambda runs: len(runs) == 2)
        gate["gate"].set()
        await harness.wait_until(lambda runs: len(runs) == 4)
        assert scheduler.count_dropped_by_rule() == {"r": 2}
    assert [await harness.read_state(run) for run in runs] == ["done", "dropped", "dropped", "done"]
    assert "overlap: latest" in harness.reported_runs[0].error


async def test_skip_drops_while_one_runs(harness: JobHarness) -> None:
    gate = create_gate()
    rule = create_job_rule(overlap=OverlapPolicy("skip"), arguments=gate)
    async with harness.create_scheduler(rule, one=GATED_JOB) as scheduler:
        runs = await submit_runs(harness, scheduler, 3)
        await harness.wait_until(lambda runs: len(runs) == 2)
        gate["gate"].set()
        await harness.wait_until(lambda runs: len(runs) == 3)
    assert [await harness.read_state(run) for run in runs] == ["done", "dropped", "dropped"]


async def test_parallel_runs_so_many_at_once(harness: JobHarness) -> None:
    gate = create_gate()
    rule = create_job_rule(overlap=OverlapPolicy("parallel", 2), arguments=gate)
    async with harness.create_scheduler(rule, one=GATED_JOB) as scheduler:
        await submit_runs(harness, scheduler, 3)
        assert {await gate["entered"].get(), await gate["entered"].get()} == {0, 1}
        assert scheduler.health().counts["waiting"] == 1
        gate["gate"].set()
        await harness.wait_until(lambda runs: len(runs) == 3)


async def test_a_manual_run_replaces_nothing_and_is_not_dropped(harness: JobHarness) -> None:
    gate = create_gate()
    rule = create_job_rule(overlap=OverlapPolicy("skip"), arguments=gate)
    async with harness.create_scheduler(rule, one=GATED_JOB) as scheduler:
        await submit_runs(harness, scheduler, 1)
        scheduler.submit(await harness.create_pending_run(number=9, manual=True))
        await gate["entered"].get()
        await gate["entered"].get()
        gate["gate"].set()
        finished = await harness.wait_until(lambda runs: len(runs) == 2)
    assert [run.state for run in finished] == ["done", "done"]


async def test_one_rule_does_not_wait_for_another(harness: JobHarness) -> None:
    gate = create_gate()
    slow, quick = create_job_rule("slow", arguments=gate), create_job_rule("quick", run="two")
    files = {"one": GATED_JOB, "two": "@job\nasync def two(): return {}"}
    async with harness.create_scheduler(slow, quick, **files) as scheduler:
        scheduler.submit(await harness.create_pending_run("slow"))
        await gate["entered"].get()
        scheduler.submit(await harness.create_pending_run("quick"))
        assert (await harness.wait_until(lambda runs: len(runs) == 1))[0].rule == "quick"
        gate["gate"].set()


async def test_a_queue_longer_than_memory_is_read_back_from_the_ledger(
    harness: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.jobs.scheduler.MAX_RUNS_IN_MEMORY", 2)
    gate = create_gate()
    async with harness.create_scheduler(
        create_job_rule(arguments=gate), one=GATED_JOB
    ) as scheduler:
        await submit_runs(harness, scheduler, 6)
        assert scheduler.health().counts["spilled"] > 0
        gate["gate"].set()
        finished = await harness.wait_until(lambda runs: len(runs) == 6)
    assert [run.metrics["n"].value for run in finished] == [0, 1, 2, 3, 4, 5]


async def test_a_run_missing_from_the_ledger_fails_and_blocks_nothing(
    harness: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.jobs.scheduler.MAX_RUNS_IN_MEMORY", 1)
    gate = create_gate()
    async with harness.create_scheduler(
        create_job_rule(arguments=gate), one=GATED_JOB
    ) as scheduler:
        scheduler.submit(await harness.create_pending_run(number=0))
        await gate["entered"].get()
        scheduler.submit(await harness.create_pending_run(number=1))
        unstored = replace(
            await harness.create_pending_run(number=2), firing=create_firing("forgotten")
        )
        unstored = replace(unstored, id=unstored.firing.id)
        scheduler.submit(unstored)
        scheduler.submit(await harness.create_pending_run(number=3))
        gate["gate"].set()
        finished = await harness.wait_until(lambda runs: len(runs) == 4)
    assert [run.state for run in finished] == ["done", "done", "failed", "done"]
    assert finished[2].firing.id == unstored.id
    assert "does not have it any more" in finished[2].error


def create_firing(cause: str) -> Firing:
    return Firing("r", "", NIGHT, cause, "why")


# -- beginnings and ends --------------------------------------------------------------------


async def test_a_run_whose_rule_is_gone_is_dropped(harness: JobHarness) -> None:
    async with harness.create_scheduler(create_job_rule(), one="@job\ndef one(): ...") as scheduler:
        scheduler.submit(await harness.create_pending_run("another"))
        (run,) = await harness.wait_until(lambda runs: len(runs) == 1)
    assert (run.state, run.error) == ("dropped", "its rule is no longer there, or runs no job")


async def test_a_finished_run_is_not_repeated(harness: JobHarness) -> None:
    calls: list[int] = []
    rule = create_job_rule(arguments={"calls": calls, "good": 0})
    async with harness.create_scheduler(rule, one=COUNTED_JOB) as scheduler:
        run = await harness.create_pending_run()
        await harness.ledger.commit(Commit(finished=(await scheduler.execute_immediately(run),)))
        scheduler.submit(run)
        (replaced,) = await harness.wait_until(lambda runs: len(runs) == 1)
    assert (replaced.state, len(calls), await harness.read_state(run)) == ("replaced", 1, "done")


async def test_a_graceful_stop_lets_running_jobs_end_and_leaves_the_rest_pending(
    harness: JobHarness,
) -> None:
    gate = create_gate()
    async with harness.create_scheduler(
        create_job_rule(arguments=gate), one=GATED_JOB
    ) as scheduler:
        runs = await submit_runs(harness, scheduler, 3)
        await gate["entered"].get()
        drain_task = asyncio.create_task(scheduler.drain_and_cancel())
        gate["gate"].set()
        assert await drain_task == 2
    assert [await harness.read_state(run) for run in runs] == ["done", "pending", "pending"]


async def test_a_stop_has_a_limit(harness: JobHarness) -> None:
    gate = create_gate()
    async with harness.create_scheduler(
        create_job_rule(arguments=gate), one=GATED_JOB
    ) as scheduler:
        runs = await submit_runs(harness, scheduler, 2)
        await gate["entered"].get()
        assert await scheduler.drain_and_cancel(timeout=MILLISECOND) == 2
    assert harness.reported_runs == []
    assert [await harness.read_state(run) for run in runs] == ["running", "pending"]


async def test_unfinished_runs_are_resumed_in_order(harness: JobHarness) -> None:
    gate = create_gate()
    rule = create_job_rule(arguments=gate)
    async with harness.create_scheduler(rule, one=GATED_JOB) as scheduler:
        runs = [await harness.create_pending_run(number=n) for n in range(3)]
        gate["gate"].set()
        scheduler.recover_runs(runs)
        finished = await harness.wait_until(lambda runs: len(runs) == 3)
    assert [run.id for run in finished] == [run.id for run in runs]


async def test_a_replaced_rule_applies_to_runs_that_start_after_it(harness: JobHarness) -> None:
    gate = create_gate()
    rule = create_job_rule(arguments=gate)
    async with harness.create_scheduler(rule, one=GATED_JOB) as scheduler:
        await submit_runs(harness, scheduler, 3)
        await gate["entered"].get()
        new_rule = create_job_rule(run="two", overlap=OverlapPolicy("parallel", 2))
        new_scheduler = harness.create_scheduler(
            new_rule, two="@job\nasync def two(): return {'two': 2}"
        )
        scheduler.replace_rules_and_jobs({"r": new_rule}, new_scheduler.registry)
        finished = await harness.wait_until(lambda runs: len(runs) == 2)
        assert [list(run.metrics) for run in finished] == [["two"], ["two"]]
        gate["gate"].set()
        await harness.wait_until(lambda runs: len(runs) == 3)
        assert list(harness.reported_runs[2].metrics) == ["n"]


class UnreliableHistory(EmbeddedHistory):
    """A history that does not answer the first questions."""

    refusals = 3

    async def read(self, *args: Any, **kwargs: Any) -> Series:
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailable("the archive is away", retry_after=7 * SECOND)
        return await super().read(*args, **kwargs)


class UnreliableLedger(SqlLedger):
    """A ledger that does not answer the first questions for an observation."""

    refusals = 2

    async def find_observation(self, kind: str, id: str) -> Observation | None:
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailable("the ledger is away")
        return await super().find_observation(kind, id)


async def test_an_input_whose_store_is_unavailable_is_waited_for(harness: JobHarness) -> None:
    rule = create_job_rule(inputs={"seen": InputSpec(topic=TOPIC, last=SECOND)})
    job = "@job\ndef one(seen): return {'n': len(seen.time)}"
    async with UnreliableHistory(None, clock=harness.clock) as harness.history:
        await harness.append_telemetry([{"x": 1.0}])
        async with harness.create_scheduler(rule, one=job) as scheduler:
            scheduler.submit(await harness.create_pending_run())
            (run,) = await harness.wait_until(lambda runs: len(runs) == 1)
    assert (run.state, run.attempt, run.metrics["n"].value) == ("done", 1, 1)
    assert harness.pauses == [7.0, 7.0, 7.0]


async def test_a_ledger_that_is_unavailable_as_a_run_starts_is_waited_for(
    harness: JobHarness,
) -> None:
    async with UnreliableLedger("sqlite://", "shy", harness.clock) as unreliable_ledger:
        harness.observations = Observations(harness.specs, unreliable_ledger)
        async with harness.create_scheduler(
            create_job_rule(), one="@job\ndef one(): return {}"
        ) as scheduler:
            event = Event(READOUT, NIGHT, {"imageName": "long ago"})
            scheduler.submit(await harness.create_pending_run(event=event))
            (run,) = await harness.wait_until(lambda runs: len(runs) == 1)
    assert (run.state, harness.pauses) == ("done", [0.5, 1.0])


async def test_while_the_ledger_is_unavailable_runs_wait(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    async with (
        open_harness(tmp_path, f"sqlite:///{file}") as world,
        world.create_scheduler(
            create_job_rule(), one="@job\nasync def one(): return {}"
        ) as scheduler,
    ):
        run = await world.create_pending_run()
        with closing(sqlite3.connect(file)) as other_connection:
            other_connection.execute("BEGIN IMMEDIATE")
            scheduler.submit(run)
            await world.wait_until(lambda runs: len(world.pauses) >= 2)
            assert (world.reported_runs, world.pauses[:2]) == ([], [0.5, 1.0])
            assert scheduler.health().counts["store_away"] >= 2
        assert (await world.wait_until(lambda runs: len(runs) == 1))[0].state == "done"
