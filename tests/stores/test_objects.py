"""Artifacts come back as they went in, under keys that lead nowhere else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.ports import StoreAway
from catcher.stores.objects import Objects, ObjectSettings

KEY = "mount-jitter/2023/07/28/b78dd86b21f5/jitter.png"


def folder_store(folder: Path) -> Objects:
    return Objects(ObjectSettings(str(folder)))


def png(data: bytes = b"\x89PNG") -> Encoded:
    return Encoded("jitter.png", data, "image/png")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("url", ["memory://", "{folder}", "file://{folder}"])
async def test_what_was_put_can_be_got_and_listed(tmp_path: Path, url: str) -> None:
    store = Objects(ObjectSettings(url.format(folder=tmp_path / "objects")))
    await store.put(KEY, png())
    await store.put("wind/forecast.json", Encoded("forecast.json", b"{}", "application/json"))
    assert await store.get(KEY) == b"\x89PNG"
    assert await store.list() == [KEY, "wind/forecast.json"]
    assert await store.list("mount-jitter/2023/") == [KEY]
    assert await store.list("mount") == []


async def test_a_later_artifact_replaces_an_earlier_one_whole(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    await store.put(KEY, png(b"1" * 12_000_000))
    await store.put(KEY, png(b"2"))
    assert await store.get(KEY) == b"2"
    assert [path.name for path in files(tmp_path)] == ["jitter.png"]


@pytest.mark.parametrize("name", ["plot of r.png", "Übersicht.png", "100%.png", "a?b#c&d.png"])
async def test_the_address_of_an_object_in_a_folder_is_its_file(tmp_path: Path, name: str) -> None:
    store = folder_store(tmp_path / "my objects")
    await store.put(f"images/{name}", png())
    address = urlsplit(store.url(f"images/{name}"))
    assert address.scheme == "file"
    (file,) = files(tmp_path)
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
    store = folder_store(tmp_path / "objects")
    with pytest.raises(CatcherError, match="no key"):
        await store.put(key, png())
    with pytest.raises(CatcherError, match="no key"):
        await store.get(key)
    with pytest.raises(CatcherError, match="no key"):
        store.url(key)
    assert files(tmp_path) == []


async def test_an_object_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match=f"no object '{KEY}'"):
        await folder_store(tmp_path).get(KEY)
    with pytest.raises(CatcherError, match="no object"):
        await Objects(ObjectSettings("memory://")).get(KEY)


async def test_a_name_that_the_store_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match="did not keep") as caught:
        await folder_store(tmp_path).put("plot#1", png())
    assert "\n" not in str(caught.value)


def test_a_store_that_cannot_be_opened_says_what_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for url in (str(tmp_path / "file" / "objects"), "ftp://host/objects"):
        with pytest.raises(CatcherError, match="cannot be opened"):
            Objects(ObjectSettings(url))


async def test_a_server_that_is_away_is_told_without_its_credentials() -> None:
    settings = ObjectSettings(
        "s3://artifacts/tma",
        endpoint="http://127.0.0.1:1",
        region="us-east-1",
        access_key="AKIDEXAMPLE",
        secret_key="s3cret-key",
        timeout=0.2,
    )
    store = Objects(settings)
    with pytest.raises(StoreAway) as caught:
        await store.put(KEY, png())
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(settings)
    assert store.url(KEY) == f"s3://artifacts/tma/{KEY}"
