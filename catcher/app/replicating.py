"""Copies a site's data to a second facility: runs, firings, metrics, fields, artifacts.
Nothing that is at the second site already is changed, so a copy may be stopped, killed and
restarted at any time. An artifact's bytes are written, read back and verified before the
transaction that lists it. Keys are the same at both sites; only the addresses of the stores differ,
so that a link to a key works at each.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catcher.app.paths import (
    open_artifact_reader,
    open_artifact_store,
    resolve_data_folder,
    resolve_ledger_url,
)
from catcher.app.site_version import SETTINGS_FILE
from catcher.model.errors import CatcherError
from catcher.model.result import EncodedArtifact
from catcher.model.time import HOUR, MINUTE, SECOND, Clock, Instant, Span, nanoseconds_to_seconds
from catcher.ports import ObjectStore, StoreUnavailable
from catcher.site import Site
from catcher.stores.artifacts.object_store import ObstoreStore
from catcher.stores.ledger.replication import LedgerCopy, PageCursor, RecordKind, TableRows

PAGE_SIZE = 2000
RUNS_PER_COMMIT = 50
"""Runs per transaction at the second site."""
MAX_CONCURRENT_COPIES = 4
"""Artifacts that are copied at the same time."""
OVERLAP = HOUR
"""A run may be stored so long after it ended; an incremental copy looks back as far."""
FULL_COPY_INTERVAL = 6 * HOUR
"""How often a continuous copy compares everything, to find whatever was stored late."""
MAX_RETRY_DELAY = MINUTE


@dataclass
class ReplicationReport:
    """The counts of one comparison; `compared` of `total` runs, firings or artifacts so far."""

    compared: int = 0
    total: int = 0
    runs: int = 0
    firings: int = 0
    metrics: int = 0
    artifacts: int = 0
    bytes: int = 0
    mended: int = 0
    problems: list[str] = field(default_factory=list)

    def to_row(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        names = ("compared", "runs", "firings", "metrics", "artifacts", "bytes", "mended")
        return {**{name: getattr(self, name) for name in names}, "problems": self.problems}


ProgressCallback = Callable[[ReplicationReport], object]


class Replication:
    """Copies one opened site to another."""

    def __init__(
        self,
        source: LedgerCopy,
        target: LedgerCopy,
        source_objects: ObjectStore,
        target_objects: ObstoreStore,
        on_progress: ProgressCallback,
    ) -> None:
        self._source, self._target = source, target
        self._source_objects, self._target_objects = source_objects, target_objects
        self._on_progress = on_progress
        self._semaphore = asyncio.Semaphore(MAX_CONCURRENT_COPIES)

    async def copy_missing_records(self, since: Instant | None = None) -> ReplicationReport:
        """Copies what is finished and not there yet: since an instant, or all of it."""
        report = ReplicationReport()
        report.total = await self._source.count_records("runs") + await self._source.count_records(
            "firings"
        )
        async for ids in self._iter_missing_ids("runs", since, report):
            for start in range(0, len(ids), RUNS_PER_COMMIT):
                await self._copy_runs(ids[start : start + RUNS_PER_COMMIT], report)
        async for ids in self._iter_missing_ids("firings", since, report):
            rows = await self._source.read_rows("firings", ids)
            await self._target.insert_missing_rows(rows)
            report.firings += len(rows["firings"])
        return report

    async def verify_and_repair_artifacts(self) -> ReplicationReport:
        """Reads every artifact at the second site; copies damaged or missing ones again."""
        report = ReplicationReport(total=await self._source.count_records("artifacts"))
        async for ids in self._iter_id_pages("artifacts", None, report):
            listed_ids = set(ids) - set(await self._target.find_missing_ids("artifacts", ids))
            rows = await self._source.read_rows(
                "artifacts", [artifact_id for artifact_id in ids if artifact_id in listed_ids]
            )
            await asyncio.gather(
                *(self._verify_or_repair_artifact(row, report) for row in rows["artifacts"])
            )
        return report

    async def _iter_id_pages(
        self, kind: RecordKind, since: Instant | None, report: ReplicationReport
    ) -> AsyncIterator[list[str]]:
        cursor = PageCursor()
        while page := await self._source.read_cursor_page(kind, cursor, since, PAGE_SIZE):
            cursor = page[-1]
            yield [entry.id for entry in page]
            report.compared += len(page)
            self._on_progress(report)

    async def _iter_missing_ids(
        self, kind: RecordKind, since: Instant | None, report: ReplicationReport
    ) -> AsyncIterator[list[str]]:
        async for ids in self._iter_id_pages(kind, since, report):
            if missing := await self._target.find_missing_ids(kind, ids):
                yield missing

    async def _copy_runs(self, ids: Sequence[str], report: ReplicationReport) -> None:
        rows = await self._source.read_rows("runs", ids)
        new_firings = set(
            await self._target.find_missing_ids("firings", [row["id"] for row in rows["firings"]])
        )
        copies = await asyncio.gather(
            *(self._copy_artifact(row, report) for row in rows["artifacts"])
        )
        rows["artifacts"] = [row for row, problem in copies if not problem]
        _add_failure_notes(rows, [(row, problem) for row, problem in copies if problem])
        await self._target.insert_missing_rows(rows)
        report.runs += len(rows["runs"])
        report.firings += len(new_firings)
        report.metrics += len(rows["metrics"])
        self._on_progress(report)

    async def _copy_artifact(
        self, row: dict[str, Any], report: ReplicationReport
    ) -> tuple[dict[str, Any], str]:
        """Copies an artifact; returns its index entry at the second site, or why there is none."""
        key = row["key"]
        async with self._semaphore:
            try:
                data = await self._source_objects.get(key)
            except StoreUnavailable:
                raise
            except CatcherError as error:
                return row, _record_problem(report, key, error.message)
            if not _matches_checksum(row, data):
                return row, _record_problem(
                    report, key, "its bytes are not those that its run wrote"
                )
            if self._source_objects.build_url(key) != self._target_objects.build_url(key):
                await self._put_and_verify_artifact(row, data)
        report.artifacts += 1
        report.bytes += len(data)
        return {**row, "url": self._target_objects.build_url(key)}, ""

    async def _put_and_verify_artifact(self, row: dict[str, Any], data: bytes) -> None:
        await self._target_objects.put(row["key"], EncodedArtifact(row["name"], data, row["mime"]))
        if not _matches_checksum(row, await self._target_objects.get(row["key"])):
            raise CatcherError(
                f"the second site keeps other bytes of {row['key']} than it was given",
                "see to its object store; nothing refers to them yet",
            )

    async def _verify_or_repair_artifact(
        self, row: dict[str, Any], report: ReplicationReport
    ) -> None:
        async with self._semaphore:
            try:
                is_intact = _matches_checksum(row, await self._target_objects.get(row["key"]))
            except StoreUnavailable:
                raise
            except CatcherError:
                is_intact = False
        if is_intact:
            report.artifacts += 1
            report.bytes += row["size"]
            return
        _, problem = await self._copy_artifact(row, ReplicationReport(problems=report.problems))
        report.mended += not problem


def _matches_checksum(row: dict[str, Any], data: bytes) -> bool:
    """True if the bytes are those that the index entry names."""
    kind, _, expected = row["checksum"].partition(":")
    is_same = kind != "sha256" or hashlib.sha256(data).hexdigest() == expected
    return bool(is_same and len(data) == row["size"])


def _record_problem(report: ReplicationReport, key: str, problem: str) -> str:
    report.problems.append(f"{key}: {problem}")
    return problem


def _add_failure_notes(rows: TableRows, failures: Sequence[tuple[dict[str, Any], str]]) -> None:
    """Adds the artifacts that could not be copied to their runs' notes."""
    for run in rows["runs"]:
        notes = [run["note"]] if run["note"] else []
        for row, problem in failures:
            if row["run"] == run["id"]:
                notes.append(f"{row['name']} was not copied: {problem}")
        run["note"] = "; ".join(notes)


# -- sites --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplicationPair:
    """A site and the one that it is copied to, each with its data folder."""

    site: Site
    data: Path
    target: Site
    target_data: Path
    clock: Clock

    async def copy_once(
        self, span: Span | None, on_progress: ProgressCallback
    ) -> ReplicationReport:
        """Copies once, what was stored within a span or all.
        Raises StoreUnavailable if a site is unavailable.
        """
        async with self._open_replication(on_progress) as replication:
            return await replication.copy_missing_records(
                None if span is None else self.clock() - span
            )

    async def verify_and_repair_artifacts(self, on_progress: ProgressCallback) -> ReplicationReport:
        """Reads every artifact at the second site, and repairs it."""
        async with self._open_replication(on_progress) as replication:
            return await replication.verify_and_repair_artifacts()

    async def copy_continuously(
        self, interval: Span, on_copy: Callable[[str, ReplicationReport], object]
    ) -> None:
        """Copies for ever: new data at each interval, and all missing data once in a while.
        While a site is unavailable it waits, longer each time; `on_copy` receives why, and what was
        copied.
        """
        retry_delay, last_error = SECOND, ""
        while True:
            try:
                async with self._open_replication(lambda report: None) as replication:
                    report, started = await replication.copy_missing_records(), self.clock()
                    on_copy("", report)
                    retry_delay, last_error = SECOND, ""
                    while self.clock() - started < FULL_COPY_INTERVAL:
                        await asyncio.sleep(nanoseconds_to_seconds(interval))
                        report = await replication.copy_missing_records(
                            self.clock() - OVERLAP - interval
                        )
                        if report.runs or report.firings:
                            on_copy("", report)
            except StoreUnavailable as error:
                if str(error) != last_error:
                    last_error = str(error)
                    on_copy(last_error, ReplicationReport())
                await asyncio.sleep(nanoseconds_to_seconds(retry_delay))
                retry_delay = min(2 * retry_delay, MAX_RETRY_DELAY)

    @asynccontextmanager
    async def _open_replication(self, on_progress: ProgressCallback) -> AsyncIterator[Replication]:
        async with (
            LedgerCopy(resolve_ledger_url(self.site, self.data)) as source,
            LedgerCopy(resolve_ledger_url(self.target, self.target_data), writable=True) as target,
        ):
            source_objects = open_artifact_reader(self.site, self.data)
            yield Replication(
                source,
                target,
                source_objects,
                open_artifact_store(self.target, self.target_data),
                on_progress,
            )


def create_replication_pair(
    site: Site, data: Path | None, target: Site, target_data: Path | None, clock: Clock
) -> ReplicationPair:
    """Pairs two sites. Raises CatcherError if they share a ledger, or a file of theirs is broken.
    $CATCHER_DATA applies to the first alone.
    """
    for candidate in (site, target):
        problems = [
            str(problem) for problem in candidate.errors if problem.location.file == SETTINGS_FILE
        ]
        if problems:
            raise CatcherError(
                f"{candidate.root / SETTINGS_FILE} cannot be used: {problems[0]}", "mend it first"
            )
    source_folder = resolve_data_folder(site, data)
    target_folder = Path(target_data or target.settings.data or target.root / ".catcher").absolute()
    if resolve_ledger_url(site, source_folder) == resolve_ledger_url(target, target_folder):
        raise CatcherError(
            "both sites have one ledger", "name another site with --to, or where it keeps things"
        )
    return ReplicationPair(site, source_folder, target, target_folder, clock)
