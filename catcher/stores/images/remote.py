"""Images in S3 or on the web: a pattern such as `s3://bucket/{id}/{detector}.fits`.

Jobs read files, so an image is first copied into a local folder; an existing copy that has not
changed is not downloaded again. The folder is a cache of the most recently used images.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from catcher.model.errors import CatcherError
from catcher.model.observation import Observation
from catcher.stores.artifacts.object_store import ObstoreStore
from catcher.stores.artifacts.settings import ObjectSettings
from catcher.stores.images.settings import RemoteImageSettings
from catcher.stores.images.url_templates import (
    ambiguous_image_error,
    fill_pattern,
    find_url_column,
    get_base_folder,
    is_per_detector,
    match_detectors,
    missing_image_error,
    missing_pattern_error,
    split_at_detector,
)

REMOTE_SCHEMES = ("s3", "http", "https")
MAX_DOWNLOADS = 8
MIN_COPY_AGE = 300.0
"""Seconds in which a copy may still be waiting to be read."""


def is_remote(address: str) -> bool:
    """True if an address or pattern refers to another machine."""
    return urlsplit(address.split("{", 1)[0]).scheme in REMOTE_SCHEMES


class RemoteImages:
    """`ports.Images` over object stores, with copies in a folder."""

    def __init__(
        self, patterns: Mapping[str, str], folder: Path, settings: RemoteImageSettings
    ) -> None:
        self._patterns, self._folder, self._settings = dict(patterns), folder, settings
        self._stores: dict[str, ObstoreStore] = {}
        self._download_slots = asyncio.Semaphore(MAX_DOWNLOADS)
        self._locks: dict[str, asyncio.Lock] = {}

    async def find_image_path(self, observation: Observation, detector: str = "") -> str:
        """Returns the path of a copy. Raises CatcherError naming what was searched for."""
        pattern = self._get_pattern(observation)
        if is_per_detector(pattern) and not detector:
            detectors = await self.list_detectors(observation)
            if len(detectors) != 1:
                raise ambiguous_image_error(observation, list(detectors))
            detector = detectors[0]
        base = get_base_folder(pattern)
        key = fill_pattern(pattern, observation, detector).removeprefix(base)
        return await self.fetch_copy(base, key, observation)

    async def list_detectors(self, observation: Observation) -> Sequence[str]:
        """Returns the detectors that have an image now, sorted; empty if the pattern has none."""
        pattern = self._get_pattern(observation)
        if not is_per_detector(pattern):
            return []
        base = get_base_folder(pattern)
        prefix, *suffixes = split_at_detector(pattern, observation)
        key_prefix = prefix.removeprefix(base)
        keys = await self._get_store(base).list(key_prefix.rpartition("/")[0])
        return match_detectors((key_prefix, *suffixes), keys)

    async def fetch_image_by_url(self, url: str, observation: Observation) -> str:
        """Returns the path of a copy of the image at a stream's URL, if that URL is allowed."""
        for base in self._settings.within:
            if url.startswith(base) and base.endswith("/"):
                return await self.fetch_copy(base, unquote(url.removeprefix(base)), observation)
        raise CatcherError(
            f"the address {url[:200]!r} of {observation.kind} leads where no images are",
            "add where it begins, up to a slash, to `within` under `stores: images: s3:`",
        )

    async def fetch_copy(self, base: str, key: str, observation: Observation) -> str:
        """Returns the path of a copy of an object, downloaded if it is missing or has changed."""
        store = self._get_store(base)
        tag = await store.fetch_version_tag(key)
        if not tag:
            raise missing_image_error(f"{base}{key}", observation)
        digest = hashlib.sha256(f"{base}{key}\0{tag}".encode()).hexdigest()[:24]
        path = self._folder / digest / key.rpartition("/")[2]
        lock = self._locks.setdefault(digest, asyncio.Lock())
        try:
            async with lock, self._download_slots:
                if not await asyncio.to_thread(_touch_copy, path):
                    await self._download_copy(store, key, path)
        finally:
            self._locks.pop(digest, None)
        return str(path)

    async def _download_copy(self, store: ObstoreStore, key: str, path: Path) -> None:
        temp_path = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
            await store.download_file(key, temp_path)
            await asyncio.to_thread(temp_path.replace, path)
            await asyncio.to_thread(evict_copies, self._folder, self._settings.cache)
        except OSError as error:
            raise CatcherError(
                f"no copy of {key} can be kept in {self._folder}: {error.strerror}",
                "make room there, or a smaller `cache` under `stores: images:`",
            ) from None
        finally:
            await asyncio.to_thread(temp_path.unlink, missing_ok=True)

    def _get_store(self, base: str) -> ObstoreStore:
        store = self._stores.get(base)
        if store is None:
            settings = self._settings
            store = self._stores[base] = ObstoreStore(
                ObjectSettings(
                    base,
                    settings.endpoint,
                    settings.region,
                    settings.access_key,
                    settings.secret_key,
                    settings.timeout,
                )
            )
        return store

    def _get_pattern(self, observation: Observation) -> str:
        pattern = self._patterns.get(observation.kind, "") or observation.image
        if not pattern or find_url_column(pattern):
            raise missing_pattern_error(observation)
        return pattern


def evict_copies(folder: Path, max_bytes: int) -> None:
    """Removes the least recently used copies, down to `max_bytes`.

    One that was requested in the last minutes may be waiting to be read: it is removed only if the
    total exceeds twice the limit.
    """
    files = [(path, path.stat()) for path in folder.glob("*/*") if not path.name.endswith(".part")]
    total_bytes = sum(stat.st_size for _, stat in files)
    now = time.time()
    for path, stat in sorted(files, key=lambda item: item[1].st_mtime):
        if total_bytes <= max_bytes or (
            now - stat.st_mtime < MIN_COPY_AGE and total_bytes <= 2 * max_bytes
        ):
            break
        path.unlink(missing_ok=True)
        total_bytes -= stat.st_size
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def _touch_copy(path: Path) -> bool:
    """Marks a copy as used now; True if it exists."""
    if not path.is_file():
        return False
    os.utime(path)
    return True
