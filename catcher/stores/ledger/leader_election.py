"""Leader election by leases on a server: one engine is active per rule subset, others stand by.

A lease is a row with an expiry by the database's clock, so that no engine's own clock matters. Its
`fence` (the fencing token) grows whenever another engine takes over. Every writing transaction of
an engine begins with `verify_fencing_token`, which locks the row: a takeover waits until such a
transaction has ended, and afterwards an engine with a smaller token can no longer write.

Engines that share a rule subset have a lease each. The runs that one of them left when its lease
expired are taken over by another (`take_over_expired_runs`), which first deletes that lease so that
its holder cannot resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import NoReturn, Protocol, Self, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    inspect,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from catcher.model.errors import CatcherError
from catcher.model.rule_subset import ALL_RULES, RuleSubset, parse_subset_from_lease
from catcher.model.time import SECOND, Clock, Instant, nanoseconds_to_seconds
from catcher.ports import Fenced, StoreUnavailable
from catcher.stores.ledger import schema
from catcher.stores.ledger.mappers import sanitize_text

LEASE_DURATION = 3 * SECOND
RENEWAL_INTERVAL = 1.0
"""Seconds between two renewals of a lease."""
POLL_INTERVAL = 0.25
"""Seconds between two attempts of a standby engine."""
_ADVISORY_LOCK_KEY = 0x0CA7C4E2
"""The advisory lock held while migrating a schema and acquiring a lease."""

_leases = schema.leases
# No two engines ever have the same fencing token.
_IS_OWN = _leases.c.fence == bindparam("mine")
_NOW: ColumnElement[int] = literal_column(
    "CAST(extract(epoch FROM clock_timestamp()) * 1000000000 AS BIGINT)"
)
_SELECT_LEASES = select(
    _leases.c.name, _leases.c.holder, _leases.c.fence, _leases.c.address,
    (_leases.c.expires - _NOW).label("left"),
).order_by(_leases.c.fence)  # fmt: skip
_LOCK_OWN_LEASE = select(_leases.c.fence).where(_IS_OWN).with_for_update(read=True, key_share=True)
_RENEW_LEASE = update(_leases).where(_IS_OWN).values(expires=_NOW + LEASE_DURATION)
_RELEASE_LEASE = update(_leases).where(_IS_OWN).values(expires=0, holder="", address="")
_UPDATE_ADDRESS = update(_leases).where(_IS_OWN).values(address=bindparam("where"))
_SELECT_RUNNING = (
    select(schema.runs.c.id)
    .where(
        schema.runs.c.state == "running",
        schema.runs.c.engine == bindparam("who"),
        schema.runs.c.fence == bindparam("mine"),
    )
    .with_for_update(skip_locked=True)
)
"""Skips locked rows: a run about to be written as finished needs no heartbeat."""
_UPDATE_RUN_HEARTBEATS = (
    update(schema.runs)
    .where(schema.runs.c.id.in_(_SELECT_RUNNING))
    .values(heartbeat=bindparam("now"))
)
_UPDATE_ENGINE_HEARTBEAT = (
    update(schema.engines)
    .where(schema.engines.c.name == bindparam("who"))
    .values(heartbeat=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """The holder of a lease: the engine's name, its address, and the remaining time (ns)."""

    name: str
    address: str
    fencing_token: int
    remaining: int

    def __str__(self) -> str:
        return f"{self.name} at {self.address}" if self.address else self.name


def find_lease_holder(
    connection: Connection, rule_subset: RuleSubset = ALL_RULES
) -> LeaseHolder | None:
    """Returns the holder of a live lease that excludes this rule subset; None if there is none."""
    if not inspect(connection).has_table(_leases.name):
        return None
    return next(
        (
            holder
            for holder, _ in _list_conflicting_leases(connection, rule_subset)
            if holder.remaining > 0
        ),
        None,
    )


def _list_conflicting_leases(
    connection: Connection, rule_subset: RuleSubset
) -> list[tuple[LeaseHolder, str]]:
    """Returns the holders and names of the leases that exclude a rule subset, expired or not."""
    return [
        (LeaseHolder(row.holder, row.address, row.fence, row.left), row.name)
        for row in connection.execute(_SELECT_LEASES)
        if rule_subset.conflicts_with(parse_subset_from_lease(row.name))
    ]


def try_acquire_lease(
    connection: Connection, holder: str, address: str, register_engine: Callable[[Connection], int],
    rule_subset: RuleSubset = ALL_RULES,
) -> int | LeaseHolder:  # fmt: skip
    """Acquires a free lease and returns its fencing token, or returns the current holder.

    `register_engine` migrates the schema and returns a fencing token greater than any before; it is
    called only if the lease is free, and under a lock that two engines cannot share.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK_KEY})
    current = find_lease_holder(connection, rule_subset)
    if current is not None:
        return current
    name = rule_subset.build_lease_name(holder)
    if inspect(connection).has_table(_leases.name):
        # Waits for a writing transaction of the engine whose lease has expired.
        excluding_names = [
            lease_name for _, lease_name in _list_conflicting_leases(connection, rule_subset)
        ]
        condition = _leases.c.name.in_([*excluding_names, name])
        connection.execute(select(_leases.c.name).where(condition).with_for_update()).all()
        current = find_lease_holder(connection, rule_subset)
        if current is not None:
            return current
        connection.execute(_leases.delete().where(condition, _leases.c.name != name))
    fencing_token = register_engine(connection)
    row = {
        "name": name,
        "holder": sanitize_text(holder),
        "fence": fencing_token,
        "address": sanitize_text(address),
    }
    changes = {name: value for name, value in row.items() if name != "name"}
    statement = insert(_leases).values(**row, expires=_NOW + LEASE_DURATION)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={**changes, "expires": _NOW + LEASE_DURATION}
        )
    )
    return fencing_token


def take_over_expired_runs(
    connection: Connection,
    rule_subset: RuleSubset,
    fencing_token: int,
    rules: Collection[str],
    is_first: bool,
) -> list[str]:
    """Deletes expired leases of engines of a shared rule subset and takes over their runs.

    Returns the ids of the runs, which are now pending and belong to this engine. With `is_first`
    they include runs of engines whose leases are long gone.
    """
    expired_names = [
        row.name
        for row in connection.execute(_SELECT_LEASES)
        if row.left <= 0
        and row.fence != fencing_token
        and _is_same_shared_subset(parse_subset_from_lease(row.name), rule_subset)
    ]
    if not expired_names and not is_first:
        return []
    # Waits for a writing transaction of an engine that is still alive; it may renew meanwhile.
    conditions = (
        _leases.c.name.in_(expired_names),
        _leases.c.expires <= _NOW,
        _leases.c.fence != fencing_token,
    )
    connection.execute(select(_leases.c.name).where(*conditions).with_for_update()).all()
    connection.execute(_leases.delete().where(*conditions))
    runs, live_tokens = schema.runs, select(_leases.c.fence)
    unfinished = runs.c.state.in_(("pending", "running")), runs.c.fence.not_in(live_tokens)
    statement = update(runs).where(
        *unfinished, runs.c.rule.in_([sanitize_text(rule) for rule in rules])
    )
    run_ids = connection.execute(
        statement.values(fence=fencing_token, state="pending").returning(runs.c.id)
    )
    return list(run_ids.scalars())


def verify_fencing_token(connection: Connection, fencing_token: int) -> None:
    """Raises Fenced if another engine has taken over; else none can until the transaction ends."""
    if connection.execute(_LOCK_OWN_LEASE, {"mine": fencing_token}).first() is None:
        raise _build_fenced_error(connection)


def renew_lease(connection: Connection, fencing_token: int) -> None:
    """Extends the lease. Raises Fenced if another engine holds it."""
    if connection.execute(_RENEW_LEASE, {"mine": fencing_token}).rowcount != 1:
        raise _build_fenced_error(connection)


def update_heartbeats(
    connection: Connection, engine: str, fencing_token: int, now: Instant
) -> None:
    """Sets the heartbeat of an engine and of all its running runs to `now`."""
    parameters = {"who": sanitize_text(engine), "now": now}
    connection.execute(_UPDATE_RUN_HEARTBEATS, {**parameters, "mine": fencing_token})
    connection.execute(_UPDATE_ENGINE_HEARTBEAT, parameters)


def update_engine_address(connection: Connection, fencing_token: int, address: str) -> None:
    """Sets the address of the engine that holds the lease."""
    connection.execute(_UPDATE_ADDRESS, {"mine": fencing_token, "where": sanitize_text(address)})


def release_lease(connection: Connection, fencing_token: int) -> None:
    """Releases the lease at once, for a standby engine."""
    connection.execute(_RELEASE_LEASE, {"mine": fencing_token})


def _is_same_shared_subset(first: RuleSubset, second: RuleSubset) -> bool:
    return first.shared and second.shared and first.name == second.name


def _build_fenced_error(connection: Connection) -> Fenced:
    rows = [row for row in connection.execute(_SELECT_LEASES) if row.holder]
    holder_text = (
        f"the engine {LeaseHolder(rows[-1].holder, rows[-1].address, 0, 0)}" if rows else "another"
    )
    return Fenced(
        f"{holder_text} has taken over this ledger, since this one was not heard of for too long",
        "nothing was lost; start this one again and it stands by",
    )


# How long an engine is active: from acquiring its lease, over renewing it, to releasing it.


RENEWALS_PER_HEARTBEAT = 5
"""Renewals of a lease between two heartbeats of the runs."""

ResultT = TypeVar("ResultT")
LeaseAcquirer = Callable[[Connection], int | LeaseHolder]
StandbyCallback = Callable[[str], None]


class TransactionRunner(Protocol):
    """Runs an operation in a transaction; raises StoreUnavailable if the database is silent."""

    def __call__(self, operation: Callable[[Connection], ResultT], /) -> Awaitable[ResultT]: ...


async def acquire_lease(
    run_transaction: TransactionRunner,
    acquire: LeaseAcquirer,
    on_standby: StandbyCallback | None,
    find_current: Callable[[Connection], LeaseHolder | None] = find_lease_holder,
) -> int:
    """Acquires the lease, waiting while another engine holds it; returns the fencing token.

    `on_standby` is notified of the holder being waited for, and if the database is unavailable
    meanwhile. Without it there is no waiting: raises CatcherError naming the holder. After an
    outage of the database the holder gets a lease's duration to renew it, because it could not
    before.
    """
    loop = asyncio.get_running_loop()
    last_status, not_before = "", 0.0
    while True:
        try:
            result = await run_transaction(find_current if loop.time() < not_before else acquire)
        except StoreUnavailable as error:
            if on_standby is None or not last_status:
                raise
            status, not_before = error.message, loop.time() + nanoseconds_to_seconds(LEASE_DURATION)
        else:
            if isinstance(result, int):
                return result
            status = f"for {result}" if result is not None else last_status
        if on_standby is None:
            raise CatcherError(
                f"the engine {result} works on this ledger", "stop it first, or run this one beside"
            )
        if status != last_status:
            on_standby(
                f"standing by {status}" if status.startswith("for ") else f"standing by: {status}"
            )
            last_status = status
        await asyncio.sleep(POLL_INTERVAL)


class LeaseKeeper:
    """Renews the lease and the heartbeats for as long as its context lasts.

    `lease_write` is None for a ledger that is protected by a file lock. The lease is released at
    the end, so that a standby engine continues at once.
    """

    def __init__(
        self,
        engine: str,
        fencing_token: int,
        clock: Clock,
        write: TransactionRunner,
        lease_write: TransactionRunner | None = None,
    ) -> None:
        self._engine, self._fencing_token, self._clock = engine, fencing_token, clock
        self._write, self._lease_write = write, lease_write
        self._fenced_error: Fenced | None = None
        self._lost_event = asyncio.Event()
        self._last_answer = self._steady_from = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._renew_periodically(), name="ledger-tenure")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._lease_write is not None and self._fenced_error is None:
            try:
                await self._lease_write(partial(release_lease, fencing_token=self._fencing_token))
            except CatcherError:
                return  # The lease expires by itself.

    def verify_fencing_token(self, connection: Connection) -> None:
        """Raises Fenced if another engine has taken over (in the transaction of a write)."""
        if self._lease_write is not None:
            verify_fencing_token(connection, self._fencing_token)

    def mark_lost(self, error: Fenced) -> None:
        """Records that another engine has taken over."""
        self._fenced_error = self._fenced_error or error
        self._lost_event.set()

    @property
    def is_lost(self) -> bool:
        """True if another engine has taken over."""
        return self._fenced_error is not None

    async def wait_until_lost(self) -> NoReturn:
        """Raises Fenced as soon as another engine has taken over."""
        while self._fenced_error is None:
            await self._lost_event.wait()
        raise self._fenced_error

    @property
    def is_grace_period_over(self) -> bool:
        """True if the database has answered for long enough that every live engine has renewed."""
        return asyncio.get_running_loop().time() >= self._steady_from

    async def publish_address(self, address: str) -> None:
        """Publishes this engine's address to standby engines."""
        if self._lease_write is not None:
            await self._lease_write(
                partial(update_engine_address, fencing_token=self._fencing_token, address=address)
            )

    async def _renew_periodically(self) -> None:
        renewals = 0
        while self._fenced_error is None:
            await asyncio.sleep(RENEWAL_INTERVAL)
            renewals += 1
            try:
                if self._lease_write is not None:
                    await self._lease_write(partial(renew_lease, fencing_token=self._fencing_token))
                    self._record_database_response()
                if renewals % RENEWALS_PER_HEARTBEAT == 0:
                    await self._update_heartbeats()
            except Fenced as error:
                self.mark_lost(error)
            except CatcherError:
                # The ledger's health reports it; the lease may still be ours.
                self._last_answer = 0.0
                continue

    def _record_database_response(self) -> None:
        """After an outage of the database, allows other engines a lease's duration to renew too."""
        now = asyncio.get_running_loop().time()
        if now - self._last_answer > 2 * RENEWAL_INTERVAL:
            self._steady_from = now + nanoseconds_to_seconds(LEASE_DURATION)
        self._last_answer = now

    async def _update_heartbeats(self) -> None:
        now = self._clock()
        operation = partial(
            update_heartbeats, engine=self._engine, fencing_token=self._fencing_token, now=now
        )
        await (self._lease_write or self._write)(operation)
