"""How long an engine works on a ledger: from taking its lease, over renewing it, to its end.

On a server, an engine that finds the lease held stands by until it is free. While it holds the
lease it renews it; if it cannot for so long that another engine took over, it is fenced off. A
ledger in a file is held by the file's lock, so that only the heartbeat is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import NoReturn, Protocol, Self, TypeVar

from sqlalchemy import Connection

from catcher.model.problem import CatcherError
from catcher.model.time import Clock, to_seconds
from catcher.ports import Fenced, StoreAway
from catcher.stores import ledger_lease as lease
from catcher.stores.ledger_lease import Holder

BEATS = 5
"""Renewals of a lease between two heartbeats of the runs."""

Answer = TypeVar("Answer")
Take = Callable[[Connection], int | Holder]
Told = Callable[[str], None]


class Ask(Protocol):
    """Has work done in a transaction; StoreAway where the database does not answer."""

    def __call__(self, work: Callable[[Connection], Answer], /) -> Awaitable[Answer]: ...


async def granted(
    ask: Ask,
    take: Take,
    told: Told | None,
    look: Callable[[Connection], Holder | None] = lease.look,
) -> int:
    """Takes the lease, waiting for it where another engine holds it; returns the fence.

    `told` hears whom one stands by for, and that the database is away meanwhile. Without it
    nobody waits: CatcherError names who holds the lease. After a time in which the database
    was away its holder gets a lease's time to renew it, for it could not before.
    """
    loop = asyncio.get_running_loop()
    said, not_before = "", 0.0
    while True:
        try:
            held = await ask(look if loop.time() < not_before else take)
        except StoreAway as trouble:
            if told is None or not said:
                raise
            words, not_before = trouble.message, loop.time() + to_seconds(lease.LASTING)
        else:
            if isinstance(held, int):
                return held
            words = f"for {held}" if held is not None else said
        if told is None:
            raise CatcherError(
                f"the engine {held} works on this ledger", "stop it first, or run this one beside"
            )
        if words != said:
            told(f"standing by {words}" if words.startswith("for ") else f"standing by: {words}")
            said = words
        await asyncio.sleep(lease.LOOKED_AT)


class Tenure:
    """Renews the lease and the heartbeats for as long as its context lasts.

    `keep` is None for a ledger that is held by a lock. The lease is released at the end, so
    that whoever stands by goes on at once.
    """

    def __init__(
        self, engine: str, fence: int, clock: Clock, write: Ask, keep: Ask | None = None
    ) -> None:
        self._engine, self._fence, self._clock = engine, fence, clock
        self._write, self._keep = write, keep
        self._lost: Fenced | None = None
        self._ended = asyncio.Event()
        self._heard = self._sure_from = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._renew(), name="ledger-tenure")
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
        if self._keep is not None and self._lost is None:
            try:
                await self._keep(partial(lease.release, fence=self._fence))
            except CatcherError:
                return  # It runs out by itself.

    def require(self, connection: Connection) -> None:
        """Fenced where another engine has taken over (in the transaction of a write)."""
        if self._keep is not None:
            lease.require(connection, self._fence)

    def lose(self, fenced: Fenced) -> None:
        """Another engine has taken over."""
        self._lost = self._lost or fenced
        self._ended.set()

    @property
    def lost(self) -> bool:
        """Whether another engine has taken over."""
        return self._lost is not None

    async def until_lost(self) -> NoReturn:
        """Raises Fenced as soon as another engine has taken over."""
        while self._lost is None:
            await self._ended.wait()
        raise self._lost

    @property
    def steady(self) -> bool:
        """Whether the database has answered for so long that whoever lives has told it so."""
        return asyncio.get_running_loop().time() >= self._sure_from

    async def announce(self, address: str) -> None:
        """Tells those who stand by where this engine answers."""
        if self._keep is not None:
            await self._keep(partial(lease.announce, fence=self._fence, address=address))

    async def _renew(self) -> None:
        beats = 0
        while self._lost is None:
            await asyncio.sleep(lease.RENEWED)
            beats += 1
            try:
                if self._keep is not None:
                    await self._keep(partial(lease.renew, fence=self._fence))
                    self._hear()
                if beats % BEATS == 0:
                    await self._beat()
            except Fenced as fenced:
                self.lose(fenced)
            except CatcherError:
                # The ledger's health tells of it; the lease may still be ours.
                self._heard = 0.0
                continue

    def _hear(self) -> None:
        """After a silence of the database the others get a lease's time to be heard of, too."""
        now = asyncio.get_running_loop().time()
        if now - self._heard > 2 * lease.RENEWED:
            self._sure_from = now + to_seconds(lease.LASTING)
        self._heard = now

    async def _beat(self) -> None:
        now = self._clock()
        beat = partial(lease.beat, engine=self._engine, fence=self._fence, now=now)
        await (self._keep or self._write)(beat)
