"""While the object store is away artifacts wait on disk, are read from there, and catch up."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.model.time import SECOND
from catcher.ports import StoreAway
from catcher.stores.objects import Objects, ObjectSettings
from catcher.stores.spool import SpooledObjects, SpooledReading
from tests.servers import S3_KEYS, Server, s3
from tests.stores.making import FakeClock, until


def item(n: int, size: int = 10) -> Encoded:
    return Encoded(f"{n}.txt", f"{n}".encode().ljust(size, b"."), "text/plain")


def key(n: int) -> str:
    return f"mount-jitter/2023/07/28/b78dd86b21f5/{n}.txt"


class Folder:
    """A store in a folder that a test takes away: a file stands in its place meanwhile."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = Objects(ObjectSettings(str(place)))

    def take_away(self) -> None:
        self.place.rename(self.place.with_name("elsewhere"))
        self.place.write_text("no folder")

    def bring_back(self) -> None:
        self.place.unlink()
        self.place.with_name("elsewhere").rename(self.place)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "objects")


def spooled(store: Objects, tmp_path: Path, **how: Any) -> SpooledObjects:
    settings = {"clock": FakeClock(), "longest_pause": 0.05, **how}
    return SpooledObjects(store, tmp_path / "spool", **settings)


async def caught_up(objects: SpooledObjects) -> None:
    await until(lambda: not objects.health().counts["waiting"])


async def test_while_all_is_well_nothing_waits(folder: Folder, tmp_path: Path) -> None:
    async with spooled(folder.store, tmp_path) as objects:
        await objects.put(key(1), item(1))
        assert await folder.store.get(key(1)) == await objects.get(key(1)) == item(1).data
        health = objects.health()
    assert (health.state, health.counts["kept"], health.counts["spooled"]) == ("ok", 1, 0)


async def test_what_the_store_does_not_take_waits_and_is_read_from_here(
    folder: Folder, tmp_path: Path
) -> None:
    clock = FakeClock()
    async with spooled(folder.store, tmp_path, clock=clock) as objects:
        folder.take_away()
        for n in range(3):
            await objects.put(key(n), item(n))
        clock.now += 90 * SECOND
        assert await objects.get(key(2)) == item(2).data
        assert await SpooledReading(folder.store, tmp_path / "spool").get(key(1)) == item(1).data
        health = objects.health()
        assert health.state == "away"
        assert "did not keep" in health.problem
        assert (health.counts["waiting"], health.counts["oldest_seconds"]) == (3, 90)
        assert health.counts["bytes"] == sum(
            path.stat().st_size for path in (tmp_path / "spool").iterdir()
        )
        folder.bring_back()
        await caught_up(objects)
        assert [await folder.store.get(key(n)) for n in range(3)] == [
            item(n).data for n in range(3)
        ]
        assert objects.health().counts["bytes"] == 0
        await until(lambda: objects.health().state == "ok")


async def test_what_waited_when_the_engine_ended_is_brought_over_by_the_next(
    folder: Folder, tmp_path: Path
) -> None:
    folder.take_away()
    async with spooled(folder.store, tmp_path) as objects:
        await objects.put(key(1), item(1))
    folder.bring_back()
    async with spooled(folder.store, tmp_path) as objects:
        await caught_up(objects)
        assert await folder.store.get(key(1)) == item(1).data
        await objects.put(key(2), item(2))
        assert await folder.store.get(key(2)) == item(2).data


async def test_of_two_under_one_key_the_later_stays(folder: Folder, tmp_path: Path) -> None:
    async with spooled(folder.store, tmp_path) as objects:
        await objects.put(key(1), item(1))
        folder.take_away()
        await objects.put(key(1), item(2))
        await objects.put(key(1), item(3))
        assert await objects.get(key(1)) == item(3).data
        folder.bring_back()
        await caught_up(objects)
        assert await objects.get(key(1)) == item(3).data


async def test_what_another_engine_has_made_anew_meanwhile_is_not_replaced(
    folder: Folder, tmp_path: Path
) -> None:
    """An engine died with an artifact in its spool, and another one carried the run out."""
    listed = {
        key(1): f"sha256:{hashlib.sha256(item(2).data).hexdigest()}",
        key(3): f"sha256:{hashlib.sha256(item(3).data).hexdigest()}",
    }

    async def look(asked: str) -> str | None:
        return listed.get(asked)

    folder.take_away()
    async with spooled(folder.store, tmp_path) as objects:
        for n in (1, 3, 4):
            await objects.put(key(n), item(n))
    folder.bring_back()
    await folder.store.put(key(1), item(2))
    async with spooled(folder.store, tmp_path, listed=look) as objects:
        await caught_up(objects)
        assert objects.health().counts["superseded"] == 1
        kept = [await folder.store.get(key(n)) for n in (1, 3, 4)]
    assert kept == [item(n).data for n in (2, 3, 4)]


async def test_a_full_spool_takes_no_more_and_drops_nothing(folder: Folder, tmp_path: Path) -> None:
    async with spooled(folder.store, tmp_path, limit=25_000) as objects:
        folder.take_away()
        await objects.put(key(1), item(1, 10_000))
        await objects.put(key(2), item(2, 10_000))
        with pytest.raises(StoreAway, match=r"the spool is full.*stores: spool: 25000"):
            await objects.put(key(3), item(3, 10_000))
        assert objects.health().counts["refused"] == 1
        folder.bring_back()
        await caught_up(objects)
        assert len(await folder.store.list()) == 2
        await until(lambda: objects.health().state == "ok")
        await objects.put(key(3), item(3, 10_000))
        assert len(await folder.store.list()) == 3


async def test_with_no_room_anywhere_the_store_is_asked_again(
    folder: Folder, tmp_path: Path
) -> None:
    async with spooled(folder.store, tmp_path, limit=0) as objects:
        folder.take_away()
        with pytest.raises(StoreAway):
            await objects.put(key(1), item(1))
        folder.bring_back()
        await until(lambda: objects.health().state == "ok")
        await objects.put(key(1), item(1))
        assert await folder.store.get(key(1)) == item(1).data


async def test_a_torn_or_altered_file_is_set_aside_and_holds_nobody_up(
    folder: Folder, tmp_path: Path
) -> None:
    folder.take_away()
    async with spooled(folder.store, tmp_path) as objects:
        for n in range(4):
            await objects.put(key(n), item(n))
    first, second, third, _ = sorted((tmp_path / "spool").iterdir())
    first.write_bytes(first.read_bytes()[:-3])
    second.write_bytes(b"\0\xff nonsense")
    third.with_suffix(".new").write_bytes(b"half of a dra")
    folder.bring_back()
    async with spooled(folder.store, tmp_path) as objects:
        await caught_up(objects)
        assert await folder.store.list() == [key(2), key(3)]
        assert objects.health().counts["damaged"] == 1
    names = {path.name for path in (tmp_path / "spool").iterdir()}
    assert names == {f"{1:012d}.damaged", f"{2:012d}.spooled"}


async def test_a_key_that_leads_elsewhere_is_refused_also_when_away(
    folder: Folder, tmp_path: Path
) -> None:
    folder.take_away()
    async with spooled(folder.store, tmp_path) as objects:
        with pytest.raises(CatcherError, match="is no key"):
            await objects.put("../../etc/passwd", item(1))


async def test_a_spool_that_cannot_be_made_is_told_with_what_to_do(
    folder: Folder, tmp_path: Path
) -> None:
    (tmp_path / "spool").write_text("a file in its place")
    with pytest.raises(CatcherError, match=r"the spool .* cannot be used.*--data"):
        async with spooled(folder.store, tmp_path):
            pass


# -- a real server ------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with s3(tmp_path / "s3") as running:
        yield running


def bucket(server: Server) -> Objects:
    access, secret = S3_KEYS
    url = f"http://127.0.0.1:{server.port}"
    return Objects(ObjectSettings("s3://catcher/site", url, "us-east-1", access, secret, 5.0))


@pytest.mark.server
async def test_a_bucket_that_goes_and_comes_back_has_everything(
    server: Server, tmp_path: Path
) -> None:
    store = bucket(server)
    async with spooled(store, tmp_path, patience=2.0) as objects:
        await objects.put(key(0), item(0))
        await asyncio.to_thread(server.stop)
        await asyncio.gather(*(objects.put(key(n), item(n, 50_000)) for n in range(1, 9)))
        assert objects.health().counts["waiting"] == 8
        assert await objects.get(key(5)) == item(5, 50_000).data
        await asyncio.to_thread(server.start)
        await caught_up(objects)
        assert await store.list() == [key(n) for n in range(9)]
        assert await store.get(key(8)) == item(8, 50_000).data


@pytest.mark.server
async def test_a_bucket_that_hangs_holds_nobody_up(server: Server, tmp_path: Path) -> None:
    assert server.process is not None
    store = bucket(server)
    async with spooled(store, tmp_path, patience=0.2) as objects:
        await objects.put(key(0), item(0))
        server.process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitpid, server.process.pid, os.WUNTRACED)
        await objects.put(key(1), item(1))
        assert "did not take" in objects.health().problem
        server.process.send_signal(signal.SIGCONT)
        await caught_up(objects)
        assert await store.list() == [key(0), key(1)]


@pytest.mark.server
async def test_credentials_that_are_refused_are_told_and_the_artifact_waits(
    server: Server, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{server.port}"
    wrong = ObjectSettings("s3://catcher/site", url, "us-east-1", "nobody-at-all", "s3cret-key", 5)
    async with spooled(Objects(wrong), tmp_path) as objects:
        await objects.put(key(1), item(1))
        health = objects.health()
    assert health.counts["waiting"] == 1
    assert "s3cret-key" not in repr(health)
