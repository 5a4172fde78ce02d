"""The way to a Dask scheduler and its workers: kept open, and opened anew when it is lost.

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

from catcher.executors.dask_settings import Settings
from catcher.executors.post import Order, Post
from catcher.model.health import HealthState
from catcher.model.problem import CatcherError
from catcher.model.time import Clock
from catcher.ports import ExecutorAway

LOOK, PATIENCE, CONNECT = 0.5, 5.0, 5.0
"""Seconds between two looks at the scheduler, for its answer, and to be connected."""
LONGEST_PAUSE = 10.0
ANYWHERE = "127.0.0.1:0"
"""Dask's own pages would take port 8787, which is that of the API."""
MOST_BUNDLES = 64
FIRST = 1000
"""A priority above that of any job."""
NAME = "catcher"
Kept = Any
"""The handle of a result that stays on the cluster for as long as somebody holds it."""


class Link:
    """A connection that comes back by itself; `run` keeps it, and is cancelled to end it."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._client: Client | None = None
        self._lost: asyncio.Future[None] | None = None
        self._bundles: OrderedDict[str, Kept] = OrderedDict()
        self._suspect = asyncio.Event()
        self.there, self.tried = asyncio.Event(), asyncio.Event()
        """Set while the cluster can be reached, and once that was tried."""
        self.workers = self.threads = self.losses = 0
        self.largest: float | None = None
        """The most of the named resource that any worker has."""
        self.state: HealthState = "starting"
        self.since, self.problem = clock(), ""

    # -- one call ---------------------------------------------------------------------------

    async def ask(
        self, order: Order, parts: Sequence[Kept], key: str, amount: int | None,
        bundle: tuple[str, bytes] | None,
    ) -> tuple[bytes, Kept]:  # fmt: skip
        """What a worker answers, and the handle by which the answer stays there.

        `amount` is what it takes of the named resource; `bundle` the code, under a name of its
        own, for workers that asked for it. ExecutorAway where the cluster is lost before;
        CatcherError for what it could not do.
        """
        client, lost = self._client, self._lost
        if client is None or lost is None:
            raise ExecutorAway(self.problem)
        resource = self._settings.resource
        with warnings.catch_warnings():
            # Dask warns of arguments beyond 10 MB, which telemetry may well have.
            warnings.simplefilter("ignore", UserWarning)
            code = None if bundle is None else self._code(client, *bundle)
            kept = client.submit(
                _perform, order, list(parts), code, key=key, pure=False, priority=order.priority,
                resources={resource: amount or 0} if resource else None,
            )  # fmt: skip
        answer = asyncio.ensure_future(kept.result())
        try:
            await asyncio.wait({answer, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ExecutorAway(self.problem)
            return _read(answer), kept
        except ExecutorAway:
            self._suspect.set()
            raise
        finally:
            answer.cancel()

    def _code(self, client: Client, name: str, bundle: bytes) -> Kept:
        """A bundle as a result of its own: each worker gets it once, and then from its peers."""
        if name not in self._bundles:
            key = f"{NAME}-code-{name}"
            self._bundles[name] = client.submit(bytes, bundle, key=key, priority=FIRST)
            while len(self._bundles) > MOST_BUNDLES:
                self._bundles.popitem(last=False)
        return self._bundles[name]

    # -- the connection ---------------------------------------------------------------------

    async def run(self) -> None:
        """Connects, and connects anew, for ever."""
        pause = 0.0
        # Dask tells of a lost connection on its own loggers, at length; ours is in the health.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        async with self._cluster() as address:
            while True:
                try:
                    async with self._connected(address) as client:
                        pause = 0.0
                        await self._watch(client)
                except (OSError, TimeoutError, RuntimeError, ValueError, ImportError) as error:
                    words = str(error).split("\n")[0] or "it does not answer"
                    self.change("away", f"{self._settings.where}: {words}")
                self.tried.set()
                pause = min(LONGEST_PAUSE, 2 * pause or LOOK)
                await asyncio.sleep(pause)

    def change(self, state: HealthState, problem: str) -> None:
        """How it stands from now on."""
        self.problem = problem
        if state != self.state and self.state != "ended":
            self.state, self.since = state, self._clock()

    @asynccontextmanager
    async def _cluster(self) -> AsyncIterator[Any]:
        own = self._settings.local
        if own is None:
            yield self._settings.address
            return
        async with LocalCluster(
            n_workers=own.workers, threads_per_worker=own.threads, asynchronous=True,
            processes=True, memory_limit=None,
            dashboard_address=ANYWHERE, worker_dashboard_address=ANYWHERE,
        ) as cluster:  # fmt: skip
            yield cluster.scheduler_address

    @asynccontextmanager
    async def _connected(self, address: str) -> AsyncIterator[Client]:
        said = self._settings
        security = None
        if said.ca or said.cert:
            security = Security(
                tls_ca_file=said.ca or None, tls_client_cert=said.cert or None,
                tls_client_key=said.key or None, require_encryption=True,
            )  # fmt: skip
        client = Client(
            address, asynchronous=True, set_as_default=False, timeout=CONNECT,
            direct_to_workers=said.direct, security=security, name=NAME,
        )  # fmt: skip
        try:
            async with asyncio.timeout(2 * CONNECT):
                await client
            yield client
        finally:
            self._lose()
            # One that was lost may fail to say good-bye in many ways.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CONNECT):
                    await client.close(timeout=1)

    async def _watch(self, client: Client) -> None:
        """Raises when the scheduler is gone."""
        while True:
            async with asyncio.timeout(PATIENCE):
                threads = await client.scheduler.ncores()
                if self._settings.resource and len(threads) != self.workers:
                    self.largest = await self._largest(client)
            self.workers, self.threads = len(threads), sum(threads.values())
            if self.workers >= self._settings.least:
                self._find(client)
            else:
                self._lose()
                self.change("away", f"{self._settings.where} has {self.workers} workers")
            self.tried.set()
            self._suspect.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._suspect.wait()
            if client.status != "running":
                raise OSError("the connection was lost")

    async def _largest(self, client: Client) -> float | None:
        """Asked when workers came or left: the answer tells all about each of them."""
        known = await client.scheduler.identity(n_workers=-1)
        name = self._settings.resource
        sizes = (one.get("resources", {}).get(name, 0) for one in known["workers"].values())
        return max(map(float, sizes), default=None)

    def _find(self, client: Client) -> None:
        if self._client is None:
            self._client, self._lost = client, asyncio.get_running_loop().create_future()
        self.there.set()
        self.change("ok", "")

    def _lose(self) -> None:
        """Calls on their way are given up: whoever made them may make them again."""
        self.there.clear()
        self._client = None
        self._bundles.clear()
        if self._lost is not None and not self._lost.done():
            self.losses += 1
            self._lost.set_result(None)
        self._lost = None


def _read(answer: asyncio.Future[bytes]) -> bytes:
    try:
        return answer.result()
    except KilledWorker as error:
        raise CatcherError(f"the workers that ran it died, one after the other: {error}") from error
    except asyncio.CancelledError:
        raise ExecutorAway("the scheduler has forgotten the call") from None
    # Whatever Dask or the network raises here is no fault of the job.
    except Exception as error:
        if isinstance(error, OSError) or type(error).__name__ in _LOST:
            raise ExecutorAway(str(error)) from error
        words = f"the cluster could not run it: {type(error).__name__}: {error}"
        hint = "its workers need the same version of Catcher as the engine"
        raise CatcherError(words, hint) from error


_LOST = ("CommClosedError", "FutureCancelledError", "FuturesCancelledError", "CancelledError")


# -- on a worker ------------------------------------------------------------------------------


class _Closing(WorkerPlugin):  # type: ignore[misc]
    """Ends our processes with the worker that they belong to."""

    def __init__(self, post: Post) -> None:
        self._post = post

    async def teardown(self, worker: object) -> None:
        await self._post.close()


async def _perform(order: Order, parts: Sequence[bytes], bundle: bytes | None) -> bytes:
    """Its post is made at the first call, and lives as long as the worker does."""
    worker = get_worker()
    post: Post | None = worker.extensions.get(NAME)
    if post is None:
        folder = Path(worker.local_directory) / "catcher-jobs"
        post = worker.extensions[NAME] = Post(worker.state.nthreads, folder)
        await worker.plugin_add(_Closing(post), name=NAME)
    return await post.perform(order, parts, bundle)
