"""Artifacts come back as they went in, under keys that lead nowhere else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from catcher.model.errors import CatcherError
from catcher.model.result import EncodedArtifact
from catcher.ports import StoreUnavailable
from catcher.stores.artifacts.object_store import ObjectSettings, ObstoreStore

KEY = "mount-jitter/2023/07/28/b78dd86b21f5/jitter.png"


def create_folder_store(folder: Path) -> ObstoreStore:
    return ObstoreStore(ObjectSettings(str(folder)))


def create_png(data: bytes = b"\x89PNG") -> EncodedArtifact:
    return EncodedArtifact("jitter.png", data, "image/png")


def list_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("url", ["memory://", "{folder}", "file://{folder}"])
async def test_what_was_put_can_be_got_and_listed(tmp_path: Path, url: str) -> None:
    store = ObstoreStore(ObjectSettings(url.format(folder=tmp_path / "objects")))
    await store.put(KEY, create_png())
    await store.put(
        "wind/forecast.json", EncodedArtifact("forecast.json", b"{}", "application/json")
    )
    assert await store.get(KEY) == b"\x89PNG"
    assert await store.list() == [KEY, "wind/forecast.json"]
    assert await store.list("mount-jitter/2023/") == [KEY]
    assert await store.list("mount") == []


async def test_a_later_artifact_replaces_an_earlier_one_completely(tmp_path: Path) -> None:
    store = create_folder_store(tmp_path)
    await store.put(KEY, create_png(b"1" * 12_000_000))
    await store.put(KEY, create_png(b"2"))
    assert await store.get(KEY) == b"2"
    assert [path.name for path in list_files(tmp_path)] == ["jitter.png"]


@pytest.mark.parametrize("name", ["plot of r.png", "Übersicht.png", "100%.png", "a?b#c&d.png"])
async def test_the_address_of_an_object_in_a_folder_is_its_file(tmp_path: Path, name: str) -> None:
    store = create_folder_store(tmp_path / "my objects")
    await store.put(f"images/{name}", create_png())
    address = urlsplit(store.build_url(f"images/{name}"))
    assert address.scheme == "file"
    (file,) = list_files(tmp_path)
    assert unquote(address.path) == str(file)
    assert file.name == name


@pytest.mark.parametrize(
    "key",
    [
        "../ledger.db",
        "a/../../b",
        "/etc/passwd",
        "a//b",
        "a/./b",
        "",
        "a/",
        "a\\b",
        "a\nb",
        "a\0b",
        "\ud800",
        "x" * 256,
        "x/" * 600 + "x",
    ],
)
async def test_a_key_that_leads_elsewhere_is_refused(tmp_path: Path, key: str) -> None:
    store = create_folder_store(tmp_path / "objects")
    with pytest.raises(CatcherError, match="no key"):
        await store.put(key, create_png())
    with pytest.raises(CatcherError, match="no key"):
        await store.get(key)
    with pytest.raises(CatcherError, match="no key"):
        store.build_url(key)
    assert list_files(tmp_path) == []


async def test_a_missing_object_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match=f"no object '{KEY}'"):
        await create_folder_store(tmp_path).get(KEY)
    with pytest.raises(CatcherError, match="no object"):
        await ObstoreStore(ObjectSettings("memory://")).get(KEY)


async def test_a_name_that_the_store_cannot_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match="did not keep") as error_info:
        await create_folder_store(tmp_path).put("plot#1", create_png())
    assert "\n" not in str(error_info.value)


def test_a_store_that_cannot_be_opened_says_what_to_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for url in (str(tmp_path / "file" / "objects"), "ftp://host/objects"):
        with pytest.raises(CatcherError, match="cannot be opened"):
            ObstoreStore(ObjectSettings(url))


async def test_an_unavailable_server_is_reported_without_its_credentials() -> None:
    settings = ObjectSettings(
        "s3://artifacts/tma",
        endpoint="http://127.0.0.1:1",
        region="us-east-1",
        access_key="AKIDEXAMPLE",
        secret_key="s3cret-key",
        timeout=0.2,
    )
    store = ObstoreStore(settings)
    with pytest.raises(StoreUnavailable) as error_info:
        await store.put(KEY, create_png())
    assert "s3cret" not in str(error_info.value)
    assert "s3cret" not in repr(settings)
    assert store.build_url(KEY) == f"s3://artifacts/tma/{KEY}"
