"""Runs jobs on a Dask cluster: SLURM, HTCondor, Kubernetes, or a few workers on this machine.

    executor: dask://scheduler.example:8786
    executor: {dask: {url: "tls://scheduler.example:8786", ca: ca.pem, cert: me.pem, key: me.key}}
    executor: {dask: {local: {workers: 2}}}

The workers need the same version of Catcher, and see the images under the same paths as the engine;
the site's jobs are sent to them. docs/clusters.md describes how to start them. While the cluster is
unavailable, `critical` rules run on the engine's machine and the others wait.
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

from catcher.executors.cluster_worker import CODE_MISSING, PackedCall
from catcher.executors.code_bundle import build_code_bundle, get_code_dir
from catcher.executors.dask_connection import (
    CLIENT_NAME,
    MAX_CODE_BUNDLES,
    DaskConnection,
    DaskFuture,
)
from catcher.executors.dask_settings import DaskExecutorSettings
from catcher.executors.worker_main import unpickle_outcome
from catcher.jobs.worker import execute_call_async
from catcher.model.errors import CatcherError
from catcher.model.health import Health
from catcher.model.run import JobAddress, JobCall, JobOutcome
from catcher.model.time import Clock, Instant, wall_clock

MAX_ASYNC_JOBS = 64
MAX_PARENT_RUNS = 16
"""For how many parent runs the shards' results stay on the cluster to be gathered."""
CALLS_PER_THREAD = 2


class DaskExecutor:
    """An implementation of `ports.Executor` over a Dask scheduler.
    As a context manager it connects, and reconnects whenever the connection is lost.
    """

    def __init__(
        self, settings: DaskExecutorSettings, clock: Clock = wall_clock, name: str = "dask"
    ) -> None:
        self._settings, self._clock, self._name = settings, clock, name
        self._connection = DaskConnection(settings, clock)
        self._task: asyncio.Task[None] | None = None
        self._running, self._counts = 0, Counter[str]()
        self._code_bundles: OrderedDict[JobAddress, bytes] = OrderedDict()
        self._shard_results: OrderedDict[str, dict[str, DaskFuture]] = OrderedDict()
        self._async_slots = asyncio.Semaphore(MAX_ASYNC_JOBS)
        self._key_numbers, self._session_id = itertools.count(), token_hex(6)
        self._last: Instant | None = None

    async def __aenter__(self) -> DaskExecutor:
        self._task = asyncio.create_task(self._connection.run(), name="dask")
        first_attempt = asyncio.create_task(self._connection.attempted.wait())
        # Otherwise the first runs would treat a cluster as lost that was never contacted.
        await asyncio.wait({first_attempt, self._task}, return_when=asyncio.FIRST_COMPLETED)
        first_attempt.cancel()
        if self._task.done():
            self._task.result()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.set_state("ended", "")
        self._shard_results.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    @property
    def is_unavailable(self) -> bool:
        """True if the scheduler cannot be reached, or has too few workers."""
        return not self._connection.available.is_set()

    @property
    def concurrency(self) -> int:
        """Twice the number of threads, so that none waits for its next call."""
        return CALLS_PER_THREAD * self._connection.threads

    async def wait_until_available(self) -> None:
        """Waits until the cluster can be reached."""
        await self._connection.available.wait()

    async def run(self, call: JobCall) -> JobOutcome:
        """Executes a call on some worker; an `async def` job runs here, on the loop."""
        if call.job.is_async:
            async with self._async_slots:
                return self._record_outcome(await execute_call_async(call))
        self._running += 1
        try:
            memory = call.memory or self._settings.memory
            return self._record_outcome(await self._run_on_cluster(replace(call, memory=memory)))
        finally:
            self._running -= 1
            if call.gathered is not None:
                self._shard_results.pop(call.run, None)

    def health(self) -> Health:
        """Reports whether the cluster answers, its number of workers, and the outcomes of calls."""
        connection = self._connection
        counts = {
            "workers": connection.workers,
            "threads": connection.threads,
            "running": self._running,
            "lost": connection.losses,
            **self._counts,
        }
        return Health(
            self._name,
            "executor",
            connection.state,
            connection.since,
            self._last,
            connection.problem,
            counts,
        )

    # -- one call ---------------------------------------------------------------------------

    async def _run_on_cluster(self, call: JobCall) -> JobOutcome:
        shard_results = self._find_shard_results(call)
        label = call.gathered.label if call.gathered is not None else ""
        try:
            self._check_worker_memory(call)
            packed_call = PackedCall(
                _pickle_call(call, bool(shard_results)), call.priority, label, tuple(shard_results)
            )
            response = await self._submit_and_wait(call, packed_call, shard_results)
            if response == CODE_MISSING:
                self._counts["code_sent"] += 1
                response = await self._submit_and_wait(
                    call, packed_call, shard_results, await self._get_code_bundle(call.job)
                )
            return unpickle_outcome(response)
        except pickle.UnpicklingError as error:
            return JobOutcome("failed", error=f"the result cannot be read: {error}", retry=False)
        except (CatcherError, OSError) as error:
            return JobOutcome("failed", error=str(error))

    async def _submit_and_wait(
        self,
        call: JobCall,
        packed_call: PackedCall,
        shard_results: Mapping[str, DaskFuture],
        code_bundle: bytes | None = None,
    ) -> bytes:
        key = f"{CLIENT_NAME}-{call.job.name}-{self._session_id}-{next(self._key_numbers)}"
        code = None if code_bundle is None else (get_code_dir(call.job).name, code_bundle)
        response, future = await self._connection.submit_and_wait(
            packed_call, list(shard_results.values()), key, call.memory, code
        )
        if call.parent_run and response != CODE_MISSING:
            self._shard_results.setdefault(call.parent_run, {})[call.run] = future
            while len(self._shard_results) > MAX_PARENT_RUNS:
                self._shard_results.popitem(last=False)
        return response

    def _find_shard_results(self, call: JobCall) -> Mapping[str, DaskFuture]:
        """Returns the results that a gathering job needs, if all are still on the cluster."""
        if call.gathered is None:
            return {}
        futures = self._shard_results.get(call.run, {})
        candidates = {name: futures.get(run) for name, run in call.gathered.runs.items()}
        finished = {
            name: future
            for name, future in candidates.items()
            if future and future.status == "finished"
        }
        return finished if len(finished) == len(candidates) else {}

    def _check_worker_memory(self, call: JobCall) -> None:
        """Raises CatcherError for a call that no worker has room for: it would wait for ever."""
        name, largest = self._settings.resource, self._connection.max_resource
        if name and largest is not None and (call.memory or 0) > largest:
            required, available = (size / 2**20 for size in (call.memory or 0, largest))
            message = f"no worker has {required:.0f} MiB of {name!r}, the largest {available:.0f}"
            raise CatcherError(message, "start larger workers, or set the job's `memory`")

    async def _get_code_bundle(self, job: JobAddress) -> bytes:
        if job not in self._code_bundles:
            self._code_bundles[job] = await asyncio.to_thread(build_code_bundle, job)
            while len(self._code_bundles) > MAX_CODE_BUNDLES:
                self._code_bundles.popitem(last=False)
        return self._code_bundles[job]

    def _record_outcome(self, outcome: JobOutcome) -> JobOutcome:
        self._counts[outcome.state] += 1
        self._last = self._clock()
        return outcome


def _pickle_call(call: JobCall, has_shard_results: bool) -> bytes:
    arguments = call.arguments
    if has_shard_results:
        arguments = {name: value for name, value in arguments.items() if name != "parts"}
    slim_call = replace(call, arguments=arguments, gathered=None)
    try:
        return pickle.dumps(slim_call, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise CatcherError(f"the arguments cannot be sent: {error}") from error
