"""The composition root: engines, rehearsals and clients, opened and closed in order."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from catcher.adapters import SETTINGS, SourceNeeds, make_sources
from catcher.api import create_api, serve
from catcher.api.remote import Remote
from catcher.assembling import assemble, healths, make_executor, open_kept
from catcher.authoring import Case, Rehearsal, VirtualClock, run_cases
from catcher.authoring import backtest as play_past
from catcher.client import Client, point_row
from catcher.doctor import examine_site
from catcher.hands import Hands
from catcher.model.event import Event
from catcher.model.problem import CatcherError
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.time import wall_clock
from catcher.ports import Source
from catcher.running import DRAIN, Running, announced, announced_at
from catcher.site import Site, find_site, load, shipped_site
from catcher.sources.http import HttpSettings, HttpSource
from catcher.sources.recorded import read_recorded
from catcher.sources.replay import ReplaySettings, ReplaySource
from catcher.sources.simulator import SimulatorSettings, SimulatorSource
from catcher.stores.history import EmbeddedHistory
from catcher.stores.ledger import SqlLedger
from catcher.stores.objects import Objects, ObjectSettings
from catcher.watching import SourceClock

__all__ = [
    "Running", "data_folder", "examine", "load_site", "open_client", "open_demo", "open_engine",
    "open_rehearsal", "open_replay", "point_row", "remote", "run_backtest", "run_rule_tests",
]  # fmt: skip

HTTP = "http"
PAYLOAD = 1_000_000
Row = dict[str, Any]
Opening = AbstractAsyncContextManager[Running]
Write = Callable[[str], None]
MakeSources = Callable[[Site, Path], Sequence[Source]]
RECORDED = SourceClock(clock="stream", lateness=0)


def load_site(path: Path | None) -> Site:
    """The site's files as rules and settings, with all problems."""
    return load(find_site(path), adapters=SETTINGS)


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


def _prepared(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as trouble:
        raise CatcherError(
            f"the folder {folder} cannot be made ({trouble.strerror})", "choose another with --data"
        ) from trouble
    return folder


# -- engines ------------------------------------------------------------------------------------


def open_engine(
    site: Path | None, data: Path | None, port: int | None = None, write: Write = print
) -> Opening:
    """An engine on a site's own sources."""
    loaded = load_site(site)

    def sources(site: Site, folder: Path) -> Sequence[Source]:
        return make_sources(site, lambda name: _needs(site, name, folder))

    return _open(loaded, data_folder(loaded, data), port, sources, write=write)


def open_demo(
    site: Path | None, data: Path | None, port: int | None, speed: float, write: Write = print
) -> Opening:
    """An engine on a simulated night, in a folder of its own unless told otherwise."""
    loaded = load_site(site) if site else load(shipped_site(), adapters=SETTINGS)
    folder = Path(data).absolute() if data else Path(tempfile.mkdtemp(prefix="catcher-demo-"))
    settings = SimulatorSettings(speed=speed) if speed else SimulatorSettings()

    def sources(site: Site, folder: Path) -> Sequence[Source]:
        return [SimulatorSource("simulator", settings, wall_clock, folder)]

    clocks = {"simulator": SourceClock(clock="stream", lateness=0)}
    return _open(loaded, folder, port, sources, clocks, write=write)


def open_replay(
    site: Path | None, data: Path | None, files: Sequence[Path], speed: str, port: int | None,
    write: Write = print,
) -> Opening:  # fmt: skip
    """An engine on recorded streams in place of the site's sources; it ends with them."""
    loaded = load_site(site)
    settings = ReplaySettings(files=tuple(str(one) for one in files), speed=speed)

    def sources(site: Site, folder: Path) -> Sequence[Source]:
        return [ReplaySource("replay", settings, wall_clock, Path.cwd())]

    clocks = {"replay": RECORDED}
    return _open(loaded, data_folder(loaded, data), port, sources, clocks, False, write)


def _needs(site: Site, name: str, data: Path) -> SourceNeeds:
    payload = site.settings.limits.payload or PAYLOAD
    return SourceNeeds(name, wall_clock, payload, site.root, data)


@asynccontextmanager
async def _open(
    site: Site,
    data: Path,
    port: int | None,
    make: MakeSources,
    clocks: Mapping[str, SourceClock] | None = None,
    posts: bool = True,
    write: Write = print,
) -> AsyncIterator[Running]:
    """Opens stores, workers, sinks and the API around an engine, and starts it."""
    name, rules = f"engine-{os.getpid()}", {rule.id: rule for rule in site.active}
    async with AsyncExitStack() as lifetimes:
        kept = await open_kept(lifetimes, site, _prepared(data), name, wall_clock)
        sources = list(make(site, data))
        postbox = HttpSource(HTTP, HttpSettings(), wall_clock)
        sources += [postbox] if posts and HTTP not in {one.name for one in sources} else []
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
            site.errors, data,
        )  # fmt: skip
        hands = Hands(engine, postbox, site.settings.observations, _broken(site), running.health)
        client = Client(kept.ledger, kept.history, kept.objects)
        api = site.settings.api
        token = api.token.reveal() if api.token else ""
        routes = create_api(hands, client, assembly.streams, token=token)
        async with asyncio.TaskGroup() as tasks:
            running.start(tasks)
            await running.until_open()
            async with serve(routes, api.host, api.port if port is None else port) as running.url:
                with announced(data, running.url):
                    yield running
            running.stop()


def _broken(site: Site) -> list[Row]:
    return [
        {
            "rule": broken.id,
            "place": str(broken.place),
            "problems": [problem.as_json() for problem in broken.problems],
        }
        for broken in site.broken
    ]


# -- rehearsals ---------------------------------------------------------------------------------


@asynccontextmanager
async def open_rehearsal(site: Site, rules: Mapping[str, Rule]) -> AsyncIterator[Rehearsal]:
    """The engine on a fast clock and a ledger of its own, which nobody hears."""
    clock, todo = VirtualClock(), deque[Run]()
    async with AsyncExitStack() as lifetimes:
        kept = await open_kept(lifetimes, site, None, "rehearsal", clock)
        assembly = await assemble(site, rules, kept, clock, {"file": RECORDED})
        executor = make_executor(site, wall_clock)
        if any(rule.job for rule in rules.values()):
            await lifetimes.enter_async_context(executor)
        shop = assembly.workshop(executor, "rehearsal", Path.cwd(), _unheard, _at_once)
        await lifetimes.enter_async_context(shop)
        engine = assembly.engine("rehearsal", [], todo.append, lambda notices: None, shop.drain)
        yield Rehearsal(engine, clock, todo, shop.perform)


async def _unheard(run: Run) -> None:
    return None


async def _at_once(seconds: float) -> None:
    return None


async def run_rule_tests(site: Site, names: Sequence[str]) -> list[Case]:
    """Runs the tests beside the rules of a site; all of them where no rule is named."""
    unknown = [name for name in names if name not in site.rules]
    if unknown:
        raise CatcherError(f"there is no rule {unknown[0]!r} that works", "see `catcher check`")
    chosen = [rule for rule in site.rules.values() if not names or rule.id in names]
    return await run_cases(chosen, lambda rules: open_rehearsal(site, rules))


async def run_backtest(
    site: Site,
    names: Sequence[str],
    files: Sequence[Path],
    tell: Callable[[Row], None],
    progress: Callable[[str], None],
) -> None:
    """Plays recorded streams through a site's rules."""
    rejected: list[str] = []
    await play_past(
        {rule.id: rule for rule in site.active}, names, _events(files, rejected.append),
        lambda rules: open_rehearsal(site, rules), tell, progress,
    )  # fmt: skip
    for words in rejected:
        progress(words)


def _events(files: Sequence[Path], reject: Callable[[str], None]) -> Iterable[Event]:
    for one in read_recorded(files):
        if isinstance(one, Event):
            yield one
        else:
            reject(str(one))


# -- doors --------------------------------------------------------------------------------------


@asynccontextmanager
async def open_client(site: Path | None, data: Path | None) -> AsyncIterator[Client]:
    """Reads what an engine keeps or kept, whether it runs or not."""
    folder = data_folder(load_site(site), data)
    async with AsyncExitStack() as lifetimes:
        ledger = await lifetimes.enter_async_context(
            SqlLedger(f"sqlite:///{folder / 'ledger.db'}", clock=wall_clock)
        )
        history = await lifetimes.enter_async_context(EmbeddedHistory(None, clock=wall_clock))
        yield Client(ledger, history, Objects(ObjectSettings(url=str(folder / "objects"))))


def remote(site: Path | None, data: Path | None) -> Remote:
    """The engine that runs on a site's folder; CatcherError where none does."""
    loaded = load_site(site)
    folder = data_folder(loaded, data)
    url = announced_at(folder)
    if not url:
        raise CatcherError(
            f"no engine runs on {folder}", "start one with `catcher run`, or name it with --data"
        )
    token = loaded.settings.api.token
    return Remote(url, token.reveal() if token else "")


async def examine(site: Path | None, data: Path | None) -> list[Row]:
    """What is well and what is not: the site, what it keeps, and the engine that runs on it."""
    loaded = load_site(site)
    folder = data_folder(loaded, data)
    return await examine_site(loaded, folder, announced_at(folder))
