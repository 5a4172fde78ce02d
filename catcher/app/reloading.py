"""A site's files, edited while an engine runs on them.

Whoever saves a file (or sends SIGHUP) has the whole site read anew, in a thread. What comes of it
is swapped in between two steps of the engine, or not at all: state that the edit left alone is
kept, a broken rule runs on as it was, and what takes effect only at a start is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from watchfiles import awatch

from catcher.app.assembling import remembered_topics
from catcher.app.editions import ROUTES, SETTINGS, Edition, differences, next_edition
from catcher.engine import Engine
from catcher.hands import Hands
from catcher.model.alert import AuditEntry
from catcher.model.health import Update
from catcher.model.problem import CatcherError, Problem
from catcher.model.time import Instant
from catcher.ports import Busy
from catcher.site import Site, digest
from catcher.steps import Decided
from catcher.watching import Network, meaning
from catcher.working import Workshop

CONTENT = ("rules", "jobs", "alerts")
QUIET = 200
"""Milliseconds without a further change after which an edit counts as done."""
LONGEST = 2000
CALM = 0.2
"""Seconds between two looks that have to find the same: a checkout writes file after file."""
MOST_LOOKS = 50
MOST_TOLD = 20


class Reloading:
    """Reads a site anew when its files change or when asked to.

    `load` reads the site, `first` is what the engine was started with, `folder` is where jobs
    are copied to; `reads` is told when reading begins (True) and ends; `swapped` has what
    tells people follow.
    """

    def __init__(
        self, first: Edition, load: Callable[[], Site], folder: Path,
        engine: Engine, shop: Workshop, hands: Hands,
        reads: Callable[[bool], None] = lambda begins: None,
        swapped: Callable[[Edition], None] = lambda edition: None,
    ) -> None:  # fmt: skip
        self.edition = first
        self._first = first
        self._root = first.site.root
        self._load = load
        self._folder = folder
        self._engine = engine
        self._shop = shop
        self._hands = hands
        self._reads = reads
        self._swapped = swapped
        self._wanted = asyncio.Event()
        self._asked = False

    def ask(self) -> None:
        """Has the site read anew, whether its files changed or not (SIGHUP)."""
        self._asked = True
        self._wanted.set()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Follows the site's files for as long as the context lasts."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(stop))
            renewing = tasks.create_task(self._renew())
            try:
                yield
            finally:
                stop.set()
                renewing.cancel()

    # -- when --------------------------------------------------------------------------------

    async def _watch(self, stop: asyncio.Event) -> None:
        """Notices changes; the folders are looked for again whenever one comes or goes."""
        while not stop.is_set():
            paths = self._folders()
            again = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow_root(paths, again, stop))
                if paths:
                    tasks.create_task(self._follow(paths, again))
                # Both watch by their first wait; what was edited before that nobody has told.
                await asyncio.sleep(0)
                self._wanted.set()

    async def _follow_root(
        self, paths: list[Path], again: asyncio.Event, stop: asyncio.Event
    ) -> None:
        """The folder itself: its `catcher.yaml`, and which folders of rules and jobs it has."""
        batches = awatch(
            self._root, recursive=False, debounce=LONGEST, step=QUIET, stop_event=stop,
            rust_timeout=1000, watch_filter=self._matters,
        )  # fmt: skip
        try:
            async with aclosing(batches):
                async for _ in batches:
                    self._wanted.set()
                    if self._folders() != paths:
                        return
        except OSError as trouble:
            await self._unwatched(trouble, stop)
        finally:
            again.set()

    async def _follow(self, paths: list[Path], again: asyncio.Event) -> None:
        with suppress(OSError):
            async for _ in awatch(
                *paths, debounce=LONGEST, step=QUIET, stop_event=again, rust_timeout=1000
            ):
                self._wanted.set()

    async def _unwatched(self, trouble: OSError, stop: asyncio.Event) -> None:
        """Where the system cannot watch files (too many watches, a folder that is gone)."""
        self._tell(f"the site's files are not watched ({trouble}); after an edit send SIGHUP")
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await stop.wait()

    def _folders(self) -> list[Path]:
        return [path for name in CONTENT if (path := self._root / name).is_dir()]

    def _matters(self, change: object, path: str) -> bool:
        return Path(path).name in (SETTINGS, *CONTENT)

    # -- what --------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            asked, self._asked = self._asked, False
            try:
                await self._reload(asked)
            except CatcherError as refusal:
                self._tell(f"the site runs on as it was: {refusal}")
            except Busy as refusal:
                self._tell(f"the edit waits: {refusal}")
                await asyncio.sleep(CALM)
                await self._engine.books.reachable()
                self._asked = self._asked or asked
                self._wanted.set()

    async def _reload(self, asked: bool) -> None:
        """Reads the files once they have come to rest, and swaps what came of them in."""
        for _ in range(MOST_LOOKS):
            before = await asyncio.to_thread(digest, self._root)
            await asyncio.sleep(CALM)
            if before != await asyncio.to_thread(digest, self._root):
                continue
            if before == self.edition.site.digest and not asked:
                return
            if await self._read_and_swap(before):
                return
        raise CatcherError("its files never come to rest", "send SIGHUP when they are written")

    async def _read_and_swap(self, before: str) -> bool:
        """Whether the files were still what they had been when they were looked at."""
        self._reads(True)
        try:
            edition, network = await asyncio.to_thread(self._read)
            if edition.site.digest != before:
                return False
            await self._swap(edition, remembered_topics(edition.rules, network))
            return True
        finally:
            self._reads(False)

    def _read(self) -> tuple[Edition, Network]:
        """The site anew (own thread); its rules are compiled once here, to see that they can be."""
        if not (self._root / SETTINGS).is_file():
            raise CatcherError(f"{self._root / SETTINGS} is gone", "put it back")
        try:
            edition = next_edition(self._first, self.edition, self._load(), self._folder)
            return edition, Network(list(edition.rules.values()))
        except CatcherError:
            raise
        # Whatever a user's files bring about while they are read must not end the engine.
        except Exception as error:
            what = f"it could not be read ({type(error).__name__}: {error})"
            raise CatcherError(what, "mend the last edit") from error

    async def _swap(self, edition: Edition, remembered: frozenset[str]) -> None:
        found = differences(self.edition, edition)

        def act(now: Instant) -> Decided:
            decided = self._exchange(edition, remembered, now)
            errors = [str(problem) for problem in edition.site.errors[:MOST_TOLD]]
            detail = {**found, "problems": errors, "digest": edition.site.digest}
            site = edition.site.settings.site
            decided.audit.append(AuditEntry(now, "catcher", "engine", "reload", site, detail))
            return decided

        await self._engine.do(act)
        self._tell_all(edition, found)

    def _exchange(self, edition: Edition, remembered: frozenset[str], now: Instant) -> Decided:
        """All at once: nothing of the engine runs between these lines."""
        parts = self._engine.parts
        forgotten = [
            name for name, rule in parts.rules.items()
            if name not in edition.rules or meaning(rule) != meaning(edition.rules[name])
        ]  # fmt: skip
        ended = parts.network.swap(list(edition.rules.values()))
        parts.alerting.swap(edition.rules, edition.routes, edition.broken)
        self._engine.parts = replace(
            parts, rules=edition.rules, remembered=remembered, elsewhere=edition.site.elsewhere
        )
        self._shop.swap(edition.rules, edition.registry)
        self._hands.swap(edition.rows())
        self._swapped(edition)
        self.edition = edition
        decided = self._engine.weigh(ended, now)
        decided.forgotten.extend(forgotten)
        return decided

    # -- telling -----------------------------------------------------------------------------

    def _tell_all(self, edition: Edition, found: dict[str, list[str]]) -> None:
        changes = [f"{what} {_listed(names)}" for what, names in found.items() if what in _WORDS]
        words = "; ".join(changes) or "nothing that runs has changed"
        now, streams = self._engine.parts.clock(), self._engine.parts.streams
        streams.publish(Update("reload", now, f"the site was read anew: {words}"))
        errors = edition.site.errors
        for problem in errors[:MOST_TOLD]:
            self._tell(self._words(problem))
        if len(errors) > MOST_TOLD:
            self._tell(f"the site has {len(errors) - MOST_TOLD} more problems; see `catcher check`")
        if edition.waiting:
            self._tell(f"restart to apply: {', '.join(edition.waiting)}")

    def _words(self, problem: Problem) -> str:
        if problem.rule in self.edition.kept:
            return f"{problem} (the rule runs on as it was)"
        whole = problem.place.file in (SETTINGS, ROUTES)
        return f"{problem} (the file holds as it was)" if whole else str(problem)

    def _tell(self, words: str) -> None:
        now, streams = self._engine.parts.clock(), self._engine.parts.streams
        streams.publish(Update("problem", now, words))


_WORDS = ("added", "edited", "gone", "jobs", "routes", "templates")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
