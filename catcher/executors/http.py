"""Jobs on a service that takes them over HTTP: submitted, looked after, collected.

    executor: {http: {url: "https://ocps.example/api/v1", form: uws, repository: "https://…"}}
    executor: {http: {url: "https://rsp.example/noteburst", form: noteburst, token: "${TOKEN}"}}

What is sent carries the call and the code of its job; where it runs, the same version of Catcher
has to be installed. A job that the service loses is submitted again, one that is too long under
way is removed and has timed out. While nobody answers, the service counts as away.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from catcher.executors.bundles import pack
from catcher.executors.errand import read, written
from catcher.executors.http_forms import HINT, Form, Request, Standing, form_of
from catcher.executors.http_settings import Settings
from catcher.executors.http_wire import Refused, Wire
from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.run import Call, JobAddress, Outcome
from catcher.model.time import Clock, Instant, to_seconds, wall_clock
from catcher.ports import ExecutorAway
from catcher.working.worker import execute_async, timed_out

TRIES = 4
"""How often a service that is out of order is asked again before it counts as away."""
LOST_TWICE = 2
MOST_WAITING = 10_000
MOST_BUNDLES = 64
REQUESTS = 8
PROBE = 2.0
GRACE = 5.0
"""Seconds beyond its timeout that a job has to be noticed as done."""


@dataclass(order=True, slots=True)
class _Ticket:
    """A call on its way to the service, ordered by priority and then by arrival."""

    rank: tuple[int, int]
    call: Call = field(compare=False)
    outcome: asyncio.Future[Outcome] = field(compare=False)


class HttpExecutor:
    """`ports.Executor` over a service. Enter it to begin; leaving gives up what is under way."""

    def __init__(self, settings: Settings, clock: Clock = wall_clock, name: str = "http") -> None:
        self._settings, self._clock, self._name = settings, clock, name
        self._form: Form = form_of(settings)
        self._queue: asyncio.PriorityQueue[_Ticket] = asyncio.PriorityQueue(MOST_WAITING)
        self._arrivals = itertools.count()
        self._threads = ThreadPoolExecutor(REQUESTS, "catcher-http")
        self._wire = Wire(settings)
        self._bundles: OrderedDict[JobAddress, bytes] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._running = 0
        self._there, self._missed = asyncio.Event(), asyncio.Event()
        self._there.set()
        self._state: HealthState = "ok"
        self._since, self._problem = clock(), ""
        self._last: Instant | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> HttpExecutor:
        for number in range(self._settings.jobs):
            self._tasks.append(asyncio.create_task(self._serve(), name=f"http-job-{number}"))
        self._tasks.append(asyncio.create_task(self._probe(), name="http-probe"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._change("ended", "")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def away(self) -> bool:
        """Whether nobody answers there."""
        return not self._there.is_set()

    @property
    def width(self) -> int:
        """As many as may be there at a time."""
        return self._settings.jobs

    async def back(self) -> None:
        """Returns once somebody answers."""
        await self._there.wait()

    async def run(self, call: Call) -> Outcome:
        """Executes a call at the service; an `async def` job runs here, on the loop."""
        if call.job.is_async:
            return self._counted(await execute_async(call))
        if self.away or self._state == "ended":
            raise ExecutorAway(self._problem)
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        bounded = replace(call, memory=call.memory or self._settings.memory, gathered=None)
        rank = (-call.priority, next(self._arrivals))
        await self._queue.put(_Ticket(rank, bounded, outcome))
        return self._counted(await outcome)

    def health(self) -> Health:
        """Whether the service answers, what is there, and what became of calls."""
        counts = {"running": self._running, "waiting": self._queue.qsize(), **self._counts}
        return Health(
            self._name, "executor", self._state, self._since, self._last, self._problem, counts
        )

    # -- one call ---------------------------------------------------------------------------

    async def _serve(self) -> None:
        while True:
            ticket = await self._queue.get()
            if ticket.outcome.done():
                continue
            self._running += 1
            try:
                ticket.outcome.set_result(await self._seen_through(ticket.call, ticket.outcome))
            except ExecutorAway as error:
                if not ticket.outcome.done():
                    ticket.outcome.set_exception(error)
            except asyncio.InvalidStateError:
                pass  # Whoever asked has left meanwhile.
            finally:
                self._running -= 1
                if not ticket.outcome.done():
                    ticket.outcome.set_exception(ExecutorAway("the executor was closed"))

    async def _seen_through(self, call: Call, wanted: asyncio.Future[Outcome]) -> Outcome:
        """Submits a call until the service does not lose it."""
        try:
            errand = await asyncio.to_thread(self._errand, call)
            for _ in range(1 + LOST_TWICE):
                answer = await self._asked(self._form.submission(call.run, errand))
                name = self._form.name(_mapping(answer))
                outcome = await self._looked_after(call, name, wanted)
                if outcome is not None:
                    return outcome
                self._counts["lost"] += 1
        except CatcherError as error:
            return Outcome("failed", error=str(error))
        except Refused as error:
            return Outcome("failed", error=f"the service refused it: {error}", retry=False)
        return Outcome("failed", error=f"the service lost it {1 + LOST_TWICE} times")

    async def _looked_after(
        self, call: Call, name: str, wanted: asyncio.Future[Outcome]
    ) -> Outcome | None:
        """What came of a job; None where the service does not know it any more."""
        loop = asyncio.get_running_loop()
        submitted, begun = loop.time(), 0.0
        limit = to_seconds(call.timeout) + GRACE
        while not wanted.done():
            try:
                answer = await self._asked(self._form.look(name))
            except Refused as error:
                if error.status in (404, 410):
                    return None
                raise
            standing = self._form.standing(_mapping(answer))
            if standing.phase in ("done", "failed"):
                return await self._collected(standing)
            if standing.phase == "running":
                begun = begun or loop.time()
            if begun and loop.time() - begun > limit:
                await self._remove(name)
                return timed_out(call)
            if not begun and loop.time() - submitted > to_seconds(self._settings.queue):
                await self._remove(name)
                return Outcome("failed", error="the service did not begin it in time (`queue`)")
            # A little apart, so that a visit's parts do not all ask at once.
            await asyncio.sleep(to_seconds(self._settings.poll) * random.uniform(0.8, 1.2))
        await self._remove(name)
        return Outcome("failed", error="nobody waits for it any more")

    async def _collected(self, standing: Standing) -> Outcome:
        if standing.phase == "failed":
            return Outcome("failed", error=f"the service could not run it: {standing.words}")
        if standing.elsewhere is None:
            return read(standing.text)
        answer = await self._asked(standing.elsewhere)
        if not isinstance(answer, str):
            raise CatcherError("the result is no text", HINT)
        return read(answer)

    async def _remove(self, name: str) -> None:
        """A job that nobody waits for should not go on; if it does, nobody is harmed."""
        request = self._form.removal(name)
        if request is not None:
            with contextlib.suppress(Refused, ExecutorAway, CatcherError):
                await self._asked(request)

    def _errand(self, call: Call) -> str:
        if call.job not in self._bundles:
            self._bundles[call.job] = pack(call.job)
            while len(self._bundles) > MOST_BUNDLES:
                self._bundles.popitem(last=False)
        try:
            return written(call, self._bundles[call.job])
        except (TypeError, AttributeError, RecursionError, ValueError) as error:
            raise CatcherError(f"the arguments cannot be sent: {error}") from error

    # -- requests ---------------------------------------------------------------------------

    async def _asked(self, request: Request) -> Any:
        """The answer; Refused where it is no success, ExecutorAway where there is none."""
        pause, words = 0.5, ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(pause)
                pause *= 2
            try:
                return await self._once(request)
            except Refused as error:
                if not error.passing:
                    raise
                words = str(error)
            except OSError as error:
                words = str(getattr(error, "reason", "") or error or type(error).__name__)
            self._counts["asked_again"] += 1
        self._lose(words)
        raise ExecutorAway(words)

    async def _once(self, request: Request) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._wire.send, request)

    # -- whether it is there ------------------------------------------------------------------

    async def _probe(self) -> None:
        """While the service is away it is asked, until anything but an error comes."""
        while True:
            await self._missed.wait()
            await asyncio.sleep(PROBE)
            try:
                await self._once(Request("GET", ""))
            except Refused as error:
                if error.passing:
                    continue
            except (OSError, CatcherError):
                continue
            self._missed.clear()
            self._there.set()
            self._change("ok", "")

    def _lose(self, words: str) -> None:
        self._there.clear()
        self._missed.set()
        self._change("away", f"the service {self._settings.url}: {words}")

    def _counted(self, outcome: Outcome) -> Outcome:
        self._counts[outcome.state] += 1
        self._last = self._clock()
        return outcome

    def _change(self, state: HealthState, problem: str) -> None:
        self._problem = problem
        if state != self._state and self._state != "ended":
            self._state, self._since = state, self._clock()


def _mapping(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise CatcherError("the answer is no JSON object", HINT)
    return answer
