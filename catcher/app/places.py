"""Where a site's engine keeps things, and how a command gets at them without an engine.

What a command may not need at all is opened when it is first asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.ports import ObjectStore
from catcher.site import Secret, Site, shipped_site

if TYPE_CHECKING:
    from catcher.stores.objects import Objects


def data_folder(site: Site, data: Path | None) -> Path:
    """Where a site's engine keeps things: as told, $CATCHER_DATA, the site's word, or beside it."""
    told = data or os.environ.get("CATCHER_DATA")
    if told:
        return Path(told).absolute()
    if site.settings.data is not None:
        return site.settings.data
    if site.root == shipped_site():
        return _home() / "data"
    return site.root / ".catcher"


def _home() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "catcher"


def prepared(folder: Path) -> Path:
    """The folder, made where it isn't there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as trouble:
        raise CatcherError(
            f"the folder {folder} cannot be made ({trouble.strerror})", "choose another with --data"
        ) from trouble
    return folder


SPOOL = Path("spool", "objects")
"""Where artifacts wait in the data folder."""


def ledger_is_strict(site: Site) -> bool:
    """Whether each commit waits for the disk (`synchronous: full`)."""
    from catcher.stores.ledger_settings import SqliteSettings

    told = site.settings.stores.ledger
    return told.kind == "sqlite" and told.bind(SqliteSettings).synchronous == "full"


def ledger_address(site: Site, data: Path) -> str:
    """The address of a site's ledger: as it says, else a file in the data folder."""
    told = site.settings.stores.ledger.values().get("url", "")
    address = told.reveal() if isinstance(told, Secret) else str(told)
    return address or f"sqlite:///{data / 'ledger.db'}"


def readable_objects(site: Site, data: Path) -> ObjectStore:
    """The site's artifacts beside an engine: those that wait in its spool, too."""
    from catcher.stores.spool import SpooledReading

    return SpooledReading(open_objects(site, data), data / SPOOL)


def open_objects(site: Site, data: Path) -> Objects:
    """Where a site's artifacts are kept: as it says, else a folder in the data folder."""
    from catcher.stores import objects_settings as kinds
    from catcher.stores.objects import Objects

    told = site.settings.stores.objects
    if told.kind == "file" and not told.values():
        return Objects(kinds.ObjectSettings(url=str(data / "objects")))
    if told.kind == "gcs":
        return Objects(told.bind(kinds.GcsSettings))
    if told.kind == "azure":
        return Objects(told.bind(kinds.AzureSettings))
    return Objects(told.bind(kinds.ObjectSettings))


class LateObjects:
    """An object store (`ports.ObjectStore`) that is opened when it is first asked."""

    def __init__(self, make: Callable[[], ObjectStore]) -> None:
        self._make = make
        self._store: ObjectStore | None = None

    def _opened(self) -> ObjectStore:
        if self._store is None:
            self._store = self._make()
        return self._store

    async def put(self, key: str, item: Encoded) -> None:
        """Keeps an artifact."""
        await self._opened().put(key, item)

    async def get(self, key: str) -> bytes:
        """The bytes under a key."""
        return await self._opened().get(key)

    async def list(self, prefix: str = "") -> Sequence[str]:
        """The keys under a prefix."""
        return await self._opened().list(prefix)

    def url(self, key: str) -> str:
        """The address of an object."""
        return self._opened().url(key)
