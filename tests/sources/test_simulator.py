"""The simulated night is always the same, tells its story, and its images can be read."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from catcher.model.event import Event
from catcher.model.problem import CatcherError
from catcher.model.time import MINUTE, SECOND, tai_to_utc, wall_clock
from catcher.ports import Delivery
from catcher.sources.simulated_camera import DETECTORS, drop_images, write_images
from catcher.sources.simulator import SimulatorSettings, SimulatorSource, night

NIGHT = SimulatorSettings(length=20 * MINUTE, speed=0)
SHORT = SimulatorSettings(length=4 * MINUTE, speed=0)


def of(events: list[Event], topic: str) -> list[Event]:
    return [event for event in events if event.topic == topic]


async def play(folder: Path, position: str = "") -> list[Delivery]:
    source = SimulatorSource("night", SHORT, wall_clock, folder, position)
    async with source.open() as deliveries:
        return [delivery async for delivery in deliveries]


def test_the_same_seed_gives_the_same_night_and_another_a_different_one() -> None:
    assert list(night(SHORT, "s")) == list(night(SHORT, "s"))
    other = SimulatorSettings(length=4 * MINUTE, speed=0, seed=2)
    assert list(night(SHORT, "s")) != list(night(other, "s"))


def test_events_come_in_the_order_of_time_and_none_twice() -> None:
    events = list(night(NIGHT, "s"))
    assert all(one.time <= two.time for one, two in pairwise(events))
    assert (
        max(Counter((one.topic, one.time, one.fields.get("salIndex")) for one in events).values())
        == 1
    )


def test_the_wind_rises_above_what_a_telescope_bears() -> None:
    samples = of(list(night(NIGHT, "s")), "lsst.sal.ESS.airFlow")
    speeds = {
        minute: np.mean(
            [
                one.fields["speed"]
                for one in samples
                if one.fields["salIndex"] == 301
                and minute - 1 <= (one.time - NIGHT.begin()) / MINUTE < minute
            ]
        )
        for minute in (-30, 0, 6, 12, 18)
    }
    assert speeds[-30] < 7
    assert speeds[0] < 7
    assert 8 < speeds[6] < 13
    assert 13 < speeds[12] < 17
    assert 15 < speeds[18] < 18


def test_one_exposure_is_shaken_and_the_others_are_quiet() -> None:
    events = list(night(NIGHT, "s"))
    impact = []
    for exposure in islice(NIGHT.plan(), 6):
        squares = 0.0
        for axis, share in (
            ("azimuth", np.cos(np.radians(exposure.elevation))),
            ("elevation", 1.0),
        ):
            samples = [
                one.fields
                for one in of(events, f"lsst.sal.MTMount.{axis}")
                if exposure.begin <= one.time <= exposure.end
            ]
            assert len(samples) == 601
            error = [(one["actualPosition"] - one["demandPosition"]) * 3600 for one in samples]
            squares += (share * float(np.std(error))) ** 2
        impact.append(squares**0.5)
    assert [value > 0.1 for value in impact] == [False, False, False, True, False, False]
    assert all(0.01 < value < 0.03 for value in impact if value < 0.1)


def test_one_script_fails_and_the_others_end_well() -> None:
    states = of(list(night(NIGHT, "s")), "lsst.sal.Script.logevent_state")
    by_script: dict[int, list[int]] = {}
    for event in states:
        by_script.setdefault(event.fields["salIndex"], []).append(event.fields["state"])
    assert by_script[200001] == [2, 3, 8]
    assert by_script[200005] == [2, 3, 7, 10]
    assert sum(10 in one for one in by_script.values()) == 1


def test_the_mount_is_in_position_before_each_exposure() -> None:
    reached = [
        event.time
        for event in of(list(night(NIGHT, "s")), "lsst.sal.MTMount.logevent_azimuthInPosition")
        if event.fields["inPosition"]
    ]
    begins = [exposure.begin for exposure in islice(NIGHT.plan(), len(reached))]
    assert all(begin - time == 3 * SECOND for time, begin in zip(reached, begins, strict=True))


async def test_an_image_is_there_when_its_readout_is_told(tmp_path: Path) -> None:
    source = SimulatorSource("night", SHORT, wall_clock, tmp_path)
    names = []
    async with source.open() as deliveries:
        async for delivery in deliveries:
            for event in of(list(delivery.events), "lsst.sal.MTCamera.logevent_endReadout"):
                folder = tmp_path / "images" / event.fields["imageName"]
                assert sorted(one.stem for one in folder.iterdir()) == sorted(DETECTORS)
                names.append(event.fields["imageName"])
    assert names == ["MC_O_20250424_000001", "MC_O_20250424_000002", "MC_O_20250424_000003"]
    assert source.health().state == "ended"


async def test_it_goes_on_from_a_position(tmp_path: Path) -> None:
    whole = await play(tmp_path)
    rest = await play(tmp_path, whole[1].position)
    events = [event for delivery in whole for event in delivery.events]
    early = [event for event in events if event.time <= int(whole[1].position)]
    assert early + [event for delivery in rest for event in delivery.events] == events


async def test_it_can_be_left_at_once(tmp_path: Path) -> None:
    source = SimulatorSource("night", SimulatorSettings(), wall_clock, tmp_path)
    async with source.open() as deliveries:
        first = await anext(deliveries)
    assert {event.topic for event in first.events} >= {"lsst.sal.ESS.airFlow"}


def test_the_images_are_sound_fits_with_known_levels(tmp_path: Path) -> None:
    exposure = next(NIGHT.plan())
    write_images(exposure, tmp_path, seed=1)
    with fits.open(tmp_path / exposure.name / "R22_S11.fits") as file:
        file.verify("exception")
        assert file[0].header["DETECTOR"] == "R22_S11"
        assert [one.name for one in file[1:]] == ["C00", "C10"]
        for one in file[1:]:
            assert one.header["DATASEC"] == "[1:128,1:256]"
            assert one.header["BIASSEC"] == "[129:160,1:256]"
            bias = one.data[:, 128:].astype(float)
            sky = (np.median(one.data[:, :128]) - np.median(bias)) * one.header["GAIN"]
            assert np.std(bias) == pytest.approx(
                one.header["RDNOISE"] / one.header["GAIN"], rel=0.05
            )
            assert sky == pytest.approx(650, rel=0.03)


def test_the_acquisition_time_is_tai() -> None:
    event = of(list(night(SHORT, "s")), "lsst.sal.MTCamera.logevent_endReadout")[0]
    start = round(event.fields["timestampAcquisitionStart"] * SECOND)
    assert abs(tai_to_utc(start) - next(SHORT.plan()).begin) < SECOND // 1000


def test_old_images_make_room(tmp_path: Path) -> None:
    for name in ("MC_O_20250424_000001", "MC_O_20250424_000002", "somebody-elses"):
        (tmp_path / name).mkdir()
    drop_images(tmp_path, keep=1)
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "MC_O_20250424_000002",
        "somebody-elses",
    ]


@pytest.mark.parametrize(
    "wrong",
    [{"speed": -1.0}, {"seed": -1}, {"keep": 0}, {"cadence": 10 * SECOND}, {"start": "noon"}],
)
def test_a_night_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(CatcherError):
        SimulatorSettings(**wrong)  # type: ignore[arg-type]
