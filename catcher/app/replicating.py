"""Copies what a site keeps to a second facility: runs, firings, metrics, fields, artifacts.

Of what is at the second site already nothing is touched, so that it may be stopped, killed and
begun again at any time. An artifact's bytes are there, read back and found right, before the
transaction that lists it. Keys are the same at both sites; only the addresses of the stores
differ, so that a link to a key works at each.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catcher.app.editions import SETTINGS
from catcher.app.places import data_folder, ledger_address, open_objects, readable_objects
from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.model.time import HOUR, MINUTE, SECOND, Clock, Instant, Span, to_seconds
from catcher.ports import ObjectStore, StoreAway
from catcher.site import Site
from catcher.stores.ledger_copying import Kind, LedgerCopy, Mark, Rows
from catcher.stores.objects import Objects

PAGE = 2000
TOGETHER = 50
"""So many runs are one transaction at the second site."""
AT_ONCE = 4
"""So many artifacts are on their way at the same time."""
OVERLAP = HOUR
"""A run may be kept so long after it ended; what follows looks back as far."""
WHOLE_EVERY = 6 * HOUR
"""How often all is compared while following, whatever came late."""
LONGEST_PAUSE = MINUTE


@dataclass
class Tally:
    """What one comparison came to; `compared` of `total` runs, firings or artifacts so far."""

    compared: int = 0
    total: int = 0
    runs: int = 0
    firings: int = 0
    metrics: int = 0
    artifacts: int = 0
    bytes: int = 0
    mended: int = 0
    problems: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("compared", "runs", "firings", "metrics", "artifacts", "bytes", "mended")
        return {**{name: getattr(self, name) for name in names}, "problems": self.problems}


Progress = Callable[[Tally], object]


class Replication:
    """Two opened sites, the first copied to the second."""

    def __init__(
        self, source: LedgerCopy, target: LedgerCopy, near: ObjectStore, far: Objects,
        progress: Progress,
    ) -> None:  # fmt: skip
        self._source, self._target = source, target
        self._near, self._far = near, far
        self._progress = progress
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def copy(self, since: Instant | None = None) -> Tally:
        """Copies what is over and not there yet: since an instant, or all of it."""
        tally = Tally()
        tally.total = await self._source.count("runs") + await self._source.count("firings")
        async for ids in self._absent("runs", since, tally):
            for start in range(0, len(ids), TOGETHER):
                await self._copy_runs(ids[start : start + TOGETHER], tally)
        async for ids in self._absent("firings", since, tally):
            rows = await self._source.rows("firings", ids)
            await self._target.add(rows)
            tally.firings += len(rows["firings"])
        return tally

    async def verify(self) -> Tally:
        """Reads every artifact at the second site; what is damaged or missing is copied again."""
        tally = Tally(total=await self._source.count("artifacts"))
        async for ids in self._pages("artifacts", None, tally):
            listed = set(ids) - set(await self._target.missing("artifacts", ids))
            rows = await self._source.rows("artifacts", [one for one in ids if one in listed])
            await asyncio.gather(*(self._verified(row, tally) for row in rows["artifacts"]))
        return tally

    async def _pages(
        self, kind: Kind, since: Instant | None, tally: Tally
    ) -> AsyncIterator[list[str]]:
        place = Mark()
        while page := await self._source.page(kind, place, since, PAGE):
            place = page[-1]
            yield [one.id for one in page]
            tally.compared += len(page)
            self._progress(tally)

    async def _absent(
        self, kind: Kind, since: Instant | None, tally: Tally
    ) -> AsyncIterator[list[str]]:
        async for ids in self._pages(kind, since, tally):
            if absent := await self._target.missing(kind, ids):
                yield absent

    async def _copy_runs(self, ids: Sequence[str], tally: Tally) -> None:
        rows = await self._source.rows("runs", ids)
        new = set(await self._target.missing("firings", [row["id"] for row in rows["firings"]]))
        found = await asyncio.gather(*(self._brought(row, tally) for row in rows["artifacts"]))
        rows["artifacts"] = [row for row, flaw in found if not flaw]
        _explain(rows, [(row, flaw) for row, flaw in found if flaw])
        await self._target.add(rows)
        tally.runs += len(rows["runs"])
        tally.firings += len(new)
        tally.metrics += len(rows["metrics"])
        self._progress(tally)

    async def _brought(self, row: dict[str, Any], tally: Tally) -> tuple[dict[str, Any], str]:
        """The index entry of an artifact as it is at the second site, or why there is none."""
        key = row["key"]
        async with self._gate:
            try:
                data = await self._near.get(key)
            except StoreAway:
                raise
            except CatcherError as error:
                return row, _said(tally, key, error.message)
            if not _whole(row, data):
                return row, _said(tally, key, "its bytes are not those that its run wrote")
            if self._near.url(key) != self._far.url(key):
                await self._put(row, data)
        tally.artifacts += 1
        tally.bytes += len(data)
        return {**row, "url": self._far.url(key)}, ""

    async def _put(self, row: dict[str, Any], data: bytes) -> None:
        await self._far.put(row["key"], Encoded(row["name"], data, row["mime"]))
        if not _whole(row, await self._far.get(row["key"])):
            raise CatcherError(
                f"the second site keeps other bytes of {row['key']} than it was given",
                "see to its object store; nothing refers to them yet",
            )

    async def _verified(self, row: dict[str, Any], tally: Tally) -> None:
        async with self._gate:
            try:
                well = _whole(row, await self._far.get(row["key"]))
            except StoreAway:
                raise
            except CatcherError:
                well = False
        if well:
            tally.artifacts += 1
            tally.bytes += row["size"]
            return
        _, flaw = await self._brought(row, Tally(problems=tally.problems))
        tally.mended += not flaw


def _whole(row: dict[str, Any], data: bytes) -> bool:
    """Whether bytes are those that an entry of the index names."""
    kind, _, told = row["checksum"].partition(":")
    same = kind != "sha256" or hashlib.sha256(data).hexdigest() == told
    return bool(same and len(data) == row["size"])


def _said(tally: Tally, key: str, flaw: str) -> str:
    tally.problems.append(f"{key}: {flaw}")
    return flaw


def _explain(rows: Rows, lost: Sequence[tuple[dict[str, Any], str]]) -> None:
    """A run whose artifact could not be copied says so in its note."""
    for run in rows["runs"]:
        words = [run["note"]] if run["note"] else []
        for row, flaw in lost:
            if row["run"] == run["id"]:
                words.append(f"{row['name']} was not copied: {flaw}")
        run["note"] = "; ".join(words)


# -- sites --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TwoSites:
    """A site and the one that it is copied to, each with its data folder."""

    site: Site
    data: Path
    to: Site
    to_data: Path
    clock: Clock

    async def copy(self, span: Span | None, progress: Progress) -> Tally:
        """Copies once, what was kept within a span or all; StoreAway where a site is away."""
        async with self._opened(progress) as both:
            return await both.copy(None if span is None else self.clock() - span)

    async def verify(self, progress: Progress) -> Tally:
        """Reads every artifact at the second site, and mends it."""
        async with self._opened(progress) as both:
            return await both.verify()

    async def follow(self, every: Span, tell: Callable[[str, Tally], object]) -> None:
        """Copies for ever: what is new every so often, and all that is missing now and then.

        While a site is away it waits, longer each time; `tell` hears why, and what was copied.
        """
        pause, trouble = SECOND, ""
        while True:
            try:
                async with self._opened(lambda tally: None) as both:
                    tally, begun = await both.copy(), self.clock()
                    tell("", tally)
                    pause, trouble = SECOND, ""
                    while self.clock() - begun < WHOLE_EVERY:
                        await asyncio.sleep(to_seconds(every))
                        tally = await both.copy(self.clock() - OVERLAP - every)
                        if tally.runs or tally.firings:
                            tell("", tally)
            except StoreAway as away:
                if str(away) != trouble:
                    trouble = str(away)
                    tell(trouble, Tally())
                await asyncio.sleep(to_seconds(pause))
                pause = min(2 * pause, LONGEST_PAUSE)

    @asynccontextmanager
    async def _opened(self, progress: Progress) -> AsyncIterator[Replication]:
        async with (
            LedgerCopy(ledger_address(self.site, self.data)) as source,
            LedgerCopy(ledger_address(self.to, self.to_data), into=True) as target,
        ):
            near = readable_objects(self.site, self.data)
            yield Replication(source, target, near, open_objects(self.to, self.to_data), progress)


def two_sites(
    site: Site, data: Path | None, to: Site, to_data: Path | None, clock: Clock
) -> TwoSites:
    """The two sites; CatcherError where they are one, or a file of theirs is broken.

    $CATCHER_DATA speaks of the first alone.
    """
    for one in (site, to):
        wrong = [str(problem) for problem in one.errors if problem.place.file == SETTINGS]
        if wrong:
            raise CatcherError(f"{one.root / SETTINGS} cannot be used: {wrong[0]}", "mend it first")
    near = data_folder(site, data)
    far = Path(to_data or to.settings.data or to.root / ".catcher").absolute()
    if ledger_address(site, near) == ledger_address(to, far):
        raise CatcherError(
            "both sites have one ledger", "name another site with --to, or where it keeps things"
        )
    return TwoSites(site, near, to, far, clock)
