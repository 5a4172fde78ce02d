"""Settings of images besides their patterns: `stores: images:`."""

from __future__ import annotations

from dataclasses import dataclass, field

from catcher.model.telemetry import Size

DEFAULT_CACHE_SIZE = 20 * 10**9


@dataclass(frozen=True, slots=True)
class FileImageSettings:
    """Images in folders. `within` are the folders where an address from an event may lead."""

    within: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteImageSettings:
    """Images in S3 or on the web, copied here before a job reads them.

    `within` are the beginnings of addresses where an event may lead (`s3://bucket/`,
    `https://lfa.example/bucket/`); `cache` is how many bytes of copies stay; `timeout` (seconds)
    bounds one request. Without keys those of the environment are used.
    """

    within: tuple[str, ...] = ()
    endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    timeout: float = 60.0
    cache: Size = DEFAULT_CACHE_SIZE


@dataclass(frozen=True, slots=True)
class ButlerImageSettings:
    """Images in a Butler repository, for kinds whose `image` is `butler:`.

    `where` is the query that finds an observation, with its id bound as `id`.
    """

    repo: str
    collections: tuple[str, ...]
    instrument: str
    dataset: str = "raw"
    where: str = "exposure.obs_id = id"
