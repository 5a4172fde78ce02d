"""Removes what nobody needs: orphaned artifacts, drafts that a crash left, old copies of jobs.

An artifact is an orphan when its run is over and does not list it: an earlier attempt left it.
Nothing younger than an hour goes, nothing of a run that is not over, and nothing of a run that
the ledger does not know, for it may be the evidence of another ledger.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catcher.app.places import ledger_address, open_objects
from catcher.app.running import engine_name
from catcher.model.problem import CatcherError
from catcher.model.time import HOUR, SECOND, Instant, format_instant, wall_clock
from catcher.site import Site
from catcher.stores.ledger import SqlLedger
from catcher.stores.objects import Entry, Objects

Row = dict[str, Any]
YOUNG = HOUR
_KEY = re.compile(r"[^/]+/\d{4}/\d\d/\d\d/([0-9a-f]{12})(?:/[^/]+)?/[^/]+")
"""`RULE/YEAR/MONTH/DAY/RUN[/PART]/NAME`, as runs keep their artifacts."""
_FILED = re.compile(r"[^/]+/[^/]+/\d{4}/\d\d/\d\d/[^/]+_([0-9a-f]{12})(?:\.[^/]+)?")
"""The same in a Large File Annex."""
_DRAFT = re.compile(r".+#\d+")
"""What a store in a folder calls an object that is being written."""
_COPY = re.compile(r"[0-9a-f]{16}")
"""A folder of DATA/jobs, by the digest of its job file."""


@dataclass
class Orphans:
    """Artifacts that no run lists: those that may go, and those of runs that nobody knows."""

    removable: list[Entry] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


@dataclass
class Sweep:
    """What would go. `drafts` and `copies` are files and folders of the data folder."""

    orphans: Orphans
    drafts: list[Path]
    copies: list[Path]

    def rows(self, removed: bool) -> list[Row]:
        """A row for each thing: `what`, `name`, `size` (bytes), `written`, `removed`."""
        rows = [
            _row("artifact", one.key, one.size, one.modified, removed)
            for one in self.orphans.removable
        ]
        for what, paths in (("draft", self.drafts), ("job copy", self.copies)):
            rows += [
                _row(what, str(path), _size(path), _written(path), removed)
                for path in paths
                if removed or path.exists()
            ]
        return rows


async def find_orphans(ledger: SqlLedger, objects: Objects, now: Instant) -> Orphans:
    """Artifacts that no run lists."""
    listed = await ledger.artifact_keys()
    found: dict[str, list[Entry]] = {}
    async for entry in objects.entries():
        key = _KEY.fullmatch(entry.key) or _FILED.fullmatch(entry.key)
        if key is not None and entry.key not in listed:
            found.setdefault(key[1], []).append(entry)
    states = await ledger.run_states(list(found))
    orphans = Orphans()
    for run, entries in found.items():
        if run not in states:
            orphans.strangers += [entry.key for entry in entries]
        elif states[run] not in ("pending", "running"):
            orphans.removable += [one for one in entries if now - one.modified > YOUNG]
    return orphans


async def sweep(site: Site, data: Path, really: bool) -> list[Row]:
    """What goes, or with `really` has gone. CatcherError while it is not safe.

    It is not while an engine works, nor with a ledger that is damaged, older or empty: what no
    ledger lists would all look like orphans.
    """
    async with _held(site, data, really) as ledger:
        flaws = await ledger.flaws()
        if flaws:
            raise CatcherError(
                f"the ledger is damaged ({flaws[0]}): nothing is swept",
                "see `catcher doctor` for what to do first",
            )
        objects = open_objects(site, data)
        plan = await _plan(site, data, ledger, objects)
        if not really:
            return plan.rows(removed=False)
        rows = await asyncio.to_thread(plan.rows, True)
        await objects.remove([one.key for one in plan.orphans.removable])
        await asyncio.to_thread(_remove, plan)
        await ledger.compact()
        return rows


@asynccontextmanager
async def _held(site: Site, data: Path, really: bool) -> AsyncIterator[SqlLedger]:
    """The ledger to read; to sweep, held so that no engine can start meanwhile."""
    address = ledger_address(site, data)
    async with SqlLedger(address) as ledger:
        if not really:
            yield ledger
            return
    # Only what was readable as it is: a sweep brings no schema up to date.
    async with SqlLedger(address, f"doctor-{engine_name(wall_clock)}") as ledger:
        yield ledger


async def _plan(site: Site, data: Path, ledger: SqlLedger, objects: Objects) -> Sweep:
    now = wall_clock()
    orphans = await find_orphans(ledger, objects, now)
    used = {one.digest for one in site.registry.addresses.values()} | set(
        await ledger.job_digests()
    )
    drafts = await asyncio.to_thread(lambda: list(_drafts(objects.folder, now)))
    copies = await asyncio.to_thread(lambda: list(_copies(data / "jobs", used, now)))
    return Sweep(orphans, drafts, copies)


def _drafts(folder: Path | None, now: Instant) -> Iterator[Path]:
    for path in folder.rglob("*#*") if folder is not None else ():
        if _DRAFT.fullmatch(path.name) and path.is_file() and now - _written(path) > YOUNG:
            yield path


def _copies(folder: Path, used: Collection[str], now: Instant) -> Iterator[Path]:
    """Copies of job files that neither the site nor any run in the ledger was made by."""
    for path in folder.iterdir() if folder.is_dir() else ():
        mine = _COPY.fullmatch(path.name) is not None and path.is_dir()
        if mine and path.name not in used and now - _written(path) > YOUNG:
            yield path


def _remove(plan: Sweep) -> None:
    for path in plan.drafts:
        path.unlink(missing_ok=True)
    for path in plan.copies:
        shutil.rmtree(path, ignore_errors=True)


def _row(what: str, name: str, size: int, written: Instant, removed: bool) -> Row:
    when = format_instant(written // SECOND * SECOND)
    return {"what": what, "name": name, "size": size, "written": when, "removed": removed}


def _written(path: Path) -> Instant:
    return path.stat().st_mtime_ns


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(one.stat().st_size for one in files if one.is_file())
