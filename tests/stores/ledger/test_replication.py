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

from catcher.app import create_replication, load_site
from catcher.app.paths import open_artifact_store, resolve_ledger_url
from catcher.app.replicating import ReplicationPair, ReplicationReport
from catcher.model.commit import Commit
from catcher.model.errors import CatcherError
from catcher.model.observation import Observation
from catcher.model.result import EncodedArtifact
from catcher.model.run import Run
from catcher.model.time import SECOND, wall_clock
from catcher.ports import Query, StoreUnavailable
from catcher.stores.artifacts.object_store import ObstoreStore
from catcher.stores.ledger.ledger import SqlLedger
from tests.cli.command_runner import run_command
from tests.sample_site import write_site
from tests.servers import S3_KEYS, ServerProcess, run_s3
from tests.stores.factories import NOON, create_firing, create_run, finish_run

COUNT = 130
S3_SITE = """site: tucson
stores:
  ledger: {{postgresql: {{url: "{ledger}"}}}}
  objects:
    s3: {{url: "s3://catcher/copies", endpoint: "http://127.0.0.1:{port}", region: us-east-1,
         access_key: {key}, secret_key: {secret}}}
"""


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with run_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(
    params=["sqlite and a folder", pytest.param("postgresql and s3", marks=pytest.mark.server)]
)
def sites(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """The folders of a site and of the one that it is copied to."""
    source_site = write_site(tmp_path / "near", settings="site: summit")
    settings = "site: tucson"
    if request.param != "sqlite and a folder":
        port = request.getfixturevalue("bucket").port
        url = request.getfixturevalue("postgres_url")
        settings = S3_SITE.format(ledger=url, port=port, key=S3_KEYS[0], secret=S3_KEYS[1])
        settings = settings.replace("s3://catcher/copies", f"s3://catcher/{tmp_path.name}")
    return source_site, write_site(tmp_path / "far", settings=settings)


def open_replication(sites: tuple[Path, Path]) -> ReplicationPair:
    return create_replication(sites[0], None, sites[1], None)


def ignore_progress(tally: ReplicationReport) -> None:
    """Nobody looks."""


class SourceSite:
    """Keeps runs at the first site, as an engine does."""

    def __init__(self, site: Path) -> None:
        loaded_site = load_site(site)
        data = site / ".catcher"
        self.address = resolve_ledger_url(loaded_site, data)
        self.objects = open_artifact_store(loaded_site, data)

    async def store_runs(self, first: int, last: int) -> list[Run]:
        runs = [await self._finish_run(number) for number in range(first, last)]
        async with SqlLedger(self.address, f"engine-{first}") as ledger:
            observations = [
                Observation("exposure", f"MC_{n}", NOON, NOON + SECOND) for n in range(first, last)
            ]
            firings = tuple(run.firing for run in runs)
            waiting = tuple(create_run(run.firing) for run in runs)
            await ledger.commit(
                Commit(firings=firings, runs=waiting, observations=tuple(observations))
            )
            await ledger.commit(Commit(finished=tuple(runs)))
            firing_without_run = create_firing(NOON + last * SECOND + 1, rule="alone")
            pending_firing = create_firing(NOON + last * SECOND + 2, rule="still")
            await ledger.commit(
                Commit(
                    firings=(firing_without_run, pending_firing), runs=(create_run(pending_firing),)
                )
            )
        return runs

    async def _finish_run(self, number: int) -> Run:
        run = finish_run(
            create_run(create_firing(NOON + number * SECOND)), observation=f"MC_{number}"
        )
        data = f"plot {number} ".encode() * 50
        record = replace(
            run.artifacts[0], size=len(data), url=self.objects.build_url(run.artifacts[0].key),
            checksum=f"sha256:{hashlib.sha256(data).hexdigest()}",
        )  # fmt: skip
        await self.objects.put(record.key, EncodedArtifact(record.name, data, record.mime))
        return replace(run, finished=wall_clock(), artifacts=(record,))


async def read_ledger(ledger: SqlLedger) -> dict[str, list[Any]]:
    """What was copied, without what belongs to a place."""
    query = Query(limit=10_000)
    runs = [replace(run, artifacts=()) for run in await ledger.list_runs(query)]
    artifacts = [replace(artifact, url="") for artifact in await ledger.list_artifacts(query)]
    return {
        "runs": [replace(run, fields={}) for run in runs if run.state == "done"],
        "fields": [
            str((run.id, name, field.over, list(field.ids), field.values.tolist()))
            for run in runs
            for name, field in run.fields.items()
        ],
        "firings": list(await ledger.list_firings(query)),
        "metrics": list(await ledger.list_metrics(query)),
        "artifacts": artifacts,
        "observations": [
            await ledger.find_observation("exposure", f"MC_{n}") for n in range(COUNT)
        ],
    }


async def read_target(sites: tuple[Path, Path]) -> tuple[dict[str, list[Any]], ObstoreStore]:
    site = load_site(sites[1])
    async with SqlLedger(resolve_ledger_url(site, sites[1] / ".catcher")) as ledger:
        return await read_ledger(ledger), open_artifact_store(site, sites[1] / ".catcher")


async def read_source(sites: tuple[Path, Path]) -> dict[str, list[Any]]:
    async with SqlLedger(resolve_ledger_url(load_site(sites[0]), sites[0] / ".catcher")) as ledger:
        return await read_ledger(ledger)


async def check_identical(sites: tuple[Path, Path]) -> None:
    """Both ends hold the same, and every artifact opens at the second."""
    source, (target, objects) = await read_source(sites), await read_target(sites)
    assert {name: source[name] == target[name] for name in source} == dict.fromkeys(source, True)
    for record in target["artifacts"]:
        data = await objects.get(record.key)
        assert record.checksum == f"sha256:{hashlib.sha256(data).hexdigest()}"


async def test_finished_runs_are_copied_once_and_then_new_ones(sites: tuple[Path, Path]) -> None:
    await SourceSite(sites[0]).store_runs(0, COUNT - 10)
    first = await open_replication(sites).copy_once(None, ignore_progress)
    assert (first.runs, first.firings, first.metrics, first.artifacts) == (120, 122, 120, 120)
    await SourceSite(sites[0]).store_runs(COUNT - 10, COUNT)
    second = await open_replication(sites).copy_once(3600 * SECOND, ignore_progress)
    assert (second.runs, second.firings, second.artifacts) == (10, 12, 10)
    assert (await open_replication(sites).copy_once(None, ignore_progress)).runs == 0
    await check_identical(sites)


async def test_urls_differ_by_site_and_keys_are_the_same(sites: tuple[Path, Path]) -> None:
    await SourceSite(sites[0]).store_runs(0, 1)
    await open_replication(sites).copy_once(None, ignore_progress)
    site = load_site(sites[1])
    async with SqlLedger(resolve_ledger_url(site, sites[1] / ".catcher")) as ledger:
        (record,) = await ledger.list_artifacts(Query())
    objects = open_artifact_store(site, sites[1] / ".catcher")
    assert record.url == objects.build_url(record.key)
    assert record.key in await SourceSite(sites[0]).objects.list()


async def test_a_damaged_artifact_is_reported_and_not_copied(
    sites: tuple[Path, Path],
) -> None:
    runs = await SourceSite(sites[0]).store_runs(0, 3)
    folder = SourceSite(sites[0]).objects.local_folder
    assert folder is not None
    (folder / runs[1].artifacts[0].key).write_bytes(b"plot 1 plot")
    tally = await open_replication(sites).copy_once(None, ignore_progress)
    assert tally.problems == [
        f"{runs[1].artifacts[0].key}: its bytes are not those that its run wrote"
    ]
    assert (tally.runs, tally.artifacts) == (3, 2)
    target, objects = await read_target(sites)
    assert len(target["artifacts"]) == 2 and len(await objects.list()) == 2
    (note,) = [run.note for run in target["runs"] if run.id == runs[1].id]
    assert note == "jitter.png was not copied: its bytes are not those that its run wrote"


async def test_verifying_finds_what_was_damaged_at_the_second_site_and_repairs_it(
    sites: tuple[Path, Path],
) -> None:
    runs = await SourceSite(sites[0]).store_runs(0, 4)
    await open_replication(sites).copy_once(None, ignore_progress)
    _, objects = await read_target(sites)
    await objects.put(
        runs[0].artifacts[0].key, EncodedArtifact("jitter.png", b"rotten", "image/png")
    )
    await objects.remove([runs[2].artifacts[0].key])
    tally = await open_replication(sites).verify_and_repair_artifacts(ignore_progress)
    assert (tally.artifacts, tally.mended, tally.problems) == (2, 2, [])
    assert (
        await open_replication(sites).verify_and_repair_artifacts(ignore_progress)
    ).artifacts == 4
    await check_identical(sites)


def test_killed_at_any_time_it_continues_where_it_was(sites: tuple[Path, Path]) -> None:
    asyncio.run(SourceSite(sites[0]).store_runs(0, COUNT))
    objects = open_artifact_store(load_site(sites[1]), sites[1] / ".catcher")
    command = [sys.executable, "-m", "catcher", "replicate", "--json"]
    site_options = ["--site", str(sites[0]), "--to", str(sites[1])]
    for copied in (20, 70):
        process = subprocess.Popen([*command, *site_options], stdout=subprocess.DEVNULL)
        while len(asyncio.run(objects.list())) < copied and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it was over before it was killed"
    result = run_command("replicate", *site_options, "--json")
    assert result.status == 0, result.err
    assert 0 < result.row["runs"] < COUNT, "it went on where it was"
    asyncio.run(check_identical(sites))


async def test_following_waits_for_an_unavailable_second_site(
    tmp_path: Path, bucket: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_site = write_site(tmp_path / "near", settings="site: summit")
    settings = S3_SITE.format(ledger="", port=bucket.port, key=S3_KEYS[0], secret=S3_KEYS[1])
    ledger = '  ledger: {postgresql: {url: ""}}\n'
    settings = settings.replace(ledger, "")
    target_site = write_site(tmp_path / "far", settings=settings.replace("copies", tmp_path.name))
    progress: list[tuple[str, ReplicationReport]] = []
    progressed = asyncio.Event()

    def record_progress(problem: str, tally: ReplicationReport) -> None:
        progress.append((problem, tally))
        progressed.set()

    await SourceSite(source_site).store_runs(0, 5)
    original_put, unavailable = ObstoreStore.put, [True]

    async def put_or_fail(self: ObstoreStore, key: str, item: EncodedArtifact) -> None:
        if unavailable:
            raise StoreUnavailable("the line is cut")
        await original_put(self, key, item)

    monkeypatch.setattr(ObstoreStore, "put", put_or_fail)
    follow_task = asyncio.create_task(
        open_replication((source_site, target_site)).copy_continuously(
            SECOND // 50, record_progress
        )
    )
    await asyncio.wait_for(progressed.wait(), 20)
    assert progress[0][0] == "the line is cut"
    unavailable.clear()
    async with asyncio.timeout(20):
        while sum(tally.runs for _, tally in progress) < 5:
            progressed.clear()
            await progressed.wait()
        await SourceSite(source_site).store_runs(5, 9)
        while sum(tally.runs for _, tally in progress) < 9:
            progressed.clear()
            await progressed.wait()
    follow_task.cancel()
    await check_identical((source_site, target_site))


def test_one_site_is_no_second_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = write_site(tmp_path / "site", settings="site: summit")
    with pytest.raises(CatcherError, match="both sites have one ledger"):
        create_replication(site, None, site, None)
    monkeypatch.setenv("CATCHER_DATA", str(tmp_path / "data"))
    assert (
        open_replication((site, write_site(tmp_path / "far"))).target_data
        == tmp_path / "far" / ".catcher"
    )


def test_an_unusable_target_is_reported_and_left_as_it_was(tmp_path: Path) -> None:
    source_site, target_site = write_site(tmp_path / "near"), write_site(tmp_path / "far")
    assert (
        "there is no ledger"
        in run_command("replicate", "--to", target_site, "--site", source_site).err
    )
    asyncio.run(SourceSite(source_site).store_runs(0, 1))
    other_database = target_site / ".catcher" / "ledger.db"
    other_database.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(other_database)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = other_database.read_bytes()
    result = run_command("replicate", "--to", target_site, "--site", source_site)
    assert (result.status, other_database.read_bytes()) == (2, before)
    assert "is a database of something else" in result.err
    (target_site / "catcher.yaml").write_text("site: [")
    assert (
        "catcher.yaml" in run_command("replicate", "--to", target_site, "--site", source_site).err
    )
