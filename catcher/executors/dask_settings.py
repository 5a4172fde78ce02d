"""The settings of a site's Dask cluster, apart from Dask itself, since every command reads them."""

from __future__ import annotations

from dataclasses import dataclass

from catcher.model.errors import CatcherError

DEFAULT_MEMORY = 2 * 2**30


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """Workers on this machine, started and ended with the engine."""

    workers: int = 2
    threads: int = 1


@dataclass(frozen=True, slots=True)
class DaskExecutorSettings:
    """The keys under `executor: {dask: ...}`.

    `url` is the scheduler's (dask://, tcp:// or tls://), or `local` are workers of the engine's
    own. `memory` is the bytes a job may take where its rule does not say; with `resource` that
    much of the workers' resource of this name is taken by it, too. With fewer than `least`
    workers the cluster counts as away; 0 for one that grows with what waits. `direct: false`
    fetches results by way of the scheduler. `ca`, `cert` and `key` are files for tls://.
    """

    url: str = ""
    local: LocalWorkers | None = None
    memory: int | None = DEFAULT_MEMORY
    resource: str = ""
    least: int = 1
    direct: bool = True
    ca: str = ""
    cert: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if bool(self.url) == (self.local is not None):
            hint = "write executor: dask://HOST:8786, or {dask: {local: {workers: 2}}}"
            raise CatcherError("a Dask executor has either a `url` or `local` workers", hint)
        if self.least < 0:
            raise CatcherError("`least` is a number of workers", "write it like least: 1")

    @property
    def address(self) -> str:
        """The scheduler's address in Dask's form."""
        scheme, _, location = self.url.rpartition("://")
        return f"{'tcp' if scheme in ('', 'dask') else scheme}://{location}"

    @property
    def display_name(self) -> str:
        """A description of the cluster for messages."""
        return f"the scheduler {self.address}" if self.url else "the cluster on this machine"
