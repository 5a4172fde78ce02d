"""The ledger in a SQL database: SQLite in a file, in memory, or PostgreSQL.

    stores:
      ledger: sqlite                 # data/ledger.db, nothing to set up
      # ledger: {sqlite: {synchronous: full}}    # each commit waits for the disk
      # ledger: postgresql://catcher@db.example/catcher

All writing happens in one thread, all reading in another, each on a connection of its own, so
that the event loop never waits for a disk and a long query never delays a commit. On PostgreSQL
a second engine may stand by; a third connection renews the lease of the one that works.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Literal, NoReturn, Self, TypeVar

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from catcher.model.alert import Notice
from catcher.model.commit import Commit
from catcher.model.health import Health, HealthState
from catcher.model.portion import WHOLE, Portion
from catcher.model.problem import CatcherError
from catcher.model.run import Run
from catcher.model.time import SECOND, Clock, Instant, Span, to_seconds, wall_clock
from catcher.ports import Fenced, StoreAway
from catcher.stores import ledger_desk, ledger_exports, ledger_files, ledger_lease
from catcher.stores import ledger_opening as opening
from catcher.stores import ledger_reading as reading
from catcher.stores.ledger_answers import LedgerAnswers
from catcher.stores.ledger_lanes import Lane
from catcher.stores.ledger_tenure import Tenure, Told, granted
from catcher.stores.ledger_writing import LedgerWriter, Stamp

Answer = TypeVar("Answer")
LONGEST_READ, LONGEST_WRITE, LONGEST_RENEWAL = 12, 4, 1
"""After so many times its patience a server that does not answer is given up, and asked anew."""


class SqlLedger(LedgerAnswers):
    """`ports.Ledger` over SQLAlchemy; an async context manager.

    `url` is `sqlite:///FILE`, `sqlite://` (in memory) or `postgresql://…`. With an `engine_id`
    it is an engine's: it makes the file where there is none, brings its schema up to date and,
    for a file, holds it alone. Without one it only reads what is there. `full` asks the disk to
    confirm each commit (SQLite's synchronous=FULL), `patience` is how long a locked database is
    waited for. On a server only one engine works at a time: entering waits until no other does,
    and `told` hears for whom (without it, CatcherError); `where` is how others find this one.
    `portion` is what it
    carries: engines of different portions, or of one that is shared, work side by side.
    `exports` is how many finished runs may wait for a metric store, 0 where there is none.
    """

    def __init__(
        self,
        url: str,
        engine_id: str = "",
        clock: Clock = wall_clock,
        *,
        full: bool = False,
        patience: Span = 5 * SECOND,
        exports: int = 0,
        told: Told | None = None,
        where: str = "",
        portion: Portion = WHOLE,
    ) -> None:
        self._url = opening.address(url)
        self._engine_id = engine_id
        self._clock = clock
        self._full = full
        self._patience = patience
        self._exports = exports
        self._told = told
        self._where = where
        self.portion = portion
        self._tenure: Tenure | None = None
        self._adopted = False
        self.owing = asyncio.Event()
        file = opening.file_of(self._url)
        shown = self._url.set(drivername=self._url.get_backend_name(), query={})
        self._name = f"the ledger {file or shown.render_as_string(hide_password=True)}"
        self._fence = 0
        self._since = 0
        self._last: Instant | None = None
        self._state: HealthState = "starting"
        self._problems: dict[Lane, str] = {}
        self._counts = {"commits": 0, "firings": 0, "runs": 0, "failures": 0}
        self._counts["exports_dropped"] = 0
        self._writer = LedgerWriter(self._url.get_backend_name(), portion)
        self._write_lane: Lane
        self._read_lane: Lane
        self._lifetime = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._since = self._clock()
        file = opening.file_of(self._url)
        async with AsyncExitStack() as opened:
            if file is not None and self._engine_id:
                opened.enter_context(opening.lock(file))
            elif file is not None and not file.is_file():
                raise CatcherError(f"there is no ledger {file} yet", "`catcher run` makes one")
            if file is not None:
                ledger_files.look(file)
            self._read_lane = await opened.enter_async_context(self._lane("reader"))
            version = await self._read(partial(opening.judge, name=self._name))
            if not self._engine_id:
                opening.require_present(version, self._name)
            elif self._in_memory:
                self._write_lane = self._read_lane
            else:
                self._write_lane = await opened.enter_async_context(self._lane("writer"))
            if self._engine_id:
                await self._begin(opened, version)
            self._lifetime = opened.pop_all()
        self._state = "ok"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state = "ended"
        await self._lifetime.aclose()

    async def commit(self, commit: Commit) -> Commit:
        """Writes all of it in one transaction and returns what was new.

        A state without content deletes the saved state of its rule and key. A run that is
        given again as pending, and is not over, is written over (a retry).
        """
        stamp = self._now()

        def write(connection: Connection) -> tuple[Commit, int, int]:
            written = self._writer.commit(connection, commit, stamp)
            if not self._exports:
                return written, 0, 0
            finished = written.finished
            return written, *ledger_exports.owe(connection, finished, stamp.now, self._exports)

        written, owed, dropped = await self._write(write)
        if owed:
            self.owing.set()
        self._counts["exports_dropped"] += dropped
        self._counts["commits"] += 1
        self._counts["firings"] += len(written.firings)
        self._counts["runs"] += len(written.finished)
        return written

    async def claim(self, run: Run) -> bool:
        """Marks a run as running; also one that an engine which is gone left as running."""
        return await self._write(partial(self._writer.claim, run=run, stamp=self._now()))

    async def unfinished(self) -> Sequence[Run]:
        """Runs left pending or running by engines before this one; `adopt` where it shares."""
        left = partial(reading.unfinished, fence=self._fence)
        return [] if self.portion.shared else await self._read(left)

    async def alive(self) -> Instant:
        """Until when an engine before this one is known to have been at work; 0 without any."""
        return await self._read(partial(reading.alive, fence=self._fence, portion=self.portion))

    async def adopt(self, rules: Collection[str]) -> Sequence[Run]:
        """Runs of engines of the same shared portion that are gone; they are this one's now."""
        tenure = self._tenure
        if not self.portion.shared or tenure is None or not tenure.steady:
            return []
        adopted, self._adopted = partial(reading.adopted, first=not self._adopted), True
        return await self._write(lambda at: adopted(at, self.portion, self._fence, rules))

    async def settle(self, notice: Notice, error: str = "", dead: bool = False) -> None:
        """Records a delivery with `notice.receipt`, a failed attempt, or the giving up."""
        settle = partial(
            self._writer.settle, notice=notice, error=error, dead=dead, stamp=self._now()
        )
        await self._write(settle)

    async def revive(self, ids: Sequence[str]) -> Sequence[Notice]:
        """Dead letters wait to be delivered again; those of these ids that were dead."""
        return await self._write(partial(ledger_desk.revive, ids=ids))

    async def exported(self, through: int) -> None:
        """A metric store has taken all that `owed_points` gave up to a place."""
        await self._write(partial(ledger_exports.exported, through=through))

    async def compact(self) -> None:
        """Gives back the room of what was deleted; a server does that by itself."""
        file = opening.file_of(self._url)
        if file is not None:
            await asyncio.to_thread(ledger_files.compact, file)

    async def announce(self, address: str) -> None:
        """Tells engines that stand by where this one answers."""
        if self._tenure is not None:
            await self._tenure.announce(address)

    @property
    def fenced(self) -> bool:
        """Whether another engine has taken over."""
        return self._tenure is not None and self._tenure.lost

    async def until_fenced(self) -> NoReturn:
        """Raises Fenced as soon as another engine has taken over; only cancelling ends it else."""
        while self._tenure is None:
            await asyncio.Event().wait()
        await self._tenure.until_lost()

    def health(self) -> Health:
        """Away after a statement that failed for a reason that may pass, until one succeeds."""
        problem = "; ".join(self._problems.values())
        return Health(
            "ledger", "ledger", self._state, self._since, self._last, problem, dict(self._counts)
        )

    def _now(self) -> Stamp:
        return Stamp(self._clock(), self._engine_id, self._fence)

    def _lane(self, use: Literal["reader", "writer", "lease"]) -> Lane:
        engine = opening.connect(
            self._url,
            full=self._full,
            patience=self._patience,
            reader=use == "reader" and not self._in_memory,
        )
        return Lane(engine, f"ledger-{use}")

    @property
    def _on_server(self) -> bool:
        return self._url.get_backend_name() == "postgresql"

    def _limit(self, times: int) -> float | None:
        """A file has a patience of its own; a server may fall silent for ever (seconds)."""
        return to_seconds(times * self._patience) if self._on_server else None

    @property
    def _in_memory(self) -> bool:
        return self._url.get_backend_name() == "sqlite" and opening.file_of(self._url) is None

    async def _begin(self, opened: AsyncExitStack, version: str) -> None:
        """Becomes the one engine that works on this ledger."""
        if not self._on_server:
            opening.refuse_portion(self.portion, self._name)
            self._fence = await self._write(partial(self._begin_work, version=version))
            if not self._in_memory:
                tenure = Tenure(self._engine_id, self._fence, self._clock, self._write)
                self._tenure = await opened.enter_async_context(tenure)
            return
        lane = await opened.enter_async_context(self._lane("lease"))
        take = partial(
            ledger_lease.take, holder=self._engine_id, address=self._where, begin=self._begin_work,
            portion=self.portion,
        )  # fmt: skip
        look = partial(ledger_lease.look, portion=self.portion)
        self._fence = await granted(partial(self._ask, lane), take, self._told, look)
        keep = partial(self._ask, lane, limit=self._limit(LONGEST_RENEWAL))
        tenure = Tenure(self._engine_id, self._fence, self._clock, self._write, keep)
        self._tenure = await opened.enter_async_context(tenure)

    def _begin_work(self, connection: Connection, version: str | None = None) -> int:
        # An engine that stood by finds what the one before it left.
        known = opening.judge(connection, self._name) if version is None else version
        opening.upgrade(connection, known)
        return self._writer.enlist(connection, self._engine_id, self._clock())

    async def _write(self, work: Callable[[Connection], Answer]) -> Answer:
        if not self._engine_id:
            raise CatcherError(
                f"{self._name} was opened to read", "let the running engine do it, over its API"
            )
        tenure = self._tenure
        if tenure is None:
            return await self._ask(self._write_lane, work, self._limit(LONGEST_WRITE))

        def fenced(connection: Connection) -> Answer:
            tenure.require(connection)
            return work(connection)

        try:
            return await self._ask(self._write_lane, fenced, self._limit(LONGEST_WRITE))
        except Fenced as error:
            tenure.lose(error)
            raise

    async def _read(self, work: Callable[[Connection], Answer]) -> Answer:
        limit = self._limit(LONGEST_READ)
        try:
            return await self._ask(self._read_lane, work, limit)
        except StoreAway:
            # A server that was away meanwhile has ended the connection; it may be back.
            if not self._on_server or self._state == "starting":
                raise
            return await self._ask(self._read_lane, work, limit)

    async def _ask(
        self, lane: Lane, work: Callable[[Connection], Answer], limit: float | None = None
    ) -> Answer:
        try:
            answer = await lane.transact(work, limit)
        except (SQLAlchemyError, sqlite3.Error) as error:
            explained = opening.explained(error, self._name, self._url)
            self._counts["failures"] += 1
            if isinstance(explained, StoreAway):
                self._note(lane, explained.message)
            raise explained from None
        except (OverflowError, msgspec.MsgspecError) as error:
            self._counts["failures"] += 1
            raise CatcherError(f"{self._name} cannot keep or read a value: {error}") from None
        self._last = self._clock()
        if lane in self._problems:
            self._note(lane, "")
        return answer

    def _note(self, lane: Lane, problem: str) -> None:
        """Reading may go on while writing cannot: each lane has a problem of its own."""
        before = bool(self._problems)
        self._problems.pop(lane, None)
        if problem:
            self._problems[lane] = problem
        if before != bool(self._problems):
            self._since = self._clock()
            self._state = "away" if self._problems else "ok"
