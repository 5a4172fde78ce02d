"""On a server one engine works and another stands by; an engine that was fenced off is harmless."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
import pytest

from catcher.model.errors import CatcherError
from catcher.model.time import MILLISECOND
from catcher.ports import Fenced, Query, StoreUnavailable
from catcher.stores.ledger.ledger import SqlLedger
from tests.servers import ServerProcess, run_postgresql
from tests.stores.factories import (
    NOON,
    FakeClock,
    create_commit,
    create_firing,
    create_run,
    list_ids,
    wait_until,
)

pytestmark = pytest.mark.server


def open_engine_ledger(url: str, name: str, messages: list[str] | None = None) -> SqlLedger:
    on_message = None if messages is None else messages.append
    return SqlLedger(url, name, FakeClock(), on_standby=on_message, address=f"http://{name}:8787")


@asynccontextmanager
async def run_standby(ledger: SqlLedger) -> AsyncIterator[asyncio.Task[SqlLedger]]:
    """An engine that waits for its turn; its ledger is closed in the end."""
    standby_task = asyncio.create_task(ledger.__aenter__())
    try:
        yield standby_task
    finally:
        standby_task.cancel()
        await asyncio.wait({standby_task})
        if not standby_task.cancelled() and standby_task.exception() is None:
            await ledger.__aexit__(None, None, None)


def expire_lease(url: str) -> None:
    """The lease runs out, as it does when its engine was stopped or cut off."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE leases SET expires = 0")


async def test_a_second_engine_is_refused_and_learns_who_is_leader(postgres_url: str) -> None:
    async with open_engine_ledger(postgres_url, "summit-1"):
        with pytest.raises(CatcherError, match="summit-1 at http://summit-1:8787 works on this"):
            async with open_engine_ledger(postgres_url, "summit-2"):
                pass


async def test_a_standby_continues_as_soon_as_the_leader_has_ended(postgres_url: str) -> None:
    messages: list[str] = []
    second = open_engine_ledger(postgres_url, "summit-2", messages)
    async with AsyncExitStack() as exit_stack:
        async with open_engine_ledger(postgres_url, "summit-1") as first:
            standby_task = await exit_stack.enter_async_context(run_standby(second))
            await wait_until(lambda: messages)
            assert messages == ["standing by for summit-1 at http://summit-1:8787"]
            await first.publish_address("http://10.0.0.1:80")
            await wait_until(lambda: len(messages) == 2)
            await first.commit(create_commit(create_firing(NOON)))
            assert not standby_task.done()
        async with asyncio.timeout(10):
            await standby_task
        assert list_ids(await second.list_unfinished_runs()) == [create_firing(NOON).id]


async def test_a_replaced_leader_writes_nothing_more(postgres_url: str) -> None:
    first, second = (
        open_engine_ledger(postgres_url, "summit-1"),
        open_engine_ledger(postgres_url, "summit-2", []),
    )
    run = create_run(create_firing(NOON))
    async with first:
        await first.commit(create_commit(run.firing))
        async with run_standby(second) as standby_task:
            await asyncio.to_thread(expire_lease, postgres_url)
            # The first may renew before the second looks; then it runs out once more.
            while not standby_task.done():
                await asyncio.to_thread(expire_lease, postgres_url)
                await asyncio.wait({standby_task}, timeout=0.05)
            with pytest.raises(Fenced, match="summit-2 at http://summit-2:8787 has taken over"):
                await first.commit(create_commit(create_firing(NOON + 1)))
            with pytest.raises(Fenced):
                await first.claim_run(run)
            with pytest.raises(Fenced):
                await first.wait_until_fenced()
            assert first.is_fenced
            assert not second.is_fenced
            assert list_ids(await second.list_firings(Query())) == [run.id]
            assert await second.claim_run(run)


async def test_an_idle_leader_learns_that_it_was_replaced(
    postgres_url: str,
) -> None:
    first, second = (
        open_engine_ledger(postgres_url, "summit-1"),
        open_engine_ledger(postgres_url, "summit-2", []),
    )
    async with first, run_standby(second) as standby_task:
        while not standby_task.done():
            await asyncio.to_thread(expire_lease, postgres_url)
            await asyncio.wait({standby_task}, timeout=0.05)
        with pytest.raises(Fenced):
            await first.wait_until_fenced()


class BreakableProxy:
    """A network to the server that a test cuts: nothing gets through, nobody is told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connected = asyncio.Event()
        self._connected.set()
        self._copy_tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> BreakableProxy:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._copy_tasks:
            task.cancel()
        await asyncio.gather(*self._copy_tasks, return_exceptions=True)

    def break_connection(self) -> None:
        self._connected.clear()

    def restore_connection(self) -> None:
        self._connected.set()

    async def _connect(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for reader, writer in ((client_reader, server_writer), (server_reader, client_writer)):
            self._copy_tasks.add(asyncio.create_task(self._copy_stream(reader, writer)))

    async def _copy_stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(65_536):
                await self._connected.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()


async def test_a_disconnected_engine_is_fenced_when_it_reconnects(
    postgres_server: ServerProcess, postgres_url: str
) -> None:
    second = open_engine_ledger(postgres_url, "summit-2", [])
    async with BreakableProxy(postgres_server.port) as proxy:
        url = postgres_url.replace(f":{postgres_server.port}/", f":{proxy.port}/")
        async with (
            open_engine_ledger(url, "summit-1") as first,
            run_standby(second) as standby_task,
        ):
            await first.commit(create_commit(create_firing(NOON)))
            proxy.break_connection()
            late_commit = asyncio.create_task(first.commit(create_commit(create_firing(NOON + 1))))
            async with asyncio.timeout(30):
                await standby_task
            await second.commit(create_commit(create_firing(NOON + 2)))
            proxy.restore_connection()
            with pytest.raises((Fenced, StoreUnavailable)):
                await late_commit
            with pytest.raises(Fenced):
                await first.wait_until_fenced()
            firing_ids = list_ids(await second.list_firings(Query()))
            assert firing_ids == [create_firing(NOON + n).id for n in (2, 0)]


async def test_a_takeover_waits_for_the_current_transaction(postgres_url: str) -> None:
    async with open_engine_ledger(postgres_url, "summit-1"):
        pass
    second = open_engine_ledger(postgres_url, "summit-2", [])
    with psycopg.connect(postgres_url) as writer:
        writer.execute("SELECT fence FROM leases FOR KEY SHARE")
        async with run_standby(second) as standby_task:
            with psycopg.connect(postgres_url, autocommit=True) as observer:
                await wait_until(lambda: has_blocked_session(observer))
            assert not standby_task.done()
            writer.commit()
            async with asyncio.timeout(10):
                await standby_task


def has_blocked_session(connection: psycopg.Connection[tuple[int]]) -> bool:
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    ).fetchone()
    return row is not None and row[0] > 0


async def test_of_two_engines_that_start_at_once_one_creates_the_ledger(postgres_url: str) -> None:
    ledgers = [open_engine_ledger(postgres_url, f"summit-{n}", []) for n in (1, 2)]
    async with run_standby(ledgers[0]) as first_task, run_standby(ledgers[1]) as second_task:
        done, standby_task = await asyncio.wait(
            {first_task, second_task}, return_when=asyncio.FIRST_COMPLETED
        )
        first = done.pop().result()
        assert len(standby_task) == 1
        await first.commit(create_commit(create_firing(NOON)))


async def test_every_start_has_a_greater_fencing_token(postgres_url: str) -> None:
    for n in range(3):
        async with open_engine_ledger(postgres_url, "summit-1"):
            with psycopg.connect(postgres_url) as observer:
                assert observer.execute("SELECT fence FROM leases").fetchone() == (n + 1,)
    with psycopg.connect(postgres_url) as observer:
        assert observer.execute("SELECT holder, expires FROM leases").fetchone() == ("", 0)


async def test_a_claim_whose_answer_was_lost_is_repeated(postgres_url: str) -> None:
    run = create_run(create_firing(NOON), engine="summit-1", started=NOON)
    async with open_engine_ledger(postgres_url, "summit-1") as ledger:
        await ledger.commit(create_commit(run.firing))
        assert await ledger.claim_run(run)
        assert await ledger.claim_run(run)
        assert not await ledger.claim_run(
            create_run(run.firing, engine="summit-1", started=NOON + 1)
        )


async def test_a_restarting_server_is_unavailable_and_the_lease_is_kept() -> None:
    with run_postgresql() as server:
        url = f"postgresql://catcher@127.0.0.1:{server.port}/postgres"
        messages: list[str] = []
        second = open_engine_ledger(url, "summit-2", messages)
        async with (
            open_engine_ledger(url, "summit-1") as first,
            run_standby(second) as standby_task,
        ):
            await first.commit(create_commit(create_firing(NOON)))
            await wait_until(lambda: messages)
            await asyncio.to_thread(server.stop)
            with pytest.raises(StoreUnavailable, match="does not answer"):
                await first.commit(create_commit(create_firing(NOON + 1)))
            assert first.health().state == "away"
            await wait_until(lambda: len(messages) == 2)
            assert messages[1].startswith("standing by: the ledger postgresql")
            await asyncio.to_thread(server.start)
            await wait_until(lambda: len(messages) == 3)
            await first.commit(create_commit(create_firing(NOON + 1)))
            assert len(await first.list_firings(Query())) == 2
            assert first.health().state == "ok"
            assert not standby_task.done()


async def test_a_silent_server_times_out() -> None:
    with run_postgresql() as server:
        url = f"postgresql://catcher@127.0.0.1:{server.port}/postgres"
        timeout = 100 * MILLISECOND
        async with SqlLedger(url, "summit-1", FakeClock(), lock_timeout=timeout) as ledger:
            await ledger.commit(create_commit(create_firing(NOON)))
            with psycopg.connect(url) as observer:
                query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'catcher'"
                pids = [row[0] for row in observer.execute(query)]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            with pytest.raises(StoreUnavailable, match="does not answer"):
                await ledger.commit(create_commit(create_firing(NOON + 1)))
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            await ledger.commit(create_commit(create_firing(NOON + 1)))
            assert len(await ledger.list_firings(Query())) == 2
