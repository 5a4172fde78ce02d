"""The connection to a Dask scheduler and its workers, which reconnects when it is lost.
The only file that knows Dask's own names; half of it runs on the workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from distributed import (
    Client,
    KilledWorker,
    LocalCluster,
    Security,
    get_worker,
)
from distributed.diagnostics.plugin import WorkerPlugin

from catcher.executors.cluster_worker import ClusterWorker, PackedCall
from catcher.executors.dask_settings import DaskExecutorSettings
from catcher.model.errors import CatcherError
from catcher.model.health import HealthState
from catcher.model.time import Clock
from catcher.ports import ExecutorUnavailable

POLL_INTERVAL, RESPONSE_TIMEOUT, CONNECT_TIMEOUT = 0.5, 5.0, 5.0
"""Seconds between two checks of the scheduler, for its answer, and to connect."""
MAX_RETRY_DELAY = 10.0
ANY_PORT = "127.0.0.1:0"
"""Dask's dashboards would take port 8787, which is that of the API."""
MAX_CODE_BUNDLES = 64
HIGHEST_PRIORITY = 1000
"""A priority above that of any job."""
CLIENT_NAME = "catcher"
DaskFuture = Any
"""The handle of a result that stays on the cluster for as long as the handle is held."""


class DaskConnection:
    """A connection that reconnects by itself; `run` maintains it until it is cancelled."""

    def __init__(self, settings: DaskExecutorSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._client: Client | None = None
        self._connection_lost: asyncio.Future[None] | None = None
        self._code_futures: OrderedDict[str, DaskFuture] = OrderedDict()
        self._check_now = asyncio.Event()
        self.available, self.attempted = asyncio.Event(), asyncio.Event()
        """Set while the cluster can be reached, and once connecting was tried."""
        self.workers = self.threads = self.losses = 0
        self.max_resource: float | None = None
        """The largest amount of the named resource that any worker has."""
        self.state: HealthState = "starting"
        self.since, self.problem = clock(), ""

    # -- one call ---------------------------------------------------------------------------

    async def submit_and_wait(
        self,
        packed_call: PackedCall,
        shard_results: Sequence[DaskFuture],
        key: str,
        resource_amount: int | None,
        named_bundle: tuple[str, bytes] | None,
    ) -> tuple[bytes, DaskFuture]:
        """Returns a worker's answer, and the handle by which the answer stays on the cluster.
        `resource_amount` is what the call takes of the named resource; `named_bundle` the code,
        under a name of its own, for workers that lack it. Raises ExecutorUnavailable if the cluster
        is lost before the answer, CatcherError if the cluster could not run the call.
        """
        client, connection_lost = self._client, self._connection_lost
        if client is None or connection_lost is None:
            raise ExecutorUnavailable(self.problem)
        resource = self._settings.resource
        with warnings.catch_warnings():
            # Dask warns of arguments beyond 10 MB, a usual size of telemetry.
            warnings.simplefilter("ignore", UserWarning)
            code_future = (
                None if named_bundle is None else self._upload_code_bundle(client, *named_bundle)
            )
            future = client.submit(
                _execute_on_worker,
                packed_call,
                list(shard_results),
                code_future,
                key=key,
                pure=False,
                priority=packed_call.priority,
                resources={resource: resource_amount or 0} if resource else None,
            )
        response = asyncio.ensure_future(future.result())
        try:
            await asyncio.wait({response, connection_lost}, return_when=asyncio.FIRST_COMPLETED)
            if not response.done():
                raise ExecutorUnavailable(self.problem)
            return _unwrap_result(response), future
        except ExecutorUnavailable:
            self._check_now.set()
            raise
        finally:
            response.cancel()

    def _upload_code_bundle(self, client: Client, name: str, code_bundle: bytes) -> DaskFuture:
        """Uploads a bundle as a result of its own: workers get it once, and then from peers."""
        if name not in self._code_futures:
            key = f"{CLIENT_NAME}-code-{name}"
            self._code_futures[name] = client.submit(
                bytes, code_bundle, key=key, priority=HIGHEST_PRIORITY
            )
            while len(self._code_futures) > MAX_CODE_BUNDLES:
                self._code_futures.popitem(last=False)
        return self._code_futures[name]

    # -- the connection ---------------------------------------------------------------------

    async def run(self) -> None:
        """Connects, and reconnects, for ever."""
        delay = 0.0
        # Dask logs a lost connection at length on its own loggers; ours is in the health.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        async with self._open_cluster() as address:
            while True:
                try:
                    async with self._open_client(address) as client:
                        delay = 0.0
                        await self._monitor_scheduler(client)
                except (OSError, TimeoutError, RuntimeError, ValueError, ImportError) as error:
                    error_text = str(error).split("\n")[0] or "it does not answer"
                    self.set_state("away", f"{self._settings.display_name}: {error_text}")
                self.attempted.set()
                delay = min(MAX_RETRY_DELAY, 2 * delay or POLL_INTERVAL)
                await asyncio.sleep(delay)

    def set_state(self, state: HealthState, problem: str) -> None:
        """Sets the health state and its problem."""
        self.problem = problem
        if state != self.state and self.state != "ended":
            self.state, self.since = state, self._clock()

    @asynccontextmanager
    async def _open_cluster(self) -> AsyncIterator[Any]:
        local_workers = self._settings.local
        if local_workers is None:
            yield self._settings.address
            return
        async with LocalCluster(
            n_workers=local_workers.workers,
            threads_per_worker=local_workers.threads,
            asynchronous=True,
            processes=True,
            memory_limit=None,
            dashboard_address=ANY_PORT,
            worker_dashboard_address=ANY_PORT,
        ) as cluster:
            yield cluster.scheduler_address

    @asynccontextmanager
    async def _open_client(self, address: str) -> AsyncIterator[Client]:
        settings = self._settings
        security = None
        if settings.ca or settings.cert:
            security = Security(
                tls_ca_file=settings.ca or None, tls_client_cert=settings.cert or None,
                tls_client_key=settings.key or None, require_encryption=True,
            )  # fmt: skip
        client = Client(
            address, asynchronous=True, set_as_default=False, timeout=CONNECT_TIMEOUT,
            direct_to_workers=settings.direct, security=security, name=CLIENT_NAME,
        )  # fmt: skip
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT):
                await client
            yield client
        finally:
            self._mark_unavailable()
            # Closing a lost connection may fail in many ways.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await client.close(timeout=1)

    async def _monitor_scheduler(self, client: Client) -> None:
        """Monitors the scheduler; raises OSError or TimeoutError when it is gone."""
        while True:
            async with asyncio.timeout(RESPONSE_TIMEOUT):
                threads = await client.scheduler.ncores()
                if self._settings.resource and len(threads) != self.workers:
                    self.max_resource = await self._fetch_max_resource(client)
            self.workers, self.threads = len(threads), sum(threads.values())
            if self.workers >= self._settings.least:
                self._mark_available(client)
            else:
                self._mark_unavailable()
                self.set_state("away", f"{self._settings.display_name} has {self.workers} workers")
            self.attempted.set()
            self._check_now.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL):
                    await self._check_now.wait()
            if client.status != "running":
                raise OSError("the connection was lost")

    async def _fetch_max_resource(self, client: Client) -> float | None:
        """Reads the largest resource; only when the workers change: the answer is long."""
        identity = await client.scheduler.identity(n_workers=-1)
        name = self._settings.resource
        sizes = (
            worker.get("resources", {}).get(name, 0) for worker in identity["workers"].values()
        )
        return max(map(float, sizes), default=None)

    def _mark_available(self, client: Client) -> None:
        if self._client is None:
            self._client, self._connection_lost = client, asyncio.get_running_loop().create_future()
        self.available.set()
        self.set_state("ok", "")

    def _mark_unavailable(self) -> None:
        """Gives up the calls in flight: their callers may repeat them."""
        self.available.clear()
        self._client = None
        self._code_futures.clear()
        if self._connection_lost is not None and not self._connection_lost.done():
            self.losses += 1
            self._connection_lost.set_result(None)
        self._connection_lost = None


def _unwrap_result(response: asyncio.Future[bytes]) -> bytes:
    try:
        return response.result()
    except KilledWorker as error:
        raise CatcherError(f"the workers that ran it died, one after the other: {error}") from error
    except asyncio.CancelledError:
        raise ExecutorUnavailable("the scheduler has forgotten the call") from None
    # Whatever else Dask or the network raises here is no fault of the job.
    except Exception as error:
        if isinstance(error, OSError) or type(error).__name__ in _LOST_ERROR_NAMES:
            raise ExecutorUnavailable(str(error)) from error
        message = f"the cluster could not run it: {type(error).__name__}: {error}"
        hint = "its workers need the same version of Catcher as the engine"
        raise CatcherError(message, hint) from error


_LOST_ERROR_NAMES = (
    "CommClosedError",
    "FutureCancelledError",
    "FuturesCancelledError",
    "CancelledError",
)


# -- on a worker ------------------------------------------------------------------------------


class _ShutdownPlugin(WorkerPlugin):  # type: ignore[misc]
    """Stops our processes with the worker that they belong to."""

    def __init__(self, cluster_worker: ClusterWorker) -> None:
        self._cluster_worker = cluster_worker

    async def teardown(self, worker: object) -> None:
        await self._cluster_worker.close()


async def _execute_on_worker(
    packed_call: PackedCall, shard_outcomes: Sequence[bytes], code_bundle: bytes | None
) -> bytes:
    """Executes a call on a worker, with a `ClusterWorker` that is created once per Dask worker."""
    worker = get_worker()
    cluster_worker: ClusterWorker | None = worker.extensions.get(CLIENT_NAME)
    if cluster_worker is None:
        folder = Path(worker.local_directory) / "catcher-jobs"
        cluster_worker = worker.extensions[CLIENT_NAME] = ClusterWorker(
            worker.state.nthreads, folder
        )
        await worker.plugin_add(_ShutdownPlugin(cluster_worker), name=CLIENT_NAME)
    return await cluster_worker.execute_call(packed_call, shard_outcomes, code_bundle)
