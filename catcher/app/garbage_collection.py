"""Removes unneeded files: orphaned artifacts, drafts that a crash left, old copies of jobs.
An artifact is an orphan if its run has finished and does not list it: an earlier attempt left it.
Nothing younger than an hour is removed, nothing of an unfinished run, and nothing of a run that the
ledger does not know, for it may belong to another ledger.
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

from catcher.app.engine_handle import build_engine_name
from catcher.app.paths import open_artifact_store, resolve_ledger_url
from catcher.model.errors import CatcherError
from catcher.model.time import HOUR, SECOND, Instant, format_instant, wall_clock
from catcher.site import Site
from catcher.stores.artifacts.object_store import ObjectInfo, ObstoreStore
from catcher.stores.ledger.ledger import SqlLedger

Row = dict[str, Any]
MIN_AGE = HOUR
_ARTIFACT_KEY = re.compile(r"[^/]+/\d{4}/\d\d/\d\d/([0-9a-f]{12})(?:/[^/]+)?/[^/]+")
"""`RULE/YEAR/MONTH/DAY/RUN[/PART]/NAME`, the keys of runs' artifacts."""
_LFA_KEY = re.compile(r"[^/]+/[^/]+/\d{4}/\d\d/\d\d/[^/]+_([0-9a-f]{12})(?:\.[^/]+)?")
"""The same in a Large File Annex."""
_DRAFT_NAME = re.compile(r".+#\d+")
"""The name of an object that a folder store is still writing."""
_COPY_NAME = re.compile(r"[0-9a-f]{16}")
"""A folder of DATA/jobs, named by the digest of its job file."""


@dataclass
class Orphans:
    """Artifacts that no run lists: those that may be removed, and those of unknown runs."""

    removable: list[ObjectInfo] = field(default_factory=list)
    unknown_run_keys: list[str] = field(default_factory=list)


@dataclass
class SweepPlan:
    """What would be removed. `drafts` and `job_copies` are files and folders of the data folder."""

    orphans: Orphans
    drafts: list[Path]
    job_copies: list[Path]

    def to_rows(self, is_removed: bool) -> list[Row]:
        """Returns a row for each thing: `what`, `name`, `size` (bytes), `written`, `removed`."""
        rows = [
            _build_removal_row(
                "artifact", artifact.key, artifact.size, artifact.modified, is_removed
            )
            for artifact in self.orphans.removable
        ]
        for kind, paths in (("draft", self.drafts), ("job copy", self.job_copies)):
            rows += [
                _build_removal_row(
                    kind, str(path), _total_size(path), _modified_time(path), is_removed
                )
                for path in paths
                if is_removed or path.exists()
            ]
        return rows


async def find_orphaned_artifacts(
    ledger: SqlLedger, objects: ObstoreStore, now: Instant
) -> Orphans:
    """Finds artifacts that no run lists."""
    listed_keys = await ledger.list_artifact_keys()
    unlisted: dict[str, list[ObjectInfo]] = {}
    async for entry in objects.iter_object_infos():
        key = _ARTIFACT_KEY.fullmatch(entry.key) or _LFA_KEY.fullmatch(entry.key)
        if key is not None and entry.key not in listed_keys:
            unlisted.setdefault(key[1], []).append(entry)
    states = await ledger.read_run_states(list(unlisted))
    orphans = Orphans()
    for run, entries in unlisted.items():
        if run not in states:
            orphans.unknown_run_keys += [entry.key for entry in entries]
        elif states[run] not in ("pending", "running"):
            orphans.removable += [entry for entry in entries if now - entry.modified > MIN_AGE]
    return orphans


async def prune_unused_files(site: Site, data: Path, confirmed: bool) -> list[Row]:
    """Returns what would be removed, or with `confirmed` removes it.
    Raises CatcherError while it is not safe: while an engine works, or with a ledger that is
    damaged, older or empty, since everything that no ledger lists would look like an orphan.
    """
    async with _open_ledger(site, data, confirmed) as ledger:
        flaws = await ledger.list_integrity_errors()
        if flaws:
            raise CatcherError(
                f"the ledger is damaged ({flaws[0]}): nothing is swept",
                "see `catcher doctor` for what to do first",
            )
        objects = open_artifact_store(site, data)
        plan = await _build_plan(site, data, ledger, objects)
        if not confirmed:
            return plan.to_rows(is_removed=False)
        rows = await asyncio.to_thread(plan.to_rows, True)
        await objects.remove([artifact.key for artifact in plan.orphans.removable])
        await asyncio.to_thread(_remove_planned_files, plan)
        await ledger.compact_storage()
        return rows


@asynccontextmanager
async def _open_ledger(site: Site, data: Path, confirmed: bool) -> AsyncIterator[SqlLedger]:
    """Opens the ledger to read; with `confirmed` holds its lease, so that no engine can start."""
    address = resolve_ledger_url(site, data)
    async with SqlLedger(address) as ledger:
        if not confirmed:
            yield ledger
            return
    # Opened read-only first: a sweep must not migrate the schema.
    async with SqlLedger(address, f"doctor-{build_engine_name(wall_clock)}") as ledger:
        yield ledger


async def _build_plan(
    site: Site, data: Path, ledger: SqlLedger, objects: ObstoreStore
) -> SweepPlan:
    now = wall_clock()
    orphans = await find_orphaned_artifacts(ledger, objects, now)
    used_digests = {address.digest for address in site.registry.addresses.values()} | set(
        await ledger.list_job_digests()
    )
    drafts = await asyncio.to_thread(
        lambda: list(_iter_abandoned_drafts(objects.local_folder, now))
    )
    job_copies = await asyncio.to_thread(
        lambda: list(_iter_unused_job_copies(data / "jobs", used_digests, now))
    )
    return SweepPlan(orphans, drafts, job_copies)


def _iter_abandoned_drafts(folder: Path | None, now: Instant) -> Iterator[Path]:
    for path in folder.rglob("*#*") if folder is not None else ():
        if (
            _DRAFT_NAME.fullmatch(path.name)
            and path.is_file()
            and now - _modified_time(path) > MIN_AGE
        ):
            yield path


def _iter_unused_job_copies(
    folder: Path, used_digests: Collection[str], now: Instant
) -> Iterator[Path]:
    """Yields copies of job files that neither the site nor any run in the ledger uses."""
    for path in folder.iterdir() if folder.is_dir() else ():
        is_job_copy = _COPY_NAME.fullmatch(path.name) is not None and path.is_dir()
        if is_job_copy and path.name not in used_digests and now - _modified_time(path) > MIN_AGE:
            yield path


def _remove_planned_files(plan: SweepPlan) -> None:
    for path in plan.drafts:
        path.unlink(missing_ok=True)
    for path in plan.job_copies:
        shutil.rmtree(path, ignore_errors=True)


def _build_removal_row(kind: str, name: str, size: int, written: Instant, is_removed: bool) -> Row:
    written_text = format_instant(written // SECOND * SECOND)
    return {
        "what": kind,
        "name": name,
        "size": size,
        "written": written_text,
        "removed": is_removed,
    }


def _modified_time(path: Path) -> Instant:
    return path.stat().st_mtime_ns


def _total_size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())
