"""What a site's stores hold and wait for, looked at from outside, for `catcher doctor`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from catcher.app.places import SPOOL, ledger_address, open_objects
from catcher.app.sweeping import Orphans, find_orphans
from catcher.model.problem import CatcherError
from catcher.model.time import MINUTE, told_instant, wall_clock
from catcher.site import Site
from catcher.stores.ledger import SqlLedger
from catcher.stores.ledger_checks import Backlog, Tally
from catcher.stores.ledger_files import MEND
from catcher.stores.objects import Objects
from catcher.stores.spool_files import DAMAGED, SpoolFiles

Row = dict[str, Any]
SILENT = MINUTE
"""A run that goes on, and of which nobody has heard for so long, is not going on."""
NEXT_START = "the next `catcher run` takes them up"
SWEEP = "`catcher doctor --sweep` lists them, and removes them with --yes"
SHOWN = 3


def row(what: str, state: str, found: str, hint: str = "") -> Row:
    """One thing that was looked at; `state` is ok, warning or error."""
    return {"what": what, "state": state, "found": found, "hint": hint}


async def examine_stores(site: Site, data: Path, url: str) -> AsyncIterator[Row]:
    """The ledger with all that waits in it, the spool, the artifacts."""
    own = data / "ledger.db"
    address = ledger_address(site, data)
    name = str(own) if str(own) in address else "the one that catcher.yaml names"
    try:
        async with SqlLedger(address) as ledger:
            size = f", {own.stat().st_size / 2**20:.1f} MiB" if own.exists() else ""
            async for one in _ledger(ledger, name + size, bool(url)):
                yield one
            for one in await asyncio.to_thread(lambda: list(_spool(data))):
                yield one
            async for one in _artifacts(ledger, site, data):
                yield one
    except CatcherError as error:
        missing = str(own) in address and not own.exists()
        yield row("ledger", "warning" if missing else "error", error.message, error.hint)


async def _ledger(ledger: SqlLedger, name: str, runs_here: bool) -> AsyncIterator[Row]:
    flaws = await ledger.flaws()
    holder = await ledger.holder()
    yield row("ledger", "ok", name if holder is None else f"{name}, held by {holder}")
    for words in flaws:
        yield row("ledger", "error", f"it is damaged: {words}", MEND)
    for one in _waiting(await ledger.tally(), runs_here or holder is not None):
        yield one


def _waiting(tally: Tally, alive: bool) -> Iterator[Row]:
    """What waits; it is nothing to worry about while an engine sees to it."""
    state, hint = ("ok", "") if alive else ("warning", NEXT_START)
    told = {
        "inbox": (tally.uncovered, "events that no saved state covers yet"),
        "runs": (tally.pending, "runs that wait"),
        "running": (tally.running, "runs that are going on"),
        "outbox": (tally.undelivered, "notices that are not delivered yet"),
        "exports": (tally.exports, "finished runs whose metrics are not exported yet"),
    }
    for what, (backlog, words) in told.items():
        if backlog.count:
            yield row(what, state, _since(backlog, words), hint)
    now = wall_clock()
    if alive and tally.heartbeat is not None and now - tally.heartbeat > SILENT:
        words = f"a run is going on that was last heard of {told_instant(tally.heartbeat)}"
        yield row("running", "warning", words, "`catcher runs --state running` names its engine")
    if tally.dead.count:
        words = _since(tally.dead, "notices were given up")
        yield row("dead letters", "warning", words, "`catcher dead-letters` lists and resends them")


def _since(backlog: Backlog, words: str) -> str:
    oldest = "" if backlog.oldest is None else f", the oldest of {told_instant(backlog.oldest)}"
    return f"{backlog.count} {words}{oldest}"


def _spool(data: Path) -> Iterator[Row]:
    files = SpoolFiles(data / SPOOL)
    try:
        files.look()
        broken = [path.name for path in (data / SPOOL).glob(f"*{DAMAGED}")]
    except OSError as error:
        yield row("spool", "error", f"{data / SPOOL} cannot be read: {error.strerror}")
        return
    oldest = files.oldest
    if oldest is not None:
        words = f"{len(files)} artifacts wait for their store ({files.size / 1e6:.1f} MB)"
        hint = "see to the object store; they are brought over by themselves while an engine runs"
        yield row(
            "spool", "warning", f"{words}, the oldest of {told_instant(oldest.written)}", hint
        )
    if broken:
        words = f"{len(broken)} artifacts could not be brought over: {_some(broken)}"
        yield row("spool", "error", words, f"they lie in {data / SPOOL}; look and remove them")


async def _artifacts(ledger: SqlLedger, site: Site, data: Path) -> AsyncIterator[Row]:
    try:
        objects: Objects = open_objects(site, data)
        listed = await ledger.artifact_keys()
        there = {entry.key async for entry in objects.entries()}
        orphans = await find_orphans(ledger, objects, wall_clock())
    except CatcherError as error:
        yield row("artifacts", "error", error.message, error.hint or "see to the object store")
        return
    missing = sorted(set(listed) - there - set(await asyncio.to_thread(_spooled, data)))
    if missing:
        words = f"{len(missing)} of {len(listed)} are not where they should be: {_some(missing)}"
        hint = "they were removed by hand, or the store is another one; bring a backup back"
        yield row("artifacts", "error", words, hint)
    else:
        yield row("artifacts", "ok", f"{len(listed)} listed, all there")
    for one in _orphans(orphans):
        yield one


def _spooled(data: Path) -> Sequence[str]:
    files = SpoolFiles(data / SPOOL)
    files.look()
    return list(files.keys)


def _orphans(orphans: Orphans) -> Iterator[Row]:
    if orphans.removable:
        size = sum(entry.size for entry in orphans.removable) / 1e6
        words = f"{len(orphans.removable)} ({size:.1f} MB) belong to no result"
        yield row("artifacts", "warning", words, SWEEP)
    if orphans.strangers:
        words = f"{len(orphans.strangers)} are of runs that this ledger does not know"
        hint = "another ledger may: they are left alone"
        yield row("artifacts", "warning", f"{words}: {_some(orphans.strangers)}", hint)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
