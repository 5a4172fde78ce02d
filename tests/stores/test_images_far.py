"""Images in S3, at addresses that events bring, and in a Butler."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catcher.app import load_site
from catcher.app.imaging import make_images
from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.model.time import SECOND
from catcher.ports import Images
from catcher.stores.images_far import sweep
from catcher.stores.objects import Objects, ObjectSettings
from tests.servers import S3_KEYS, Server, s3
from tests.small_site import engine_in_thread, write_site
from tests.stores.making import NOON

SIZE = """
from pathlib import Path
from catcher import Result, job

@job
def size(frame: Path) -> Result:
    return Result({"bytes": float(len(frame.read_bytes()))}, note=frame.name)
"""
LFA = "lsst.sal.GenericCamera.logevent_largeFileObjectAvailable"


def exposure(id: str = "MC_O_1", **columns: Any) -> Observation:
    return Observation("exposure", id, NOON, NOON + SECOND, "", columns)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with s3(tmp_path_factory.mktemp("s3"), "images") as running:
        yield running


async def upload(server: Server, key: str, words: str = "SIMPLE") -> None:
    access, secret = S3_KEYS
    address = f"http://127.0.0.1:{server.port}"
    store = Objects(ObjectSettings("s3://images", address, "us-east-1", access, secret))
    await store.put(key, Encoded(key.rpartition("/")[2], words.encode(), ""))


def text(path: str) -> str:
    return Path(path).read_text()


def settings_of(stores: str, pattern: str, topic: str = "e", id: str = "id") -> str:
    return (
        f"site: small\nstores: {{images: {stores}}}\nobservations:\n"
        f'  exposure: {{event: {topic}, id: {id}, image: "{pattern}", columns: {{url: url}}}}\n'
    )


def images(tmp_path: Path, stores: str, pattern: str) -> Images:
    rule = "rule: r\ntrigger: {event: e}\n"
    site = load_site(write_site(tmp_path / "site", rule, settings=settings_of(stores, pattern)))
    assert not site.errors, site.errors
    return make_images(site, tmp_path / "data")


def put(folder: Path, key: str, words: str = "SIMPLE") -> Path:
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(words)
    return path


def s3_of(server: Server, more: str = "") -> str:
    access, secret = S3_KEYS
    return (
        f"{{s3: {{endpoint: 'http://127.0.0.1:{server.port}', region: us-east-1, "
        f"access_key: {access}, secret_key: {secret}{more}}}}}"
    )


async def test_an_image_in_s3_is_copied_here_once(server: Server, tmp_path: Path) -> None:
    await upload(server, "raw/MC_O_1/MC_O_1_R22_S11.fits", "first")
    await upload(server, "raw/MC_O_1/MC_O_1_R22_S12.fits", "other")
    await upload(server, "raw/MC_O_1/notes.txt")
    found = images(tmp_path, s3_of(server), "s3://images/raw/{id}/{id}_{detector}.fits")
    assert await found.parts(exposure()) == ["R22_S11", "R22_S12"]
    assert await found.parts(exposure("MC_O_9")) == []
    path = await found.find(exposure(), "R22_S11")
    assert text(path) == "first"
    assert path.startswith(str(tmp_path / "data"))
    assert path.endswith("/MC_O_1_R22_S11.fits")
    written = put(Path(path).parent, Path(path).name, "still the copy")
    assert await found.find(exposure(), "R22_S11") == str(written)
    assert text(path) == "still the copy"


async def test_an_object_that_changed_is_fetched_again(server: Server, tmp_path: Path) -> None:
    await upload(server, "raw/again.fits", "first")
    found = images(tmp_path, s3_of(server), "s3://images/raw/{id}.fits")
    assert text(await found.find(exposure("again"))) == "first"
    await upload(server, "raw/again.fits", "second, and longer")
    assert text(await found.find(exposure("again"))) == "second, and longer"


async def test_what_is_not_in_the_bucket_is_named(server: Server, tmp_path: Path) -> None:
    found = images(tmp_path, s3_of(server), "s3://images/raw/{id}.fits")
    with pytest.raises(CatcherError, match=r"no image s3://images/raw/none\.fits of exposure none"):
        await found.find(exposure("none"))
    with pytest.raises(CatcherError, match="cannot be a part"):
        await found.find(exposure("../secret"))
    each = images(tmp_path / "each", s3_of(server), "s3://images/none/{id}/{detector}.fits")
    with pytest.raises(CatcherError, match="say `each: detector`"):
        await each.find(exposure())


async def test_a_server_that_is_away_or_refuses_says_so(server: Server, tmp_path: Path) -> None:
    wrong = s3_of(server).replace(S3_KEYS[1], "not-the-secret")
    await upload(server, "raw/MC_O_1.fits")
    with pytest.raises(CatcherError, match="s3://images/raw/ did not read"):
        await images(tmp_path, wrong, "s3://images/raw/{id}.fits").find(exposure())


def test_copies_that_were_used_last_stay(tmp_path: Path) -> None:
    now = time.time()
    paths = [put(tmp_path, f"{place}/a.fits", "x" * 100) for place in range(5)]
    for place, path in enumerate(paths):
        os.utime(path, (now - 10_000 + place, now - 10_000 + place))
    sweep(tmp_path, 250)
    assert [path.exists() for path in paths] == [False, False, False, True, True]
    assert not paths[0].parent.exists()
    os.utime(paths[3], (now, now))
    os.utime(paths[4], (now, now))
    sweep(tmp_path, 150)
    assert paths[3].exists(), "one that was asked for just now may wait to be read"
    sweep(tmp_path, 50)
    assert not paths[3].exists()


def test_a_large_file_object_available_event_leads_to_its_file(
    server: Server, tmp_path: Path
) -> None:
    asyncio.run(upload(server, "lfa/2025/04/a b.fits", "twelve bytes"))
    inputs = "inputs: {frame: {image: exposure}}"
    rule = f"rule: lfa\ntrigger: {{event: {LFA}}}\njob: {{run: size, {inputs}}}"
    settings = settings_of(s3_of(server, ", within: ['s3://images/lfa/']"), "{url}", LFA, "url")
    site = write_site(tmp_path / "site", rule, settings=settings, jobs=SIZE)
    with engine_in_thread(site, tmp_path / "data") as engine:
        engine.post(LFA, url="s3://images/lfa/2025/04/a%20b.fits", generator="camera")
        run = engine.the_run(rule="lfa", state="done")
        assert run["note"] == "a b.fits"
        engine.post(LFA, url="s3://images/raw/again.fits", generator="camera")
        assert "leads where no images are" in engine.the_run(rule="lfa", state="failed")["error"]


async def test_an_event_may_lead_to_a_file_in_the_folders_that_are_named(tmp_path: Path) -> None:
    path = put(tmp_path / "lfa", "a.fits")
    secret = put(tmp_path, "secret.fits")
    found = images(tmp_path, f"{{file: {{within: [{tmp_path / 'lfa'}]}}}}", "{url}")
    assert await found.parts(exposure(url=str(path))) == []
    assert await found.find(exposure(url=f"file://{path}")) == str(path)
    for address in (str(secret), f"{path.parent}/../secret.fits", "/etc/passwd", "http://a/b"):
        with pytest.raises(CatcherError, match=r"lies outside|leads where"):
            await found.find(exposure(url=address))
    with pytest.raises(CatcherError, match="has no address in 'url'"):
        await found.find(exposure(url=None))


BUTLER = '''
"""As much of the Butler as Catcher asks of it."""

from dataclasses import dataclass


@dataclass
class Record:
    id: int
    full_name: str


@dataclass
class Ref:
    dataId: dict


@dataclass
class Place:
    ospath: str
    isLocal: bool = True


class Butler:
    @classmethod
    def from_config(cls, repo, collections):
        assert (repo, collections) == ("/repo/main", ["LSSTCam/raw/all"])
        return cls()

    def query_dimension_records(self, element, instrument, explain):
        assert (element, instrument, explain) == ("detector", "LSSTCam", False)
        return [Record(93, "R22_S10"), Record(94, "R22_S11")]

    def query_datasets(self, dataset, collections, where, bind, explain):
        assert where == "instrument = instrument_name AND (exposure.obs_id = id)"
        if bind["id"] == "broken":
            raise RuntimeError("the registry is locked")
        found = [93, 94] if bind["id"] == "MC_O_1" else []
        return [Ref({"detector": number}) for number in found]

    def getURI(self, ref):
        return Place(f"/datastore/raw/{ref.dataId['detector']}.fits")
'''
WHERE = "{butler: {repo: /repo/main, collections: [LSSTCam/raw/all], instrument: LSSTCam}}"


@pytest.fixture
def butler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of the Butler's name: the real one is no package that can be fetched."""
    for folder in ("lsst", "lsst/daf"):
        put(tmp_path / "stack", f"{folder}/__init__.py", "")
    put(tmp_path / "stack", "lsst/daf/butler.py", BUTLER)
    monkeypatch.syspath_prepend(str(tmp_path / "stack"))
    yield
    for name in ("lsst", "lsst.daf", "lsst.daf.butler"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("butler")
async def test_a_butler_is_asked_by_the_observations_id(tmp_path: Path) -> None:
    found = images(tmp_path, WHERE, "butler:")
    assert await found.parts(exposure()) == ["R22_S10", "R22_S11"]
    assert await found.find(exposure(), "R22_S11") == "/datastore/raw/94.fits"
    with pytest.raises(CatcherError, match="no image raw of R22_S12 in /repo/main"):
        await found.find(exposure(), "R22_S12")
    with pytest.raises(CatcherError, match="say `each: detector`"):
        await found.find(exposure())
    assert await found.parts(exposure("MC_O_2")) == []
    with pytest.raises(CatcherError, match="did not answer: RuntimeError: the registry is locked"):
        await found.parts(exposure("broken"))


async def test_without_a_butler_here_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match=r"lsst\.daf\.butler is not installed here"):
        await images(tmp_path, WHERE, "butler:").parts(exposure())
    with pytest.raises(CatcherError, match="it is not said in which"):
        await images(tmp_path / "b", "file", "butler:").parts(exposure())
