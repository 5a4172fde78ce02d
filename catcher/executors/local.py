"""Runs jobs in worker processes on this machine, and `async def` jobs on the loop.

    executor: local
    executor: {local: {workers: 4, memory: 2147483648}}

`workers` is the number of processes (by default one per core), `memory` the bytes of address space
that a job may take beyond the interpreter and its libraries (2 GiB); a rule's `memory` overrides
it. A job that takes longer than its `timeout` is killed with everything it started; other jobs
continue. The highest `priority` runs first, among equals the earliest.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from types import TracebackType

from catcher.executors.worker_process import WorkerProcess
from catcher.jobs.worker import execute_call_async
from catcher.model.health import Health, HealthState
from catcher.model.run import JobCall, JobOutcome
from catcher.model.time import Clock, Instant, wall_clock

MAX_QUEUED_CALLS = 10_000
MAX_ASYNC_JOBS = 64
MAX_RESTART_DELAY = 30.0
DEFAULT_MEMORY = 2 * 2**30


@dataclass(frozen=True, slots=True)
class LocalExecutorSettings:
    """The keys under `executor: {local: ...}`. `memory` in bytes, None for no bound."""

    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    memory: int | None = DEFAULT_MEMORY


@dataclass(order=True, slots=True)
class _QueuedCall:
    """A call that waits for a worker, ordered by priority and then by arrival."""

    sort_key: tuple[int, int]
    call: JobCall = field(compare=False)
    outcome: asyncio.Future[JobOutcome] = field(compare=False)


class LocalExecutor:
    """Executes calls in worker processes. As a context manager it starts them in the background."""

    def __init__(
        self,
        workers: int | None = None,
        memory: int | None = DEFAULT_MEMORY,
        clock: Clock = wall_clock,
        name: str = "local",
    ) -> None:
        self._workers = workers or LocalExecutorSettings().workers
        self._memory = memory
        self._clock = clock
        self._name = name
        self._queue: asyncio.PriorityQueue[_QueuedCall] = asyncio.PriorityQueue(MAX_QUEUED_CALLS)
        self._sequence = itertools.count()
        self._counts: Counter[str] = Counter()
        self._async_slots = asyncio.Semaphore(MAX_ASYNC_JOBS)
        self._ready_workers = self._busy_workers = 0
        self._problem = ""
        self._since: Instant = clock()
        self._last: Instant | None = None
        self._state: HealthState = "starting"
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> LocalExecutor:
        for number in range(self._workers):
            task = asyncio.create_task(self._run_worker(), name=f"worker-{number}")
            self._tasks.append(task)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._set_state("ended")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        while not self._queue.empty():
            _set_call_outcome(
                self._queue.get_nowait(), JobOutcome("failed", error="the executor was closed")
            )

    @property
    def is_unavailable(self) -> bool:
        """Always False: it runs on this machine."""
        return False

    @property
    def concurrency(self) -> int:
        """Twice the number of workers, so that none waits for its next call."""
        return 2 * self._workers

    async def wait_until_available(self) -> None:
        """Returns at once."""

    async def run(self, call: JobCall) -> JobOutcome:
        """Executes a call; whatever its job does is in the outcome. Cancelling kills the job."""
        if call.job.is_async:
            async with self._async_slots:
                return self._record_outcome(await execute_call_async(call))
        if self._state == "ended":
            return JobOutcome("failed", error="the executor was closed")
        limited_call = replace(call, memory=call.memory or self._memory)
        outcome: asyncio.Future[JobOutcome] = asyncio.get_running_loop().create_future()
        sort_key = (-call.priority, next(self._sequence))
        await self._queue.put(_QueuedCall(sort_key, limited_call, outcome))
        return self._record_outcome(await outcome)

    def health(self) -> Health:
        """Reports the state of the workers, with counts of calls by their outcome."""
        counts = {
            "workers": self._workers,
            "ready": self._ready_workers,
            "running": self._busy_workers,
            "waiting": self._queue.qsize(),
            **self._counts,
        }
        return Health(
            self._name, "executor", self._state, self._since, self._last, self._problem, counts
        )

    async def _run_worker(self) -> None:
        """Runs one worker: opens it, uses it, and replaces it whenever it is no longer healthy."""
        delay = 0.0
        while True:
            worker = WorkerProcess()
            try:
                await worker.open()
                self._ready_workers += 1
                self._set_state("ok")
                delay = 0.0
                try:
                    await self._process_queue(worker)
                finally:
                    self._ready_workers -= 1
            except (OSError, TimeoutError) as error:
                self._problem = str(error) or "a worker process did not answer"
                self._set_state("ok" if self._ready_workers else "away")
                delay = min(MAX_RESTART_DELAY, 2 * delay or 1.0)
            finally:
                if not await asyncio.shield(worker.close()):
                    self._counts["abandoned"] += 1
                worker.close_pipes()
            self._counts["restarted"] += 1
            await asyncio.sleep(delay)

    async def _process_queue(self, worker: WorkerProcess) -> None:
        while worker.is_healthy:
            queued_call = await self._queue.get()
            if queued_call.outcome.done():
                continue
            self._busy_workers += 1
            try:
                outcome = await worker.execute_call(queued_call.call, queued_call.outcome)
            except asyncio.CancelledError:
                _set_call_outcome(
                    queued_call, JobOutcome("failed", error="the executor was closed")
                )
                raise
            finally:
                self._busy_workers -= 1
            if outcome is not None:
                _set_call_outcome(queued_call, outcome)

    def _record_outcome(self, outcome: JobOutcome) -> JobOutcome:
        self._counts[outcome.state] += 1
        self._last = self._clock()
        return outcome

    def _set_state(self, state: HealthState) -> None:
        if state == "ok":
            self._problem = "" if self._ready_workers == self._workers else self._problem
        if state != self._state and self._state != "ended":
            self._state, self._since = state, self._clock()


def _set_call_outcome(queued_call: _QueuedCall, outcome: JobOutcome) -> None:
    if not queued_call.outcome.done():
        queued_call.outcome.set_result(outcome)
