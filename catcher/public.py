"""The public API of the package: `catcher.Client` and `catcher.SyncClient`.

Creating one costs nothing; its backend is opened on the first request.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from catcher.client import Backend
from catcher.client import Client as AnyClient
from catcher.client import SyncClient as AnySyncClient

PathOrUrl = str | Path | None


class Client(AnyClient):
    """Reads the stored data of a site, by its folder, or of an engine, by its address.

    `Client()` finds the site as commands do; `Client("http://board:8787", token=…)` uses HTTP.
    `data` is the site's data folder, if it is not the default one. Each call is awaited.
    """

    def __init__(self, where: PathOrUrl = None, *, data: PathOrUrl = None, token: str = "") -> None:
        super().__init__(lambda: _open_backend(where, data, token))


class SyncClient(AnySyncClient):
    """`Client` for notebooks and scripts: the same calls, without `await`."""

    def __init__(self, where: PathOrUrl = None, *, data: PathOrUrl = None, token: str = "") -> None:
        super().__init__(lambda: _open_backend(where, data, token))


def _open_backend(
    where: PathOrUrl, data: PathOrUrl, token: str
) -> AbstractAsyncContextManager[Backend]:
    # Imported late: the adapters that a site may use are slow to import.
    from catcher.app.client_backend import open_backend

    return open_backend(where, data, token)
