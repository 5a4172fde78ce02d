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

from catcher.model.errors import CatcherError
from catcher.model.result import EncodedArtifact
from catcher.model.time import SECOND
from catcher.ports import StoreUnavailable
from catcher.stores.artifacts.object_store import ObjectSettings, ObstoreStore
from catcher.stores.artifacts.spool import SpooledObjects, SpoolReader
from tests.servers import S3_KEYS, ServerProcess, run_s3
from tests.stores.factories import FakeClock, wait_until


def create_item(n: int, size: int = 10) -> EncodedArtifact:
    return EncodedArtifact(f"{n}.txt", f"{n}".encode().ljust(size, b"."), "text/plain")


def create_key(n: int) -> str:
    return f"mount-jitter/2023/07/28/b78dd86b21f5/{n}.txt"


class FolderStore:
    """A store in a folder that a test takes away: a file stands in its place meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = ObstoreStore(ObjectSettings(str(path)))

    def make_unavailable(self) -> None:
        self.path.rename(self.path.with_name("elsewhere"))
        self.path.write_text("no folder")

    def make_available(self) -> None:
        self.path.unlink()
        self.path.with_name("elsewhere").rename(self.path)


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


def create_spool(store: ObstoreStore, tmp_path: Path, **options: Any) -> SpooledObjects:
    settings = {"clock": FakeClock(), "max_delay": 0.05, **options}
    return SpooledObjects(store, tmp_path / "spool", **settings)


async def wait_until_drained(objects: SpooledObjects) -> None:
    await wait_until(lambda: not objects.health().counts["waiting"])


async def test_while_all_is_well_nothing_waits(folder: FolderStore, tmp_path: Path) -> None:
    async with create_spool(folder.store, tmp_path) as objects:
        await objects.put(create_key(1), create_item(1))
        assert (
            await folder.store.get(create_key(1))
            == await objects.get(create_key(1))
            == create_item(1).data
        )
        health = objects.health()
    assert (health.state, health.counts["kept"], health.counts["spooled"]) == ("ok", 1, 0)


async def test_what_the_store_refuses_waits_and_is_read_from_the_spool(
    folder: FolderStore, tmp_path: Path
) -> None:
    clock = FakeClock()
    async with create_spool(folder.store, tmp_path, clock=clock) as objects:
        folder.make_unavailable()
        for n in range(3):
            await objects.put(create_key(n), create_item(n))
        clock.now += 90 * SECOND
        assert await objects.get(create_key(2)) == create_item(2).data
        assert (
            await SpoolReader(folder.store, tmp_path / "spool").get(create_key(1))
            == create_item(1).data
        )
        health = objects.health()
        assert health.state == "away"
        assert "did not keep" in health.problem
        assert (health.counts["waiting"], health.counts["oldest_seconds"]) == (3, 90)
        assert health.counts["bytes"] == sum(
            path.stat().st_size for path in (tmp_path / "spool").iterdir()
        )
        folder.make_available()
        await wait_until_drained(objects)
        assert [await folder.store.get(create_key(n)) for n in range(3)] == [
            create_item(n).data for n in range(3)
        ]
        assert objects.health().counts["bytes"] == 0
        await wait_until(lambda: objects.health().state == "ok")


async def test_what_waited_when_the_engine_ended_is_uploaded_by_the_next(
    folder: FolderStore, tmp_path: Path
) -> None:
    folder.make_unavailable()
    async with create_spool(folder.store, tmp_path) as objects:
        await objects.put(create_key(1), create_item(1))
    folder.make_available()
    async with create_spool(folder.store, tmp_path) as objects:
        await wait_until_drained(objects)
        assert await folder.store.get(create_key(1)) == create_item(1).data
        await objects.put(create_key(2), create_item(2))
        assert await folder.store.get(create_key(2)) == create_item(2).data


async def test_of_two_under_one_key_the_later_stays(folder: FolderStore, tmp_path: Path) -> None:
    async with create_spool(folder.store, tmp_path) as objects:
        await objects.put(create_key(1), create_item(1))
        folder.make_unavailable()
        await objects.put(create_key(1), create_item(2))
        await objects.put(create_key(1), create_item(3))
        assert await objects.get(create_key(1)) == create_item(3).data
        folder.make_available()
        await wait_until_drained(objects)
        assert await objects.get(create_key(1)) == create_item(3).data


async def test_what_another_engine_has_written_meanwhile_is_not_replaced(
    folder: FolderStore, tmp_path: Path
) -> None:
    """An engine died with an artifact in its spool, and another one carried the run out."""
    checksums = {
        create_key(1): f"sha256:{hashlib.sha256(create_item(2).data).hexdigest()}",
        create_key(3): f"sha256:{hashlib.sha256(create_item(3).data).hexdigest()}",
    }

    async def find_checksum(key: str) -> str | None:
        return checksums.get(key)

    folder.make_unavailable()
    async with create_spool(folder.store, tmp_path) as objects:
        for n in (1, 3, 4):
            await objects.put(create_key(n), create_item(n))
    folder.make_available()
    await folder.store.put(create_key(1), create_item(2))
    async with create_spool(folder.store, tmp_path, find_checksum=find_checksum) as objects:
        await wait_until_drained(objects)
        assert objects.health().counts["superseded"] == 1
        stored = [await folder.store.get(create_key(n)) for n in (1, 3, 4)]
    assert stored == [create_item(n).data for n in (2, 3, 4)]


async def test_a_full_spool_accepts_no_more_and_drops_nothing(
    folder: FolderStore, tmp_path: Path
) -> None:
    async with create_spool(folder.store, tmp_path, limit=25_000) as objects:
        folder.make_unavailable()
        await objects.put(create_key(1), create_item(1, 10_000))
        await objects.put(create_key(2), create_item(2, 10_000))
        with pytest.raises(StoreUnavailable, match=r"the spool is full.*stores: spool: 25000"):
            await objects.put(create_key(3), create_item(3, 10_000))
        assert objects.health().counts["refused"] == 1
        folder.make_available()
        await wait_until_drained(objects)
        assert len(await folder.store.list()) == 2
        await wait_until(lambda: objects.health().state == "ok")
        await objects.put(create_key(3), create_item(3, 10_000))
        assert len(await folder.store.list()) == 3


async def test_with_no_room_anywhere_the_store_is_retried(
    folder: FolderStore, tmp_path: Path
) -> None:
    async with create_spool(folder.store, tmp_path, limit=0) as objects:
        folder.make_unavailable()
        with pytest.raises(StoreUnavailable):
            await objects.put(create_key(1), create_item(1))
        folder.make_available()
        await wait_until(lambda: objects.health().state == "ok")
        await objects.put(create_key(1), create_item(1))
        assert await folder.store.get(create_key(1)) == create_item(1).data


async def test_a_torn_or_altered_file_is_set_aside_and_blocks_nothing(
    folder: FolderStore, tmp_path: Path
) -> None:
    folder.make_unavailable()
    async with create_spool(folder.store, tmp_path) as objects:
        for n in range(4):
            await objects.put(create_key(n), create_item(n))
    first, second, third, _ = sorted((tmp_path / "spool").iterdir())
    first.write_bytes(first.read_bytes()[:-3])
    second.write_bytes(b"\0\xff nonsense")
    third.with_suffix(".new").write_bytes(b"half of a dra")
    folder.make_available()
    async with create_spool(folder.store, tmp_path) as objects:
        await wait_until_drained(objects)
        assert await folder.store.list() == [create_key(2), create_key(3)]
        assert objects.health().counts["damaged"] == 1
    names = {path.name for path in (tmp_path / "spool").iterdir()}
    assert names == {f"{1:012d}.damaged", f"{2:012d}.spooled"}


async def test_a_key_that_leads_elsewhere_is_refused_also_when_unavailable(
    folder: FolderStore, tmp_path: Path
) -> None:
    folder.make_unavailable()
    async with create_spool(folder.store, tmp_path) as objects:
        with pytest.raises(CatcherError, match="is no key"):
            await objects.put("../../etc/passwd", create_item(1))


async def test_a_spool_that_cannot_be_created_is_reported_with_a_hint(
    folder: FolderStore, tmp_path: Path
) -> None:
    (tmp_path / "spool").write_text("a file in its place")
    with pytest.raises(CatcherError, match=r"the spool .* cannot be used.*--data"):
        async with create_spool(folder.store, tmp_path):
            pass


# -- a real server ------------------------------------------------------------------------------


@pytest.fixture
def s3_server(tmp_path: Path) -> Iterator[ServerProcess]:
    with run_s3(tmp_path / "s3") as server:
        yield server


def create_bucket_store(server: ServerProcess) -> ObstoreStore:
    access, secret = S3_KEYS
    url = f"http://127.0.0.1:{server.port}"
    return ObstoreStore(ObjectSettings("s3://catcher/site", url, "us-east-1", access, secret, 5.0))


@pytest.mark.server
async def test_a_bucket_that_stops_and_restarts_has_everything(
    s3_server: ServerProcess, tmp_path: Path
) -> None:
    store = create_bucket_store(s3_server)
    async with create_spool(store, tmp_path, upload_timeout=2.0) as objects:
        await objects.put(create_key(0), create_item(0))
        await asyncio.to_thread(s3_server.stop)
        await asyncio.gather(
            *(objects.put(create_key(n), create_item(n, 50_000)) for n in range(1, 9))
        )
        assert objects.health().counts["waiting"] == 8
        assert await objects.get(create_key(5)) == create_item(5, 50_000).data
        await asyncio.to_thread(s3_server.start)
        await wait_until_drained(objects)
        assert await store.list() == [create_key(n) for n in range(9)]
        assert await store.get(create_key(8)) == create_item(8, 50_000).data


@pytest.mark.server
async def test_a_bucket_that_hangs_blocks_nothing(s3_server: ServerProcess, tmp_path: Path) -> None:
    assert s3_server.process is not None
    store = create_bucket_store(s3_server)
    async with create_spool(store, tmp_path, upload_timeout=0.2) as objects:
        await objects.put(create_key(0), create_item(0))
        s3_server.process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitpid, s3_server.process.pid, os.WUNTRACED)
        await objects.put(create_key(1), create_item(1))
        assert "did not take" in objects.health().problem
        s3_server.process.send_signal(signal.SIGCONT)
        await wait_until_drained(objects)
        assert await store.list() == [create_key(0), create_key(1)]


@pytest.mark.server
async def test_refused_credentials_are_reported_and_the_artifact_waits(
    s3_server: ServerProcess, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{s3_server.port}"
    wrong = ObjectSettings("s3://catcher/site", url, "us-east-1", "nobody-at-all", "s3cret-key", 5)
    async with create_spool(ObstoreStore(wrong), tmp_path) as objects:
        await objects.put(create_key(1), create_item(1))
        health = objects.health()
    assert health.counts["waiting"] == 1
    assert "s3cret-key" not in repr(health)
