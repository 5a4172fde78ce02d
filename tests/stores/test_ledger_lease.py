"""On a server one engine works and another stands by; an engine that was fenced off is harmless."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
import pytest

from catcher.model.problem import CatcherError
from catcher.model.time import MILLISECOND
from catcher.ports import Fenced, Query, StoreAway
from catcher.stores.ledger import SqlLedger
from tests.servers import Server, postgresql
from tests.stores.making import NOON, FakeClock, commit_of, firing_at, ids, pending, until

pytestmark = pytest.mark.server


def engine(url: str, name: str, told: list[str] | None = None) -> SqlLedger:
    hear = None if told is None else told.append
    return SqlLedger(url, name, FakeClock(), told=hear, where=f"http://{name}:8787")


@asynccontextmanager
async def standing_by(ledger: SqlLedger) -> AsyncIterator[asyncio.Task[SqlLedger]]:
    """An engine that waits for its turn; its ledger is closed in the end."""
    waiting = asyncio.create_task(ledger.__aenter__())
    try:
        yield waiting
    finally:
        waiting.cancel()
        await asyncio.wait({waiting})
        if not waiting.cancelled() and waiting.exception() is None:
            await ledger.__aexit__(None, None, None)


def expire(url: str) -> None:
    """The lease runs out, as it does when its engine was stopped or cut off."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE leases SET expires = 0")


async def test_a_second_engine_is_told_who_works(postgres_url: str) -> None:
    async with engine(postgres_url, "summit-1"):
        with pytest.raises(CatcherError, match="summit-1 at http://summit-1:8787 works on this"):
            async with engine(postgres_url, "summit-2"):
                pass


async def test_one_stands_by_and_goes_on_as_soon_as_the_other_has_ended(postgres_url: str) -> None:
    told: list[str] = []
    second = engine(postgres_url, "summit-2", told)
    async with AsyncExitStack() as lifetimes:
        async with engine(postgres_url, "summit-1") as first:
            waiting = await lifetimes.enter_async_context(standing_by(second))
            await until(lambda: told)
            assert told == ["standing by for summit-1 at http://summit-1:8787"]
            await first.announce("http://10.0.0.1:80")
            await until(lambda: len(told) == 2)
            await first.commit(commit_of(firing_at(NOON)))
            assert not waiting.done()
        async with asyncio.timeout(10):
            await waiting
        assert ids(await second.unfinished()) == [firing_at(NOON).id]


async def test_an_engine_that_was_taken_over_from_writes_nothing_more(postgres_url: str) -> None:
    first, second = engine(postgres_url, "summit-1"), engine(postgres_url, "summit-2", [])
    run = pending(firing_at(NOON))
    async with first:
        await first.commit(commit_of(run.firing))
        async with standing_by(second) as waiting:
            await asyncio.to_thread(expire, postgres_url)
            # The first may renew before the second looks; then it runs out once more.
            while not waiting.done():
                await asyncio.to_thread(expire, postgres_url)
                await asyncio.wait({waiting}, timeout=0.05)
            with pytest.raises(Fenced, match="summit-2 at http://summit-2:8787 has taken over"):
                await first.commit(commit_of(firing_at(NOON + 1)))
            with pytest.raises(Fenced):
                await first.claim(run)
            with pytest.raises(Fenced):
                await first.until_fenced()
            assert first.fenced
            assert not second.fenced
            assert ids(await second.firings(Query())) == [run.id]
            assert await second.claim(run)


async def test_an_engine_that_writes_nothing_learns_that_it_was_taken_over_from(
    postgres_url: str,
) -> None:
    first, second = engine(postgres_url, "summit-1"), engine(postgres_url, "summit-2", [])
    async with first, standing_by(second) as waiting:
        while not waiting.done():
            await asyncio.to_thread(expire, postgres_url)
            await asyncio.wait({waiting}, timeout=0.05)
        with pytest.raises(Fenced):
            await first.until_fenced()


class Cable:
    """A network to the server that a test cuts: nothing gets through, nobody is told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._whole = asyncio.Event()
        self._whole.set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    async def _connect(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_connection("127.0.0.1", self._port)
        for reader, writer in ((near, forth), (far, back)):
            self._pumps.add(asyncio.create_task(self._pump(reader, writer)))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()


async def test_an_engine_that_was_cut_off_is_fenced_when_it_is_back(
    server: Server, postgres_url: str
) -> None:
    second = engine(postgres_url, "summit-2", [])
    async with Cable(server.port) as cable:
        url = postgres_url.replace(f":{server.port}/", f":{cable.port}/")
        async with engine(url, "summit-1") as first, standing_by(second) as waiting:
            await first.commit(commit_of(firing_at(NOON)))
            cable.cut()
            late = asyncio.create_task(first.commit(commit_of(firing_at(NOON + 1))))
            async with asyncio.timeout(30):
                await waiting
            await second.commit(commit_of(firing_at(NOON + 2)))
            cable.mend()
            with pytest.raises((Fenced, StoreAway)):
                await late
            with pytest.raises(Fenced):
                await first.until_fenced()
            found = ids(await second.firings(Query()))
            assert found == [firing_at(NOON + n).id for n in (2, 0)]


async def test_a_take_over_waits_for_the_transaction_in_hand(postgres_url: str) -> None:
    async with engine(postgres_url, "summit-1"):
        pass
    second = engine(postgres_url, "summit-2", [])
    with psycopg.connect(postgres_url) as writing:
        writing.execute("SELECT fence FROM leases FOR KEY SHARE")
        async with standing_by(second) as waiting:
            with psycopg.connect(postgres_url, autocommit=True) as looking:
                await until(lambda: blocked(looking))
            assert not waiting.done()
            writing.commit()
            async with asyncio.timeout(10):
                await waiting


def blocked(connection: psycopg.Connection[tuple[int]]) -> bool:
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    ).fetchone()
    return row is not None and row[0] > 0


async def test_of_two_engines_that_start_at_once_one_makes_the_ledger(postgres_url: str) -> None:
    ledgers = [engine(postgres_url, f"summit-{n}", []) for n in (1, 2)]
    async with standing_by(ledgers[0]) as one, standing_by(ledgers[1]) as other:
        done, waiting = await asyncio.wait({one, other}, return_when=asyncio.FIRST_COMPLETED)
        first = done.pop().result()
        assert len(waiting) == 1
        await first.commit(commit_of(firing_at(NOON)))


async def test_every_start_has_a_greater_fence(postgres_url: str) -> None:
    for n in range(3):
        async with engine(postgres_url, "summit-1"):
            with psycopg.connect(postgres_url) as looking:
                assert looking.execute("SELECT fence FROM leases").fetchone() == (n + 1,)
    with psycopg.connect(postgres_url) as looking:
        assert looking.execute("SELECT holder, expires FROM leases").fetchone() == ("", 0)


async def test_a_claim_whose_answer_was_lost_is_made_again(postgres_url: str) -> None:
    run = pending(firing_at(NOON), engine="summit-1", started=NOON)
    async with engine(postgres_url, "summit-1") as ledger:
        await ledger.commit(commit_of(run.firing))
        assert await ledger.claim(run)
        assert await ledger.claim(run)
        assert not await ledger.claim(pending(run.firing, engine="summit-1", started=NOON + 1))


async def test_a_server_that_restarts_is_away_meanwhile_and_the_lease_is_kept() -> None:
    with postgresql() as server:
        url = f"postgresql://catcher@127.0.0.1:{server.port}/postgres"
        told: list[str] = []
        second = engine(url, "summit-2", told)
        async with engine(url, "summit-1") as first, standing_by(second) as waiting:
            await first.commit(commit_of(firing_at(NOON)))
            await until(lambda: told)
            await asyncio.to_thread(server.stop)
            with pytest.raises(StoreAway, match="does not answer"):
                await first.commit(commit_of(firing_at(NOON + 1)))
            assert first.health().state == "away"
            await until(lambda: len(told) == 2)
            assert told[1].startswith("standing by: the ledger postgresql")
            await asyncio.to_thread(server.start)
            await until(lambda: len(told) == 3)
            await first.commit(commit_of(firing_at(NOON + 1)))
            assert len(await first.firings(Query())) == 2
            assert first.health().state == "ok"
            assert not waiting.done()


async def test_a_server_that_says_nothing_is_given_up() -> None:
    with postgresql() as server:
        url = f"postgresql://catcher@127.0.0.1:{server.port}/postgres"
        patience = 100 * MILLISECOND
        async with SqlLedger(url, "summit-1", FakeClock(), patience=patience) as ledger:
            await ledger.commit(commit_of(firing_at(NOON)))
            with psycopg.connect(url) as looking:
                query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'catcher'"
                pids = [row[0] for row in looking.execute(query)]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            with pytest.raises(StoreAway, match="does not answer"):
                await ledger.commit(commit_of(firing_at(NOON + 1)))
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            await ledger.commit(commit_of(firing_at(NOON + 1)))
            assert len(await ledger.firings(Query())) == 2
