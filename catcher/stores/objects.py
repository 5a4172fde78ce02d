"""Artifacts in a folder, in S3 (and what speaks it), GCS, Azure, or in memory, through obstore.

    stores:
      objects: file                  # a folder beside the ledger
      # objects: s3://bucket/prefix  # credentials from AWS_ACCESS_KEY_ID and so on, or here:
      # objects:
      #   url: s3://bucket/prefix
      #   endpoint: "https://s3.example"
      #   access_key: "${S3_KEY}"
      #   secret_key: "${S3_SECRET}"
      # objects: {gcs: {url: gs://bucket/prefix, service_account: /etc/catcher/gcs.json}}
      # objects: {azure: {url: az://container/prefix, account: NAME, key: "${AZURE_KEY}"}}

Keys are relative paths with `/`, made to be read by a person. A key names the same object
wherever the store is, so that an address in the ledger outlives a move.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import obstore
from obstore import exceptions
from obstore.store import (
    AzureStore,
    GCSStore,
    HTTPStore,
    LocalStore,
    MemoryStore,
    ObjectStore,
    S3Store,
)

from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.model.time import SECOND, Instant
from catcher.ports import StoreAway
from catcher.stores.objects_settings import AnySettings, AzureSettings, GcsSettings
from catcher.stores.objects_settings import ObjectSettings as ObjectSettings

PIECE = 8 * 2**20
LONGEST_KEY = 1024
LONGEST_NAME = 255
FAILURES = (exceptions.BaseError, OSError, ValueError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as the store lists it: key, bytes, and when it was written."""

    key: str
    size: int
    modified: Instant


class Objects:
    """`ports.ObjectStore` over obstore. An object is there whole or not at all."""

    def __init__(self, settings: AnySettings) -> None:
        self._place = settings.url
        scheme = urlsplit(settings.url).scheme
        try:
            self._store, self._base, self._typed = _open(settings, scheme)
        except FAILURES as error:
            raise CatcherError(
                f"the object store {self._place} cannot be opened: {_words(error)}",
                "see that the folder may be written, or mend `stores: objects:`",
            ) from None

    async def put(self, key: str, item: Encoded) -> None:
        """Keeps an artifact under a key; one that was there is replaced in one move."""
        attributes: Any = {"Content-Type": item.mime} if self._typed and item.mime else None
        try:
            await obstore.put_async(self._store, checked_key(key), item.data, attributes=attributes)
        except FAILURES as error:
            raise self._failed("keep", key, error) from None

    async def get(self, key: str) -> bytes:
        """The bytes under a key; CatcherError where there is none."""
        try:
            found = await obstore.get_async(self._store, checked_key(key))
            return bytes(await found.bytes_async())
        except (exceptions.NotFoundError, FileNotFoundError):
            raise CatcherError(
                f"there is no object {key!r} in {self._place}",
                "it may have been removed by hand, or kept in another store",
            ) from None
        except FAILURES as error:
            raise self._failed("read", key, error) from None

    async def tag(self, key: str) -> str:
        """What changes when the object does; empty where there is none."""
        try:
            found = await obstore.head_async(self._store, checked_key(key))
        except (exceptions.NotFoundError, FileNotFoundError):
            return ""
        except FAILURES as error:
            raise self._failed("read", key, error) from None
        return f"{found['e_tag'] or ''}:{found['size']}:{found['last_modified'].timestamp()}"

    async def download(self, key: str, file: Path) -> None:
        """Writes an object into a file, a piece at a time."""
        try:
            found = await obstore.get_async(self._store, checked_key(key))
            with await asyncio.to_thread(file.open, "wb") as stream:
                async for piece in found.stream(min_chunk_size=PIECE):
                    await asyncio.to_thread(stream.write, piece)
        except FAILURES as error:
            raise self._failed("read", key, error) from None

    async def list(self, prefix: str = "") -> Sequence[str]:
        """The keys under a prefix, which is a whole number of path segments, sorted."""
        wanted = checked_key(prefix.rstrip("/")) if prefix else None
        keys: list[str] = []
        try:
            async for chunk in obstore.list(self._store, wanted, chunk_size=1000):
                keys += [found["path"] for found in chunk]
        except FAILURES as error:
            raise self._failed("list", prefix, error) from None
        return sorted(keys)

    async def entries(self) -> AsyncIterator[Entry]:
        """What is kept, as the store itself lists it, in no order."""
        try:
            async for chunk in obstore.list(self._store, chunk_size=1000):
                for found in chunk:
                    modified = round(found["last_modified"].timestamp() * SECOND)
                    yield Entry(found["path"], found["size"], modified)
        except FAILURES as error:
            raise self._failed("list", "", error) from None

    async def remove(self, keys: Sequence[str]) -> None:
        """Removes objects; those that are not there need not be."""
        for start in range(0, len(keys), 1000):
            some = [checked_key(key) for key in keys[start : start + 1000]]
            try:
                await obstore.delete_async(self._store, some)
            except (exceptions.NotFoundError, FileNotFoundError):
                for key in some:
                    await self._remove_one(key)
            except FAILURES as error:
                raise self._failed("remove", some[0], error) from None

    async def _remove_one(self, key: str) -> None:
        try:
            await obstore.delete_async(self._store, key)
        except (exceptions.NotFoundError, FileNotFoundError):
            return
        except FAILURES as error:
            raise self._failed("remove", key, error) from None

    @property
    def folder(self) -> Path | None:
        """The folder that is the store; None where it is none."""
        return Path(unquote(urlsplit(self._base).path)) if self._base[:5] == "file:" else None

    def url(self, key: str) -> str:
        """The address of an object, `file://` for one in a folder."""
        return f"{self._base}/{quote(checked_key(key))}"

    def _failed(self, what: str, key: str, error: Exception) -> CatcherError:
        message = f"{self._place} did not {what} {key!r}: {_words(error)}"
        if isinstance(error, exceptions.PermissionDeniedError | PermissionError):
            return StoreAway(message, "give this user the right to do so")
        if isinstance(error, exceptions.UnauthenticatedError):
            return StoreAway(message, "see to the credentials under `stores: objects:`")
        if isinstance(error, exceptions.InvalidPathError | ValueError):
            return CatcherError(message, "choose another name")
        return StoreAway(message)


def checked_key(key: str) -> str:
    """The key itself if it may be one; CatcherError says why not."""
    problem = _flaw(key)
    if problem:
        raise CatcherError(
            f"{key[:80]!r} is no key for an object: {problem}",
            "use a relative path with / between plain names",
        )
    return key


def _flaw(key: str) -> str:
    names = key.split("/")
    if len(key.encode("utf-8", "replace")) > LONGEST_KEY:
        return f"it is longer than {LONGEST_KEY} bytes"
    if any(len(name.encode("utf-8", "replace")) > LONGEST_NAME for name in names):
        return f"a part of it is longer than {LONGEST_NAME} bytes"
    if not key.isprintable() or "\\" in key:
        return "it holds a backslash, a control character or a character that cannot be shown"
    if any(name in ("", ".", "..") for name in names):
        return "a part of it is empty, . or .."
    return ""


def _open(settings: AnySettings, scheme: str) -> tuple[ObjectStore, str, bool]:
    """The store, what its addresses begin with, and whether it keeps content types."""
    bucket = _cloud(settings, scheme)
    if bucket is not None:
        return bucket, settings.url.rstrip("/"), True
    if scheme == "memory":
        return MemoryStore(), "memory://", True
    if scheme not in ("", "file"):
        known = "a folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
        raise ValueError(f"{scheme}:// is not known; use {known}")
    path = unquote(urlsplit(settings.url).path) if scheme else settings.url
    folder = Path(path).expanduser().absolute()
    return LocalStore(folder, mkdir=True), folder.as_uri(), False


def _cloud(settings: AnySettings, scheme: str) -> ObjectStore | None:
    """The bucket that an address names; None where it names none."""
    if isinstance(settings, GcsSettings):
        if scheme != "gs":
            raise ValueError("write the address as gs://bucket/prefix")
        return GCSStore.from_url(settings.url, **_way(settings, _gcs(settings)))
    if isinstance(settings, AzureSettings):
        if scheme not in ("az", "azure", "abfs", "abfss"):
            raise ValueError("write the address as az://container/prefix")
        return AzureStore.from_url(settings.url, **_way(settings, _azure(settings)))
    if scheme == "s3":
        return S3Store.from_url(settings.url, **_way(settings, _s3(settings)))
    if scheme == "gs":
        return GCSStore.from_url(settings.url, **_way(settings, {}))
    if scheme in ("http", "https"):
        # To be read only: the web has no listing and takes nothing.
        way = _way(replace(settings, endpoint=settings.url), {})
        return HTTPStore.from_url(
            settings.url, client_options=way["client_options"], retry_config=way["retry_config"]
        )
    return None


def _s3(settings: ObjectSettings) -> dict[str, Any]:
    return {
        "aws_endpoint": settings.endpoint,
        "aws_region": settings.region,
        "aws_access_key_id": settings.access_key,
        "aws_secret_access_key": settings.secret_key,
    }


def _gcs(settings: GcsSettings) -> dict[str, Any]:
    return {
        "google_base_url": settings.endpoint,
        "google_service_account": settings.service_account,
        "google_service_account_key": settings.key,
        "google_bearer_token": settings.token,
    }


def _azure(settings: AzureSettings) -> dict[str, Any]:
    return {
        "azure_storage_account_name": settings.account,
        "azure_storage_account_key": settings.key,
        "azure_storage_sas_key": settings.sas,
        "azure_storage_client_id": settings.client_id,
        "azure_storage_client_secret": settings.client_secret,
        "azure_storage_tenant_id": settings.tenant,
        "azure_storage_endpoint": settings.endpoint,
    }


def _way(settings: AnySettings, config: Mapping[str, Any]) -> dict[str, Any]:
    """How a bucket is spoken to: what is said of it, and how long one request may take."""
    limit = timedelta(seconds=settings.timeout)
    client: dict[str, Any] = {"timeout": limit}
    if settings.endpoint.startswith("http://"):
        client["allow_http"] = True
    return {
        "config": {name: value for name, value in config.items() if value},
        "client_options": client,
        "retry_config": {"max_retries": 3, "retry_timeout": limit},
    }


def _words(error: Exception) -> str:
    """The first line: what follows is obstore's own debugging, which may name credentials."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
