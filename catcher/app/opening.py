"""An engine with everything around it: stores, workers, sinks and the API, opened in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import replace
from functools import partial
from pathlib import Path

from catcher.alerting import Courier, Renderer
from catcher.api import create_api, serve
from catcher.app.adapters import SETTINGS as ADAPTERS
from catcher.app.adapters import SourceNeeds, make_sources
from catcher.app.assembling import RECORDED, alone, assemble, parts, rates
from catcher.app.beating import make_outlets
from catcher.app.editions import SETTINGS, Edition, first_edition
from catcher.app.executing import open_executors
from catcher.app.kept import Kept, open_kept
from catcher.app.places import ledger_address, prepared
from catcher.app.publishing import open_announcers
from catcher.app.reading import decoded, late_sql
from catcher.app.reloading import Reloading
from catcher.app.running import STOP, Grace, Running, announced, engine_name
from catcher.app.selfwatch import SelfWatch
from catcher.app.sharing import beside
from catcher.app.sink_kinds import Doorway
from catcher.app.surroundings import Surroundings
from catcher.app.telemetry import patience
from catcher.client import Client, HistoryTelemetry, Reading
from catcher.engine import Engine
from catcher.hands import Hands
from catcher.model.event import HEALTH_TOPIC
from catcher.model.problem import CatcherError
from catcher.model.run import Run
from catcher.model.time import wall_clock
from catcher.ports import Source, StoreAway
from catcher.site import Secret, Site, load
from catcher.sources.http import HttpSettings, HttpSource
from catcher.vitals import Bulletin, Part
from catcher.vitals.bulletin import NAME as BULLETIN
from catcher.watching import SourceClock
from catcher.working import Workshop

HTTP, PAYLOAD = "http", 1_000_000
OWN = {BULLETIN: SourceClock(lateness=0)}
"""How the time of Catcher's own news is to be understood."""
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
    more = positions.get(name, ""), site.settings.engine
    return SourceNeeds(name, wall_clock, _payload(site), site.root, data, *more)


def _refuse_broken_settings(site: Site) -> None:
    wrong = [one for one in site.errors if one.place.file == SETTINGS]
    if wrong:
        told = "\n".join(f"  {one}" for one in wrong)
        raise CatcherError(
            f"{SETTINGS} cannot be used:\n{told}", "`catcher check` says when all is mended"
        )


def _edition(site: Site, jobs: Path, anew: bool) -> Edition:
    """What an engine starts with; `anew` reads a site that may have been edited meanwhile."""
    if anew:
        site = load(site.root, adapters=ADAPTERS, portion=site.settings.engine)
        _refuse_broken_settings(site)
    return first_edition(site, jobs)


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
    name, jobs = engine_name(wall_clock), prepared(data) / "jobs"
    async with AsyncExitStack() as lifetimes:
        lifetimes.enter_context(alone())
        watch = SelfWatch(site.settings.site, name, wall_clock, os.environ)
        await lifetimes.enter_async_context(watch.watching())
        kept = await open_kept(lifetimes, site, data, name, wall_clock, _heard_by(watch))
        stood_by = watch.pulse.phase == "standing by"
        edition = await asyncio.to_thread(_edition, site, jobs, stood_by and follow)
        rules, site = edition.rules, replace(edition.site, registry=edition.registry)
        watch.restoring()
        sources = list(make(site, data, await kept.ledger.positions()))
        postbox = _heard(kept, site, sources, posts)
        assembly = await assemble(site, rules, kept, wall_clock, _clocks(site, clocks or {}))
        executors = await open_executors(lifetimes, site, wall_clock)
        told = await open_announcers(site, name, assembly.streams, wall_clock, lifetimes)
        doorway = Doorway()
        sinks = await assembly.sinks(lifetimes, write, doorway)
        courier = await lifetimes.enter_async_context(assembly.courier(sinks))

        async def report(run: Run) -> None:
            await engine.report(run)

        def found() -> list[Part]:
            return [*parts(assembly, sources, executors, courier), *told.parts(), *watch.parts()]

        grace = _grace(site)
        shop = assembly.workshop(executors, name, data, report, asyncio.sleep, patience(site))
        heard = [*sources, _bulletin(found, lambda: engine)] if posts else sources
        drain = partial(_drain, shop, grace)
        engine = assembly.engine(name, heard, shop.submit, courier.send, drain, watch.pulse)
        await lifetimes.enter_async_context(shop)
        lifetimes.push_async_callback(_deliver_rest, courier, kept, grace)
        around = Surroundings(engine, assembly.alerting, found, shop.backlog, courier.oldest)
        await watch.surround(lifetimes, around)
        running = Running(
            engine, assembly.streams, around.healths(watch.backlog), site.errors, data,
            misconfigured=site.misconfigured, grace=grace, watch=watch,
        )  # fmt: skip
        known = site.settings.observations
        hands = Hands(engine, postbox, known, edition.rows(), running.health, courier.resend)
        doorway.door = hands.through
        client = Client(_reading(kept, ledger_address(site, data)))
        swapped = _telling(courier, assembly.renderer)
        reloading = _reloading(edition, jobs, engine, shop, hands, watch, swapped)
        served = _served(running, hands, client, site, port, doorway)
        async with _begun(running, served, reloading if follow else None, kept):
            outlets = await make_outlets(site, name, sinks, wall_clock, lifetimes)
            await watch.opened(lifetimes, site.settings.heartbeat.every, outlets)
            yield running


@asynccontextmanager
async def _begun(
    running: Running,
    served: AbstractAsyncContextManager[None],
    reloading: Reloading | None,
    kept: Kept,
) -> AsyncIterator[None]:
    """The engine runs, its API answers, and it follows its site, until the context is left.

    It ends at once where another engine has taken over the ledger.
    """
    async with asyncio.TaskGroup() as tasks:
        fence = tasks.create_task(kept.ledger.until_fenced())
        running.start(tasks, fence.cancel)
        tasks.create_task(beside(kept, running))
        await running.until_open()
        async with served:
            await _announce(kept, running.url)
            if reloading is None:
                yield
            else:
                running.ask_to_reload = reloading.ask
                async with reloading.watching():
                    yield
        running.stop()


def _grace(site: Site) -> Grace:
    stop = site.settings.limits.stop
    return Grace(STOP if stop is None else stop)


async def _deliver_rest(courier: Courier, kept: Kept, grace: Grace) -> None:
    """What is on its way to the sinks has until the stop's end; another engine delivers it else."""
    await courier.leave(0 if kept.ledger.fenced else grace.left)


def _reading(kept: Kept, ledger: str) -> Callable[[], AbstractAsyncContextManager[Reading]]:
    telemetry = HistoryTelemetry(kept.history)
    held = Reading(kept.ledger, telemetry, kept.objects, late_sql(ledger), decoded)
    return lambda: contextlib.nullcontext(held)


async def _announce(kept: Kept, url: str) -> None:
    with contextlib.suppress(StoreAway):
        await kept.ledger.announce(url)


def _heard_by(watch: SelfWatch) -> Callable[[str], None]:
    """Whoever looks at this process is told for which engine it stands by."""

    def told(words: str) -> None:
        print(words, file=sys.stderr, flush=True)
        watch.standing_by(words)

    return told


@asynccontextmanager
async def _served(
    running: Running, hands: Hands, client: Client, site: Site, port: int | None,
    doorway: Doorway,
) -> AsyncIterator[None]:  # fmt: skip
    """The API answers, and commands find it."""
    api = site.settings.api
    token = api.token.reveal() if api.token else ""
    routes = create_api(
        hands, client, running.live, token=token, watch=running.watch,
        callbacks=doorway.callbacks,
        posters=_revealed(api.posts), readers=_revealed(api.readers),
    )  # fmt: skip
    async with serve(routes, api.host, api.port if port is None else port) as running.url:
        with announced(running.data, running.url):
            yield


def _revealed(tokens: Mapping[str, Secret]) -> dict[str, str]:
    return {name: one.reveal() for name, one in tokens.items()}


def _clocks(site: Site, others: Mapping[str, SourceClock]) -> dict[str, SourceClock]:
    said = {name: spec.clock for name, spec in site.settings.sources.items()}
    return {**said, **others, **OWN}


async def _drain(shop: Workshop, grace: Grace) -> int:
    return await shop.drain(grace.for_jobs)


def _bulletin(found: Callable[[], list[Part]], engine: Callable[[], Engine]) -> Bulletin:
    """News of the parts, for rules that hear them."""
    return Bulletin(found, lambda: HEALTH_TOPIC in engine().parts.network.topics, wall_clock)


def _heard(kept: Kept, site: Site, sources: list[Source], posts: bool) -> HttpSource:
    """What people post comes in by one of the sources, and the history hears of all of them."""
    postbox = _postbox(site, sources)
    sources += [postbox] if posts and postbox not in sources else []
    kept.telemetry.hears(lambda: [source.health() for source in sources])
    return postbox


def _postbox(site: Site, sources: Sequence[Source]) -> HttpSource:
    """The site's own HTTP source, or one under a name that the site has not given away."""
    for source in sources:
        if isinstance(source, HttpSource):
            return source
    name, names = HTTP, {source.name for source in sources}
    while name in names:
        name += "-posts"
    return HttpSource(name, HttpSettings(), wall_clock, _payload(site))


def _telling(courier: Courier, renderer: Renderer) -> Callable[[Edition], None]:
    """How rates and templates of sinks follow an edit; the sinks themselves stay."""

    def swapped(edition: Edition) -> None:
        courier.pace(rates(edition.routes))
        renderer.swap(edition.templates)

    return swapped


def _reloading(
    edition: Edition, jobs: Path, engine: Engine, shop: Workshop, hands: Hands, watch: SelfWatch,
    swapped: Callable[[Edition], None],
) -> Reloading:  # fmt: skip
    root, portion = edition.site.root, edition.site.settings.engine
    return Reloading(
        edition, lambda: load(root, adapters=ADAPTERS, portion=portion), jobs, engine, shop, hands,
        watch.reloading, swapped,
    )  # fmt: skip
