"""Jobs in worker processes on this machine, `async def` jobs on the loop.

    executor: local
    executor: {local: {workers: 4, memory: 2147483648}}

`workers` is the number of processes (by default one a core), `memory` the bytes of address
space that a job may take beyond the interpreter and its libraries (2 GiB); a rule's `memory`
overrides it. A job that takes longer than its `timeout` is killed with everything it started;
other jobs go on. The highest `priority` goes first, among equals the first come.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from types import TracebackType

from catcher.executors.slot import Slot
from catcher.model.health import Health, HealthState
from catcher.model.run import Call, Outcome
from catcher.model.time import Clock, Instant, wall_clock
from catcher.working.worker import execute_async

MOST_WAITING = 10_000
MOST_ON_LOOP = 64
LONGEST_PAUSE = 30.0
MEMORY = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Settings:
    """The keys under `executor: {local: ...}`. `memory` in bytes, None for no bound."""

    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    memory: int | None = MEMORY


@dataclass(order=True, slots=True)
class _Ticket:
    """A call on its way to a worker, ordered by priority and then by arrival."""

    rank: tuple[int, int]
    call: Call = field(compare=False)
    outcome: asyncio.Future[Outcome] = field(compare=False)


class LocalExecutor:
    """Executes calls in worker processes. Enter it to start them, in the background."""

    def __init__(
        self,
        workers: int | None = None,
        memory: int | None = MEMORY,
        clock: Clock = wall_clock,
        name: str = "local",
    ) -> None:
        self._workers = workers or Settings().workers
        self._memory = memory
        self._clock = clock
        self._name = name
        self._queue: asyncio.PriorityQueue[_Ticket] = asyncio.PriorityQueue(MOST_WAITING)
        self._arrivals = itertools.count()
        self._counts: Counter[str] = Counter()
        self._on_loop = asyncio.Semaphore(MOST_ON_LOOP)
        self._ready = self._busy = 0
        self._problem = ""
        self._since: Instant = clock()
        self._last: Instant | None = None
        self._state: HealthState = "starting"
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> LocalExecutor:
        for number in range(self._workers):
            task = asyncio.create_task(self._serve(), name=f"worker-{number}")
            self._tasks.append(task)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._change("ended")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        while not self._queue.empty():
            _answer(self._queue.get_nowait(), Outcome("failed", error="the executor was closed"))

    @property
    def away(self) -> bool:
        """Never: it is here."""
        return False

    @property
    def width(self) -> int:
        """So many that no worker waits for its next call."""
        return 2 * self._workers

    async def back(self) -> None:
        """At once."""

    async def run(self, call: Call) -> Outcome:
        """Executes a call; whatever its job does is in the outcome. Cancelling ends the work."""
        if call.job.is_async:
            async with self._on_loop:
                return self._counted(await execute_async(call))
        if self._state == "ended":
            return Outcome("failed", error="the executor was closed")
        bounded = replace(call, memory=call.memory or self._memory)
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        rank = (-call.priority, next(self._arrivals))
        await self._queue.put(_Ticket(rank, bounded, outcome))
        return self._counted(await outcome)

    def health(self) -> Health:
        """How the workers are doing, with counts of calls by how they ended."""
        counts = {
            "workers": self._workers,
            "ready": self._ready,
            "running": self._busy,
            "waiting": self._queue.qsize(),
            **self._counts,
        }
        return Health(
            self._name, "executor", self._state, self._since, self._last, self._problem, counts
        )

    async def _serve(self) -> None:
        """One worker: opened, used, and opened anew whenever it is no longer sound."""
        pause = 0.0
        while True:
            slot = Slot()
            try:
                await slot.open()
                self._ready += 1
                self._change("ok")
                pause = 0.0
                try:
                    await self._use(slot)
                finally:
                    self._ready -= 1
            except (OSError, TimeoutError) as error:
                self._problem = str(error) or "a worker process did not answer"
                self._change("ok" if self._ready else "away")
                pause = min(LONGEST_PAUSE, 2 * pause or 1.0)
            finally:
                if not await asyncio.shield(slot.close()):
                    self._counts["abandoned"] += 1
                slot.release()
            self._counts["restarted"] += 1
            await asyncio.sleep(pause)

    async def _use(self, slot: Slot) -> None:
        while slot.sound:
            ticket = await self._queue.get()
            if ticket.outcome.done():
                continue
            self._busy += 1
            try:
                outcome = await slot.perform(ticket.call, ticket.outcome)
            except asyncio.CancelledError:
                _answer(ticket, Outcome("failed", error="the executor was closed"))
                raise
            finally:
                self._busy -= 1
            if outcome is not None:
                _answer(ticket, outcome)

    def _counted(self, outcome: Outcome) -> Outcome:
        self._counts[outcome.state] += 1
        self._last = self._clock()
        return outcome

    def _change(self, state: HealthState) -> None:
        if state == "ok":
            self._problem = "" if self._ready == self._workers else self._problem
        if state != self._state and self._state != "ended":
            self._state, self._since = state, self._clock()


def _answer(ticket: _Ticket, outcome: Outcome) -> None:
    if not ticket.outcome.done():
        ticket.outcome.set_result(outcome)
