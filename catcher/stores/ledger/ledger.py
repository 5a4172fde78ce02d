"""The ledger in a SQL database: SQLite in a file, in memory, or PostgreSQL.

    stores:
      ledger: sqlite                 # data/ledger.db, nothing to set up
      # ledger: {sqlite: {synchronous: full}}    # each commit waits for the disk
      # ledger: postgresql://catcher@db.example/catcher

All writes happen in one thread and all reads in another, each on its own connection, so the event
loop never waits for a disk and a long query never delays a commit. On PostgreSQL a standby engine
is possible; a third connection renews the lease of the active one.
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

from catcher.model.alert import Notification
from catcher.model.commit import Commit
from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.rule_subset import ALL_RULES, RuleSubset
from catcher.model.run import Run
from catcher.model.time import SECOND, Clock, Instant, Span, nanoseconds_to_seconds, wall_clock
from catcher.ports import Fenced, StoreUnavailable
from catcher.stores.ledger import alert_operations, leader_election, metric_outbox, sqlite_files
from catcher.stores.ledger import connect as opening
from catcher.stores.ledger import queries as reading
from catcher.stores.ledger.connection_thread import ConnectionThread
from catcher.stores.ledger.leader_election import LeaseKeeper, StandbyCallback, acquire_lease
from catcher.stores.ledger.reader import LedgerReader
from catcher.stores.ledger.writer import LedgerWriter, WriteStamp

ResultT = TypeVar("ResultT")
READ_TIMEOUT_FACTOR, WRITE_TIMEOUT_FACTOR, RENEWAL_TIMEOUT_FACTOR = 12, 4, 1
"""Multiples of `lock_timeout` after which the connection to a silent server is cut."""


class SqlLedger(LedgerReader):
    """`ports.Ledger` over SQLAlchemy; an async context manager.

    `url` is `sqlite:///FILE`, `sqlite://` (in memory) or `postgresql://…`. With an `engine_id` the
    ledger belongs to an engine: it creates a missing file, migrates the schema and locks a file
    exclusively. Without one it is read-only. `full_sync` makes the disk confirm each commit
    (SQLite's synchronous=FULL); `lock_timeout` is how long to wait for a locked database. On a
    server only one engine is active at a time: entering waits until no other is, and `on_standby`
    is notified of the one it waits for (without it, raises CatcherError); `address` is where others
    reach this engine. `rule_subset` is the set of rules it evaluates: engines with disjoint
    subsets, or replicas of a shared one, work side by side. `max_exports` is how many finished runs
    may wait for a metric store, 0 if there is none.
    """

    def __init__(
        self,
        url: str,
        engine_id: str = "",
        clock: Clock = wall_clock,
        *,
        full_sync: bool = False,
        lock_timeout: Span = 5 * SECOND,
        max_exports: int = 0,
        on_standby: StandbyCallback | None = None,
        address: str = "",
        rule_subset: RuleSubset = ALL_RULES,
    ) -> None:
        self._url = opening.parse_ledger_url(url)
        self._engine_id = engine_id
        self._clock = clock
        self._full_sync = full_sync
        self._lock_timeout = lock_timeout
        self._max_exports = max_exports
        self._on_standby = on_standby
        self._address = address
        self.rule_subset = rule_subset
        self._lease_keeper: LeaseKeeper | None = None
        self._has_taken_over = False
        self.has_pending = asyncio.Event()
        file = opening.get_sqlite_path(self._url)
        display_url = self._url.set(drivername=self._url.get_backend_name(), query={})
        self._name = f"the ledger {file or display_url.render_as_string(hide_password=True)}"
        self._fencing_token = 0
        self._state_since = 0
        self._last_success: Instant | None = None
        self._state: HealthState = "starting"
        self._problems: dict[ConnectionThread, str] = {}
        self._counts = {"commits": 0, "firings": 0, "runs": 0, "failures": 0}
        self._counts["exports_dropped"] = 0
        self._writer = LedgerWriter(self._url.get_backend_name(), rule_subset)
        self._writer_thread: ConnectionThread
        self._reader_thread: ConnectionThread
        self._exit_stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._state_since = self._clock()
        file = opening.get_sqlite_path(self._url)
        async with AsyncExitStack() as stack:
            if file is not None and self._engine_id:
                stack.enter_context(opening.acquire_file_lock(file))
            elif file is not None and not file.is_file():
                raise CatcherError(f"there is no ledger {file} yet", "`catcher run` makes one")
            if file is not None:
                sqlite_files.check_sqlite_files(file)
            self._reader_thread = await stack.enter_async_context(self._create_thread("reader"))
            version = await self._run_read(partial(opening.check_schema_version, name=self._name))
            if not self._engine_id:
                opening.require_current_version(version, self._name)
            elif self._is_in_memory:
                self._writer_thread = self._reader_thread
            else:
                self._writer_thread = await stack.enter_async_context(self._create_thread("writer"))
            if self._engine_id:
                await self._acquire_leadership(stack, version)
            self._exit_stack = stack.pop_all()
        self._state = "ok"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state = "ended"
        await self._exit_stack.aclose()

    async def commit(self, commit: Commit) -> Commit:
        """Writes the whole commit in one transaction and returns what was new.

        A state without content deletes the saved state of its rule and key. An unfinished run that
        is committed again as pending is overwritten (a retry).
        """
        stamp = self._create_stamp()

        def write(connection: Connection) -> tuple[Commit, int, int]:
            committed = self._writer.commit(connection, commit, stamp)
            if not self._max_exports:
                return committed, 0, 0
            finished = committed.finished
            return committed, *metric_outbox.enqueue_exports(
                connection, finished, stamp.now, self._max_exports
            )

        committed, queued, dropped = await self._run_write(write)
        if queued:
            self.has_pending.set()
        self._counts["exports_dropped"] += dropped
        self._counts["commits"] += 1
        self._counts["firings"] += len(committed.firings)
        self._counts["runs"] += len(committed.finished)
        return committed

    async def claim_run(self, run: Run) -> bool:
        """Marks a run as running, even if an engine that is gone left it running."""
        return await self._run_write(
            partial(self._writer.claim_run, run=run, stamp=self._create_stamp())
        )

    async def list_unfinished_runs(self) -> Sequence[Run]:
        """Returns runs left pending or running by earlier engines; none for a shared rule subset,
        which uses `take_over_runs`.
        """
        query = partial(reading.query_unfinished_runs, fencing_token=self._fencing_token)
        return [] if self.rule_subset.shared else await self._run_read(query)

    async def get_last_alive_time(self) -> Instant:
        """Returns the last time an earlier engine is known to have been running; 0 if there was
        none.
        """
        return await self._run_read(
            partial(
                reading.query_last_alive_time,
                fencing_token=self._fencing_token,
                rule_subset=self.rule_subset,
            )
        )

    async def take_over_runs(self, rules: Collection[str]) -> Sequence[Run]:
        """Takes over and returns the runs of dead engines of the same shared rule subset."""
        lease_keeper = self._lease_keeper
        if (
            not self.rule_subset.shared
            or lease_keeper is None
            or not lease_keeper.is_grace_period_over
        ):
            return []
        take_over, self._has_taken_over = (
            partial(reading.take_over_runs, is_first=not self._has_taken_over),
            True,
        )
        return await self._run_write(
            lambda connection: take_over(connection, self.rule_subset, self._fencing_token, rules)
        )

    async def record_delivery_outcome(
        self, notification: Notification, error: str = "", dead_letters: bool = False
    ) -> None:
        """Records a delivery with `notification.receipt`, a failed attempt, or a dead letter."""
        operation = partial(
            self._writer.record_delivery_outcome,
            notification=notification,
            error=error,
            dead=dead_letters,
            stamp=self._create_stamp(),
        )
        await self._run_write(operation)

    async def requeue_dead_letters(self, ids: Sequence[str]) -> Sequence[Notification]:
        """Requeues dead letters for delivery; returns those of these ids that were dead."""
        return await self._run_write(partial(alert_operations.requeue_dead_letters, ids=ids))

    async def delete_exported(self, through: int) -> None:
        """Removes from the outbox what a metric store accepted, up to `ExportBatch.through`."""
        await self._run_write(partial(metric_outbox.delete_exported, through=through))

    async def compact_storage(self) -> None:
        """Frees the space of deleted rows in a file; a server does that by itself."""
        file = opening.get_sqlite_path(self._url)
        if file is not None:
            await asyncio.to_thread(sqlite_files.compact_file, file)

    async def publish_address(self, address: str) -> None:
        """Publishes this engine's address to standby engines."""
        if self._lease_keeper is not None:
            await self._lease_keeper.publish_address(address)

    @property
    def is_fenced(self) -> bool:
        """True if another engine has taken over."""
        return self._lease_keeper is not None and self._lease_keeper.is_lost

    async def wait_until_fenced(self) -> NoReturn:
        """Raises Fenced as soon as another engine has taken over; else runs until cancelled."""
        while self._lease_keeper is None:
            await asyncio.Event().wait()
        await self._lease_keeper.wait_until_lost()

    def health(self) -> Health:
        """Returns the health: unavailable from a transient failure until a statement succeeds."""
        problem = "; ".join(self._problems.values())
        return Health(
            "ledger",
            "ledger",
            self._state,
            self._state_since,
            self._last_success,
            problem,
            dict(self._counts),
        )

    def _create_stamp(self) -> WriteStamp:
        return WriteStamp(self._clock(), self._engine_id, self._fencing_token)

    def _create_thread(self, use: Literal["reader", "writer", "lease"]) -> ConnectionThread:
        engine = opening.create_database_engine(
            self._url,
            full_sync=self._full_sync,
            lock_timeout=self._lock_timeout,
            read_only=use == "reader" and not self._is_in_memory,
        )
        return ConnectionThread(engine, f"ledger-{use}")

    @property
    def _is_server(self) -> bool:
        return self._url.get_backend_name() == "postgresql"

    def _get_server_timeout(self, factor: int) -> float | None:
        """Returns seconds, or None for a file, which has its own lock timeout; a server may never
        reply.
        """
        return nanoseconds_to_seconds(factor * self._lock_timeout) if self._is_server else None

    @property
    def _is_in_memory(self) -> bool:
        return (
            self._url.get_backend_name() == "sqlite" and opening.get_sqlite_path(self._url) is None
        )

    async def _acquire_leadership(self, stack: AsyncExitStack, version: str) -> None:
        """Becomes the single active engine of this ledger."""
        if not self._is_server:
            opening.reject_rule_subset(self.rule_subset, self._name)
            self._fencing_token = await self._run_write(
                partial(self._migrate_and_register, version=version)
            )
            if not self._is_in_memory:
                lease_keeper = LeaseKeeper(
                    self._engine_id, self._fencing_token, self._clock, self._run_write
                )
                self._lease_keeper = await stack.enter_async_context(lease_keeper)
            return
        thread = await stack.enter_async_context(self._create_thread("lease"))
        acquire = partial(
            leader_election.try_acquire_lease,
            holder=self._engine_id,
            address=self._address,
            register_engine=self._migrate_and_register,
            rule_subset=self.rule_subset,
        )
        find_current = partial(leader_election.find_lease_holder, rule_subset=self.rule_subset)
        self._fencing_token = await acquire_lease(
            partial(self._run_on_thread, thread), acquire, self._on_standby, find_current
        )
        lease_write = partial(
            self._run_on_thread, thread, timeout=self._get_server_timeout(RENEWAL_TIMEOUT_FACTOR)
        )
        lease_keeper = LeaseKeeper(
            self._engine_id, self._fencing_token, self._clock, self._run_write, lease_write
        )
        self._lease_keeper = await stack.enter_async_context(lease_keeper)

    def _migrate_and_register(self, connection: Connection, version: str | None = None) -> int:
        # A standby engine has to check again: the previous engine may have changed the schema.
        current_version = (
            opening.check_schema_version(connection, self._name) if version is None else version
        )
        opening.upgrade_schema(connection, current_version)
        return self._writer.register_engine(connection, self._engine_id, self._clock())

    async def _run_write(self, operation: Callable[[Connection], ResultT]) -> ResultT:
        if not self._engine_id:
            raise CatcherError(
                f"{self._name} was opened to read", "let the running engine do it, over its API"
            )
        lease_keeper = self._lease_keeper
        if lease_keeper is None:
            return await self._run_on_thread(
                self._writer_thread, operation, self._get_server_timeout(WRITE_TIMEOUT_FACTOR)
            )

        def fenced_operation(connection: Connection) -> ResultT:
            lease_keeper.verify_fencing_token(connection)
            return operation(connection)

        try:
            return await self._run_on_thread(
                self._writer_thread,
                fenced_operation,
                self._get_server_timeout(WRITE_TIMEOUT_FACTOR),
            )
        except Fenced as error:
            lease_keeper.mark_lost(error)
            raise

    async def _run_read(self, operation: Callable[[Connection], ResultT]) -> ResultT:
        timeout = self._get_server_timeout(READ_TIMEOUT_FACTOR)
        try:
            return await self._run_on_thread(self._reader_thread, operation, timeout)
        except StoreUnavailable:
            # A server that was unavailable meanwhile has closed the connection; it may be back.
            if not self._is_server or self._state == "starting":
                raise
            return await self._run_on_thread(self._reader_thread, operation, timeout)

    async def _run_on_thread(
        self,
        thread: ConnectionThread,
        operation: Callable[[Connection], ResultT],
        timeout: float | None = None,
    ) -> ResultT:
        try:
            result = await thread.run_transaction(operation, timeout)
        except (SQLAlchemyError, sqlite3.Error) as error:
            translated = opening.translate_error(error, self._name, self._url)
            self._counts["failures"] += 1
            if isinstance(translated, StoreUnavailable):
                self._set_problem(thread, translated.message)
            raise translated from None
        except (OverflowError, msgspec.MsgspecError) as error:
            self._counts["failures"] += 1
            raise CatcherError(f"{self._name} cannot keep or read a value: {error}") from None
        self._last_success = self._clock()
        if thread in self._problems:
            self._set_problem(thread, "")
        return result

    def _set_problem(self, thread: ConnectionThread, problem: str) -> None:
        """Tracks problems per thread: reading may work while writing does not."""
        had_problem = bool(self._problems)
        self._problems.pop(thread, None)
        if problem:
            self._problems[thread] = problem
        if had_problem != bool(self._problems):
            self._state_since = self._clock()
            self._state = "away" if self._problems else "ok"
