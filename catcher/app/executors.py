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
    """The executors of a site.
    `primary` is the one that the site names, `local` the one on this machine; they are the same if
    there is no other.
    """

    primary: Executor
    local: Executor

    @property
    def unique(self) -> Sequence[Executor]:
        """The executors, each once."""
        return (self.primary,) if self.primary is self.local else (self.primary, self.local)


async def open_executors(exit_stack: AsyncExitStack, site: Site, clock: Clock) -> Executors:
    """Opens the executors of a site until `exit_stack` closes.
    An unavailable cluster delays nothing: jobs run on this machine meanwhile.
    """
    local = await exit_stack.enter_async_context(create_local_executor(site, clock))
    section = site.settings.executor
    if section.kind == "dask":
        from catcher.executors.dask import DaskExecutor
        from catcher.executors.dask_settings import DaskExecutorSettings

        cluster = DaskExecutor(section.bind_settings(DaskExecutorSettings), clock)
        return Executors(await exit_stack.enter_async_context(cluster), local)
    if section.kind == "http":
        from catcher.executors.http import HttpExecutor
        from catcher.executors.http_settings import HttpExecutorSettings as HttpSettings

        service = HttpExecutor(section.bind_settings(HttpSettings), clock)
        return Executors(await exit_stack.enter_async_context(service), local)
    return Executors(local, local)


def create_local_executor(site: Site, clock: Clock) -> LocalExecutor:
    """Creates an executor of worker processes within the site's limits."""
    from catcher.executors.local import LocalExecutor, LocalExecutorSettings

    limits, section = site.settings.limits, site.settings.executor
    settings = (
        section.bind_settings(LocalExecutorSettings)
        if section.kind == "local"
        else LocalExecutorSettings()
    )
    return LocalExecutor(
        limits.workers or settings.workers, limits.memory or settings.memory, clock
    )
