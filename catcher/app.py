"""The composition root: engines, rehearsals and clients, opened and closed in order.

Every command passes through here, and most need little, so that each door imports what lies
behind it when it is opened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catcher.adapters import SETTINGS
from catcher.client import Client, point_row
from catcher.model.problem import CatcherError
from catcher.model.rule import Rule
from catcher.model.time import wall_clock
from catcher.places import LateHistory, LateObjects, data_folder, ledger_address, open_objects
from catcher.site import Site, find_site, load, shipped_site

if TYPE_CHECKING:
    from catcher.api.remote import Remote
    from catcher.authoring import Case, Rehearsal
    from catcher.running import Running as Running

__all__ = [
    "SETTINGS", "Client", "data_folder", "examine", "load_site", "open_client", "open_demo",
    "open_engine", "open_rehearsal", "open_replay", "point_row", "remote", "run_backtest",
    "run_rule_tests",
]  # fmt: skip

Row = dict[str, Any]
Write = Callable[[str], None]


def load_site(path: Path | None) -> Site:
    """The site's files as rules and settings, with all problems."""
    return load(find_site(path), adapters=SETTINGS)


# -- engines ------------------------------------------------------------------------------------


def open_engine(
    site: Path | None, data: Path | None, port: int | None = None, write: Write = print
) -> AbstractAsyncContextManager[Running]:
    """An engine on a site's own sources."""
    from catcher.opening import open_on_sources

    loaded = load_site(site)
    return open_on_sources(loaded, data_folder(loaded, data), port, write)


def open_demo(
    site: Path | None, data: Path | None, port: int | None, speed: float, write: Write = print
) -> AbstractAsyncContextManager[Running]:
    """An engine on a simulated night, in a folder of its own unless told otherwise."""
    from catcher.opening import open_on_simulator

    loaded = load_site(site) if site else load(shipped_site(), adapters=SETTINGS)
    return open_on_simulator(loaded, Path(data).absolute() if data else None, port, speed, write)


def open_replay(
    site: Path | None, data: Path | None, files: Sequence[Path], speed: str, port: int | None,
    write: Write = print,
) -> AbstractAsyncContextManager[Running]:  # fmt: skip
    """An engine on recorded streams in place of the site's sources; it ends with them."""
    from catcher.opening import open_on_recording

    loaded = load_site(site)
    return open_on_recording(loaded, data_folder(loaded, data), files, speed, port, write)


# -- rehearsals ---------------------------------------------------------------------------------


def open_rehearsal(site: Site, rules: Mapping[str, Rule]) -> AbstractAsyncContextManager[Rehearsal]:
    """The engine on a fast clock and a ledger of its own, which nobody hears."""
    from catcher import rehearsing

    return rehearsing.open_rehearsal(site, rules)


async def run_rule_tests(site: Site, names: Sequence[str]) -> list[Case]:
    """Runs the tests beside the rules of a site; all of them where no rule is named."""
    from catcher import rehearsing

    return await rehearsing.run_rule_tests(site, names)


async def run_backtest(
    site: Site,
    names: Sequence[str],
    files: Sequence[Path],
    tell: Callable[[Row], None],
    progress: Callable[[str], None],
    reject: Callable[[str], None],
) -> None:
    """Plays recorded streams through a site's rules; `reject` hears of lines that are no event."""
    from catcher import rehearsing

    await rehearsing.run_backtest(site, names, files, tell, progress, reject)


# -- doors --------------------------------------------------------------------------------------


@asynccontextmanager
async def open_client(site: Path | None, data: Path | None) -> AsyncIterator[Client]:
    """Reads what an engine keeps or kept, whether it runs or not."""
    from catcher.stores.ledger import SqlLedger

    loaded = load_site(site)
    folder = data_folder(loaded, data)
    async with AsyncExitStack() as lifetimes:
        ledger = await lifetimes.enter_async_context(
            SqlLedger(ledger_address(loaded, folder), clock=wall_clock)
        )
        history = LateHistory(folder / "history", lifetimes)
        yield Client(ledger, history, LateObjects(lambda: open_objects(loaded, folder)))


def remote(site: Path | None, data: Path | None) -> Remote:
    """The engine that runs on a site's folder; CatcherError where none does."""
    from catcher.api.remote import Remote
    from catcher.running import announced_at

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
    from catcher.doctor import examine_site
    from catcher.running import announced_at

    loaded = load_site(site)
    folder = data_folder(loaded, data)
    return await examine_site(loaded, folder, announced_at(folder))
