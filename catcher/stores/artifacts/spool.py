"""Spools artifacts on local disk while their store is unavailable, and uploads them in order.

    stores:
      objects: s3://bucket/prefix
      spool: 2GB                     # how much may wait; 2GB where nothing is said

An artifact that the object store does not accept in time is written to `DATA/spool/objects`, with
its key in that store, and uploaded once the store answers again: oldest first, also after a
restart. Until then it is read from the spool. If the spool is full an artifact is not stored, which
its run's note says; nothing that waits is ever dropped.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.result import EncodedArtifact
from catcher.model.time import SECOND, Clock, Instant
from catcher.ports import ObjectStore, StoreUnavailable
from catcher.stores.artifacts.object_store import validate_key
from catcher.stores.artifacts.spool_queue import (
    CorruptSpoolFile,
    SpooledArtifact,
    SpoolFiles,
    estimate_spooled_size,
)

DEFAULT_LIMIT = 2 * 10**9
MIN_UPLOAD_RATE = 1_000_000
"""Minimum upload rate in bytes per second, by which `upload_timeout` is extended."""
INITIAL_DELAY = 0.5
ChecksumLookup = Callable[[str], Awaitable[str | None]]


class SpooledObjects:
    """`ports.ObjectStore` over another one; an async context manager.

    `upload_timeout` (seconds) is how long the store may take for a small artifact, `limit` (bytes)
    how much may wait. While the store is unavailable nothing waits for it: one task retries from
    time to time. `find_checksum` returns the checksum (`sha256:…`) that a committed run has for a
    key: a spooled artifact of another attempt would overwrite that one, and is dropped.
    """

    def __init__(
        self,
        store: ObjectStore,
        folder: Path,
        clock: Clock,
        limit: int = DEFAULT_LIMIT,
        upload_timeout: float = 10.0,
        max_delay: float = 30.0,
        find_checksum: ChecksumLookup | None = None,
    ) -> None:
        self._store, self._clock, self._find_checksum = store, clock, find_checksum
        self._files = SpoolFiles(folder)
        self._limit, self._upload_timeout, self._max_delay = limit, upload_timeout, max_delay
        self._item_spooled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reserved_bytes = 0
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
        self._set_state("ok")
        self._task = asyncio.create_task(self._drain_loop(), name="spool")
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
        self._set_state("ended", self._problem)

    async def put(self, key: str, item: EncodedArtifact) -> None:
        """Stores an artifact in the store or the spool. Raises StoreUnavailable if neither accepts
        it.
        """
        validate_key(key)
        if self._state == "ok" and self._files.find_latest(key) is None:
            try:
                await self._upload(key, item)
            except StoreUnavailable as error:
                self._set_state("away", error.message)
                self._item_spooled.set()
            else:
                self._counts["kept"] += 1
                self._last = self._clock()
                return
        await self._spool_item(key, item)

    async def get(self, key: str) -> bytes:
        """Returns the bytes of a key, also of a spooled artifact."""
        spooled = self._files.find_latest(key)
        if spooled is not None:
            try:
                return (await asyncio.to_thread(self._files.read_artifact, spooled)).data
            except (OSError, CorruptSpoolFile):
                pass  # It was uploaded meanwhile, or the store may have an earlier one.
        return await self._store.get(key)

    async def list(self, prefix: str = "") -> Sequence[str]:
        """Returns the keys under a prefix, sorted, including spooled ones."""
        key_prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        spooled_keys = {key for key in self._files.keys if key.startswith(key_prefix)}
        return sorted({*await self._store.list(prefix), *spooled_keys})

    def build_url(self, key: str) -> str:
        """Returns the URL of an object, where it is or will be."""
        return self._store.build_url(key)

    def health(self) -> Health:
        """Returns the health: unavailable while the store rejects artifacts; counts what waits."""
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

    async def _upload(self, key: str, item: EncodedArtifact) -> None:
        """Uploads an artifact. Raises StoreUnavailable if the store does not accept it in time."""
        timeout = self._upload_timeout + len(item.data) / MIN_UPLOAD_RATE
        try:
            async with asyncio.timeout(timeout):
                await self._store.put(key, item)
        except TimeoutError:
            raise StoreUnavailable(
                f"the object store did not take {key!r} within {timeout:.0f} s"
            ) from None

    async def _spool_item(self, key: str, item: EncodedArtifact) -> None:
        size = estimate_spooled_size(item)
        if self._files.size + self._reserved_bytes + size > self._limit:
            self._counts["refused"] += 1
            raise StoreUnavailable(
                f"the object store is away ({self._problem}) and the spool is full",
                f"see to the store, or allow more than `stores: spool: {self._limit}`",
            )
        self._reserved_bytes += size
        try:
            await asyncio.to_thread(self._files.write_artifact, key, item, self._clock())
        except OSError as error:
            self._counts["refused"] += 1
            raise StoreUnavailable(
                f"the object store is away ({self._problem}) and the spool cannot be written: "
                f"{error.strerror}"
            ) from None
        finally:
            self._reserved_bytes -= size
        self._counts["spooled"] += 1
        self._item_spooled.set()

    async def _drain_loop(self) -> None:
        failures = 0
        while True:
            self._item_spooled.clear()
            spooled = self._files.oldest
            if spooled is None and self._state == "away":
                # The spool was full, too: the next artifact will show whether the store is back.
                await asyncio.sleep(self._compute_retry_delay(1))
                self._set_state("ok")
                continue
            if spooled is None:
                await self._item_spooled.wait()
                continue
            try:
                await self._upload_spooled(spooled)
                failures = 0
                self._set_state("ok")
            except CatcherError as error:
                failures += 1
                self._set_state("away", error.message)
                await asyncio.sleep(self._compute_retry_delay(failures))

    async def _upload_spooled(self, spooled: SpooledArtifact) -> None:
        recorded_checksum = (
            await self._find_checksum(spooled.key) if self._find_checksum is not None else None
        )
        if recorded_checksum is not None and recorded_checksum != f"sha256:{spooled.checksum}":
            self._counts["superseded"] += 1
            await asyncio.to_thread(self._files.remove_artifact, spooled)
            return
        try:
            item = await asyncio.to_thread(self._files.read_artifact, spooled)
        except CorruptSpoolFile:
            self._counts["damaged"] += 1
            await asyncio.to_thread(self._files.quarantine_artifact, spooled)
            return
        except OSError as error:
            raise StoreUnavailable(f"the spool cannot be read: {error.strerror}") from None
        try:
            await self._upload(spooled.key, item)
        except StoreUnavailable:
            raise
        except CatcherError:
            # The store will never accept this key: the file stays for inspection.
            self._counts["damaged"] += 1
            await asyncio.to_thread(self._files.quarantine_artifact, spooled)
            return
        await asyncio.to_thread(self._files.remove_artifact, spooled)
        self._counts["caught_up"] += 1
        self._last = self._clock()

    def _compute_retry_delay(self, failures: int) -> float:
        max_delay = min(self._max_delay, INITIAL_DELAY * 2.0 ** min(failures, 20))
        return max_delay * random.uniform(0.5, 1.0)

    def _set_state(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem


class SpoolReader:
    """`ports.ObjectStore` for readers beside an engine: its spool, then its store."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self._store, self._folder = store, folder

    async def put(self, key: str, item: EncodedArtifact) -> None:
        """Raises CatcherError: only an engine stores artifacts."""
        raise CatcherError("a reader keeps no artifacts", "let a job return them")

    async def get(self, key: str) -> bytes:
        """Returns the bytes of a key."""
        item = await asyncio.to_thread(self._read_spooled, key)
        return item.data if item is not None else await self._store.get(key)

    async def list(self, prefix: str = "") -> Sequence[str]:
        """Returns the keys under a prefix in the store."""
        return await self._store.list(prefix)

    def build_url(self, key: str) -> str:
        """Returns the URL of an object."""
        return self._store.build_url(key)

    def _read_spooled(self, key: str) -> EncodedArtifact | None:
        files = SpoolFiles(self._folder)
        if not self._folder.is_dir():
            return None
        try:
            files.scan_folder()
            spooled = files.find_latest(key)
            return files.read_artifact(spooled) if spooled is not None else None
        except (OSError, CorruptSpoolFile):
            return None
