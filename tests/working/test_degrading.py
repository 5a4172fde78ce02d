"""While the cluster is away: what must be done is done here, the rest waits or is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from catcher.executors.local import LocalExecutor
from catcher.model.event import Event
from catcher.model.rule import Gather, Input, Overlap, Rule
from catcher.model.run import Call, Outcome, Run
from catcher.ports import ExecutorAway, Query
from catcher.working import Workshop
from tests.working.conftest import TOPIC, World, job_rule
from tests.working.test_gathering import DETECTOR, SUMMARY, write_frames

JOB = """
    @job
    def one(event: Event, metrics=None):
        return Result({"n": event.fields.get("n", 0)}, note=",".join(metrics or ["all"]))
"""


class Cluster(LocalExecutor):
    """An executor that can be taken away, also while it has calls, and brought back."""

    def __init__(self) -> None:
        super().__init__(1)
        self.there = asyncio.Event()
        self.there.set()
        self.lost = asyncio.Event()
        self.calls: list[str] = []
        self.fails_at = ""

    @property
    def away(self) -> bool:
        return not self.there.is_set()

    async def back(self) -> None:
        await self.there.wait()

    async def run(self, call: Call) -> Outcome:
        self.calls.append(call.run)
        if self.away or call.run.endswith(self.fails_at or "\0"):
            self.there.clear()
            self.lost.set()
            raise ExecutorAway("gone")
        return await super().run(call)


@asynccontextmanager
async def shop_of(
    world: World, rule: Rule, **files: str
) -> AsyncIterator[tuple[Workshop, Cluster]]:
    """A workshop with a cluster beside the executor on this machine."""
    async with Cluster() as cluster, world.workshop(rule, cluster=cluster, **files) as shop:
        yield shop, cluster


async def numbered(world: World, shop: Workshop, *numbers: int) -> list[Run]:
    """Runs that carry a number each."""
    runs = []
    for n in numbers:
        event = Event(TOPIC, world.clock() + n, {"n": n})
        runs.append(await world.pending(number=n, event=event))
        shop.submit(runs[-1])
    return runs


async def test_with_the_cluster_there_everything_runs_on_it(world: World) -> None:
    async with shop_of(world, job_rule(critical=True), one=JOB) as (shop, cluster):
        (run,) = await numbered(world, shop, 1)
        (done,) = await world.until(lambda runs: len(runs) == 1)
    assert (done.note, cluster.calls, world.executor.health().counts.get("done")) == (
        "all", [run.id], None
    )  # fmt: skip


async def test_a_critical_rule_runs_here_meanwhile(world: World) -> None:
    rule = job_rule(critical=True, degraded={"metrics": ("n", "m")})
    async with shop_of(world, rule, one=JOB) as (shop, cluster):
        cluster.there.clear()
        await numbered(world, shop, 1, 2)
        done = await world.until(lambda runs: len(runs) == 2)
        assert shop.health().counts["run_here"] == 2
        cluster.there.set()
        (last,) = await numbered(world, shop, 3)
        await world.until(lambda runs: len(runs) == 3)
    assert [(run.state, run.note) for run in done] == [
        ("done", "n,m"), ("done", "n,m"), ("done", "all")
    ]  # fmt: skip
    assert cluster.calls == [last.id]


async def test_the_rest_waits_as_pending_and_catches_up_in_order(world: World) -> None:
    async with shop_of(world, job_rule(), one=JOB) as (shop, cluster):
        cluster.there.clear()
        runs = await numbered(world, shop, 1, 2, 3)
        assert [await world.state(run) for run in runs] == ["pending"] * 3
        assert world.reported == []
        cluster.there.set()
        done = await world.until(lambda runs: len(runs) == 3)
    assert [run.metrics["n"].value for run in done] == [1, 2, 3]


async def test_a_stop_leaves_what_waits_for_the_next_engine(world: World) -> None:
    async with shop_of(world, job_rule(overlap=Overlap("parallel", 2)), one=JOB) as (shop, cluster):
        cluster.there.clear()
        runs = await numbered(world, shop, 1, 2, 3)
        assert await shop.drain(limit=10**6) == 3
    assert [await world.state(run) for run in runs] == ["pending"] * 3


async def test_what_is_to_be_left_out_is_marked_as_skipped(world: World) -> None:
    async with shop_of(world, job_rule(degraded={"rest": ("skip",)}), one=JOB) as (shop, cluster):
        cluster.there.clear()
        await numbered(world, shop, 1)
        (skipped,) = await world.until(lambda runs: len(runs) == 1)
        cluster.there.set()
        await numbered(world, shop, 2)
        await world.until(lambda runs: len(runs) == 2)
    assert (skipped.state, skipped.error.split(",")[0]) == ("skipped", "the cluster was away")
    assert world.reported[1].state == "done"


@pytest.mark.parametrize("critical", [True, False])
async def test_a_cluster_that_is_lost_over_a_run(world: World, critical: bool) -> None:
    async with shop_of(world, job_rule(critical=critical), one=JOB) as (shop, cluster):
        run = await world.pending(event=Event(TOPIC, world.clock(), {"n": 1}))
        cluster.fails_at = run.id
        shop.submit(run)
        if not critical:
            await cluster.lost.wait()
            assert world.reported == []
            cluster.fails_at = ""
            cluster.there.set()
        (done,) = await world.until(lambda runs: len(runs) == 1)
    assert (done.state, done.attempt, done.metrics["n"].value) == ("done", 1, 1)


async def test_an_async_job_never_needs_the_cluster(world: World) -> None:
    job = "@job\nasync def one(): return {'n': 1}"
    async with shop_of(world, job_rule(), one=job) as (shop, cluster):
        cluster.there.clear()
        shop.submit(await world.pending())
        (done,) = await world.until(lambda runs: len(runs) == 1)
    assert (done.state, cluster.calls) == ("done", [])


# -- runs in parts --------------------------------------------------------------------------


def visit_rule(**spec: Any) -> Rule:
    frame = {"frame": Input(image="exposure")}
    return job_rule(inputs=frame, each="detector", gather=Gather("visit"), **spec)


async def visited(world: World, shop: Workshop) -> Run:
    """The whole of a visit of four detectors, when it is over."""
    write_frames(world, "a", R10="1.0", R11="2.0", R12="4.0", R13="8.0")
    shop.submit(await world.pending(event=await world.exposure("a")))
    await world.until(lambda runs: any(not run.parent for run in runs))
    return next(run for run in world.reported if not run.parent)


async def test_of_a_visit_the_chosen_detectors_are_done_and_the_others_later(world: World) -> None:
    rule = visit_rule(degraded={"detectors": ("R11", "R12")})
    async with shop_of(world, rule, one=DETECTOR, visit=SUMMARY) as (shop, cluster):
        cluster.there.clear()
        whole = await visited(world, shop)
        assert (whole.state, whole.metrics["fwhm"].value, cluster.calls) == ("done", 4, [])
        assert whole.note.startswith("a; missing: R10 (the cluster was away: it is done when")
        left = sorted(run.part for run in await world.ledger.runs(Query(state="pending")))
        assert left == ["R10", "R13"]
        cluster.there.set()
        await world.until(lambda runs: len(runs) == 5)
    late = {run.part: run for run in world.reported[3:]}
    assert {part: run.metrics["fwhm"].value for part, run in late.items()} == {"R10": 1, "R13": 8}
    assert late["R10"].metrics["fwhm"].labels == {"detector": "R10"}
    assert (late["R10"].parent, late["R10"].observation) == (whole.id, "a")
    assert await world.state(late["R13"]) == "done"


async def test_of_a_visit_the_others_are_left_out_where_the_rule_says_so(world: World) -> None:
    rule = visit_rule(degraded={"detectors": ("R11",), "rest": ("skip",)})
    async with shop_of(world, rule, one=DETECTOR, visit=SUMMARY) as (shop, cluster):
        cluster.there.clear()
        whole = await visited(world, shop)
    assert whole.metrics["seen"].value == 1
    states = {run.part: run.state for run in world.reported if run.parent}
    assert states == {"R10": "skipped", "R11": "done", "R12": "skipped", "R13": "skipped"}


async def test_a_critical_visit_is_done_here_whole(world: World) -> None:
    async with shop_of(world, visit_rule(critical=True), one=DETECTOR, visit=SUMMARY) as (
        shop, cluster
    ):  # fmt: skip
        cluster.there.clear()
        whole = await visited(world, shop)
    assert (whole.metrics["seen"].value, cluster.calls) == (4, [])


async def test_a_cluster_that_is_lost_over_a_visit(world: World) -> None:
    rule = visit_rule(degraded={"detectors": ("R11", "R12")})
    async with shop_of(world, rule, one=DETECTOR, visit=SUMMARY) as (shop, cluster):
        cluster.fails_at = "R10"
        visiting = asyncio.create_task(visited(world, shop))
        await world.until(lambda runs: {"R11", "R12"} <= {run.part for run in runs})
        assert not visiting.done()
        cluster.fails_at = ""
        cluster.there.set()
        whole = await visiting
    assert (whole.state, whole.metrics["seen"].value) == ("done", 4)


async def test_parts_that_were_left_are_taken_up_by_the_next_engine(world: World) -> None:
    rule = visit_rule(degraded={"detectors": ("R11",)})
    files = {"one": DETECTOR, "visit": SUMMARY}
    async with shop_of(world, rule, **files) as (shop, cluster):
        cluster.there.clear()
        await visited(world, shop)
        assert await shop.drain(limit=10**6) == 3
    left = await world.ledger.runs(Query(state="pending"))
    world.reported.clear()
    async with shop_of(world, rule, **files) as (shop, cluster):
        shop.recover(left)
        await world.until(lambda runs: len(runs) == 3)
    assert sorted(run.part for run in world.reported) == ["R10", "R12", "R13"]
    assert {run.state for run in world.reported} == {"done"}
