"""Where a site's engine stores its data, and how a command reads it without an engine.
What a command may not need at all is opened on first use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catcher.model.errors import CatcherError
from catcher.model.result import EncodedArtifact
from catcher.ports import ObjectStore
from catcher.site import Secret, Site, find_shipped_site

if TYPE_CHECKING:
    from catcher.stores.artifacts.object_store import ObstoreStore


def resolve_data_folder(site: Site, data: Path | None) -> Path:
    """Returns a site's data folder: `data`, $CATCHER_DATA, the site's setting, or a default."""
    override = data or os.environ.get("CATCHER_DATA")
    if override:
        return Path(override).absolute()
    if site.settings.data is not None:
        return site.settings.data
    if site.root == find_shipped_site():
        return _get_user_data_home() / "data"
    return site.root / ".catcher"


def _get_user_data_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "catcher"


def ensure_folder(folder: Path) -> Path:
    """Creates the folder if it does not exist, and returns it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatcherError(
            f"the folder {folder} cannot be made ({error.strerror})", "choose another with --data"
        ) from error
    return folder


SPOOL_PATH = Path("spool", "objects")
"""Where artifacts wait in the data folder."""


def has_synchronous_commits(site: Site) -> bool:
    """True if each commit waits for the disk (`synchronous: full`)."""
    from catcher.stores.ledger.settings import SqliteSettings

    section = site.settings.stores.ledger
    return section.kind == "sqlite" and section.bind_settings(SqliteSettings).synchronous == "full"


def resolve_ledger_url(site: Site, data: Path) -> str:
    """Returns the URL of a site's ledger: the configured one, else a file in the data folder."""
    url = site.settings.stores.ledger.to_dict().get("url", "")
    address = url.reveal() if isinstance(url, Secret) else str(url)
    return address or f"sqlite:///{data / 'ledger.db'}"


def open_artifact_reader(site: Site, data: Path) -> ObjectStore:
    """Opens the site's artifacts for reading beside an engine, including those in its spool."""
    from catcher.stores.artifacts.spool import SpoolReader

    return SpoolReader(open_artifact_store(site, data), data / SPOOL_PATH)


def open_artifact_store(site: Site, data: Path) -> ObstoreStore:
    """Opens the site's artifact store: the configured one, else a folder in the data folder."""
    from catcher.stores.artifacts import settings as kinds
    from catcher.stores.artifacts.object_store import ObstoreStore

    section = site.settings.stores.objects
    if section.kind == "file" and not section.to_dict():
        return ObstoreStore(kinds.ObjectSettings(url=str(data / "objects")))
    if section.kind == "gcs":
        return ObstoreStore(section.bind_settings(kinds.GcsSettings))
    if section.kind == "azure":
        return ObstoreStore(section.bind_settings(kinds.AzureSettings))
    return ObstoreStore(section.bind_settings(kinds.ObjectSettings))


class LazyObjects:
    """An object store (`ports.ObjectStore`) that is opened on first use."""

    def __init__(self, factory: Callable[[], ObjectStore]) -> None:
        self._factory = factory
        self._store: ObjectStore | None = None

    def _get_or_open_store(self) -> ObjectStore:
        if self._store is None:
            self._store = self._factory()
        return self._store

    async def put(self, key: str, item: EncodedArtifact) -> None:
        """Stores an artifact."""
        await self._get_or_open_store().put(key, item)

    async def get(self, key: str) -> bytes:
        """Returns the bytes under a key."""
        return await self._get_or_open_store().get(key)

    async def list(self, prefix: str = "") -> Sequence[str]:
        """Returns the keys under a prefix."""
        return await self._get_or_open_store().list(prefix)

    def build_url(self, key: str) -> str:
        """Returns the URL of an object."""
        return self._get_or_open_store().build_url(key)
