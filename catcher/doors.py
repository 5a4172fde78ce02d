"""The doors that people import: `catcher.Client` and `catcher.SyncClient`.

Making one costs nothing; what lies behind it is put together with the first question.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from catcher.client import Client as AnyClient
from catcher.client import Reading
from catcher.client import SyncClient as AnySyncClient

Where = str | Path | None


class Client(AnyClient):
    """Reads what Catcher kept: of a site, by its folder, or of an engine, by its address.

    `Client()` takes the site as commands do; `Client("http://board:8787", token=…)` asks over
    HTTP. `data` is the site's data folder, where it is not the usual one. Each call is awaited.
    """

    def __init__(self, where: Where = None, *, data: Where = None, token: str = "") -> None:
        super().__init__(lambda: _opened(where, data, token))


class SyncClient(AnySyncClient):
    """`Client` for notebooks and scripts: the same calls, without `await`."""

    def __init__(self, where: Where = None, *, data: Where = None, token: str = "") -> None:
        super().__init__(lambda: _opened(where, data, token))


def _opened(where: Where, data: Where, token: str) -> AbstractAsyncContextManager[Reading]:
    # Everything that a site may name is slow to import.
    from catcher.app.reading import opened

    return opened(where, data, token)
