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
from catcher.app.images import create_site_images
from catcher.model.errors import CatcherError
from catcher.model.observation import Observation
from catcher.model.result import EncodedArtifact
from catcher.model.time import SECOND
from catcher.ports import Images
from catcher.stores.artifacts.object_store import ObjectSettings, ObstoreStore
from catcher.stores.images.remote import evict_copies
from tests.sample_site import engine_in_thread, write_site
from tests.servers import S3_KEYS, ServerProcess, run_s3
from tests.stores.factories import NOON

SIZE_JOB = """
from pathlib import Path
from catcher import Result, job

@job
def size(frame: Path) -> Result:
    return Result({"bytes": float(len(frame.read_bytes()))}, note=frame.name)
"""
LFA_TOPIC = "lsst.sal.GenericCamera.logevent_largeFileObjectAvailable"


def create_exposure(id: str = "MC_O_1", **columns: Any) -> Observation:
    return Observation("exposure", id, NOON, NOON + SECOND, "", columns)


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with run_s3(tmp_path_factory.mktemp("s3"), "images") as server:
        yield server


async def upload_object(server: ServerProcess, key: str, content: str = "SIMPLE") -> None:
    access, secret = S3_KEYS
    address = f"http://127.0.0.1:{server.port}"
    store = ObstoreStore(ObjectSettings("s3://images", address, "us-east-1", access, secret))
    await store.put(key, EncodedArtifact(key.rpartition("/")[2], content.encode(), ""))


def read_text(path: str) -> str:
    return Path(path).read_text()


def format_settings(stores: str, pattern: str, topic: str = "e", id: str = "id") -> str:
    return (
        f"site: small\nstores: {{images: {stores}}}\nobservations:\n"
        f'  exposure: {{event: {topic}, id: {id}, image: "{pattern}", columns: {{url: url}}}}\n'
    )


def load_images(tmp_path: Path, stores: str, pattern: str) -> Images:
    rule = "rule: r\ntrigger: {event: e}\n"
    site = load_site(write_site(tmp_path / "site", rule, settings=format_settings(stores, pattern)))
    assert not site.errors, site.errors
    return create_site_images(site, tmp_path / "data")


def write_file(folder: Path, key: str, content: str = "SIMPLE") -> Path:
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def format_s3_settings(server: ServerProcess, extra: str = "") -> str:
    access, secret = S3_KEYS
    return (
        f"{{s3: {{endpoint: 'http://127.0.0.1:{server.port}', region: us-east-1, "
        f"access_key: {access}, secret_key: {secret}{extra}}}}}"
    )


async def test_an_image_in_s3_is_copied_locally_once(
    s3_server: ServerProcess, tmp_path: Path
) -> None:
    await upload_object(s3_server, "raw/MC_O_1/MC_O_1_R22_S11.fits", "first")
    await upload_object(s3_server, "raw/MC_O_1/MC_O_1_R22_S12.fits", "other")
    await upload_object(s3_server, "raw/MC_O_1/notes.txt")
    images = load_images(
        tmp_path, format_s3_settings(s3_server), "s3://images/raw/{id}/{id}_{detector}.fits"
    )
    assert await images.list_detectors(create_exposure()) == ["R22_S11", "R22_S12"]
    assert await images.list_detectors(create_exposure("MC_O_9")) == []
    path = await images.find_image_path(create_exposure(), "R22_S11")
    assert read_text(path) == "first"
    assert path.startswith(str(tmp_path / "data"))
    assert path.endswith("/MC_O_1_R22_S11.fits")
    altered = write_file(Path(path).parent, Path(path).name, "still the copy")
    assert await images.find_image_path(create_exposure(), "R22_S11") == str(altered)
    assert read_text(path) == "still the copy"


async def test_an_object_that_changed_is_fetched_again(
    s3_server: ServerProcess, tmp_path: Path
) -> None:
    await upload_object(s3_server, "raw/again.fits", "first")
    images = load_images(tmp_path, format_s3_settings(s3_server), "s3://images/raw/{id}.fits")
    assert read_text(await images.find_image_path(create_exposure("again"))) == "first"
    await upload_object(s3_server, "raw/again.fits", "second, and longer")
    assert read_text(await images.find_image_path(create_exposure("again"))) == "second, and longer"


async def test_what_is_not_in_the_bucket_is_named(s3_server: ServerProcess, tmp_path: Path) -> None:
    images = load_images(tmp_path, format_s3_settings(s3_server), "s3://images/raw/{id}.fits")
    with pytest.raises(CatcherError, match=r"no image s3://images/raw/none\.fits of exposure none"):
        await images.find_image_path(create_exposure("none"))
    with pytest.raises(CatcherError, match="cannot be a part"):
        await images.find_image_path(create_exposure("../secret"))
    split = load_images(
        tmp_path / "each", format_s3_settings(s3_server), "s3://images/none/{id}/{detector}.fits"
    )
    with pytest.raises(CatcherError, match="say `each: detector`"):
        await split.find_image_path(create_exposure())


async def test_a_server_that_refuses_is_reported(s3_server: ServerProcess, tmp_path: Path) -> None:
    wrong = format_s3_settings(s3_server).replace(S3_KEYS[1], "not-the-secret")
    await upload_object(s3_server, "raw/MC_O_1.fits")
    with pytest.raises(CatcherError, match="s3://images/raw/ did not read"):
        await load_images(tmp_path, wrong, "s3://images/raw/{id}.fits").find_image_path(
            create_exposure()
        )


def test_copies_that_were_used_last_stay(tmp_path: Path) -> None:
    now = time.time()
    paths = [write_file(tmp_path, f"{index}/a.fits", "x" * 100) for index in range(5)]
    for index, path in enumerate(paths):
        os.utime(path, (now - 10_000 + index, now - 10_000 + index))
    evict_copies(tmp_path, 250)
    assert [path.exists() for path in paths] == [False, False, False, True, True]
    assert not paths[0].parent.exists()
    os.utime(paths[3], (now, now))
    os.utime(paths[4], (now, now))
    evict_copies(tmp_path, 150)
    assert paths[3].exists(), "one that was asked for just now may wait to be read"
    evict_copies(tmp_path, 50)
    assert not paths[3].exists()


def test_a_large_file_object_available_event_leads_to_its_file(
    s3_server: ServerProcess, tmp_path: Path
) -> None:
    asyncio.run(upload_object(s3_server, "lfa/2025/04/a b.fits", "twelve bytes"))
    inputs = "inputs: {frame: {image: exposure}}"
    rule = f"rule: lfa\ntrigger: {{event: {LFA_TOPIC}}}\njob: {{run: size, {inputs}}}"
    settings = format_settings(
        format_s3_settings(s3_server, ", within: ['s3://images/lfa/']"), "{url}", LFA_TOPIC, "url"
    )
    site = write_site(tmp_path / "site", rule, settings=settings, jobs=SIZE_JOB)
    with engine_in_thread(site, tmp_path / "data") as engine:
        engine.post_event(LFA_TOPIC, url="s3://images/lfa/2025/04/a%20b.fits", generator="camera")
        run = engine.wait_for_run(rule="lfa", state="done")
        assert run["note"] == "a b.fits"
        engine.post_event(LFA_TOPIC, url="s3://images/raw/again.fits", generator="camera")
        assert (
            "leads where no images are" in engine.wait_for_run(rule="lfa", state="failed")["error"]
        )


async def test_an_event_may_lead_to_a_file_in_the_folders_that_are_named(tmp_path: Path) -> None:
    path = write_file(tmp_path / "lfa", "a.fits")
    secret = write_file(tmp_path, "secret.fits")
    images = load_images(tmp_path, f"{{file: {{within: [{tmp_path / 'lfa'}]}}}}", "{url}")
    assert await images.list_detectors(create_exposure(url=str(path))) == []
    assert await images.find_image_path(create_exposure(url=f"file://{path}")) == str(path)
    for address in (str(secret), f"{path.parent}/../secret.fits", "/etc/passwd", "http://a/b"):
        with pytest.raises(CatcherError, match=r"lies outside|leads where"):
            await images.find_image_path(create_exposure(url=address))
    with pytest.raises(CatcherError, match="has no address in 'url'"):
        await images.find_image_path(create_exposure(url=None))


FAKE_BUTLER = '''
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
BUTLER_SETTINGS = (
    "{butler: {repo: /repo/main, collections: [LSSTCam/raw/all], instrument: LSSTCam}}"
)


@pytest.fixture
def butler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of the Butler's name: the real one is no package that can be fetched."""
    for folder in ("lsst", "lsst/daf"):
        write_file(tmp_path / "stack", f"{folder}/__init__.py", "")
    write_file(tmp_path / "stack", "lsst/daf/butler.py", FAKE_BUTLER)
    monkeypatch.syspath_prepend(str(tmp_path / "stack"))
    yield
    for name in ("lsst", "lsst.daf", "lsst.daf.butler"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("butler")
async def test_a_butler_is_queried_by_the_observations_id(tmp_path: Path) -> None:
    images = load_images(tmp_path, BUTLER_SETTINGS, "butler:")
    assert await images.list_detectors(create_exposure()) == ["R22_S10", "R22_S11"]
    assert await images.find_image_path(create_exposure(), "R22_S11") == "/datastore/raw/94.fits"
    with pytest.raises(CatcherError, match="no image raw of R22_S12 in /repo/main"):
        await images.find_image_path(create_exposure(), "R22_S12")
    with pytest.raises(CatcherError, match="say `each: detector`"):
        await images.find_image_path(create_exposure())
    assert await images.list_detectors(create_exposure("MC_O_2")) == []
    with pytest.raises(CatcherError, match="did not answer: RuntimeError: the registry is locked"):
        await images.list_detectors(create_exposure("broken"))


async def test_without_a_butler_here_a_hint_is_given(tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match=r"lsst\.daf\.butler is not installed here"):
        await load_images(tmp_path, BUTLER_SETTINGS, "butler:").list_detectors(create_exposure())
    with pytest.raises(CatcherError, match="it is not said in which"):
        await load_images(tmp_path / "b", "file", "butler:").list_detectors(create_exposure())
