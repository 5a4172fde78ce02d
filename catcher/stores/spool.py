"""Artifacts wait on local disk while their store is away, and catch up in order.

    stores:
      objects: s3://bucket/prefix
      spool: 2GB                     # how much may wait; 2GB where nothing is said

An artifact that the object store does not take in time is written into `DATA/spool/objects`,
under the key that it has there, and brought over once the store answers again: the oldest first,
also after a restart. Until then whoever asks for it gets it from the spool. When the spool is
full an artifact is not kept, which its run's note says; nothing that waits is ever dropped.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.model.time import SECOND, Clock, Instant
from catcher.ports import ObjectStore, StoreAway
from catcher.stores.objects import checked_key
from catcher.stores.spool_files import Damaged, SpoolFiles, Waiting, size_of

LIMIT = 2 * 10**9
SLOWEST = 1_000_000
"""Bytes a second that an upload needs at least to have more time than `patience`."""
FIRST_PAUSE = 0.5
Listed = Callable[[str], Awaitable[str | None]]


class SpooledObjects:
    """`ports.ObjectStore` over another one; an async context manager.

    `patience` (seconds) is how long the store may take for a small artifact, `limit` (bytes)
    how much may wait. While the store is away nobody waits for it: one task tries, from time
    to time. `listed` gives the checksum (`sha256:…`) that a committed run has for a key: what
    waits under it and is of another attempt would replace that, and is left out.
    """

    def __init__(
        self,
        store: ObjectStore,
        folder: Path,
        clock: Clock,
        limit: int = LIMIT,
        patience: float = 10.0,
        longest_pause: float = 30.0,
        listed: Listed | None = None,
    ) -> None:
        self._store, self._clock, self._listed = store, clock, listed
        self._files = SpoolFiles(folder)
        self._limit, self._patience, self._longest_pause = limit, patience, longest_pause
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reserved = 0
        self._state: HealthState = "starting"
        self._since: Instant = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"kept": 0, "spooled": 0, "caught_up": 0, "refused": 0, "damaged": 0}
        self._counts["superseded"] = 0

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self._files.load)
        except OSError as error:
            raise CatcherError(
                f"the spool {self._files.folder} cannot be used: {error.strerror}",
                "give this user the right to write there, or choose another folder with --data",
            ) from None
        self._turn("ok")
        self._task = asyncio.create_task(self._catch_up(), name="spool")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._turn("ended", self._problem)

    async def put(self, key: str, item: Encoded) -> None:
        """Keeps an artifact, there or here; StoreAway where neither has room for it."""
        checked_key(key)
        if self._state == "ok" and self._files.latest(key) is None:
            try:
                await self._bring(key, item)
            except StoreAway as trouble:
                self._turn("away", trouble.message)
                self._arrived.set()
            else:
                self._counts["kept"] += 1
                self._last = self._clock()
                return
        await self._keep_here(key, item)

    async def get(self, key: str) -> bytes:
        """The bytes under a key, also of an artifact that waits."""
        waiting = self._files.latest(key)
        if waiting is not None:
            try:
                return (await asyncio.to_thread(self._files.read, waiting)).data
            except (OSError, Damaged):
                pass  # It was brought over meanwhile, or the store may have an earlier one.
        return await self._store.get(key)

    async def list(self, prefix: str = "") -> Sequence[str]:
        """The keys under a prefix, sorted, with those that wait."""
        below = f"{prefix.rstrip('/')}/" if prefix else ""
        here = {key for key in self._files.keys if key.startswith(below)}
        return sorted({*await self._store.list(prefix), *here})

    def url(self, key: str) -> str:
        """The address of an object, where it is or will be."""
        return self._store.url(key)

    def health(self) -> Health:
        """`away` while the store does not take artifacts; how many wait, how large and old."""
        oldest = self._files.oldest
        age = 0 if oldest is None else max(0, self._clock() - oldest.written) // SECOND
        counts = {
            **self._counts,
            "waiting": len(self._files),
            "bytes": self._files.size,
            "oldest_seconds": age,
        }
        return Health(
            "objects", "objects", self._state, self._since, self._last, self._problem, counts
        )

    async def _bring(self, key: str, item: Encoded) -> None:
        """Gives an artifact to the store; StoreAway where it does not take it in time."""
        limit = self._patience + len(item.data) / SLOWEST
        try:
            async with asyncio.timeout(limit):
                await self._store.put(key, item)
        except TimeoutError:
            raise StoreAway(f"the object store did not take {key!r} within {limit:.0f} s") from None

    async def _keep_here(self, key: str, item: Encoded) -> None:
        size = size_of(item)
        if self._files.size + self._reserved + size > self._limit:
            self._counts["refused"] += 1
            raise StoreAway(
                f"the object store is away ({self._problem}) and the spool is full",
                f"see to the store, or allow more than `stores: spool: {self._limit}`",
            )
        self._reserved += size
        try:
            await asyncio.to_thread(self._files.write, key, item, self._clock())
        except OSError as error:
            self._counts["refused"] += 1
            raise StoreAway(
                f"the object store is away ({self._problem}) and the spool cannot be written: "
                f"{error.strerror}"
            ) from None
        finally:
            self._reserved -= size
        self._counts["spooled"] += 1
        self._arrived.set()

    async def _catch_up(self) -> None:
        failures = 0
        while True:
            self._arrived.clear()
            waiting = self._files.oldest
            if waiting is None and self._state == "away":
                # There was no room here, either: the next artifact will tell.
                await asyncio.sleep(self._pause(1))
                self._turn("ok")
                continue
            if waiting is None:
                await self._arrived.wait()
                continue
            try:
                await self._bring_over(waiting)
                failures = 0
                self._turn("ok")
            except CatcherError as trouble:
                failures += 1
                self._turn("away", trouble.message)
                await asyncio.sleep(self._pause(failures))

    async def _bring_over(self, waiting: Waiting) -> None:
        listed = await self._listed(waiting.key) if self._listed is not None else None
        if listed is not None and listed != f"sha256:{waiting.checksum}":
            self._counts["superseded"] += 1
            await asyncio.to_thread(self._files.remove, waiting)
            return
        try:
            item = await asyncio.to_thread(self._files.read, waiting)
        except Damaged:
            self._counts["damaged"] += 1
            await asyncio.to_thread(self._files.set_aside, waiting)
            return
        except OSError as error:
            raise StoreAway(f"the spool cannot be read: {error.strerror}") from None
        try:
            await self._bring(waiting.key, item)
        except StoreAway:
            raise
        except CatcherError:
            # The store will never take it under this key: the file stays, for a person to see.
            self._counts["damaged"] += 1
            await asyncio.to_thread(self._files.set_aside, waiting)
            return
        await asyncio.to_thread(self._files.remove, waiting)
        self._counts["caught_up"] += 1
        self._last = self._clock()

    def _pause(self, failures: int) -> float:
        longest = min(self._longest_pause, FIRST_PAUSE * 2.0 ** min(failures, 20))
        return longest * random.uniform(0.5, 1.0)

    def _turn(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem


class SpooledReading:
    """`ports.ObjectStore` for those who read beside an engine: its spool, then its store."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self._store, self._folder = store, folder

    async def put(self, key: str, item: Encoded) -> None:
        """Refused: only an engine keeps artifacts."""
        raise CatcherError("a reader keeps no artifacts", "let a job return them")

    async def get(self, key: str) -> bytes:
        """The bytes under a key."""
        found = await asyncio.to_thread(self._waiting, key)
        return found.data if found is not None else await self._store.get(key)

    async def list(self, prefix: str = "") -> Sequence[str]:
        """The keys under a prefix that the store has."""
        return await self._store.list(prefix)

    def url(self, key: str) -> str:
        """The address of an object."""
        return self._store.url(key)

    def _waiting(self, key: str) -> Encoded | None:
        files = SpoolFiles(self._folder)
        if not self._folder.is_dir():
            return None
        try:
            files.look()
            waiting = files.latest(key)
            return files.read(waiting) if waiting is not None else None
        except (OSError, Damaged):
            return None
