"""Where the jobs of a site run: the executor that it names, and one on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from catcher.model.time import Clock
from catcher.ports import Executor
from catcher.site import Site

if TYPE_CHECKING:
    from catcher.executors.local import LocalExecutor


@dataclass(frozen=True, slots=True)
class Executors:
    """`chosen` is the site's; `here` the one on this machine, the same where there is no other."""

    chosen: Executor
    here: Executor

    @property
    def all(self) -> Sequence[Executor]:
        """Each of them once."""
        return (self.chosen,) if self.chosen is self.here else (self.chosen, self.here)


async def open_executors(lifetimes: AsyncExitStack, site: Site, clock: Clock) -> Executors:
    """The executors of a site, open until `lifetimes` end.

    A cluster that is not there delays nothing: what must be done is done here meanwhile.
    """
    here = await lifetimes.enter_async_context(local_executor(site, clock))
    said = site.settings.executor
    if said.kind == "dask":
        from catcher.executors.dask import DaskExecutor
        from catcher.executors.dask_settings import Settings

        cluster = DaskExecutor(said.bind(Settings), clock)
        return Executors(await lifetimes.enter_async_context(cluster), here)
    if said.kind == "http":
        from catcher.executors.http import HttpExecutor
        from catcher.executors.http_settings import Settings as HttpSettings

        service = HttpExecutor(said.bind(HttpSettings), clock)
        return Executors(await lifetimes.enter_async_context(service), here)
    return Executors(here, here)


def local_executor(site: Site, clock: Clock) -> LocalExecutor:
    """Worker processes within the site's limits."""
    from catcher.executors.local import LocalExecutor, Settings

    limits, kind = site.settings.limits, site.settings.executor
    said = kind.bind(Settings) if kind.kind == "local" else Settings()
    return LocalExecutor(limits.workers or said.workers, limits.memory or said.memory, clock)
