"""An engine with everything around it: stores, workers, sinks and the API, opened in order."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import replace
from pathlib import Path

from catcher.adapters import SETTINGS as ADAPTERS
from catcher.adapters import SourceNeeds, make_sources
from catcher.api import create_api, serve
from catcher.assembling import RECORDED, alone, assemble, healths, make_executor, open_kept
from catcher.client import Client
from catcher.editions import SETTINGS, Edition, first_edition
from catcher.engine import Engine
from catcher.hands import Hands
from catcher.model.problem import CatcherError
from catcher.model.run import Run
from catcher.model.time import wall_clock
from catcher.places import prepared
from catcher.ports import Source
from catcher.reloading import Reloading
from catcher.running import DRAIN, Running, announced
from catcher.site import Site, load
from catcher.sources.http import HttpSettings, HttpSource
from catcher.watching import SourceClock
from catcher.working import Workshop

HTTP = "http"
PAYLOAD = 1_000_000
Opening = AbstractAsyncContextManager[Running]
Write = Callable[[str], None]
Positions = Mapping[str, str]
MakeSources = Callable[[Site, Path, Positions], Sequence[Source]]


def open_on_sources(site: Site, data: Path, port: int | None, write: Write) -> Opening:
    """An engine on a site's own sources; it follows the site's files, and goes on where it was.

    CatcherError where `catcher.yaml` is broken: defaults in place of what it says (another
    ledger, no sources) would be worse than no start.
    """
    _refuse_broken_settings(site)

    def sources(site: Site, folder: Path, positions: Positions) -> Sequence[Source]:
        return make_sources(site, lambda name: _needs(site, name, folder, positions))

    return _open(site, data, port, sources, write=write, follow=True)


def open_on_simulator(
    site: Site, data: Path | None, port: int | None, speed: float, write: Write
) -> Opening:
    """An engine on a simulated night, in a folder of its own unless told otherwise."""
    from catcher.sources.simulator import SimulatorSettings, SimulatorSource

    folder = data or Path(tempfile.mkdtemp(prefix="catcher-demo-"))
    settings = SimulatorSettings(speed=speed) if speed else SimulatorSettings()

    def sources(site: Site, folder: Path, positions: Positions) -> Sequence[Source]:
        position = positions.get("simulator", "")
        return [SimulatorSource("simulator", settings, wall_clock, folder, position)]

    return _open(site, folder, port, sources, {"simulator": RECORDED}, write=write)


def open_on_recording(
    site: Site, data: Path, files: Sequence[Path], speed: str, port: int | None, write: Write
) -> Opening:
    """An engine on recorded streams in place of the site's sources, from their beginning.

    It ends with them.
    """
    from catcher.sources.replay import ReplaySettings, ReplaySource

    settings = ReplaySettings(files=tuple(str(one) for one in files), speed=speed)

    def sources(site: Site, folder: Path, positions: Positions) -> Sequence[Source]:
        return [ReplaySource("replay", settings, wall_clock, Path.cwd())]

    return _open(site, data, port, sources, {"replay": RECORDED}, False, write)


def _needs(site: Site, name: str, data: Path, positions: Positions) -> SourceNeeds:
    position = positions.get(name, "")
    return SourceNeeds(name, wall_clock, _payload(site), site.root, data, position)


def _refuse_broken_settings(site: Site) -> None:
    wrong = [one for one in site.errors if one.place.file == SETTINGS]
    if wrong:
        told = "\n".join(f"  {one}" for one in wrong)
        raise CatcherError(
            f"{SETTINGS} cannot be used:\n{told}", "`catcher check` says when all is mended"
        )


def _payload(site: Site) -> int:
    return site.settings.limits.payload or PAYLOAD


@asynccontextmanager
async def _open(
    site: Site,
    data: Path,
    port: int | None,
    make: MakeSources,
    clocks: Mapping[str, SourceClock] | None = None,
    posts: bool = True,
    write: Write = print,
    follow: bool = False,
) -> AsyncIterator[Running]:
    """Opens stores, workers, sinks and the API around an engine, and starts it."""
    name, jobs = f"engine-{os.getpid()}", prepared(data) / "jobs"
    edition = await asyncio.to_thread(first_edition, site, jobs)
    rules, site = edition.rules, replace(site, registry=edition.registry)
    async with AsyncExitStack() as lifetimes:
        lifetimes.enter_context(alone())
        kept = await open_kept(lifetimes, site, data, name, wall_clock)
        sources = list(make(site, data, await kept.ledger.positions()))
        postbox = _postbox(site, sources)
        sources += [postbox] if posts and postbox not in sources else []
        said = {name: spec.clock for name, spec in site.settings.sources.items()}
        assembly = await assemble(site, rules, kept, wall_clock, {**said, **(clocks or {})})
        executor = await lifetimes.enter_async_context(make_executor(site, wall_clock))
        courier = await lifetimes.enter_async_context(await assembly.courier(lifetimes, write))

        async def report(run: Run) -> None:
            await engine.report(run)

        shop = assembly.workshop(executor, name, data, report, asyncio.sleep)
        engine = assembly.engine(
            name, sources, shop.submit, courier.send, lambda: shop.drain(DRAIN)
        )
        await lifetimes.enter_async_context(shop)
        lifetimes.push_async_callback(courier.drain, DRAIN)
        running = Running(
            engine, assembly.streams, lambda: healths(assembly, sources, executor, courier),
            site.errors, data, misconfigured=site.misconfigured,
        )  # fmt: skip
        hands = Hands(engine, postbox, site.settings.observations, edition.rows(), running.health)
        client = Client(kept.ledger, kept.history, kept.objects)
        api = site.settings.api
        token = api.token.reveal() if api.token else ""
        routes = create_api(hands, client, assembly.streams, token=token)
        async with asyncio.TaskGroup() as tasks:
            running.start(tasks)
            await running.until_open()
            async with serve(routes, api.host, api.port if port is None else port) as running.url:
                with announced(data, running.url):
                    if not follow:
                        yield running
                    else:
                        reloading = _reloading(edition, jobs, engine, shop, hands)
                        running.ask_to_reload = reloading.ask
                        async with reloading.watching():
                            yield running
            running.stop()


def _postbox(site: Site, sources: Sequence[Source]) -> HttpSource:
    """The site's own HTTP source, or one under a name that the site has not given away."""
    for source in sources:
        if isinstance(source, HttpSource):
            return source
    name, names = HTTP, {source.name for source in sources}
    while name in names:
        name += "-posts"
    return HttpSource(name, HttpSettings(), wall_clock, _payload(site))


def _reloading(
    edition: Edition, jobs: Path, engine: Engine, shop: Workshop, hands: Hands
) -> Reloading:
    root = edition.site.root
    return Reloading(edition, lambda: load(root, adapters=ADAPTERS), jobs, engine, shop, hands)
