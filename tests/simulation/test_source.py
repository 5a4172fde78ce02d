"""The simulated night is always the same, tells its story, and its images can be read."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.time import MINUTE, SECOND, tai_to_utc, wall_clock
from catcher.ports import EventBatch
from catcher.simulation.camera import DETECTORS, remove_old_images, write_detector_images
from catcher.simulation.source import SimulatorSettings, SimulatorSource, simulate_night

NIGHT = SimulatorSettings(length=20 * MINUTE, speed=0)
SHORT = SimulatorSettings(length=4 * MINUTE, speed=0)


def select_topic(events: list[Event], topic: str) -> list[Event]:
    return [event for event in events if event.topic == topic]


async def run_simulator(folder: Path, position: str = "") -> list[EventBatch]:
    source = SimulatorSource("night", SHORT, wall_clock, folder, position)
    async with source.open() as batches:
        return [batch async for batch in batches]


def test_the_same_seed_gives_the_same_night_and_another_a_different_one() -> None:
    assert list(simulate_night(SHORT, "s")) == list(simulate_night(SHORT, "s"))
    other_settings = SimulatorSettings(length=4 * MINUTE, speed=0, seed=2)
    assert list(simulate_night(SHORT, "s")) != list(simulate_night(other_settings, "s"))


def test_events_come_in_the_order_of_time_and_none_twice() -> None:
    events = list(simulate_night(NIGHT, "s"))
    assert all(earlier.time <= later.time for earlier, later in pairwise(events))
    assert (
        max(
            Counter(
                (event.topic, event.time, event.fields.get("salIndex")) for event in events
            ).values()
        )
        == 1
    )


def test_the_wind_rises_above_what_a_telescope_bears() -> None:
    samples = select_topic(list(simulate_night(NIGHT, "s")), "lsst.sal.ESS.airFlow")
    speeds = {
        minute: np.mean(
            [
                sample.fields["speed"]
                for sample in samples
                if sample.fields["salIndex"] == 301
                and minute - 1 <= (sample.time - NIGHT.parse_start()) / MINUTE < minute
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
    events = list(simulate_night(NIGHT, "s"))
    impact = []
    for exposure in islice(NIGHT.build_exposure_plan(), 6):
        squares = 0.0
        for axis, share in (
            ("azimuth", np.cos(np.radians(exposure.elevation))),
            ("elevation", 1.0),
        ):
            samples = [
                sample.fields
                for sample in select_topic(events, f"lsst.sal.MTMount.{axis}")
                if exposure.start <= sample.time <= exposure.end
            ]
            assert len(samples) == 601
            error = [
                (fields["actualPosition"] - fields["demandPosition"]) * 3600 for fields in samples
            ]
            squares += (share * float(np.std(error))) ** 2
        impact.append(squares**0.5)
    assert [value > 0.1 for value in impact] == [False, False, False, True, False, False]
    assert all(0.01 < value < 0.03 for value in impact if value < 0.1)


def test_one_script_fails_and_the_others_end_well() -> None:
    states = select_topic(list(simulate_night(NIGHT, "s")), "lsst.sal.Script.logevent_state")
    by_script: dict[int, list[int]] = {}
    for event in states:
        by_script.setdefault(event.fields["salIndex"], []).append(event.fields["state"])
    assert by_script[200001] == [2, 3, 8]
    assert by_script[200005] == [2, 3, 7, 10]
    assert sum(10 in script_states for script_states in by_script.values()) == 1


def test_the_mount_is_in_position_before_each_exposure() -> None:
    times = [
        event.time
        for event in select_topic(
            list(simulate_night(NIGHT, "s")), "lsst.sal.MTMount.logevent_azimuthInPosition"
        )
        if event.fields["inPosition"]
    ]
    starts = [exposure.start for exposure in islice(NIGHT.build_exposure_plan(), len(times))]
    assert all(start - time == 3 * SECOND for time, start in zip(times, starts, strict=True))


async def test_an_image_is_there_when_its_readout_is_announced(tmp_path: Path) -> None:
    source = SimulatorSource("night", SHORT, wall_clock, tmp_path)
    names = []
    async with source.open() as batches:
        async for batch in batches:
            for event in select_topic(list(batch.events), "lsst.sal.MTCamera.logevent_endReadout"):
                folder = tmp_path / "images" / event.fields["imageName"]
                assert sorted(path.stem for path in folder.iterdir()) == sorted(DETECTORS)
                names.append(event.fields["imageName"])
    assert names == ["MC_O_20250424_000001", "MC_O_20250424_000002", "MC_O_20250424_000003"]
    assert source.health().state == "ended"


async def test_it_continues_from_a_position(tmp_path: Path) -> None:
    batches = await run_simulator(tmp_path)
    remaining = await run_simulator(tmp_path, batches[1].position)
    events = [event for batch in batches for event in batch.events]
    early = [event for event in events if event.time <= int(batches[1].position)]
    assert early + [event for batch in remaining for event in batch.events] == events


async def test_it_can_be_stopped_at_once(tmp_path: Path) -> None:
    source = SimulatorSource("night", SimulatorSettings(), wall_clock, tmp_path)
    async with source.open() as batches:
        first = await anext(batches)
    assert {event.topic for event in first.events} >= {"lsst.sal.ESS.airFlow"}


def test_the_images_are_valid_fits_with_known_levels(tmp_path: Path) -> None:
    exposure = next(NIGHT.build_exposure_plan())
    write_detector_images(exposure, tmp_path, seed=1)
    with fits.open(tmp_path / exposure.name / "R22_S11.fits") as hdus:
        hdus.verify("exception")
        assert hdus[0].header["DETECTOR"] == "R22_S11"
        assert [hdu.name for hdu in hdus[1:]] == ["C00", "C10"]
        for hdu in hdus[1:]:
            assert hdu.header["DATASEC"] == "[1:128,1:256]"
            assert hdu.header["BIASSEC"] == "[129:160,1:256]"
            bias = hdu.data[:, 128:].astype(float)
            sky = (np.median(hdu.data[:, :128]) - np.median(bias)) * hdu.header["GAIN"]
            assert np.std(bias) == pytest.approx(
                hdu.header["RDNOISE"] / hdu.header["GAIN"], rel=0.05
            )
            assert sky == pytest.approx(650, rel=0.03)


def test_the_acquisition_time_is_tai() -> None:
    event = select_topic(list(simulate_night(SHORT, "s")), "lsst.sal.MTCamera.logevent_endReadout")[
        0
    ]
    start = round(event.fields["timestampAcquisitionStart"] * SECOND)
    assert abs(tai_to_utc(start) - next(SHORT.build_exposure_plan()).start) < SECOND // 1000


def test_old_images_are_removed(tmp_path: Path) -> None:
    for name in ("MC_O_20250424_000001", "MC_O_20250424_000002", "somebody-elses"):
        (tmp_path / name).mkdir()
    remove_old_images(tmp_path, keep_count=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "MC_O_20250424_000002",
        "somebody-elses",
    ]


@pytest.mark.parametrize(
    "wrong",
    [{"speed": -1.0}, {"seed": -1}, {"keep": 0}, {"cadence": 10 * SECOND}, {"start": "noon"}],
)
def test_an_impossible_night_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(CatcherError):
        SimulatorSettings(**wrong)  # type: ignore[arg-type]
