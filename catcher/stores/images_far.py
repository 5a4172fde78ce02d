"""Images in S3 or on the web: a pattern such as `s3://bucket/{id}/{detector}.fits`.

Jobs read files, so that an image is copied into a folder of this machine first; one that is there
already, and has not changed, is not fetched again. The folder keeps what was used last.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.stores.image_patterns import (
    absent,
    around,
    column_of,
    detectors,
    filled,
    head,
    many,
    no_pattern,
    per_detector,
)
from catcher.stores.images_settings import FarImages
from catcher.stores.objects import Objects
from catcher.stores.objects_settings import ObjectSettings

SCHEMES = ("s3", "http", "https")
AT_ONCE = 8
YOUNG = 300.0
"""Seconds in which a copy may still wait to be read."""


def is_far(address: str) -> bool:
    """Whether an address or pattern leads to another machine."""
    return urlsplit(address.split("{", 1)[0]).scheme in SCHEMES


class ImagesFromAfar:
    """`ports.Images` over object stores, with copies in a folder."""

    def __init__(self, patterns: Mapping[str, str], folder: Path, settings: FarImages) -> None:
        self._patterns, self._folder, self._settings = dict(patterns), folder, settings
        self._stores: dict[str, Objects] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._locks: dict[str, asyncio.Lock] = {}

    async def find(self, observation: Observation, detector: str = "") -> str:
        """The path of a copy; CatcherError names what was looked for."""
        pattern = self._pattern(observation)
        if per_detector(pattern) and not detector:
            found = await self.parts(observation)
            if len(found) != 1:
                raise many(observation, list(found))
            detector = found[0]
        base = head(pattern)
        key = filled(pattern, observation, detector).removeprefix(base)
        return await self.copied(base, key, observation)

    async def parts(self, observation: Observation) -> Sequence[str]:
        """The detectors that have an image now, sorted; empty where the pattern has none."""
        pattern = self._pattern(observation)
        if not per_detector(pattern):
            return []
        base = head(pattern)
        first, *others = around(pattern, observation)
        below = first.removeprefix(base)
        keys = await self._store(base).list(below.rpartition("/")[0])
        return detectors((below, *others), keys)

    async def at(self, address: str, observation: Observation) -> str:
        """The path of a copy of what is at an address from a stream, if it may lead there."""
        for base in self._settings.within:
            if address.startswith(base) and base.endswith("/"):
                return await self.copied(base, unquote(address.removeprefix(base)), observation)
        raise CatcherError(
            f"the address {address[:200]!r} of {observation.kind} leads where no images are",
            "add where it begins, up to a slash, to `within` under `stores: images: s3:`",
        )

    async def copied(self, base: str, key: str, observation: Observation) -> str:
        """The path of a copy of an object, fetched where it is not here or has changed."""
        store = self._store(base)
        tag = await store.tag(key)
        if not tag:
            raise absent(f"{base}{key}", observation)
        digest = hashlib.sha256(f"{base}{key}\0{tag}".encode()).hexdigest()[:24]
        path = self._folder / digest / key.rpartition("/")[2]
        lock = self._locks.setdefault(digest, asyncio.Lock())
        try:
            async with lock, self._gate:
                if not await asyncio.to_thread(_used, path):
                    await self._fetch(store, key, path)
        finally:
            self._locks.pop(digest, None)
        return str(path)

    async def _fetch(self, store: Objects, key: str, path: Path) -> None:
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
            await store.download(key, part)
            await asyncio.to_thread(part.replace, path)
            await asyncio.to_thread(sweep, self._folder, self._settings.cache)
        except OSError as error:
            raise CatcherError(
                f"no copy of {key} can be kept in {self._folder}: {error.strerror}",
                "make room there, or a smaller `cache` under `stores: images:`",
            ) from None
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)

    def _store(self, base: str) -> Objects:
        found = self._stores.get(base)
        if found is None:
            said = self._settings
            found = self._stores[base] = Objects(
                ObjectSettings(
                    base, said.endpoint, said.region, said.access_key, said.secret_key, said.timeout
                )
            )
        return found

    def _pattern(self, observation: Observation) -> str:
        pattern = self._patterns.get(observation.kind, "") or observation.image
        if not pattern or column_of(pattern):
            raise no_pattern(observation)
        return pattern


def sweep(folder: Path, most: int) -> None:
    """Removes the copies that were used longest ago, down to so many bytes.

    One that was asked for in the last minutes may wait to be read: it goes only where there is
    twice as much as there may be.
    """
    files = [(path, path.stat()) for path in folder.glob("*/*") if not path.name.endswith(".part")]
    left = sum(found.st_size for _, found in files)
    now = time.time()
    for path, found in sorted(files, key=lambda one: one[1].st_mtime):
        if left <= most or (now - found.st_mtime < YOUNG and left <= 2 * most):
            break
        path.unlink(missing_ok=True)
        left -= found.st_size
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def _used(path: Path) -> bool:
    """Whether a copy is there; it counts as used now."""
    if not path.is_file():
        return False
    os.utime(path)
    return True
