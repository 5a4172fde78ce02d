"""Artifacts in a folder, in S3 (or compatible), GCS, Azure, or in memory, through obstore.

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

Keys are human-readable relative paths with `/`. A key names the same object wherever the store is,
so that an address in the ledger outlives a move.
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

from catcher.model.errors import CatcherError
from catcher.model.result import EncodedArtifact
from catcher.model.time import SECOND, Instant
from catcher.ports import StoreUnavailable
from catcher.stores.artifacts.settings import AnyObjectSettings, AzureSettings, GcsSettings
from catcher.stores.artifacts.settings import ObjectSettings as ObjectSettings

DOWNLOAD_CHUNK_BYTES = 8 * 2**20
MAX_KEY_BYTES = 1024
MAX_NAME_BYTES = 255
STORE_ERRORS = (exceptions.BaseError, OSError, ValueError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as the store lists it: key, bytes, and when it was written."""

    key: str
    size: int
    modified: Instant


class ObstoreStore:
    """`ports.ObjectStore` over obstore. Objects are written atomically."""

    def __init__(self, settings: AnyObjectSettings) -> None:
        self._location = settings.url
        scheme = urlsplit(settings.url).scheme
        try:
            self._store, self._base_url, self._has_content_types = _open_store(settings, scheme)
        except STORE_ERRORS as error:
            raise CatcherError(
                f"the object store {self._location} cannot be opened: {_error_text(error)}",
                "see that the folder may be written, or mend `stores: objects:`",
            ) from None

    async def put(self, key: str, item: EncodedArtifact) -> None:
        """Stores an artifact under a key, replacing an existing one atomically."""
        attributes: Any = (
            {"Content-Type": item.mime} if self._has_content_types and item.mime else None
        )
        try:
            await obstore.put_async(
                self._store, validate_key(key), item.data, attributes=attributes
            )
        except STORE_ERRORS as error:
            raise self._build_store_error("keep", key, error) from None

    async def get(self, key: str) -> bytes:
        """Returns the bytes of a key. Raises CatcherError if there is none."""
        try:
            response = await obstore.get_async(self._store, validate_key(key))
            return bytes(await response.bytes_async())
        except (exceptions.NotFoundError, FileNotFoundError):
            raise CatcherError(
                f"there is no object {key!r} in {self._location}",
                "it may have been removed by hand, or kept in another store",
            ) from None
        except STORE_ERRORS as error:
            raise self._build_store_error("read", key, error) from None

    async def fetch_version_tag(self, key: str) -> str:
        """Returns a tag that changes with the object; empty if there is none."""
        try:
            metadata = await obstore.head_async(self._store, validate_key(key))
        except (exceptions.NotFoundError, FileNotFoundError):
            return ""
        except STORE_ERRORS as error:
            raise self._build_store_error("read", key, error) from None
        return (
            f"{metadata['e_tag'] or ''}:{metadata['size']}:{metadata['last_modified'].timestamp()}"
        )

    async def download_file(self, key: str, file: Path) -> None:
        """Downloads an object into a file, in chunks."""
        try:
            response = await obstore.get_async(self._store, validate_key(key))
            with await asyncio.to_thread(file.open, "wb") as stream:
                async for chunk in response.stream(min_chunk_size=DOWNLOAD_CHUNK_BYTES):
                    await asyncio.to_thread(stream.write, chunk)
        except STORE_ERRORS as error:
            raise self._build_store_error("read", key, error) from None

    async def list(self, prefix: str = "") -> Sequence[str]:
        """Returns the keys under a prefix, which consists of complete path segments, sorted."""
        checked_prefix = validate_key(prefix.rstrip("/")) if prefix else None
        keys: list[str] = []
        try:
            async for chunk in obstore.list(self._store, checked_prefix, chunk_size=1000):
                keys += [entry["path"] for entry in chunk]
        except STORE_ERRORS as error:
            raise self._build_store_error("list", prefix, error) from None
        return sorted(keys)

    async def iter_object_infos(self) -> AsyncIterator[ObjectInfo]:
        """Yields the stored objects as the store lists them, in no order."""
        try:
            async for chunk in obstore.list(self._store, chunk_size=1000):
                for entry in chunk:
                    modified = round(entry["last_modified"].timestamp() * SECOND)
                    yield ObjectInfo(entry["path"], entry["size"], modified)
        except STORE_ERRORS as error:
            raise self._build_store_error("list", "", error) from None

    async def remove(self, keys: Sequence[str]) -> None:
        """Removes objects; missing ones are ignored."""
        for start in range(0, len(keys), 1000):
            batch = [validate_key(key) for key in keys[start : start + 1000]]
            try:
                await obstore.delete_async(self._store, batch)
            except (exceptions.NotFoundError, FileNotFoundError):
                for key in batch:
                    await self._remove_object(key)
            except STORE_ERRORS as error:
                raise self._build_store_error("remove", batch[0], error) from None

    async def _remove_object(self, key: str) -> None:
        try:
            await obstore.delete_async(self._store, key)
        except (exceptions.NotFoundError, FileNotFoundError):
            return
        except STORE_ERRORS as error:
            raise self._build_store_error("remove", key, error) from None

    @property
    def local_folder(self) -> Path | None:
        """The folder that is the store; None if it is not one."""
        return (
            Path(unquote(urlsplit(self._base_url).path)) if self._base_url[:5] == "file:" else None
        )

    def build_url(self, key: str) -> str:
        """Returns the URL of an object, `file://` for one in a folder."""
        return f"{self._base_url}/{quote(validate_key(key))}"

    def _build_store_error(self, action: str, key: str, error: Exception) -> CatcherError:
        message = f"{self._location} did not {action} {key!r}: {_error_text(error)}"
        if isinstance(error, exceptions.PermissionDeniedError | PermissionError):
            return StoreUnavailable(message, "give this user the right to do so")
        if isinstance(error, exceptions.UnauthenticatedError):
            return StoreUnavailable(message, "see to the credentials under `stores: objects:`")
        if isinstance(error, exceptions.InvalidPathError | ValueError):
            return CatcherError(message, "choose another name")
        return StoreUnavailable(message)


def validate_key(key: str) -> str:
    """Returns the key if it is valid. Raises CatcherError with the reason otherwise."""
    problem = _find_key_problem(key)
    if problem:
        raise CatcherError(
            f"{key[:80]!r} is no key for an object: {problem}",
            "use a relative path with / between plain names",
        )
    return key


def _find_key_problem(key: str) -> str:
    names = key.split("/")
    if len(key.encode("utf-8", "replace")) > MAX_KEY_BYTES:
        return f"it is longer than {MAX_KEY_BYTES} bytes"
    if any(len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES for name in names):
        return f"a part of it is longer than {MAX_NAME_BYTES} bytes"
    if not key.isprintable() or "\\" in key:
        return "it holds a backslash, a control character or a character that cannot be shown"
    if any(name in ("", ".", "..") for name in names):
        return "a part of it is empty, . or .."
    return ""


def _open_store(settings: AnyObjectSettings, scheme: str) -> tuple[ObjectStore, str, bool]:
    """Returns the store, the prefix of its URLs, and whether it stores content types."""
    bucket = _open_bucket(settings, scheme)
    if bucket is not None:
        return bucket, settings.url.rstrip("/"), True
    if scheme == "memory":
        return MemoryStore(), "memory://", True
    if scheme not in ("", "file"):
        supported = "a folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
        raise ValueError(f"{scheme}:// is not known; use {supported}")
    path = unquote(urlsplit(settings.url).path) if scheme else settings.url
    folder = Path(path).expanduser().absolute()
    return LocalStore(folder, mkdir=True), folder.as_uri(), False


def _open_bucket(settings: AnyObjectSettings, scheme: str) -> ObjectStore | None:
    """Returns the bucket of an address; None if it names none."""
    if isinstance(settings, GcsSettings):
        if scheme != "gs":
            raise ValueError("write the address as gs://bucket/prefix")
        return GCSStore.from_url(
            settings.url, **_build_bucket_options(settings, _build_gcs_config(settings))
        )
    if isinstance(settings, AzureSettings):
        if scheme not in ("az", "azure", "abfs", "abfss"):
            raise ValueError("write the address as az://container/prefix")
        return AzureStore.from_url(
            settings.url, **_build_bucket_options(settings, _build_azure_config(settings))
        )
    if scheme == "s3":
        return S3Store.from_url(
            settings.url, **_build_bucket_options(settings, _build_s3_config(settings))
        )
    if scheme == "gs":
        return GCSStore.from_url(settings.url, **_build_bucket_options(settings, {}))
    if scheme in ("http", "https"):
        # Read-only: the web has no listing and accepts no uploads.
        options = _build_bucket_options(replace(settings, endpoint=settings.url), {})
        return HTTPStore.from_url(
            settings.url,
            client_options=options["client_options"],
            retry_config=options["retry_config"],
        )
    return None


def _build_s3_config(settings: ObjectSettings) -> dict[str, Any]:
    return {
        "aws_endpoint": settings.endpoint,
        "aws_region": settings.region,
        "aws_access_key_id": settings.access_key,
        "aws_secret_access_key": settings.secret_key,
    }


def _build_gcs_config(settings: GcsSettings) -> dict[str, Any]:
    return {
        "google_base_url": settings.endpoint,
        "google_service_account": settings.service_account,
        "google_service_account_key": settings.key,
        "google_bearer_token": settings.token,
    }


def _build_azure_config(settings: AzureSettings) -> dict[str, Any]:
    return {
        "azure_storage_account_name": settings.account,
        "azure_storage_account_key": settings.key,
        "azure_storage_sas_key": settings.sas,
        "azure_storage_client_id": settings.client_id,
        "azure_storage_client_secret": settings.client_secret,
        "azure_storage_tenant_id": settings.tenant,
        "azure_storage_endpoint": settings.endpoint,
    }


def _build_bucket_options(settings: AnyObjectSettings, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a bucket: its configuration, and the time limit of a request."""
    timeout = timedelta(seconds=settings.timeout)
    client_options: dict[str, Any] = {"timeout": timeout}
    if settings.endpoint.startswith("http://"):
        client_options["allow_http"] = True
    return {
        "config": {name: value for name, value in config.items() if value},
        "client_options": client_options,
        "retry_config": {"max_retries": 3, "retry_timeout": timeout},
    }


def _error_text(error: Exception) -> str:
    """Returns the first line: the rest is obstore's own debugging, which may hold credentials."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
