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

from catcher.executors import dask_connection
from catcher.executors.cluster_worker import ClusterWorker, PackedCall
from catcher.executors.dask import DaskExecutor
from catcher.executors.dask_settings import DaskExecutorSettings, LocalWorkers
from catcher.jobs import Registry
from catcher.model.errors import CatcherError
from catcher.model.result import Metric
from catcher.model.run import GatheredParts, JobCall, JobOutcome
from catcher.model.time import MILLISECOND, SECOND
from catcher.ports import ExecutorUnavailable
from tests.executors.dask_cluster import DaskCluster, run_cluster
from tests.executors.test_local import metric_value, wait_until

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
CreateCall = Callable[..., JobCall]


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
def create_call(site: Path) -> CreateCall:
    """Makes a call of one of the jobs as they are now; `timeout` in nanoseconds."""

    def build_call(
        name: str, /, *, run: str = "run", timeout: int = 60 * SECOND, **arguments: Any
    ) -> JobCall:
        registry, problems = Registry.load(site / "jobs")
        assert not problems
        call_fields = {key: arguments.pop(key) for key in (*_CALL_FIELDS,) if key in arguments}
        return replace(JobCall(run, registry.get_address(name), arguments, timeout), **call_fields)

    return build_call


_CALL_FIELDS = ("memory", "priority", "parent_run", "gathered")


@pytest.fixture(scope="module")
def one_worker_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler and one worker, for all tests that leave them as they are."""
    with run_cluster(tmp_path_factory.mktemp("dask"), 1, "memory=1e9") as cluster:
        yield cluster


@pytest.fixture
async def executor(one_worker_cluster: DaskCluster) -> AsyncIterator[DaskExecutor]:
    """Connected to the one worker."""
    async with DaskExecutor(DaskExecutorSettings(url=one_worker_cluster.url)) as executor:
        await executor.wait_until_available()
        yield executor


async def test_a_job_runs_on_a_worker_and_an_async_one_here(
    executor: DaskExecutor, create_call: CreateCall, one_worker_cluster: DaskCluster
) -> None:
    outcome = await executor.run(create_call("double", x=21))
    assert metric_value(outcome, "y") == 42
    assert metric_value(outcome, "pid") not in {os.getpid(), one_worker_cluster.workers[0].pid}
    async_outcome = await executor.run(create_call("gently", x=21))
    assert (metric_value(async_outcome, "y"), metric_value(async_outcome, "pid")) == (
        42,
        os.getpid(),
    )
    assert (executor.concurrency, executor.health().counts["workers"]) == (2, 1)


async def test_the_code_is_sent_once_per_version_and_runs_from_there(
    executor: DaskExecutor, create_call: CreateCall, site: Path, one_worker_cluster: DaskCluster
) -> None:
    outcomes = [await executor.run(create_call("where")) for _ in range(3)]
    notes = {outcome.output.note for outcome in outcomes if outcome.output}
    assert len(notes) == 1
    assert notes.pop().startswith(f"{one_worker_cluster.folder}/worker-0/")
    sent_before = executor.health().counts.get("code_sent", 0)
    write_jobs(site, "TWO = 3\n")
    assert metric_value(await executor.run(create_call("double", x=2)), "y") == 6
    assert executor.health().counts["code_sent"] == sent_before + 1


async def test_a_failure_reports_the_error_the_frame_and_the_output(
    executor: DaskExecutor, create_call: CreateCall
) -> None:
    outcome = await executor.run(create_call("fails"))
    assert (outcome.state, outcome.error) == ("failed", "ZeroDivisionError: division by zero")
    assert 'File "jobs/some.py"' in outcome.traceback
    assert outcome.console_output == "about to divide\n"


async def test_a_job_that_hangs_is_killed_and_the_worker_continues(
    executor: DaskExecutor, create_call: CreateCall
) -> None:
    outcome = await executor.run(create_call("spins", timeout=100 * MILLISECOND))
    assert (outcome.state, outcome.error) == ("timeout", "the job took longer than 100ms")
    assert metric_value(await executor.run(create_call("double", x=1)), "y") == 2


async def test_memory_is_bounded(executor: DaskExecutor, create_call: CreateCall) -> None:
    outcome = await executor.run(create_call("eats", gigabytes=1.0, memory=64 * 2**20))
    assert outcome.error.startswith("MemoryError: the job needed more memory than it is given")


async def test_memory_is_a_resource_of_the_workers(
    one_worker_cluster: DaskCluster, create_call: CreateCall
) -> None:
    settings = DaskExecutorSettings(url=one_worker_cluster.url, resource="memory", memory=10**9)
    async with DaskExecutor(settings) as executor:
        await executor.wait_until_available()
        assert metric_value(await executor.run(create_call("double", x=1)), "y") == 2
        outcome = await executor.run(create_call("double", x=1, memory=2 * 10**9))
    assert outcome.state == "failed"
    assert outcome.error.startswith("no worker has 1907 MiB of 'memory', the largest 954")


async def test_arguments_that_cannot_be_sent_fail_the_call(
    executor: DaskExecutor, create_call: CreateCall
) -> None:
    outcome = await executor.run(create_call("double", x=lambda: 1))
    assert "cannot be sent" in outcome.error


async def test_the_highest_priority_goes_first_then_the_first_come(
    executor: DaskExecutor, create_call: CreateCall, tmp_path: Path
) -> None:
    (entered := tmp_path / "entered").mkdir()
    gate, log = tmp_path / "gate", tmp_path / "log"
    async with asyncio.TaskGroup() as tasks:
        await executor.run(create_call("where"))
        blocking_call = create_call("enters", folder=str(entered), name="1", gate=str(gate))
        tasks.create_task(executor.run(blocking_call))
        await wait_until(lambda: any(entered.iterdir()))
        for text, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)):
            queued_call = create_call("appends", path=str(log), text=text, priority=priority)
            tasks.create_task(executor.run(queued_call))
            # Dask tells what came first apart by tenths of a second.
            await asyncio.sleep(0.12)
        gate.touch()
    # The worker had one more call in hand before the others came.
    assert (sorted(log.read_text()[:3]), log.read_text()[3:]) == (["a", "b", "d"], "ce")


def create_part_calls(create_call: CreateCall, folder: Path, count: int) -> list[JobCall]:
    """The parts of one visit; they wait for the file `gate`."""
    folder.mkdir(exist_ok=True)
    gate = str(folder.parent / "gate")
    return [
        create_call(
            "enters", run=f"v.{n}", parent_run="v", folder=str(folder), name=str(n), gate=gate
        )
        for n in range(count)
    ]


def create_reduce_call(create_call: CreateCall, count: int, **parts: Any) -> JobCall:
    runs = {f"R{n}": f"v.{n}" for n in range(count)}
    return create_call(
        "gathers", run="v", parts=parts, missing={}, gathered=GatheredParts("detector", runs)
    )  # fmt: skip


async def test_results_are_gathered_where_they_are(
    executor: DaskExecutor, create_call: CreateCall, tmp_path: Path
) -> None:
    (tmp_path / "gate").touch()
    parts = create_part_calls(create_call, tmp_path / "entered", 3)
    await asyncio.gather(*(executor.run(part) for part in parts))
    # The argument is empty: what the job sees never was in the call.
    outcome = await executor.run(create_reduce_call(create_call, 3))
    assert metric_value(outcome, "sum") == 3
    assert outcome.output is not None
    assert outcome.output.note == "R0 R1 R2 pix"


async def test_results_that_the_cluster_does_not_have_go_with_the_call(
    executor: DaskExecutor, create_call: CreateCall
) -> None:
    from catcher import Result

    parts = {"R0": Result({"number": Metric(7.0, "pix", {"detector": "R0"})})}
    assert metric_value(await executor.run(create_reduce_call(create_call, 1, **parts)), "sum") == 7


async def test_the_calls_of_a_worker_that_dies_midway_are_repeated(
    create_call: CreateCall, tmp_path: Path
) -> None:
    entered, gate = tmp_path / "entered", tmp_path / "gate"
    with run_cluster(tmp_path / "dask", workers=2) as dask:
        async with DaskExecutor(DaskExecutorSettings(url=dask.url)) as executor:
            await wait_until(lambda: executor.health().counts["workers"] == 2)
            tasks = [
                asyncio.create_task(executor.run(part))
                for part in create_part_calls(create_call, entered, 8)
            ]
            await wait_until(lambda: len(list(entered.iterdir())) == 2)
            job_pids = [int(path.suffix[1:]) for path in entered.iterdir()]
            dask.workers[0].kill()
            # The job of the worker that died goes with it, before it is begun anew elsewhere.
            await wait_until(lambda: sum(Path(f"/proc/{pid}").exists() for pid in job_pids) == 1)
            gate.touch()
            outcomes = await asyncio.gather(*tasks)
            total = await executor.run(create_reduce_call(create_call, 8))
        assert [metric_value(outcome, "number") for outcome in outcomes] == list(range(8))
        assert metric_value(total, "sum") == 28
        async with DaskExecutor(DaskExecutorSettings(url=dask.url, least=2)) as executor:
            assert executor.is_unavailable
            assert executor.health().problem.endswith(f":{dask.port} has 1 workers")


async def test_a_scheduler_that_dies_gives_its_calls_back_and_returns(
    create_call: CreateCall, tmp_path: Path
) -> None:
    entered = tmp_path / "entered"
    with run_cluster(tmp_path / "dask") as dask:
        async with DaskExecutor(DaskExecutorSettings(url=dask.url)) as executor:
            await executor.wait_until_available()
            (part,) = create_part_calls(create_call, entered, 1)
            task = asyncio.create_task(executor.run(part))
            await wait_until(lambda: any(entered.iterdir()))
            dask.kill_all()
            with pytest.raises(ExecutorUnavailable):
                await task
            await wait_until(lambda: executor.is_unavailable)
            with pytest.raises(ExecutorUnavailable):
                await executor.run(create_call("double", x=1))
            await wait_until(lambda: executor.health().problem.startswith("the scheduler tcp://"))
            dask.start_scheduler()
            # One that grows with what waits has no workers before; another is away without.
            async with DaskExecutor(DaskExecutorSettings(url=dask.url, least=0)) as elastic:
                assert not elastic.is_unavailable
            assert executor.is_unavailable
            dask.start_worker()
            await executor.wait_until_available()
            assert metric_value(await executor.run(create_call("double", x=1)), "y") == 2
            assert executor.health().state == "ok"


async def test_a_scheduler_that_hangs_counts_as_unavailable(
    create_call: CreateCall, one_worker_cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_connection, "RESPONSE_TIMEOUT", 0.5)
    assert one_worker_cluster.scheduler is not None
    async with DaskExecutor(DaskExecutorSettings(url=one_worker_cluster.url)) as executor:
        await executor.wait_until_available()
        one_worker_cluster.scheduler.send_signal(signal.SIGSTOP)
        await wait_until(lambda: executor.is_unavailable)
        one_worker_cluster.scheduler.send_signal(signal.SIGCONT)
        await executor.wait_until_available()
        assert metric_value(await executor.run(create_call("double", x=1)), "y") == 2


async def test_a_cluster_that_is_not_there_delays_no_start(
    create_call: CreateCall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_connection, "CONNECT_TIMEOUT", 0.5)
    missing = DaskCluster(tmp_path)
    async with DaskExecutor(DaskExecutorSettings(url=missing.url)) as executor:
        assert (executor.is_unavailable, executor.health().state) == (True, "away")
        with pytest.raises(ExecutorUnavailable, match="the scheduler tcp://"):
            await executor.run(create_call("double", x=1))


async def test_workers_of_the_engines_own(create_call: CreateCall) -> None:
    async with DaskExecutor(DaskExecutorSettings(local=LocalWorkers(1))) as executor:
        await executor.wait_until_available()
        assert metric_value(await executor.run(create_call("double", x=4)), "y") == 8


async def test_a_worker_of_another_version_is_reported(
    create_call: CreateCall, tmp_path: Path
) -> None:
    from catcher.executors.worker_main import unpickle_outcome

    worker = ClusterWorker(1, tmp_path)
    outcome: JobOutcome = unpickle_outcome(await worker.execute_call(PackedCall(b"", protocol=0)))
    assert (outcome.state, outcome.retry) == ("failed", False)
    assert "another version of Catcher" in outcome.error


@pytest.mark.parametrize("options", [{}, {"url": "dask://a", "local": LocalWorkers()}])
def test_settings_name_one_cluster(options: dict[str, Any]) -> None:
    with pytest.raises(CatcherError, match="either a `url` or `local`"):
        DaskExecutorSettings(**options)
