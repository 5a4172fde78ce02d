"""Jobs in worker processes: what a job does is in its outcome, and harms no other."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from catcher.executors.local import LocalExecutor
from catcher.model.run import JobCall, JobOutcome
from catcher.model.time import MILLISECOND
from tests.executors.conftest import RunJob

CreateCall = Callable[..., JobCall]


def metric_value(outcome: JobOutcome, name: str) -> float | None:
    assert outcome.output is not None, outcome.error
    return outcome.output.metrics[name].value


async def assert_worker_usable(run: RunJob) -> None:
    """The next job runs as if nothing had been."""
    outcome = await run("double", x=21)
    assert (outcome.state, metric_value(outcome, "y")) == ("done", 42)


async def test_a_job_runs_in_another_process(run_job: RunJob) -> None:
    outcome = await run_job("double", x=2)
    assert metric_value(outcome, "y") == 4
    assert metric_value(outcome, "pid") != os.getpid()


async def test_the_worker_is_reused(run_job: RunJob) -> None:
    first, second = await run_job("double", x=1), await run_job("double", x=2)
    assert metric_value(first, "pid") == metric_value(second, "pid")


async def test_large_arrays_arrive(run_job: RunJob) -> None:
    assert metric_value(await run_job("total", array=np.ones(5_000_000)), "total") == 5_000_000


async def test_an_async_job_runs_on_the_loop(run_job: RunJob) -> None:
    outcome = await run_job("gently", x=2)
    assert (metric_value(outcome, "y"), metric_value(outcome, "pid")) == (4, os.getpid())


async def test_a_failure_reports_the_error_the_frame_and_the_output(run_job: RunJob) -> None:
    outcome = await run_job("fails")
    assert outcome.state == "failed"
    assert outcome.error == "ZeroDivisionError: division by zero"
    assert 'File "jobs/bad.py"' in outcome.traceback
    assert "catcher/jobs" not in outcome.traceback
    assert outcome.console_output == "about to divide\n"


async def test_a_figure_is_drawn_without_a_display(run_job: RunJob) -> None:
    outcome = await run_job("draws")
    assert outcome.output is not None
    assert outcome.output.note.lower() == "agg"
    assert outcome.output.artifacts[0].data.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "state", "message"),
    [
        ("exits", "failed", "sys.exit(3)"),
        ("vanishes", "failed", "os._exit"),
        ("is_killed", "failed", "SIGKILL"),
        ("crashes", "failed", "SIGSEGV"),
        ("closes_everything", "failed", "ended with status"),
    ],
)
async def test_a_job_that_ends_its_process_has_failed(
    run_job: RunJob, name: str, state: str, message: str
) -> None:
    outcome = await run_job(name)
    assert outcome.state == state
    assert message in outcome.error
    await assert_worker_usable(run_job)


async def test_the_last_output_of_a_process_is_captured(run_job: RunJob) -> None:
    assert (await run_job("vanishes", status=5)).console_output == "good bye\n"
    assert "Fatal Python error" in (await run_job("crashes")).console_output


@pytest.mark.parametrize("name", ["spins", "deaf"])
async def test_a_job_that_takes_too_long_is_killed(run_job: RunJob, name: str) -> None:
    outcome = await run_job(name, timeout=100 * MILLISECOND)
    assert (outcome.state, outcome.error) == ("timeout", "the job took longer than 100ms")
    await assert_worker_usable(run_job)


async def test_a_job_that_exceeds_memory_fails_and_the_worker_continues(run_job: RunJob) -> None:
    outcome = await run_job("eats", gigabytes=1.0, memory=256 * 2**20)
    assert outcome.state == "failed"
    assert outcome.error.startswith("MemoryError: the job needed more memory than it is given (256")
    assert not outcome.retry
    await assert_worker_usable(run_job)


async def test_the_interpreter_is_not_charged_to_the_job(run_job: RunJob) -> None:
    outcome = await run_job("eats", gigabytes=0.125, memory=256 * 2**20)
    assert metric_value(outcome, "total") == 2**24


async def test_the_bound_of_one_job_does_not_bind_the_next(run_job: RunJob) -> None:
    await run_job("eats", gigabytes=1.0, memory=64 * 2**20)
    assert (await run_job("eats", gigabytes=0.3, memory=2**30)).state == "done"


async def test_a_hundred_megabytes_of_print_cost_nothing_but_their_beginning(
    run_job: RunJob,
) -> None:
    outcome = await run_job("prints", lines=1_000_000)
    assert outcome.state == "done"
    assert outcome.console_output.endswith("the last line\n")
    assert outcome.console_output.startswith("... 99934478 bytes before this\n")
    assert len(outcome.console_output) < 70_000


async def test_a_child_that_comes_back_from_a_fork_does_not_answer(run_job: RunJob) -> None:
    assert metric_value(await run_job("forks"), "who") == 1
    await assert_worker_usable(run_job)


async def test_there_is_nothing_to_read(run_job: RunJob) -> None:
    assert metric_value(await run_job("reads"), "letters") == 0


async def test_classes_of_the_job_stay_in_the_worker(run_job: RunJob) -> None:
    outcome = await run_job("own_class")
    assert outcome.output is not None
    assert [type(name) for name in outcome.output.metrics] == [str]
    assert type(outcome.output.note) is str


async def test_arguments_that_cannot_be_sent_fail_the_call(run_job: RunJob) -> None:
    outcome = await run_job("double", x=lambda: 1)
    assert (outcome.state, outcome.retry) == ("failed", False)
    assert "cannot be sent" in outcome.error
    await assert_worker_usable(run_job)


@pytest.mark.parametrize(
    ("name", "message"), [("exits_gently", "sys.exit(3)"), ("cancels_itself", "CancelledError: me")]
)
async def test_an_async_job_cannot_end_the_engine(run_job: RunJob, name: str, message: str) -> None:
    outcome = await run_job(name)
    assert outcome.state == "failed"
    assert message in outcome.error


async def test_an_async_job_has_a_timeout(run_job: RunJob) -> None:
    assert (await run_job("for_ever", timeout=20 * MILLISECOND)).state == "timeout"


async def test_cancelling_ends_the_work(
    executor: LocalExecutor, create_call: CreateCall, run_job: RunJob, tmp_path: Path
) -> None:
    os.mkfifo(pipe := tmp_path / "note")
    task = asyncio.create_task(executor.run(create_call("leaves_child", note=str(pipe))))
    pids_text = await asyncio.to_thread(pipe.read_text)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for pid in pids_text.split():
        await wait_until_exited(int(pid))
    await assert_worker_usable(run_job)


async def test_a_cancelled_call_that_waits_is_not_run(
    executor: LocalExecutor, create_call: CreateCall, tmp_path: Path
) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    first = asyncio.create_task(executor.run(create_call("waits_for", path=str(gate))))
    await wait_until(lambda: executor.health().counts["running"] == 1)
    second = asyncio.create_task(executor.run(create_call("appends", path=str(log), text="2")))
    await wait_until(lambda: executor.health().counts["waiting"] == 1)
    second.cancel()
    gate.touch()
    await first
    await executor.run(create_call("appends", path=str(log), text="3"))
    assert log.read_text() == "3"


async def test_the_highest_priority_goes_first_then_the_first_come(
    executor: LocalExecutor, create_call: CreateCall, tmp_path: Path
) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(executor.run(create_call("waits_for", path=str(gate))))
        await wait_until(lambda: executor.health().counts["running"] == 1)
        for text, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)):
            queued_call = create_call("appends", path=str(log), text=text, priority=priority)
            tasks.create_task(executor.run(queued_call))
        await wait_until(lambda: executor.health().counts["waiting"] == 5)
        gate.touch()
    assert log.read_text() == "bdace"


async def test_a_job_that_hangs_delays_no_other(create_call: CreateCall, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with LocalExecutor(workers=2) as executor, asyncio.TaskGroup() as tasks:
        blocking_task = tasks.create_task(executor.run(create_call("waits_for", path=str(gate))))
        for x in range(3):
            assert metric_value(await executor.run(create_call("double", x=x)), "y") == 2 * x
        assert not blocking_task.done()
        gate.touch()


async def test_the_health_counts_what_happened(executor: LocalExecutor, run_job: RunJob) -> None:
    for name in ("fails", "is_killed", "reads"):
        await run_job(name)
    await run_job("spins", timeout=50 * MILLISECOND)
    health = executor.health()
    assert (health.name, health.kind) == ("local", "executor")
    counts = {name: health.counts[name] for name in ("done", "failed", "timeout", "workers")}
    assert counts == {"done": 1, "failed": 2, "timeout": 1, "workers": 1}


async def test_closing_fails_waiting_calls_and_ends_the_workers(create_call: CreateCall) -> None:
    async with LocalExecutor(workers=1) as executor:
        pid = metric_value(await executor.run(create_call("double", x=1)), "pid")
        running = asyncio.create_task(executor.run(create_call("spins")))
        await wait_until(lambda: executor.health().counts["running"] == 1)
        waiting = asyncio.create_task(executor.run(create_call("double", x=1)))
        await wait_until(lambda: executor.health().counts["waiting"] == 1)
    for task in (running, waiting):
        assert (await task).error == "the executor was closed"
    assert (await executor.run(create_call("double", x=1))).error == "the executor was closed"
    assert pid is not None
    await wait_until_exited(int(pid))


ENGINE_SCRIPT = """
import asyncio, sys
from pathlib import Path
from catcher.executors.local import LocalExecutor
from catcher.jobs import Registry
from catcher.model.run import JobCall

async def main(site, note):
    registry, _ = Registry.load(Path(site) / "jobs")
    async with LocalExecutor(workers=1) as executor:
        call = JobCall("r", registry.get_address("leaves_child"), {"note": note}, 600 * 10**9)
        await executor.run(call)

asyncio.run(main(*sys.argv[1:]))
"""


def kill_engine(site: Path) -> list[int]:
    """Kills an engine with SIGKILL while a job spins: the job's process and that job's child."""
    os.mkfifo(pipe := site / "note")
    script = site / "engine.py"
    script.write_text(dedent(ENGINE_SCRIPT))
    command = [sys.executable, str(script), str(site), str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as engine:
        pids_text = pipe.read_text()
        engine.kill()
    return [int(pid) for pid in pids_text.split()]


async def test_the_workers_die_with_a_killed_engine(site: Path) -> None:
    for pid in await asyncio.to_thread(kill_engine, site):
        await wait_until_exited(pid)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Returns once it is so; the test's own timeout is the limit."""
    while True:
        if condition():
            return
        await asyncio.sleep(0.005)


async def wait_until_exited(pid: int) -> None:
    """Returns once a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    await ended.wait()
    loop.remove_reader(descriptor)
    os.close(descriptor)
