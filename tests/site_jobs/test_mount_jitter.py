"""The mount's jitter, against a truth that is known and against real mounts."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers

from catcher import Event, Metric, Observation, Result, Series
from catcher.testing import load_job

mount_jitter = load_job("mount_jitter", site=Path(__file__).parents[2])
Array = npt.NDArray[np.float64]
START = 1_745_454_000.0
EMPTY = Series(np.array([]))
JITTER_METRICS = ("azimuth_rms", "elevation_rms", "image_impact_rms", "image_impact_p95")


def create_axis(
    rate: float, start: float, jitter: Array, seconds: float = 30.0, has_demand: bool = True
) -> Series:
    """An axis that follows its demand (degrees, degrees a second) with `jitter` arcsec."""
    time = START + np.linspace(0, seconds, len(jitter))
    demanded = start + rate * (time - START)
    columns = {"actualPosition": demanded + jitter / 3600}
    return Series(time, {**columns, "demandPosition": demanded} if has_demand else columns)


def create_shake(amplitude: float, count: int = 601, seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    return amplitude * np.sin(2 * np.pi * 1.3 * np.linspace(0, 30, count)) + rng.normal(
        0, 0.01, count
    )


def create_exposure(seconds: float = 30.0) -> Observation:
    start = int(START * 1e9)
    return Observation("exposure", "MC_O_1", start, start + int(seconds * 1e9), "", {"band": "r"})


def metric_value(result: Result, name: str) -> float:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    assert metric.value is not None, metric.reason
    return metric.value


def unknown_reason(result: Result, name: str = "image_impact_rms") -> str:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    assert metric.value is None
    return metric.reason


def compute_error_by_search(series: Series) -> Array:
    """The error by brute force: every shift of a fine grid within 1 ms, one after the other."""
    actual, demand = series["actualPosition"], series["demandPosition"]

    def error_at(shift: float) -> Array:
        moved = series.time + shift
        index = np.clip(np.searchsorted(moved, series.time) - 1, 0, len(moved) - 2)
        slope = (demand[index + 1] - demand[index]) / (moved[index + 1] - moved[index])
        line = demand[index] + slope * (series.time - moved[index])
        line = np.where(series.time <= moved[0], demand[0], line)
        line = np.where(series.time >= moved[-1], demand[-1], line)
        return np.asarray((actual - line) * 3600)

    low, high = -1e-3, 1e-3
    for _ in range(5):
        shifts = np.linspace(low, high, 201)
        medians = [abs(np.median(error_at(float(shift)))) for shift in shifts]
        best = float(shifts[int(np.argmin(medians))])
        width = (high - low) / 100
        low, high = max(best - width, -1e-3), min(best + width, 1e-3)
    return error_at(best)


@pytest.mark.parametrize("offset", [0.0, 0.004, -0.02, 0.3])
def test_it_equals_an_independent_computation_to_a_microarcsecond(offset: float) -> None:
    azimuth = create_axis(0.004, 150.0, create_shake(0.08) + offset)
    elevation = create_axis(0.0021, 62.0, create_shake(0.05, seed=2) - offset)
    rotator = create_axis(0.001, 10.0, create_shake(0.5, seed=3))
    result = mount_jitter(azimuth, elevation, rotator, observation=create_exposure())
    azimuth_rms, elevation_rms, rotator_rms = (
        np.sqrt(np.mean(compute_error_by_search(series) ** 2))
        for series in (azimuth, elevation, rotator)
    )
    height = np.radians(np.median(elevation["actualPosition"]))
    image_rms = np.sqrt(
        (azimuth_rms * np.cos(height)) ** 2
        + elevation_rms**2
        + (rotator_rms * 8500 * np.pi / 180 / 3600) ** 2
    )
    assert metric_value(result, "azimuth_rms") == pytest.approx(azimuth_rms, abs=1e-6)
    assert metric_value(result, "elevation_rms") == pytest.approx(elevation_rms, abs=1e-6)
    assert metric_value(result, "rotator_rms") == pytest.approx(rotator_rms, abs=1e-6)
    assert metric_value(result, "image_impact_rms") == pytest.approx(image_rms, abs=1e-6)


def test_a_clock_that_is_half_a_millisecond_off_is_put_right() -> None:
    axis = create_axis(0.004, 150.0, np.zeros(601))
    late = Series(
        axis.time, {**axis.columns, "demandPosition": axis["demandPosition"] - 0.004 * 5e-4}
    )
    result = mount_jitter(late, create_axis(0.0, 60.0, np.zeros(601)))
    # 7.2 milliarcsec of error are gone, but for the first sample, which has no demand before it.
    assert metric_value(result, "azimuth_rms") < 0.0005


def test_a_point_of_the_worst_second_stands_out() -> None:
    jitter = np.zeros(601)
    jitter[200:220] = 0.5
    result = mount_jitter(create_axis(0.0, 150.0, jitter), create_axis(0.0, 0.0, np.zeros(601)))
    assert metric_value(result, "image_impact_worst_second") == pytest.approx(0.5, rel=0.05)
    assert metric_value(result, "image_impact_rms") == pytest.approx(
        0.5 * np.sqrt(20 / 601), rel=1e-3
    )


def test_azimuth_counts_less_near_the_zenith() -> None:
    high = create_axis(0.0, 80.0, np.zeros(601))
    low = create_axis(0.0, 20.0, np.zeros(601))
    azimuth = create_axis(0.0, 150.0, create_shake(0.1))
    near_zenith = metric_value(mount_jitter(azimuth, high), "image_impact_rms")
    near_horizon = metric_value(mount_jitter(azimuth, low), "image_impact_rms")
    assert near_zenith / near_horizon == pytest.approx(
        np.cos(np.radians(80)) / np.cos(np.radians(20))
    )


def test_single_point_glitches_are_filtered_when_asked() -> None:
    jitter = create_shake(0.0)
    glitched = jitter.copy()
    glitched[[100, 300, 301]] += 5.0
    axis, steady_axis = create_axis(0.0, 150.0, glitched), create_axis(0.0, 60.0, np.zeros(601))
    raw, filtered = (
        mount_jitter(axis, steady_axis),
        mount_jitter(axis, steady_axis, filter_glitches=True),
    )
    assert metric_value(raw, "azimuth_rms") > 0.3
    assert metric_value(filtered, "azimuth_rms") == pytest.approx(0.01, rel=0.1)
    assert metric_value(filtered, "glitches") == 3


def filter_by_definition(error: Array) -> tuple[Array, int]:
    """The filter as it is stated, sample by sample, on plain lists."""
    values, middle = list(error), float(np.median(error))
    good_values, replaced, run_length = [], 0, 0
    for index, value in enumerate(error):
        is_near = abs(value - (good_values[-1] if index >= 2 else middle)) <= 0.1
        if is_near or (index >= 2 and run_length == 3):
            run_length = 0 if is_near else run_length
            good_values += [value] if is_near else []
        else:
            values[index] = float(np.mean(good_values[-2:])) if index >= 2 else middle
            good_values += [middle] if index < 2 else []
            replaced, run_length = replaced + 1, run_length + (index >= 2)
    return np.array(values), replaced


@pytest.mark.parametrize("seed", range(6))
def test_the_filter_follows_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    jitter = create_shake(0.03, seed=seed)
    for index in rng.integers(0, 601, 12):
        jitter[index : index + int(rng.integers(1, 7))] += rng.normal(0, 2)
    axis, steady_axis = create_axis(0.0, 150.0, jitter), create_axis(0.0, 60.0, np.zeros(601))
    filtered = mount_jitter(axis, steady_axis, filter_glitches=True)
    # A demand that stands still makes the error the jitter itself, whatever the shift.
    expected, count = filter_by_definition((axis["actualPosition"] - axis["demandPosition"]) * 3600)
    assert metric_value(filtered, "azimuth_rms") == pytest.approx(
        np.sqrt(np.mean(expected**2)), abs=1e-9
    )
    assert metric_value(filtered, "glitches") == count


def test_a_step_that_stays_is_no_glitch() -> None:
    step = np.where(np.arange(601) > 300, 0.5, 0.0)
    axis, steady_axis = create_axis(0.0, 150.0, step), create_axis(0.0, 60.0, np.zeros(601))
    result = mount_jitter(axis, steady_axis, filter_glitches=True)
    assert metric_value(result, "glitches") == 3
    assert metric_value(result, "azimuth_rms") == pytest.approx(0.5 * np.sqrt(297 / 601), rel=1e-6)


def test_a_slew_is_called_a_slew() -> None:
    slewing_axis = create_axis(2.0, 150.0, np.zeros(601), has_demand=False)
    steady_axis = create_axis(0.0, 60.0, np.zeros(601), has_demand=False)
    assert mount_jitter(slewing_axis, steady_axis).note.endswith("while it slewed 60 deg")


def test_an_angle_may_pass_through_north() -> None:
    time = START + np.linspace(0, 30, 601)
    demanded = (359.95 + 0.004 * (time - START)) % 360
    actual = (demanded + 0.01 / 3600) % 360
    azimuth = Series(time, {"actualPosition": actual, "demandPosition": demanded})
    result = mount_jitter(azimuth, create_axis(0.0, 60.0, np.zeros(601)))
    assert metric_value(result, "azimuth_rms") < 0.02


def test_without_telemetry_all_is_unknown_and_nothing_fails() -> None:
    result = mount_jitter(EMPTY, EMPTY, observation=create_exposure())
    assert all("no usable telemetry" in unknown_reason(result, name) for name in JITTER_METRICS)
    assert metric_value(result, "samples") == 0
    assert metric_value(result, "fraction_seen") == 0
    assert not result.artifacts


def test_a_few_samples_are_not_enough() -> None:
    few = create_axis(0.0, 150.0, np.zeros(8))
    assert "only 8 samples of the azimuth" in unknown_reason(mount_jitter(few, few))


def test_under_nine_tenths_of_the_exposure_are_not_enough() -> None:
    axis = create_axis(0.0, 60.0, np.zeros(601))
    half = Series(axis.time[:400], {name: column[:400] for name, column in axis.columns.items()})
    result = mount_jitter(half, half, observation=create_exposure())
    assert unknown_reason(result) == "only 67 % of the exposure has telemetry, 90 % are needed"
    assert metric_value(result, "fraction_seen") == pytest.approx(0.665, abs=0.01)
    present = np.r_[0:200, 230:601]
    holed = Series(
        axis.time[present], {name: column[present] for name, column in axis.columns.items()}
    )
    result_with_gap = mount_jitter(holed, holed, observation=create_exposure())
    assert metric_value(result_with_gap, "fraction_seen") == pytest.approx(0.95, abs=0.01)


def test_a_band_labels_the_metrics() -> None:
    axis = create_axis(0.0, 60.0, create_shake(0.02))
    result = mount_jitter(axis, axis, observation=create_exposure(), band="r")
    assert result.metrics["image_impact_rms"].labels == {"band": "r"}


def test_the_errors_are_kept_beside_the_plot() -> None:
    axis = create_axis(0.0, 60.0, create_shake(0.02))
    result = mount_jitter(axis, axis, observation=create_exposure())
    assert set(result.artifacts) == {"jitter.png", "jitter.json", "errors.npz"}
    assert result.artifacts["errors.npz"]["azimuth_error"].shape == (601,)


def test_the_medicina_telescope_about_its_quartic(shared_data: Path) -> None:
    with gzip.open(shared_data / "mount" / "medicina_otf_25hz.csv.gz", "rt") as stream:
        rows = [
            (float(row["time"]), float(row["az_deg"]), float(row["el_deg"]))
            for row in csv.DictReader(stream)
        ]
    time, azimuth, elevation = np.array(rows).T
    result = mount_jitter(
        Series(time, {"actualPosition": azimuth}), Series(time, {"actualPosition": elevation})
    )
    assert metric_value(result, "azimuth_rms") == pytest.approx(0.59, abs=0.005)
    assert metric_value(result, "elevation_rms") == pytest.approx(1.09, abs=0.005)
    scaled_time = (time - time.mean()) / np.ptp(time)
    for name, angle in (("azimuth_rms", azimuth), ("elevation_rms", elevation)):
        quartic = np.polyval(np.polyfit(scaled_time, angle, 4), scaled_time)
        expected = np.sqrt(np.mean(((angle - quartic) * 3600) ** 2))
        assert metric_value(result, name) == pytest.approx(expected, abs=1e-6)


def test_the_simonyi_telescope_about_its_demand(shared_data: Path) -> None:
    lines = (shared_data / "efd-mount-demand-2023-06-01.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    time = np.array([datetime.fromisoformat(row["time"]).timestamp() for row in rows])
    columns = {
        name: np.array([row["fields"][name] for row in rows])
        for name in ("actualPosition", "demandPosition")
    }
    template = create_axis(0.0, 0.0, np.zeros(601))
    steady_axis = Series(time, {name: np.zeros(len(time)) for name in template.columns})
    result = mount_jitter(Series(time, columns), steady_axis)
    # The demand stands still, so that no shift of its clock can matter.
    error = (columns["actualPosition"] - columns["demandPosition"]) * 3600
    assert metric_value(result, "samples") == 47
    assert metric_value(result, "azimuth_rms") == pytest.approx(
        np.sqrt(np.mean(error**2)), abs=1e-9
    )


def create_hexapod(seed: int, count: int = 30) -> Series:
    rng = np.random.default_rng(seed)
    time = START + np.linspace(0, 30, count)
    return Series(time, {f"error{axis}": rng.normal(0, 0.5, count) for axis in range(6)})


def test_hexapods_count_as_summit_utils_counts_them() -> None:
    axis = create_axis(0.004, 60.0, create_shake(0.03))
    camera, m2 = create_hexapod(1), create_hexapod(2)
    result = mount_jitter(
        axis, axis, camera_hexapod=camera, m2_hexapod=m2, observation=create_exposure()
    )
    plain = mount_jitter(axis, axis, observation=create_exposure())
    expected = []
    for series, shift, tilt in ((camera, 1.00, 4.92), (m2, 1.13, 37.26)):
        scales = {0: shift, 1: shift, 3: tilt, 4: tilt}
        squares = [
            np.mean((series[f"error{n}"] * factor / 10 * 0.2) ** 2) for n, factor in scales.items()
        ]
        expected.append(float(np.sqrt(sum(squares))))
    assert metric_value(result, "camera_hexapod_rms") == pytest.approx(expected[0], abs=1e-9)
    assert metric_value(result, "m2_hexapod_rms") == pytest.approx(expected[1], abs=1e-9)
    image_rms = np.sqrt(
        metric_value(plain, "image_impact_rms") ** 2 + expected[0] ** 2 + expected[1] ** 2
    )
    assert metric_value(result, "image_impact_rms") == pytest.approx(image_rms, abs=1e-9)
    without_telemetry = mount_jitter(
        axis, axis, camera_hexapod=EMPTY, observation=create_exposure()
    )
    assert (
        unknown_reason(without_telemetry)
        == "no usable telemetry of the camera hexapod in this time"
    )


def test_only_the_exposure_counts() -> None:
    jitter = np.concatenate((np.full(100, 3.0), create_shake(0.02)))
    time = START - 5 + np.arange(701) * 0.05
    demanded = 150 + 0.004 * (time - START)
    wide = Series(time, {"actualPosition": demanded + jitter / 3600, "demandPosition": demanded})
    narrow = Series(time[100:], {name: column[100:] for name, column in wide.columns.items()})
    wide_result, narrow_result = (
        mount_jitter(axis, axis, observation=create_exposure()) for axis in (wide, narrow)
    )
    assert metric_value(wide_result, "image_impact_rms") == pytest.approx(
        metric_value(narrow_result, "image_impact_rms")
    )
    assert metric_value(wide_result, "samples") == 601


SECONDS = np.linspace(0, 30, 601)


def random_walk(step: float) -> Array:
    rng = np.random.default_rng(7)
    values = np.zeros(601)
    for index in range(1, 601):
        values[index] = 0.9 * values[index - 1] + rng.normal(0, step)
    return values


FAULT_ERRORS = {
    "oscillation": 0.2 * np.sin(2 * np.pi * 2.3 * SECONDS),
    "wind": random_walk(0.06),
    "glitch": np.where(np.isin(np.arange(601), (200, 401, 402)), 5.0, 0.0),
    "settling": 1.5 * np.exp(-SECONDS / 1.5) * np.cos(2 * np.pi * 1.1 * SECONDS),
    "drift": 0.02 * SECONDS,
    "noise": np.zeros(601),
}


@pytest.mark.parametrize("fault", FAULT_ERRORS)
def test_each_kind_of_failure_is_reported(fault: str) -> None:
    jitter = FAULT_ERRORS[fault] + create_shake(0.0)
    result = mount_jitter(
        create_axis(0.004, 150.0, jitter), create_axis(0.002, 10.0, create_shake(0.0, seed=4)),
        observation=create_exposure(),
    )  # fmt: skip
    assert result.artifacts["jitter.json"]["failure"] == fault
    parts = {name: metric_value(result, f"{name}_part") for name in (*FAULT_ERRORS, "timing")}
    assert max(parts, key=lambda name: parts[name]) == fault
    assert sum(parts.values()) == pytest.approx(1.0, abs=1e-6)
    mechanical, image_rms = (
        metric_value(result, "mechanical_rms"),
        metric_value(result, "image_impact_rms"),
    )
    assert (mechanical < 0.1 * image_rms) == (fault == "glitch")


def test_clocks_that_jump_move_no_mount() -> None:
    axis = create_axis(0.004, 150.0, create_shake(0.0))
    stamps = axis.time + 37
    late = stamps.copy()
    late[300:360] += 1.0
    jumped = Series(axis.time, {
        **axis.columns, "actualPositionTimestamp": stamps, "demandPositionTimestamp": late,
    })  # fmt: skip
    result = mount_jitter(
        jumped, create_axis(0.0, 60.0, create_shake(0.0)), observation=create_exposure()
    )
    assert metric_value(result, "clock_jumps") == 60
    assert metric_value(result, "image_impact_rms") > 1
    assert metric_value(result, "mechanical_rms") < 0.02
    assert result.artifacts["jitter.json"]["failure"] == "timing"
    assert "clocks jumped" in result.note


def test_a_peak_has_its_frequency_its_amplitude_and_a_name() -> None:
    height = np.radians(60)
    swing = 0.2 * np.sin(2 * np.pi * 2.3 * SECONDS) + create_shake(0.0)
    axes = create_axis(0.0, 150.0, swing), create_axis(0.0, 60.0, create_shake(0.0))
    result = mount_jitter(*axes, modes={"oil pump": 2.35, "fan": 8.0})
    assert metric_value(result, "peak_frequency") == pytest.approx(2.3, abs=0.02)
    assert metric_value(result, "peak_amplitude") == pytest.approx(0.2 * np.cos(height), rel=0.05)
    (peak,) = result.artifacts["jitter.json"]["peaks"]
    assert (peak["name"], peak["axis"]) == ("oil pump", "azimuth")
    (peak,) = mount_jitter(*axes).artifacts["jitter.json"]["peaks"]
    assert peak["name"] == "azimuth 2.3 Hz"
    quiet = mount_jitter(axes[1], axes[1])
    assert unknown_reason(quiet, "peak_frequency") == "no oscillation stands out of the spectrum"


def test_drift_and_jitter_are_told_apart() -> None:
    height = np.radians(60)
    swing = 0.1 * np.sin(2 * np.pi * 3 * SECONDS)
    result = mount_jitter(
        create_axis(0.0, 150.0, 0.03 * SECONDS + swing), create_axis(0.0, 60.0, np.zeros(601))
    )
    assert metric_value(result, "drift") == pytest.approx(0.9 * np.cos(height), rel=0.01)
    assert metric_value(result, "jitter_rms") == pytest.approx(
        0.1 / np.sqrt(2) * np.cos(height), rel=0.01
    )


@pytest.mark.parametrize("demand", [True, False])
def test_the_settle_time_counts_from_the_end_of_the_slew(demand: bool) -> None:
    time = START + np.arange(0, 40, 0.05)
    seconds = time - START - 10
    demanded = 150 + np.where(seconds < 0, 2.0 * seconds, 0.004 * seconds)
    ring = np.where(seconds < 0, 0, 2 * np.exp(-seconds / 1.5) * np.cos(2 * np.pi * 1.2 * seconds))
    columns = {"actualPosition": demanded + ring / 3600}
    azimuth = Series(time, {**columns, "demandPosition": demanded} if demand else columns)
    steady_position = np.full(len(time), 0.0)
    elevation = Series(time, {"actualPosition": steady_position, "demandPosition": steady_position})
    result = mount_jitter(azimuth, elevation, settled_to=0.1)
    # A ring of amplitude a is of root mean square 0.1 where a = 0.141: 1.5 ln(2 / 0.141) = 4 s.
    assert metric_value(result, "settle_time") == pytest.approx(4.0, abs=1.0)


def test_a_mount_that_never_settles_is_unknown_so() -> None:
    axis = create_axis(0.0, 0.0, create_shake(0.5))
    assert unknown_reason(mount_jitter(axis, axis), "settle_time") == "not settled to 0.1 arcsec"
    slew = create_axis(2.0, 150.0, np.zeros(601))
    assert unknown_reason(mount_jitter(slew, axis), "settle_time") == "the mount slewed to the end"


@pytest.mark.parametrize("kind", ["BIAS", "flat"])
def test_images_without_tracking_are_skipped(kind: str) -> None:
    axis = create_axis(0.004, 60.0, create_shake(0.5))
    plain_event = Event("e", int(START * 1e9), {"imageType": kind})
    packed_fields = {"additionalKeys": "imageType:groupId", "additionalValues": f"{kind}:x"}
    for event in (plain_event, Event("e", 0, packed_fields)):
        result = mount_jitter(axis, axis, observation=create_exposure(), event=event)
        assert unknown_reason(result) == f"a {kind.upper()} is taken without tracking"
    tracked = Event("e", 0, {"imageType": "OBJECT"})
    assert metric_value(mount_jitter(axis, axis, event=tracked), "image_impact_rms") > 0


def test_the_track_of_the_sky_by_astropy_is_a_reference() -> None:
    location = EarthLocation.from_geodetic(-70.7494, -30.2446, 2663.0)
    time = START + np.linspace(0, 30, 601)
    target = SkyCoord("13h20m", "-30d", frame="icrs")
    with iers.conf.set_temp("auto_download", False):
        horizontal = target.transform_to(
            AltAz(obstime=Time(time, format="unix"), location=location)
        )
    swing = 0.3 * np.sin(2 * np.pi * 1.5 * (time - START)) / 3600
    azimuth = Series(time, {"actualPosition": horizontal.az.deg + swing + 0.01})
    elevation = Series(time, {"actualPosition": horizontal.alt.deg - 0.02})
    coordinates = {"ra": target.ra.deg, "dec": target.dec.deg}
    result = mount_jitter(azimuth, elevation, reference="track", **coordinates)
    assert metric_value(result, "azimuth_rms") == pytest.approx(0.3 / np.sqrt(2), rel=0.01)
    assert metric_value(result, "elevation_rms") < 0.001
    declared = replace(create_exposure(), columns=coordinates)
    declared_result = mount_jitter(azimuth, elevation, reference="track", observation=declared)
    assert declared_result.artifacts["jitter.json"]["axes"]["azimuth"]["reference"] == "track"
    with pytest.raises(ValueError, match="needs the target"):
        mount_jitter(azimuth, elevation, reference="track")
    with pytest.raises(ValueError, match="choose auto, polynomial, track"):
        mount_jitter(azimuth, elevation, reference="stars")


def test_a_polynomial_may_be_requested() -> None:
    axis = create_axis(0.004, 60.0, 0.5 + 0.02 * SECONDS)
    assert metric_value(mount_jitter(axis, axis, reference="polynomial"), "azimuth_rms") < 1e-4


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_samples_that_are_no_angle_do_no_harm(bad: float) -> None:
    axis = create_axis(0.004, 150.0, create_shake(0.0))
    position = axis["actualPosition"].copy()
    position[[50, 300]] = bad
    spoiled = Series(axis.time, {**axis.columns, "actualPosition": position})
    result = mount_jitter(
        spoiled, create_axis(0.0, 60.0, create_shake(0.0)), observation=create_exposure()
    )
    assert metric_value(result, "mechanical_rms") == pytest.approx(0.011, abs=0.003)
    empty_axis = Series(axis.time, dict.fromkeys(axis.columns, np.full(601, bad * np.nan)))
    assert "no usable telemetry" in unknown_reason(
        mount_jitter(empty_axis, axis, observation=create_exposure())
    )


def test_samples_out_of_order_twice_and_with_wild_times_do_no_harm() -> None:
    axis = create_axis(0.004, 150.0, create_shake(0.0))
    mixed = np.random.default_rng(3).permutation(np.r_[0:601, 0:50])
    time = axis.time[mixed]
    time[:3] = np.nan, 4e9, -1e9
    wild = Series(time, {name: column[mixed] for name, column in axis.columns.items()})
    result = mount_jitter(wild, axis, observation=create_exposure())
    assert metric_value(result, "azimuth_rms") == pytest.approx(0.0105, abs=0.002)


def test_samples_before_the_end_of_a_slew_may_be_omitted() -> None:
    time = START + np.arange(0, 40, 0.05)
    seconds = time - START - 10
    demanded = 150 + np.where(seconds < 0, 2.0 * seconds, 0.004 * seconds)
    noise = np.random.default_rng(1).normal(0, 0.02, len(time))
    azimuth = Series(time, {"actualPosition": demanded + noise / 3600})
    elevation = Series(time, {"actualPosition": np.full(len(time), 60.0)})
    complete = mount_jitter(azimuth, elevation)
    after_slew = mount_jitter(azimuth, elevation, after_slew=True)
    assert metric_value(complete, "azimuth_rms") > 100
    assert metric_value(after_slew, "azimuth_rms") == pytest.approx(0.02, rel=0.1)
    assert metric_value(after_slew, "samples") == pytest.approx(600, abs=15)
    assert metric_value(after_slew, "settle_time") < 1
    slewing_axis = create_axis(2.0, 150.0, np.zeros(601))
    assert "azimuth in this time" in unknown_reason(
        mount_jitter(slewing_axis, elevation, after_slew=True)
    )
