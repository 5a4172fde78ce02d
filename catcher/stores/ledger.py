"""The ledger in a SQL database: SQLite in a file, in memory, or PostgreSQL.

    stores:
      ledger: sqlite                 # data/ledger.db, nothing to set up
      # ledger: postgresql://catcher@db.example/catcher

All writing happens in one thread, all reading in another, each on a connection of its own, so
that the event loop never waits for a disk and a long query never delays a commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.commit import Commit, TriggerState
from catcher.model.health import Health, HealthState
from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import SECOND, Clock, Instant, Span, wall_clock
from catcher.ports import DeadLetter, MetricPoint, Query, StoreAway
from catcher.stores import ledger_opening as opening
from catcher.stores import ledger_reading as reading
from catcher.stores.ledger_writing import LedgerWriter, Stamp

Answer = TypeVar("Answer")


class SqlLedger:
    """`ports.Ledger` over SQLAlchemy; an async context manager.

    `url` is `sqlite:///FILE`, `sqlite://` (in memory) or `postgresql://…`. With an `engine_id`
    it is an engine's: it makes the file where there is none, brings its schema up to date and,
    for a file, holds it alone. Without one it only reads what is there. `full` asks the disk to
    confirm each commit (SQLite's synchronous=FULL), `patience` is how long a locked database is
    waited for.
    """

    def __init__(
        self,
        url: str,
        engine_id: str = "",
        clock: Clock = wall_clock,
        *,
        full: bool = False,
        patience: Span = 5 * SECOND,
    ) -> None:
        self._url = opening.address(url)
        self._engine_id = engine_id
        self._clock = clock
        self._full = full
        self._patience = patience
        file = opening.file_of(self._url)
        self._name = f"the ledger {file or self._url.render_as_string(hide_password=True)}"
        self._fence = 0
        self._since = 0
        self._last: Instant | None = None
        self._state: HealthState = "starting"
        self._problems: dict[_Lane, str] = {}
        self._counts = {"commits": 0, "firings": 0, "runs": 0, "failures": 0}
        self._writer = LedgerWriter(self._url.get_backend_name())
        self._write_lane: _Lane
        self._read_lane: _Lane
        self._lifetime = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._since = self._clock()
        file = opening.file_of(self._url)
        async with AsyncExitStack() as opened:
            if file is not None and self._engine_id:
                opened.enter_context(opening.lock(file))
            elif file is not None and not file.is_file():
                raise CatcherError(f"there is no ledger {file} yet", "`catcher run` makes one")
            self._read_lane = await opened.enter_async_context(self._lane(reader=True))
            version = await self._read(partial(opening.judge, name=self._name))
            if not self._engine_id:
                opening.require_present(version, self._name)
            elif self._in_memory:
                self._write_lane = self._read_lane
            else:
                self._write_lane = await opened.enter_async_context(self._lane(reader=False))
            if self._engine_id:
                self._fence = await self._write(partial(self._begin_work, version=version))
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
        written = await self._write(partial(self._writer.commit, commit=commit, stamp=self._now()))
        self._counts["commits"] += 1
        self._counts["firings"] += len(written.firings)
        self._counts["runs"] += len(written.finished)
        return written

    async def claim(self, run: Run) -> bool:
        """Marks a run as running; also one that an engine which is gone left as running."""
        return await self._write(partial(self._writer.claim, run=run, stamp=self._now()))

    async def unfinished(self) -> Sequence[Run]:
        """Runs left pending or running by engines before this one, oldest first."""
        return await self._read(partial(reading.unfinished, fence=self._fence))

    async def undelivered(self) -> Sequence[Notice]:
        """Notices not yet delivered in the order of writing, each with its sink's last receipt."""
        return await self._read(reading.undelivered)

    async def settle(self, notice: Notice, error: str = "", dead: bool = False) -> None:
        """Records a delivery with `notice.receipt`, a failed attempt, or the giving up."""
        settle = partial(
            self._writer.settle, notice=notice, error=error, dead=dead, stamp=self._now()
        )
        await self._write(settle)

    async def dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Notices that were given up, newest first; `id` is an alert, `name` a sink."""
        return await self._read(partial(reading.dead_letters, query=query))

    async def positions(self) -> Mapping[str, str]:
        """Where each source would go on."""
        return await self._read(reading.positions)

    async def states(self) -> Sequence[TriggerState]:
        """The saved state of every rule and key."""
        return await self._read(reading.states)

    async def observation(self, kind: str, id: str) -> Observation | None:
        """One observation, None where it is not known."""
        return await self._read(partial(reading.observation, kind=kind, id=id))

    async def firings(self, query: Query) -> Sequence[Firing]:
        """Firings by rule, id, observation, time."""
        return await self._read(partial(reading.firings, query=query))

    async def runs(self, query: Query) -> Sequence[Run]:
        """Runs with all they made, by rule, id, job (`name`), state, observation, time, labels."""
        return await self._read(partial(reading.runs, query=query))

    async def metrics(self, query: Query) -> Sequence[MetricPoint]:
        """Metrics by rule, name, run (`id`), observation, time, labels."""
        return await self._read(partial(reading.metrics, query=query))

    async def artifacts(self, query: Query) -> Sequence[ArtifactRecord]:
        """The index of artifacts by rule, name, run (`id`), observation, time."""
        return await self._read(partial(reading.artifacts, query=query))

    async def alerts(self, query: Query) -> Sequence[Alert]:
        """Episodes of alerts; `state` may also be `active` or `open` (not resolved)."""
        return await self._read(partial(reading.alerts, query=query))

    async def episodes(self) -> int:
        """The greatest number of an episode of any alert; 0 where there is none."""
        return await self._read(reading.episodes)

    async def audit(self, query: Query) -> Sequence[AuditEntry]:
        """The audit trail by subject (`id`), who (`name`), what (`state`), time."""
        return await self._read(partial(reading.audit, query=query))

    def health(self) -> Health:
        """Away after a statement that failed for a reason that may pass, until one succeeds."""
        problem = "; ".join(self._problems.values())
        return Health(
            "ledger", "ledger", self._state, self._since, self._last, problem, dict(self._counts)
        )

    def _now(self) -> Stamp:
        return Stamp(self._clock(), self._engine_id, self._fence)

    def _lane(self, *, reader: bool) -> _Lane:
        engine = opening.connect(
            self._url,
            full=self._full,
            patience=self._patience,
            reader=reader and not self._in_memory,
        )
        return _Lane(engine, "ledger-reader" if reader else "ledger-writer")

    @property
    def _in_memory(self) -> bool:
        return self._url.get_backend_name() == "sqlite" and opening.file_of(self._url) is None

    def _begin_work(self, connection: Connection, version: str) -> int:
        opening.upgrade(connection, version)
        return self._writer.enlist(connection, self._engine_id, self._since)

    async def _write(self, work: Callable[[Connection], Answer]) -> Answer:
        if not self._engine_id:
            raise CatcherError(
                f"{self._name} was opened to read", "let the running engine do it, over its API"
            )
        return await self._ask(self._write_lane, work)

    async def _read(self, work: Callable[[Connection], Answer]) -> Answer:
        return await self._ask(self._read_lane, work)

    async def _ask(self, lane: _Lane, work: Callable[[Connection], Answer]) -> Answer:
        try:
            answer = await lane.transact(work)
        except (SQLAlchemyError, sqlite3.Error) as error:
            explained = opening.explained(error, self._name)
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

    def _note(self, lane: _Lane, problem: str) -> None:
        """Reading may go on while writing cannot: each lane has a problem of its own."""
        before = bool(self._problems)
        self._problems.pop(lane, None)
        if problem:
            self._problems[lane] = problem
        if before != bool(self._problems):
            self._since = self._clock()
            self._state = "away" if self._problems else "ok"


class _Lane:
    """One thread with one connection; transactions one after the other."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def transact(self, work: Callable[[Connection], Answer]) -> Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._transact, work)

    def _transact(self, work: Callable[[Connection], Answer]) -> Answer:
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            with self._connection.begin():
                return work(self._connection)
        except (SQLAlchemyError, sqlite3.Error):
            # The next transaction begins on a fresh connection, whatever befell this one.
            self._connection.close()
            self._connection = None
            raise

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()
