"""What a site keeps, copied to a second facility: SQLite and a folder to PostgreSQL and S3."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catcher.app import load_site, replication
from catcher.app.places import ledger_address, open_objects
from catcher.app.replicating import Tally, TwoSites
from catcher.model.commit import Commit
from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.model.run import Run
from catcher.model.time import SECOND, wall_clock
from catcher.ports import Query, StoreAway
from catcher.stores.ledger import SqlLedger
from catcher.stores.objects import Objects
from tests.cli.calling import call
from tests.servers import S3_KEYS, Server, s3
from tests.small_site import write_site
from tests.stores.making import NOON, done, firing_at, pending

COUNT = 130
S3_SITE = """site: tucson
stores:
  ledger: {{postgresql: {{url: "{ledger}"}}}}
  objects:
    s3: {{url: "s3://catcher/copies", endpoint: "http://127.0.0.1:{port}", region: us-east-1,
         access_key: {key}, secret_key: {secret}}}
"""


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(
    params=["sqlite and a folder", pytest.param("postgresql and s3", marks=pytest.mark.server)]
)
def sites(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """The folders of a site and of the one that it is copied to."""
    near = write_site(tmp_path / "near", settings="site: summit")
    settings = "site: tucson"
    if request.param != "sqlite and a folder":
        port = request.getfixturevalue("bucket").port
        url = request.getfixturevalue("postgres_url")
        settings = S3_SITE.format(ledger=url, port=port, key=S3_KEYS[0], secret=S3_KEYS[1])
        settings = settings.replace("s3://catcher/copies", f"s3://catcher/{tmp_path.name}")
    return near, write_site(tmp_path / "far", settings=settings)


def both(sites: tuple[Path, Path]) -> TwoSites:
    return replication(sites[0], None, sites[1], None)


def quietly(tally: Tally) -> None:
    """Nobody looks."""


class Keeper:
    """Keeps runs at the first site, as an engine does."""

    def __init__(self, site: Path) -> None:
        loaded = load_site(site)
        data = site / ".catcher"
        self.address = ledger_address(loaded, data)
        self.objects = open_objects(loaded, data)

    async def keep(self, first: int, last: int) -> list[Run]:
        runs = [await self._made(number) for number in range(first, last)]
        async with SqlLedger(self.address, f"engine-{first}") as ledger:
            seen = [
                Observation("exposure", f"MC_{n}", NOON, NOON + SECOND) for n in range(first, last)
            ]
            firings = tuple(run.firing for run in runs)
            waiting = tuple(pending(run.firing) for run in runs)
            await ledger.commit(Commit(firings=firings, runs=waiting, observations=tuple(seen)))
            await ledger.commit(Commit(finished=tuple(runs)))
            alone = firing_at(NOON + last * SECOND + 1, rule="alone")
            still = firing_at(NOON + last * SECOND + 2, rule="still")
            await ledger.commit(Commit(firings=(alone, still), runs=(pending(still),)))
        return runs

    async def _made(self, number: int) -> Run:
        run = done(pending(firing_at(NOON + number * SECOND)), observation=f"MC_{number}")
        data = f"plot {number} ".encode() * 50
        record = replace(
            run.artifacts[0], size=len(data), url=self.objects.url(run.artifacts[0].key),
            checksum=f"sha256:{hashlib.sha256(data).hexdigest()}",
        )  # fmt: skip
        await self.objects.put(record.key, Encoded(record.name, data, record.mime))
        return replace(run, finished=wall_clock(), artifacts=(record,))


async def everything(ledger: SqlLedger) -> dict[str, list[Any]]:
    """What was copied, without what belongs to a place."""
    query = Query(limit=10_000)
    runs = [replace(one, artifacts=()) for one in await ledger.runs(query)]
    artifacts = [replace(one, url="") for one in await ledger.artifacts(query)]
    return {
        "runs": [replace(one, fields={}) for one in runs if one.state == "done"],
        "fields": [
            str((one.id, name, known.over, list(known.ids), known.values.tolist()))
            for one in runs
            for name, known in one.fields.items()
        ],
        "firings": list(await ledger.firings(query)),
        "metrics": list(await ledger.metrics(query)),
        "artifacts": artifacts,
        "observations": [await ledger.observation("exposure", f"MC_{n}") for n in range(COUNT)],
    }


async def far_end(sites: tuple[Path, Path]) -> tuple[dict[str, list[Any]], Objects]:
    site = load_site(sites[1])
    async with SqlLedger(ledger_address(site, sites[1] / ".catcher")) as ledger:
        return await everything(ledger), open_objects(site, sites[1] / ".catcher")


async def near_end(sites: tuple[Path, Path]) -> dict[str, list[Any]]:
    async with SqlLedger(ledger_address(load_site(sites[0]), sites[0] / ".catcher")) as ledger:
        return await everything(ledger)


async def same(sites: tuple[Path, Path]) -> None:
    """Both ends hold the same, and every artifact opens at the second."""
    near, (far, objects) = await near_end(sites), await far_end(sites)
    assert {name: near[name] == far[name] for name in near} == dict.fromkeys(near, True)
    for record in far["artifacts"]:
        data = await objects.get(record.key)
        assert record.checksum == f"sha256:{hashlib.sha256(data).hexdigest()}"


async def test_what_is_over_is_copied_once_and_then_what_is_new(sites: tuple[Path, Path]) -> None:
    await Keeper(sites[0]).keep(0, COUNT - 10)
    first = await both(sites).copy(None, quietly)
    assert (first.runs, first.firings, first.metrics, first.artifacts) == (120, 122, 120, 120)
    await Keeper(sites[0]).keep(COUNT - 10, COUNT)
    second = await both(sites).copy(3600 * SECOND, quietly)
    assert (second.runs, second.firings, second.artifacts) == (10, 12, 10)
    assert (await both(sites).copy(None, quietly)).runs == 0
    await same(sites)


async def test_addresses_are_of_the_place_and_keys_are_of_both(sites: tuple[Path, Path]) -> None:
    await Keeper(sites[0]).keep(0, 1)
    await both(sites).copy(None, quietly)
    site = load_site(sites[1])
    async with SqlLedger(ledger_address(site, sites[1] / ".catcher")) as ledger:
        (record,) = await ledger.artifacts(Query())
    objects = open_objects(site, sites[1] / ".catcher")
    assert record.url == objects.url(record.key)
    assert record.key in await Keeper(sites[0]).objects.list()


async def test_a_damaged_artifact_is_told_and_taken_for_no_whole_one(
    sites: tuple[Path, Path],
) -> None:
    runs = await Keeper(sites[0]).keep(0, 3)
    place = Keeper(sites[0]).objects.folder
    assert place is not None
    (place / runs[1].artifacts[0].key).write_bytes(b"plot 1 plot")
    tally = await both(sites).copy(None, quietly)
    assert tally.problems == [
        f"{runs[1].artifacts[0].key}: its bytes are not those that its run wrote"
    ]
    assert (tally.runs, tally.artifacts) == (3, 2)
    far, objects = await far_end(sites)
    assert len(far["artifacts"]) == 2 and len(await objects.list()) == 2
    (note,) = [one.note for one in far["runs"] if one.id == runs[1].id]
    assert note == "jitter.png was not copied: its bytes are not those that its run wrote"


async def test_verifying_finds_what_was_damaged_at_the_second_site_and_mends_it(
    sites: tuple[Path, Path],
) -> None:
    runs = await Keeper(sites[0]).keep(0, 4)
    await both(sites).copy(None, quietly)
    _, objects = await far_end(sites)
    await objects.put(runs[0].artifacts[0].key, Encoded("jitter.png", b"rotten", "image/png"))
    await objects.remove([runs[2].artifacts[0].key])
    tally = await both(sites).verify(quietly)
    assert (tally.artifacts, tally.mended, tally.problems) == (2, 2, [])
    assert (await both(sites).verify(quietly)).artifacts == 4
    await same(sites)


def test_killed_at_any_time_it_goes_on_where_it_was(sites: tuple[Path, Path]) -> None:
    asyncio.run(Keeper(sites[0]).keep(0, COUNT))
    objects = open_objects(load_site(sites[1]), sites[1] / ".catcher")
    command = [sys.executable, "-m", "catcher", "replicate", "--json"]
    ends = ["--site", str(sites[0]), "--to", str(sites[1])]
    for kept in (20, 70):
        process = subprocess.Popen([*command, *ends], stdout=subprocess.DEVNULL)
        while len(asyncio.run(objects.list())) < kept and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it was over before it was killed"
    answer = call("replicate", *ends, "--json")
    assert answer.status == 0, answer.err
    assert 0 < answer.row["runs"] < COUNT, "it went on where it was"
    asyncio.run(same(sites))


async def test_what_follows_waits_for_a_second_site_that_is_away(
    tmp_path: Path, bucket: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = write_site(tmp_path / "near", settings="site: summit")
    settings = S3_SITE.format(ledger="", port=bucket.port, key=S3_KEYS[0], secret=S3_KEYS[1])
    ledger = '  ledger: {postgresql: {url: ""}}\n'
    settings = settings.replace(ledger, "")
    far = write_site(tmp_path / "far", settings=settings.replace("copies", tmp_path.name))
    heard: list[tuple[str, Tally]] = []
    moved = asyncio.Event()

    def tell(trouble: str, tally: Tally) -> None:
        heard.append((trouble, tally))
        moved.set()

    await Keeper(near).keep(0, 5)
    put, away = Objects.put, [True]

    async def cut(self: Objects, key: str, item: Encoded) -> None:
        if away:
            raise StoreAway("the line is cut")
        await put(self, key, item)

    monkeypatch.setattr(Objects, "put", cut)
    following = asyncio.create_task(both((near, far)).follow(SECOND // 50, tell))
    await asyncio.wait_for(moved.wait(), 20)
    assert heard[0][0] == "the line is cut"
    away.clear()
    async with asyncio.timeout(20):
        while sum(tally.runs for _, tally in heard) < 5:
            moved.clear()
            await moved.wait()
        await Keeper(near).keep(5, 9)
        while sum(tally.runs for _, tally in heard) < 9:
            moved.clear()
            await moved.wait()
    following.cancel()
    await same((near, far))


def test_one_site_is_no_second_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = write_site(tmp_path / "site", settings="site: summit")
    with pytest.raises(CatcherError, match="both sites have one ledger"):
        replication(site, None, site, None)
    monkeypatch.setenv("CATCHER_DATA", str(tmp_path / "data"))
    assert both((site, write_site(tmp_path / "far"))).to_data == tmp_path / "far" / ".catcher"


def test_what_cannot_be_copied_into_is_told_and_left_as_it_was(tmp_path: Path) -> None:
    near, far = write_site(tmp_path / "near"), write_site(tmp_path / "far")
    assert "there is no ledger" in call("replicate", "--to", far, "--site", near).err
    asyncio.run(Keeper(near).keep(0, 1))
    other = far / ".catcher" / "ledger.db"
    other.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = other.read_bytes()
    answer = call("replicate", "--to", far, "--site", near)
    assert (answer.status, other.read_bytes()) == (2, before)
    assert "is a database of something else" in answer.err
    (far / "catcher.yaml").write_text("site: [")
    assert "catcher.yaml" in call("replicate", "--to", far, "--site", near).err
