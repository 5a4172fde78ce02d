"""Jobs on a real Dask scheduler with worker processes, which are killed and come back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from catcher.executors import dask_link
from catcher.executors.dask import DaskExecutor
from catcher.executors.dask_settings import LocalWorkers, Settings
from catcher.executors.post import Order, Post
from catcher.model.problem import CatcherError
from catcher.model.result import Metric
from catcher.model.run import Call, Gathered, Outcome
from catcher.model.time import MILLISECOND, SECOND
from catcher.ports import ExecutorAway
from catcher.working import Registry
from tests.executors.dask_cluster import Cluster, cluster
from tests.executors.test_local import metric, until

JOBS = """
import os, time
from catcher import Metric, Result, job
from .lib import numbers

@job
def double(x):
    return {"y": numbers.TWO * x, "pid": os.getpid()}

@job
def where():
    return Result(note=__file__)

@job
def fails():
    print("about to divide")
    return 1 / 0

@job
def spins():
    while True:
        pass

@job
def eats(gigabytes):
    import numpy as np
    return {"total": float(np.ones(int(gigabytes * 2**27)).sum())}

@job
def appends(path, text):
    with open(path, "a") as stream:
        stream.write(text)

@job
def enters(folder, name, gate):
    open(os.path.join(folder, f"{name}.{os.getpid()}"), "w").close()
    while not os.path.exists(gate):
        time.sleep(0.005)
    return {"number": Metric(float(name), "pix")}

@job
def gathers(parts, missing):
    units = {one.metrics["number"].unit for one in parts.values()}
    labels = sorted(one.metrics["number"].labels["detector"] for one in parts.values())
    return Result({"sum": sum(one.metrics["number"].value for one in parts.values())},
                  note=" ".join([*labels, *units]))

@job
async def gently(x):
    return {"y": 2 * x, "pid": os.getpid()}
"""
MakeCall = Callable[..., Call]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with jobs that share code."""
    write_jobs(tmp_path, "TWO = 2\n")
    return tmp_path


def write_jobs(site: Path, shared: str) -> None:
    (site / "jobs" / "lib").mkdir(parents=True, exist_ok=True)
    (site / "jobs" / "lib" / "numbers.py").write_text(shared)
    (site / "jobs" / "some.py").write_text(dedent(JOBS))


@pytest.fixture
def call(site: Path) -> MakeCall:
    """Makes a call of one of the jobs as they are now; `timeout` in nanoseconds."""

    def make(name: str, /, *, run: str = "run", timeout: int = 60 * SECOND, **how: Any) -> Call:
        registry, problems = Registry.load(site / "jobs")
        assert not problems
        more = {key: how.pop(key) for key in (*_MORE,) if key in how}
        return replace(Call(run, registry.address(name), how, timeout), **more)

    return make


_MORE = ("memory", "priority", "whole", "gathered")


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and one worker, for all tests that leave them as they are."""
    with cluster(tmp_path_factory.mktemp("dask"), 1, "memory=1e9") as found:
        yield found


@pytest.fixture
async def executor(one_worker: Cluster) -> AsyncIterator[DaskExecutor]:
    """Connected to the one worker."""
    async with DaskExecutor(Settings(url=one_worker.url)) as one:
        await one.back()
        yield one


async def test_a_job_runs_on_a_worker_and_an_async_one_here(
    executor: DaskExecutor, call: MakeCall, one_worker: Cluster
) -> None:
    outcome = await executor.run(call("double", x=21))
    assert metric(outcome, "y") == 42
    assert metric(outcome, "pid") not in {os.getpid(), one_worker.workers[0].pid}
    gently = await executor.run(call("gently", x=21))
    assert (metric(gently, "y"), metric(gently, "pid")) == (42, os.getpid())
    assert (executor.width, executor.health().counts["workers"]) == (2, 1)


async def test_the_code_is_sent_once_a_version_and_runs_from_there(
    executor: DaskExecutor, call: MakeCall, site: Path, one_worker: Cluster
) -> None:
    places = [await executor.run(call("where")) for _ in range(3)]
    notes = {outcome.output.note for outcome in places if outcome.output}
    assert len(notes) == 1
    assert notes.pop().startswith(f"{one_worker.folder}/worker-0/")
    sent = executor.health().counts.get("code_sent", 0)
    write_jobs(site, "TWO = 3\n")
    assert metric(await executor.run(call("double", x=2)), "y") == 6
    assert executor.health().counts["code_sent"] == sent + 1


async def test_a_failure_tells_the_error_the_frame_and_the_print(
    executor: DaskExecutor, call: MakeCall
) -> None:
    outcome = await executor.run(call("fails"))
    assert (outcome.state, outcome.error) == ("failed", "ZeroDivisionError: division by zero")
    assert 'File "jobs/some.py"' in outcome.traceback
    assert outcome.printed == "about to divide\n"


async def test_a_job_that_hangs_is_killed_and_the_worker_goes_on(
    executor: DaskExecutor, call: MakeCall
) -> None:
    outcome = await executor.run(call("spins", timeout=100 * MILLISECOND))
    assert (outcome.state, outcome.error) == ("timeout", "the job took longer than 100ms")
    assert metric(await executor.run(call("double", x=1)), "y") == 2


async def test_memory_is_bounded(executor: DaskExecutor, call: MakeCall) -> None:
    outcome = await executor.run(call("eats", gigabytes=1.0, memory=64 * 2**20))
    assert outcome.error.startswith("MemoryError: the job needed more memory than it is given")


async def test_memory_is_a_resource_of_the_workers(one_worker: Cluster, call: MakeCall) -> None:
    settings = Settings(url=one_worker.url, resource="memory", memory=10**9)
    async with DaskExecutor(settings) as executor:
        await executor.back()
        assert metric(await executor.run(call("double", x=1)), "y") == 2
        outcome = await executor.run(call("double", x=1, memory=2 * 10**9))
    assert outcome.state == "failed"
    assert outcome.error.startswith("no worker has 1907 MiB of 'memory', the largest 954")


async def test_arguments_that_cannot_be_sent_fail_the_call(
    executor: DaskExecutor, call: MakeCall
) -> None:
    outcome = await executor.run(call("double", x=lambda: 1))
    assert "cannot be sent" in outcome.error


async def test_the_highest_priority_goes_first_then_the_first_come(
    executor: DaskExecutor, call: MakeCall, tmp_path: Path
) -> None:
    (entered := tmp_path / "entered").mkdir()
    gate, log = tmp_path / "gate", tmp_path / "log"
    async with asyncio.TaskGroup() as tasks:
        await executor.run(call("where"))
        held = call("enters", folder=str(entered), name="1", gate=str(gate))
        tasks.create_task(executor.run(held))
        await until(lambda: any(entered.iterdir()))
        for text, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)):
            one = call("appends", path=str(log), text=text, priority=priority)
            tasks.create_task(executor.run(one))
            # Dask tells what came first apart by tenths of a second.
            await asyncio.sleep(0.12)
        gate.touch()
    # The worker had one more call in hand before the others came.
    assert (sorted(log.read_text()[:3]), log.read_text()[3:]) == (["a", "b", "d"], "ce")


def parts_of(call: MakeCall, folder: Path, count: int) -> list[Call]:
    """The parts of one visit; they wait for the file `gate`."""
    folder.mkdir(exist_ok=True)
    gate = str(folder.parent / "gate")
    return [
        call("enters", run=f"v.{n}", whole="v", folder=str(folder), name=str(n), gate=gate)
        for n in range(count)
    ]


def gathering(call: MakeCall, count: int, **parts: Any) -> Call:
    runs = {f"R{n}": f"v.{n}" for n in range(count)}
    return call(
        "gathers", run="v", parts=parts, missing={}, gathered=Gathered("detector", runs)
    )  # fmt: skip


async def test_results_are_gathered_where_they_are(
    executor: DaskExecutor, call: MakeCall, tmp_path: Path
) -> None:
    (tmp_path / "gate").touch()
    parts = parts_of(call, tmp_path / "entered", 3)
    await asyncio.gather(*(executor.run(part) for part in parts))
    # The argument is empty: what the job sees never was in the call.
    outcome = await executor.run(gathering(call, 3))
    assert metric(outcome, "sum") == 3
    assert outcome.output is not None
    assert outcome.output.note == "R0 R1 R2 pix"


async def test_results_that_the_cluster_does_not_have_go_with_the_call(
    executor: DaskExecutor, call: MakeCall
) -> None:
    from catcher import Result

    given = {"R0": Result({"number": Metric(7.0, "pix", {"detector": "R0"})})}
    assert metric(await executor.run(gathering(call, 1, **given)), "sum") == 7


async def test_a_worker_that_dies_in_mid_visit_is_made_up_for(
    call: MakeCall, tmp_path: Path
) -> None:
    entered, gate = tmp_path / "entered", tmp_path / "gate"
    with cluster(tmp_path / "dask", workers=2) as there:
        async with DaskExecutor(Settings(url=there.url)) as executor:
            await until(lambda: executor.health().counts["workers"] == 2)
            work = [asyncio.create_task(executor.run(part)) for part in parts_of(call, entered, 8)]
            await until(lambda: len(list(entered.iterdir())) == 2)
            jobs = [int(path.suffix[1:]) for path in entered.iterdir()]
            there.workers[0].kill()
            # The job of the worker that died goes with it, before it is begun anew elsewhere.
            await until(lambda: sum(Path(f"/proc/{pid}").exists() for pid in jobs) == 1)
            gate.touch()
            outcomes = await asyncio.gather(*work)
            whole = await executor.run(gathering(call, 8))
        assert [metric(one, "number") for one in outcomes] == list(range(8))
        assert metric(whole, "sum") == 28
        async with DaskExecutor(Settings(url=there.url, least=2)) as executor:
            assert executor.away
            assert executor.health().problem.endswith(f":{there.port} has 1 workers")


async def test_a_scheduler_that_dies_gives_its_calls_back_and_returns(
    call: MakeCall, tmp_path: Path
) -> None:
    entered = tmp_path / "entered"
    with cluster(tmp_path / "dask") as there:
        async with DaskExecutor(Settings(url=there.url)) as executor:
            await executor.back()
            (part,) = parts_of(call, entered, 1)
            work = asyncio.create_task(executor.run(part))
            await until(lambda: any(entered.iterdir()))
            there.kill()
            with pytest.raises(ExecutorAway):
                await work
            await until(lambda: executor.away)
            with pytest.raises(ExecutorAway):
                await executor.run(call("double", x=1))
            await until(lambda: executor.health().problem.startswith("the scheduler tcp://"))
            there.start_scheduler()
            # One that grows with what waits has no workers before; another is away without.
            async with DaskExecutor(Settings(url=there.url, least=0)) as growing:
                assert not growing.away
            assert executor.away
            there.start_worker()
            await executor.back()
            assert metric(await executor.run(call("double", x=1)), "y") == 2
            assert executor.health().state == "ok"


async def test_a_scheduler_that_hangs_counts_as_away(
    call: MakeCall, one_worker: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_link, "PATIENCE", 0.5)
    assert one_worker.scheduler is not None
    async with DaskExecutor(Settings(url=one_worker.url)) as executor:
        await executor.back()
        one_worker.scheduler.send_signal(signal.SIGSTOP)
        await until(lambda: executor.away)
        one_worker.scheduler.send_signal(signal.SIGCONT)
        await executor.back()
        assert metric(await executor.run(call("double", x=1)), "y") == 2


async def test_a_cluster_that_is_not_there_delays_no_start(
    call: MakeCall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_link, "CONNECT", 0.5)
    nobody = Cluster(tmp_path)
    async with DaskExecutor(Settings(url=nobody.url)) as executor:
        assert (executor.away, executor.health().state) == (True, "away")
        with pytest.raises(ExecutorAway, match="the scheduler tcp://"):
            await executor.run(call("double", x=1))


async def test_workers_of_the_engines_own(call: MakeCall) -> None:
    async with DaskExecutor(Settings(local=LocalWorkers(1))) as executor:
        await executor.back()
        assert metric(await executor.run(call("double", x=4)), "y") == 8


async def test_a_worker_of_another_version_says_so(call: MakeCall, tmp_path: Path) -> None:
    from catcher.executors.confinement import unpacked

    post = Post(1, tmp_path)
    outcome: Outcome = unpacked(await post.perform(Order(b"", protocol=0)))
    assert (outcome.state, outcome.retry) == ("failed", False)
    assert "another version of Catcher" in outcome.error


@pytest.mark.parametrize("how", [{}, {"url": "dask://a", "local": LocalWorkers()}])
def test_settings_name_one_cluster(how: dict[str, Any]) -> None:
    with pytest.raises(CatcherError, match="either a `url` or `local`"):
        Settings(**how)
