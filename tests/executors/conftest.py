"""A folder of jobs that behave badly, and an executor to run them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from catcher.executors.local import LocalExecutor
from catcher.jobs import Registry
from catcher.model.run import JobCall, JobOutcome
from catcher.model.time import SECOND, Span

JOBS = """
import asyncio, ctypes, os, signal, subprocess, sys, time
import numpy as np
from catcher import Result, job

@job
def double(x):
    return {"y": 2 * x, "pid": os.getpid()}

@job
def total(array):
    return {"total": float(array.sum())}

@job
def fails():
    print("about to divide")
    return 1 / 0

@job
def spins():
    while True:
        pass

@job
def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(600)

@job
def exits():
    sys.exit(3)

@job
def vanishes(status=0):
    print("good bye", flush=True)
    os._exit(status)

@job
def is_killed():
    os.kill(os.getpid(), signal.SIGKILL)

@job
def crashes():
    ctypes.string_at(0)

@job
def eats(gigabytes):
    return {"total": float(np.ones(int(gigabytes * 2**27)).sum())}

@job
def prints(lines):
    for number in range(lines):
        print("x" * 99)
    print("the last line")
    return {"lines": lines}

@job
def forks():
    if os.fork() == 0:
        return {"who": 0}
    os.wait()
    return {"who": 1}

@job
def closes_everything():
    os.closerange(3, 256)

@job
def reads():
    return {"letters": len(sys.stdin.read()) + len(os.read(0, 10))}

@job
def leaves_child(note):
    child = subprocess.Popen(["sleep", "600"])
    with open(note, "w") as stream:
        stream.write(f"{os.getpid()} {child.pid}")
    while True:
        pass

@job
def waits_for(path):
    while not os.path.exists(path):
        time.sleep(0.005)
    return {}

@job
def appends(path, text):
    with open(path, "a") as stream:
        stream.write(text)

@job
def own_class():
    class Mine(str):
        pass
    return Result(metrics={Mine("m"): 1.0}, note=Mine("mine"))

@job
def draws():
    import matplotlib
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3])
    note = matplotlib.get_backend()
    return Result(artifacts={"plot.png": figure}, note=note)

@job
async def gently(x):
    await asyncio.sleep(0)
    return {"y": 2 * x, "pid": os.getpid()}

@job
async def for_ever():
    await asyncio.Event().wait()

@job
async def exits_gently():
    sys.exit(3)

@job
async def cancels_itself():
    raise asyncio.CancelledError("me")
"""

RunJob = Callable[..., Awaitable[JobOutcome]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site whose only content is its jobs."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "bad.py").write_text(dedent(JOBS))
    return tmp_path


@pytest.fixture
def create_call(site: Path) -> Callable[..., JobCall]:
    """Makes a call of one of the jobs; `timeout` in nanoseconds."""
    registry, problems = Registry.load(site / "jobs")
    assert not problems

    def build_call(
        name: str,
        *,
        timeout: Span = 30 * SECOND,
        memory: int | None = None,
        priority: int = 0,
        **arguments: Any,
    ) -> JobCall:
        return JobCall("run", registry.get_address(name), arguments, timeout, memory, priority)

    return build_call


@pytest.fixture
async def executor() -> AsyncIterator[LocalExecutor]:
    """One worker, so that what one job does to it would be felt by the next."""
    async with LocalExecutor(workers=1) as executor:
        yield executor


@pytest.fixture
def run_job(executor: LocalExecutor, create_call: Callable[..., JobCall]) -> RunJob:
    """Runs a job by name and gives its outcome."""

    async def run_by_name(name: str, **arguments: Any) -> JobOutcome:
        return await executor.run(create_call(name, **arguments))

    return run_by_name
