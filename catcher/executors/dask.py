"""Jobs on a Dask cluster: SLURM, HTCondor, Kubernetes, or a few workers on this machine.

    executor: dask://scheduler.example:8786
    executor: {dask: {url: "tls://scheduler.example:8786", ca: ca.pem, cert: me.pem, key: me.key}}
    executor: {dask: {local: {workers: 2}}}

The workers need the same version of Catcher, and see the images under the same paths as the
engine; the site's jobs are sent to them. docs/clusters.md tells how to start them. Where the
cluster cannot be reached, `critical` rules run on the engine's machine and the others wait.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from secrets import token_hex
from types import TracebackType

from catcher.executors.bundles import pack, place
from catcher.executors.confinement import unpacked
from catcher.executors.dask_link import MOST_BUNDLES, NAME, Kept, Link
from catcher.executors.dask_settings import Settings
from catcher.executors.post import WANTED, Order
from catcher.model.health import Health
from catcher.model.problem import CatcherError
from catcher.model.run import Call, JobAddress, Outcome
from catcher.model.time import Clock, Instant, wall_clock
from catcher.working.worker import execute_async

MOST_ON_LOOP = 64
MOST_WHOLES = 16
"""Of how many runs in parts the results are kept on the cluster for their gathering."""
CALLS_A_THREAD = 2


class DaskExecutor:
    """`ports.Executor` over a scheduler. Enter it to connect, and to be connected anew."""

    def __init__(self, settings: Settings, clock: Clock = wall_clock, name: str = "dask") -> None:
        self._settings, self._clock, self._name = settings, clock, name
        self._link = Link(settings, clock)
        self._task: asyncio.Task[None] | None = None
        self._running, self._counts = 0, Counter[str]()
        self._bundles: OrderedDict[JobAddress, bytes] = OrderedDict()
        self._kept: OrderedDict[str, dict[str, Kept]] = OrderedDict()
        self._on_loop = asyncio.Semaphore(MOST_ON_LOOP)
        self._numbers, self._series = itertools.count(), token_hex(6)
        self._last: Instant | None = None

    async def __aenter__(self) -> DaskExecutor:
        self._task = asyncio.create_task(self._link.run(), name="dask")
        tried = asyncio.create_task(self._link.tried.wait())
        # The first runs should not take a cluster for lost that nobody has asked yet.
        await asyncio.wait({tried, self._task}, return_when=asyncio.FIRST_COMPLETED)
        tried.cancel()
        if self._task.done():
            self._task.result()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._link.change("ended", "")
        self._kept.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    @property
    def away(self) -> bool:
        """Whether the scheduler cannot be reached, or has too few workers."""
        return not self._link.there.is_set()

    @property
    def width(self) -> int:
        """Twice as many as there are threads, so that none waits for its next."""
        return CALLS_A_THREAD * self._link.threads

    async def back(self) -> None:
        """Returns once the cluster can be reached."""
        await self._link.there.wait()

    async def run(self, call: Call) -> Outcome:
        """Executes a call on some worker; an `async def` job runs here, on the loop."""
        if call.job.is_async:
            async with self._on_loop:
                return self._counted(await execute_async(call))
        self._running += 1
        try:
            memory = call.memory or self._settings.memory
            return self._counted(await self._on_cluster(replace(call, memory=memory)))
        finally:
            self._running -= 1
            if call.gathered is not None:
                self._kept.pop(call.run, None)

    def health(self) -> Health:
        """Whether the cluster answers, how many workers it has, and what became of calls."""
        link = self._link
        counts = {
            "workers": link.workers,
            "threads": link.threads,
            "running": self._running,
            "lost": link.losses,
            **self._counts,
        }
        return Health(
            self._name, "executor", link.state, link.since, self._last, link.problem, counts
        )

    # -- one call ---------------------------------------------------------------------------

    async def _on_cluster(self, call: Call) -> Outcome:
        parts = self._parts(call)
        label = call.gathered.label if call.gathered is not None else ""
        try:
            self._check_room(call)
            order = Order(_packed(call, bool(parts)), call.priority, label, tuple(parts))
            answer = await self._asked(call, order, parts)
            if answer == WANTED:
                self._counts["code_sent"] += 1
                answer = await self._asked(call, order, parts, await self._bundle(call.job))
            return unpacked(answer)
        except pickle.UnpicklingError as error:
            return Outcome("failed", error=f"the result cannot be read: {error}", retry=False)
        except (CatcherError, OSError) as error:
            return Outcome("failed", error=str(error))

    async def _asked(
        self, call: Call, order: Order, parts: Mapping[str, Kept], bundle: bytes | None = None
    ) -> bytes:
        key = f"{NAME}-{call.job.name}-{self._series}-{next(self._numbers)}"
        code = None if bundle is None else (place(call.job).name, bundle)
        answer, kept = await self._link.ask(order, list(parts.values()), key, call.memory, code)
        if call.whole and answer != WANTED:
            self._kept.setdefault(call.whole, {})[call.run] = kept
            while len(self._kept) > MOST_WHOLES:
                self._kept.popitem(last=False)
        return answer

    def _parts(self, call: Call) -> Mapping[str, Kept]:
        """The results that a gathering job needs, if all of them are on the cluster still."""
        if call.gathered is None:
            return {}
        kept = self._kept.get(call.run, {})
        found = {name: kept.get(run) for name, run in call.gathered.runs.items()}
        there = {name: one for name, one in found.items() if one and one.status == "finished"}
        return there if len(there) == len(found) else {}

    def _check_room(self, call: Call) -> None:
        """A call that no worker has room for would wait for ever, and nobody would know why."""
        name, largest = self._settings.resource, self._link.largest
        if name and largest is not None and (call.memory or 0) > largest:
            wanted, there = (size / 2**20 for size in (call.memory or 0, largest))
            message = f"no worker has {wanted:.0f} MiB of {name!r}, the largest {there:.0f}"
            raise CatcherError(message, "start larger workers, or set the job's `memory`")

    async def _bundle(self, job: JobAddress) -> bytes:
        if job not in self._bundles:
            self._bundles[job] = await asyncio.to_thread(pack, job)
            while len(self._bundles) > MOST_BUNDLES:
                self._bundles.popitem(last=False)
        return self._bundles[job]

    def _counted(self, outcome: Outcome) -> Outcome:
        self._counts[outcome.state] += 1
        self._last = self._clock()
        return outcome


def _packed(call: Call, parts_are_there: bool) -> bytes:
    arguments = call.arguments
    if parts_are_there:
        arguments = {name: one for name, one in arguments.items() if name != "parts"}
    plain = replace(call, arguments=arguments, gathered=None)
    try:
        return pickle.dumps(plain, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise CatcherError(f"the arguments cannot be sent: {error}") from error
