"""Images are found by a pattern, and only under its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catcher.model.errors import CatcherError
from catcher.model.observation import Observation
from catcher.model.time import SECOND
from catcher.stores.images.paths import PathImages
from tests.stores.factories import NOON


def create_exposure(id: str = "MC_O_1", image: str = "", **columns: Any) -> Observation:
    return Observation("exposure", id, NOON, NOON + SECOND, image, columns)


def write_images(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"SIMPLE")


def create_images(folder: Path, pattern: str, *roots: Path) -> PathImages:
    return PathImages({"exposure": pattern}, folder, roots)


async def test_an_image_is_found_by_id_columns_and_detector(tmp_path: Path) -> None:
    write_images(tmp_path, "raw/20230728/MC_O_1_00017/R22_S11.fits")
    images = create_images(tmp_path, "raw/{dayObs}/{id}_{seqNum:05d}/{detector}.fits")
    path = await images.find_image_path(create_exposure(dayObs=20230728.0, seqNum=17), "R22_S11")
    assert path == str(tmp_path / "raw/20230728/MC_O_1_00017/R22_S11.fits")


async def test_the_parts_of_an_observation_are_the_detectors_on_disk(tmp_path: Path) -> None:
    names = ("R22_S11", "R22_S10", "R01_S00")
    write_images(tmp_path, *(f"raw/MC_O_1/MC_O_1_{name}.fits" for name in names))
    write_images(tmp_path, "raw/MC_O_1/other.fits", "raw/MC_O_2/MC_O_2_R99_S99.fits")
    images = create_images(tmp_path, "raw/{id}/{id}_{detector}.fits")
    assert await images.list_detectors(create_exposure()) == sorted(names)
    assert await images.list_detectors(create_exposure("MC_O_3")) == []


async def test_a_detector_that_is_named_twice_is_one(tmp_path: Path) -> None:
    write_images(
        tmp_path, "raw/S00/MC_O_1-S00.fits", "raw/S01/MC_O_1-S02.fits", "raw/[x]/MC_O_1-[x].fits"
    )
    images = create_images(tmp_path, "raw/{detector}/{id}-{detector}.fits")
    assert await images.list_detectors(create_exposure()) == ["S00", "[x]"]


async def test_without_a_detector_in_the_pattern_there_is_one_image(tmp_path: Path) -> None:
    write_images(tmp_path, "raw/MC_O_1.fits")
    images = create_images(tmp_path, f"file://{tmp_path}/raw/{{id}}.fits")
    assert await images.list_detectors(create_exposure()) == []
    assert await images.find_image_path(create_exposure()) == str(tmp_path / "raw/MC_O_1.fits")


async def test_the_only_detector_need_not_be_named_one_of_many_must(tmp_path: Path) -> None:
    images = create_images(tmp_path, "raw/{id}/{detector}.fits")
    write_images(tmp_path, "raw/MC_O_1/S00.fits")
    assert (await images.find_image_path(create_exposure())).endswith("S00.fits")
    write_images(tmp_path, "raw/MC_O_1/S01.fits")
    with pytest.raises(CatcherError, match=r"for each detector \(S00, S01\).*each: detector"):
        await images.find_image_path(create_exposure())


async def test_a_kind_without_a_pattern_uses_the_observations_own_image(tmp_path: Path) -> None:
    write_images(tmp_path, "MC_O_1/S00.fits")
    images = PathImages({}, tmp_path)
    assert await images.list_detectors(create_exposure(image="MC_O_1/{detector}.fits")) == ["S00"]
    with pytest.raises(CatcherError, match="lies outside"):
        await images.find_image_path(create_exposure(image="../{detector}.fits"), "S00")
    with pytest.raises(CatcherError, match="add `image:` to exposure"):
        await images.find_image_path(create_exposure())


async def test_what_was_looked_for_is_named_when_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match=f"no image {tmp_path}/raw/MC_O_1.fits"):
        await create_images(tmp_path, "raw/{id}.fits").find_image_path(create_exposure())
    (tmp_path / "raw/MC_O_1.fits").mkdir(parents=True)
    with pytest.raises(CatcherError, match="no image"):
        await create_images(tmp_path, "raw/{id}.fits").find_image_path(create_exposure())
    with pytest.raises(CatcherError, match="needs 'band', which this observation lacks; it has"):
        await create_images(tmp_path, "raw/{band}/{id}.fits").find_image_path(
            create_exposure(band=None)
        )


@pytest.mark.parametrize("id", ["../secret", "..", ".", "", "a/b", "a\\..\\b", "x" * 300])
async def test_a_name_from_a_stream_does_not_lead_out_of_the_folder(
    tmp_path: Path, id: str
) -> None:
    write_images(tmp_path, "secret.fits", "raw/a/b.fits")
    with pytest.raises(CatcherError, match="cannot be a part"):
        await create_images(tmp_path, "raw/{id}.fits").find_image_path(create_exposure(id))
    with pytest.raises(CatcherError, match="cannot be a part"):
        await create_images(tmp_path, "raw/{id}/{detector}.fits").list_detectors(
            create_exposure(id)
        )


async def test_a_link_out_of_the_folder_is_followed_only_where_that_is_allowed(
    tmp_path: Path,
) -> None:
    write_images(tmp_path, "disk2/MC_O_1.fits")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/MC_O_1.fits").symlink_to(tmp_path / "disk2/MC_O_1.fits")
    with pytest.raises(CatcherError, match="lies outside"):
        await create_images(tmp_path, "raw/{id}.fits").find_image_path(create_exposure())
    allowed = create_images(tmp_path, "raw/{id}.fits", tmp_path / "disk2")
    assert await allowed.find_image_path(create_exposure()) == str(tmp_path / "raw/MC_O_1.fits")
