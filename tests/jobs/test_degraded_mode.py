"""While the cluster is away: what must be done is done here, the rest waits or is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from catcher.executors.local import LocalExecutor
from catcher.jobs import RunScheduler
from catcher.model.event import Event
from catcher.model.rule import GatherSpec, InputSpec, OverlapPolicy, Rule
from catcher.model.run import JobCall, JobOutcome, Run
from catcher.ports import ExecutorUnavailable, Query
from tests.jobs.conftest import TOPIC, JobHarness, create_job_rule
from tests.jobs.test_fan_out import DETECTOR_JOB, SUMMARY_JOB, write_frames

JOB = """
    @job
    def one(event: Event, metrics=None):
        return Result({"n": event.fields.get("n", 0)}, note=",".join(metrics or ["all"]))
"""


class UnreliableExecutor(LocalExecutor):
    """An executor that can be taken away, also while it has calls, and brought back."""

    def __init__(self) -> None:
        super().__init__(1)
        self.available = asyncio.Event()
        self.available.set()
        self.became_unavailable = asyncio.Event()
        self.calls: list[str] = []
        self.fail_on = ""

    @property
    def is_unavailable(self) -> bool:
        return not self.available.is_set()

    async def wait_until_available(self) -> None:
        await self.available.wait()

    async def run(self, call: JobCall) -> JobOutcome:
        self.calls.append(call.run)
        if self.is_unavailable or call.run.endswith(self.fail_on or "\0"):
            self.available.clear()
            self.became_unavailable.set()
            raise ExecutorUnavailable("gone")
        return await super().run(call)


@asynccontextmanager
async def open_scheduler(
    harness: JobHarness, rule: Rule, **files: str
) -> AsyncIterator[tuple[RunScheduler, UnreliableExecutor]]:
    """A workshop with a cluster beside the executor on this machine."""
    async with (
        UnreliableExecutor() as cluster,
        harness.create_scheduler(rule, cluster=cluster, **files) as scheduler,
    ):
        yield scheduler, cluster


async def submit_numbered(harness: JobHarness, scheduler: RunScheduler, *numbers: int) -> list[Run]:
    """Runs that carry a number each."""
    runs = []
    for n in numbers:
        event = Event(TOPIC, harness.clock() + n, {"n": n})
        runs.append(await harness.create_pending_run(number=n, event=event))
        scheduler.submit(runs[-1])
    return runs


async def test_with_the_cluster_there_everything_runs_on_it(harness: JobHarness) -> None:
    async with open_scheduler(harness, create_job_rule(critical=True), one=JOB) as (
        scheduler,
        cluster,
    ):
        (run,) = await submit_numbered(harness, scheduler, 1)
        (finished,) = await harness.wait_until(lambda runs: len(runs) == 1)
    assert (finished.note, cluster.calls, harness.executor.health().counts.get("done")) == (
        "all", [run.id], None
    )  # fmt: skip


async def test_a_critical_rule_runs_here_meanwhile(harness: JobHarness) -> None:
    rule = create_job_rule(critical=True, degraded={"metrics": ("n", "m")})
    async with open_scheduler(harness, rule, one=JOB) as (scheduler, cluster):
        cluster.available.clear()
        await submit_numbered(harness, scheduler, 1, 2)
        finished = await harness.wait_until(lambda runs: len(runs) == 2)
        assert scheduler.health().counts["run_here"] == 2
        cluster.available.set()
        (last,) = await submit_numbered(harness, scheduler, 3)
        await harness.wait_until(lambda runs: len(runs) == 3)
    assert [(run.state, run.note) for run in finished] == [
        ("done", "n,m"), ("done", "n,m"), ("done", "all")
    ]  # fmt: skip
    assert cluster.calls == [last.id]


async def test_the_rest_waits_as_pending_and_catches_up_in_order(harness: JobHarness) -> None:
    async with open_scheduler(harness, create_job_rule(), one=JOB) as (scheduler, cluster):
        cluster.available.clear()
        runs = await submit_numbered(harness, scheduler, 1, 2, 3)
        assert [await harness.read_state(run) for run in runs] == ["pending"] * 3
        assert harness.reported_runs == []
        cluster.available.set()
        finished = await harness.wait_until(lambda runs: len(runs) == 3)
    assert [run.metrics["n"].value for run in finished] == [1, 2, 3]


async def test_a_stop_leaves_what_waits_for_the_next_engine(harness: JobHarness) -> None:
    async with open_scheduler(
        harness, create_job_rule(overlap=OverlapPolicy("parallel", 2)), one=JOB
    ) as (scheduler, cluster):
        cluster.available.clear()
        runs = await submit_numbered(harness, scheduler, 1, 2, 3)
        assert await scheduler.drain_and_cancel(timeout=10**6) == 3
    assert [await harness.read_state(run) for run in runs] == ["pending"] * 3


async def test_what_is_to_be_omitted_is_marked_as_skipped(harness: JobHarness) -> None:
    async with open_scheduler(harness, create_job_rule(degraded={"rest": ("skip",)}), one=JOB) as (
        scheduler,
        cluster,
    ):
        cluster.available.clear()
        await submit_numbered(harness, scheduler, 1)
        (skipped,) = await harness.wait_until(lambda runs: len(runs) == 1)
        cluster.available.set()
        await submit_numbered(harness, scheduler, 2)
        await harness.wait_until(lambda runs: len(runs) == 2)
    assert (skipped.state, skipped.error.split(",")[0]) == ("skipped", "the cluster was away")
    assert harness.reported_runs[1].state == "done"


@pytest.mark.parametrize("critical", [True, False])
async def test_a_cluster_that_is_lost_during_a_run(harness: JobHarness, critical: bool) -> None:
    async with open_scheduler(harness, create_job_rule(critical=critical), one=JOB) as (
        scheduler,
        cluster,
    ):
        run = await harness.create_pending_run(event=Event(TOPIC, harness.clock(), {"n": 1}))
        cluster.fail_on = run.id
        scheduler.submit(run)
        if not critical:
            await cluster.became_unavailable.wait()
            assert harness.reported_runs == []
            cluster.fail_on = ""
            cluster.available.set()
        (finished,) = await harness.wait_until(lambda runs: len(runs) == 1)
    assert (finished.state, finished.attempt, finished.metrics["n"].value) == ("done", 1, 1)


async def test_an_async_job_never_needs_the_cluster(harness: JobHarness) -> None:
    job = "@job\nasync def one(): return {'n': 1}"
    async with open_scheduler(harness, create_job_rule(), one=job) as (scheduler, cluster):
        cluster.available.clear()
        scheduler.submit(await harness.create_pending_run())
        (finished,) = await harness.wait_until(lambda runs: len(runs) == 1)
    assert (finished.state, cluster.calls) == ("done", [])


# -- runs in parts --------------------------------------------------------------------------


def create_visit_rule(**spec: Any) -> Rule:
    inputs = {"frame": InputSpec(image="exposure")}
    return create_job_rule(inputs=inputs, each="detector", gather=GatherSpec("visit"), **spec)


async def run_visit(harness: JobHarness, scheduler: RunScheduler) -> Run:
    """The whole of a visit of four detectors, when it is over."""
    write_frames(harness, "a", R10="1.0", R11="2.0", R12="4.0", R13="8.0")
    scheduler.submit(await harness.create_pending_run(event=await harness.declare_exposure("a")))
    await harness.wait_until(lambda runs: any(not run.parent for run in runs))
    return next(run for run in harness.reported_runs if not run.parent)


async def test_of_a_visit_the_chosen_detectors_are_done_and_the_others_later(
    harness: JobHarness,
) -> None:
    rule = create_visit_rule(degraded={"detectors": ("R11", "R12")})
    async with open_scheduler(harness, rule, one=DETECTOR_JOB, visit=SUMMARY_JOB) as (
        scheduler,
        cluster,
    ):
        cluster.available.clear()
        parent = await run_visit(harness, scheduler)
        assert (parent.state, parent.metrics["fwhm"].value, cluster.calls) == ("done", 4, [])
        assert parent.note.startswith("a; missing: R10 (the cluster was away: it is done when")
        pending_parts = sorted(
            run.part for run in await harness.ledger.list_runs(Query(state="pending"))
        )
        assert pending_parts == ["R10", "R13"]
        cluster.available.set()
        await harness.wait_until(lambda runs: len(runs) == 5)
    late_parts = {run.part: run for run in harness.reported_runs[3:]}
    assert {part: run.metrics["fwhm"].value for part, run in late_parts.items()} == {
        "R10": 1,
        "R13": 8,
    }
    assert late_parts["R10"].metrics["fwhm"].labels == {"detector": "R10"}
    assert (late_parts["R10"].parent, late_parts["R10"].observation) == (parent.id, "a")
    assert await harness.read_state(late_parts["R13"]) == "done"


async def test_of_a_visit_the_others_are_omitted_where_the_rule_says_so(
    harness: JobHarness,
) -> None:
    rule = create_visit_rule(degraded={"detectors": ("R11",), "rest": ("skip",)})
    async with open_scheduler(harness, rule, one=DETECTOR_JOB, visit=SUMMARY_JOB) as (
        scheduler,
        cluster,
    ):
        cluster.available.clear()
        parent = await run_visit(harness, scheduler)
    assert parent.metrics["seen"].value == 1
    states = {run.part: run.state for run in harness.reported_runs if run.parent}
    assert states == {"R10": "skipped", "R11": "done", "R12": "skipped", "R13": "skipped"}


async def test_a_critical_visit_is_done_here_completely(harness: JobHarness) -> None:
    async with open_scheduler(
        harness, create_visit_rule(critical=True), one=DETECTOR_JOB, visit=SUMMARY_JOB
    ) as (scheduler, cluster):
        cluster.available.clear()
        parent = await run_visit(harness, scheduler)
    assert (parent.metrics["seen"].value, cluster.calls) == (4, [])


async def test_a_cluster_that_is_lost_during_a_visit(harness: JobHarness) -> None:
    rule = create_visit_rule(degraded={"detectors": ("R11", "R12")})
    async with open_scheduler(harness, rule, one=DETECTOR_JOB, visit=SUMMARY_JOB) as (
        scheduler,
        cluster,
    ):
        cluster.fail_on = "R10"
        visit_task = asyncio.create_task(run_visit(harness, scheduler))
        await harness.wait_until(lambda runs: {"R11", "R12"} <= {run.part for run in runs})
        assert not visit_task.done()
        cluster.fail_on = ""
        cluster.available.set()
        parent = await visit_task
    assert (parent.state, parent.metrics["seen"].value) == ("done", 4)


async def test_pending_parts_are_resumed_by_the_next_engine(harness: JobHarness) -> None:
    rule = create_visit_rule(degraded={"detectors": ("R11",)})
    files = {"one": DETECTOR_JOB, "visit": SUMMARY_JOB}
    async with open_scheduler(harness, rule, **files) as (scheduler, cluster):
        cluster.available.clear()
        await run_visit(harness, scheduler)
        assert await scheduler.drain_and_cancel(timeout=10**6) == 3
    pending_runs = await harness.ledger.list_runs(Query(state="pending"))
    harness.reported_runs.clear()
    async with open_scheduler(harness, rule, **files) as (scheduler, cluster):
        scheduler.recover_runs(pending_runs)
        await harness.wait_until(lambda runs: len(runs) == 3)
    assert sorted(run.part for run in harness.reported_runs) == ["R10", "R12", "R13"]
    assert {run.state for run in harness.reported_runs} == {"done"}
