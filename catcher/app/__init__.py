"""The composition root: engines, rehearsals and clients, opened and closed in order.

Every command passes through here, and most need little, so that each door imports what lies
behind it when it is opened.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catcher.app.adapters import SETTINGS
from catcher.app.places import data_folder
from catcher.app.sites import load_site, settings_of
from catcher.client import Client
from catcher.model.alert import Severity
from catcher.model.portion import Portion
from catcher.model.problem import CatcherError, NoEngine
from catcher.model.result import Encoded
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.telemetry import FieldInfo
from catcher.model.time import wall_clock
from catcher.site import Site, find_site, load, shipped_site
from catcher.site.portions import make_portion

if TYPE_CHECKING:
    from catcher.api.remote import Remote
    from catcher.app.replicating import TwoSites
    from catcher.app.reproducing import Reproduced
    from catcher.app.running import Running as Running
    from catcher.authoring import Case, Rehearsal
    from catcher.authoring.tuning import Tuned

__all__ = [
    "SETTINGS",
    "Client",
    "backlog",
    "create",
    "data_folder",
    "described_fields",
    "examine",
    "load_site",
    "look",
    "make_portion",
    "open_client",
    "open_demo",
    "open_engine",
    "open_rehearsal",
    "open_replay",
    "preview",
    "remote",
    "reproduce",
    "run_backtest",
    "run_rule_tests",
    "run_tuning",
    "send_test",
    "settings_of",
    "sweep",
    "try_job",
    "views",
]  # fmt: skip

Row = dict[str, Any]
MOST_COUNTED = 10_000
Write = Callable[[str], None]


def described_fields(site: Site, data: Path | None) -> dict[str, list[FieldInfo]]:
    """The fields of the topics whose schemas an engine of the site has seen."""
    from catcher.stores.catalogue import NAME, Catalogue

    return Catalogue(data_folder(site, data) / NAME).topics()


# -- engines ------------------------------------------------------------------------------------


def open_engine(
    site: Path | None, data: Path | None, port: int | None = None, write: Write = print,
    portion: Portion | None = None,
) -> AbstractAsyncContextManager[Running]:  # fmt: skip
    """An engine on a site's own sources; `portion` stands before what `engine:` says."""
    from catcher.app.opening import open_on_sources

    loaded = load_site(site, portion)
    return open_on_sources(loaded, data_folder(loaded, data), port, write)


def open_demo(
    site: Path | None, data: Path | None, port: int | None, speed: float, write: Write = print
) -> AbstractAsyncContextManager[Running]:
    """An engine on a simulated night, in a folder of its own unless told otherwise."""
    from catcher.app.opening import open_on_simulator

    loaded = load_site(site) if site else load(shipped_site(), adapters=SETTINGS)
    return open_on_simulator(loaded, Path(data).absolute() if data else None, port, speed, write)


def open_replay(
    site: Path | None, data: Path | None, files: Sequence[Path], speed: str, port: int | None,
    write: Write = print,
) -> AbstractAsyncContextManager[Running]:  # fmt: skip
    """An engine on recorded streams in place of the site's sources; it ends with them."""
    from catcher.app.opening import open_on_recording

    loaded = load_site(site)
    return open_on_recording(loaded, data_folder(loaded, data), files, speed, port, write)


# -- rehearsals ---------------------------------------------------------------------------------


def open_rehearsal(site: Site, rules: Mapping[str, Rule]) -> AbstractAsyncContextManager[Rehearsal]:
    """The engine on a fast clock and a ledger of its own, which nobody hears."""
    from catcher.app import rehearsing

    return rehearsing.open_rehearsal(site, rules)


async def run_rule_tests(site: Site, names: Sequence[str]) -> list[Case]:
    """Runs the tests beside the rules of a site; all of them where no rule is named."""
    from catcher.app import rehearsing

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
    from catcher.app import rehearsing

    await rehearsing.run_backtest(site, names, files, tell, progress, reject)


async def run_tuning(
    site: Site, name: str, files: Sequence[Path], factors: Sequence[float],
    progress: Callable[[str], None], reject: Callable[[str], None],
) -> Tuned:  # fmt: skip
    """Plays recorded streams through a rule with other limits."""
    from catcher.app import rehearsing

    return await rehearsing.run_tuning(site, name, files, factors, progress, reject)


# -- doors --------------------------------------------------------------------------------------


def open_client(
    site: str | Path | None, data: Path | None, token: str = ""
) -> AbstractAsyncContextManager[Client]:
    """Reads what an engine keeps or kept, whether it runs or not; `site` may be an address."""
    from catcher.app.reading import opened

    return Client(lambda: opened(site, data, token))


def remote(site: Path | None, data: Path | None) -> Remote:
    """The engine that runs on a site's folder; CatcherError where none does."""
    from catcher.api.remote import Remote
    from catcher.app.running import announced_at

    loaded = settings_of(site)
    folder = data_folder(loaded, data)
    url = announced_at(folder)
    if not url:
        raise CatcherError(
            f"no engine runs on {folder}", "start one with `catcher run`, or name it with --data"
        )
    token = loaded.settings.api.token
    return Remote(url, token.reveal() if token else "")


def look(
    site: Path | None, data: Path | None, path: str, parameters: Mapping[str, str] | None = None
) -> Any:
    """What stands at the alert desk: as the engine says that runs, or else as the ledger has it.

    `path` is `/dead-letters`, `/silences` or `/shift`.
    """
    from catcher.app.kept_desk import read
    from catcher.app.running import announced_at

    folder = data_folder(settings_of(site), data)
    if announced_at(folder):
        with suppress(NoEngine):
            return remote(site, data).look(path, parameters)

    async def ask() -> Any:
        async with open_client(site, data) as client:
            return await read(client, path, parameters or {})

    return asyncio.run(ask())


async def backlog(site: Path | None, data: Path | None) -> list[Row]:
    """What waits, rule by rule: as the engine says that runs, or else as the ledger has it."""
    from catcher.app.running import announced_at

    folder = data_folder(settings_of(site), data)
    if announced_at(folder):
        with suppress(CatcherError):
            return remote(site, data).backlog()
    waiting: Counter[str] = Counter()
    async with open_client(site, data) as client:
        for state in ("pending", "running"):
            found = await client.runs(state=state, limit=MOST_COUNTED)
            waiting.update(run.rule for run in found if not run.parent)
    rest = {"running": 0, "dropped": 0, "drain": None, "per_minute": 0.0, "grows": False}
    return [
        {"rule": rule, "waiting": count, "spilled": count, **rest}
        for rule, count in waiting.most_common()
    ]


async def examine(site: Path | None, data: Path | None, probe: bool = False) -> list[Row]:
    """What is well and what is not: the site, what it keeps, and the engine that runs on it.

    With `probe` the brokers are tried out, too.
    """
    from catcher.app.doctor import examine_site
    from catcher.app.probing import probe_brokers
    from catcher.app.running import announced_at

    loaded = load_site(site)
    folder = data_folder(loaded, data)
    rows = await examine_site(loaded, folder, announced_at(folder))
    return [*rows, *([one async for one in probe_brokers(loaded)] if probe else [])]


def views() -> str:
    """The views that SQL may ask, as Markdown."""
    from catcher.stores.ledger_views import described

    return described()


async def reproduce(
    site: Path | None, data: Path | None, run: str, present: bool, tolerance: float
) -> Reproduced:
    """Computes a run again and compares."""
    from catcher.app.reproducing import reproduce as again

    loaded = load_site(site)
    return await again(loaded, data_folder(loaded, data), run, present, tolerance)


async def try_job(
    site: Path | None, data: Path | None, name: str, obs: str, rule: str,
    values: Mapping[str, Any],
) -> tuple[Run, Mapping[str, Encoded]]:  # fmt: skip
    """A job's run for an observation, and its artifacts; nothing is kept."""
    from catcher.app.trying import try_job as tried

    loaded = load_site(site)
    return await tried(loaded, data_folder(loaded, data), name, obs, rule, values)


async def sweep(site: Path | None, data: Path | None, really: bool) -> list[Row]:
    """What nobody needs: a row for each thing that would go, or with `really` has gone."""
    from catcher.app.sweeping import sweep as swept

    loaded = load_site(site)
    return await swept(loaded, data_folder(loaded, data), really)


def replication(site: Path | None, data: Path | None, to: Path, to_data: Path | None) -> TwoSites:
    """A site and the one that what it keeps is copied to."""
    from catcher.app.replicating import two_sites

    return two_sites(load_site(site), data, load_site(to), to_data, wall_clock)


# -- telling ------------------------------------------------------------------------------------


def preview(
    site: Path | None, rule: str, severity: Severity | None, event: Mapping[str, Any]
) -> tuple[str, list[Row]]:
    """The name of the alert that a rule would open, and a row for each sink it would go to."""
    from catcher.app.previewing import preview as shown

    alert, previews = shown(load_site(site), rule, severity, event, wall_clock())
    return alert.name, [one.as_json() for one in previews]


async def send_test(site: Path | None, data: Path | None, sink: str, write: Write = print) -> Row:
    """Sends a marked test through a sink of the site; a row of `doctor`."""
    from catcher.app.previewing import send_test as send

    loaded = load_site(site)
    return await send(loaded, data_folder(loaded, data), sink, wall_clock, write)


def create(site: Path | None, kind: str, name: str) -> Path:
    """Begins a file of the site's own; where it is."""
    from catcher.authoring.scaffolds import create as begin

    return begin(find_site(site), kind, name)
