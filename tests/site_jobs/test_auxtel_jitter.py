"""The jitter of the Auxiliary Telescope, whose encoders come packed, a second in a message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from catcher import Event, Metric, Observation, Result, Series
from catcher.app import load_site, run_backtest
from catcher.testing import load_job

SITE = Path(__file__).parents[2]
auxtel_jitter = load_job("auxtel_jitter", site=SITE)
Array = npt.NDArray[np.float64]
START, TAI = 1_745_454_000.0, 37.0
ANGLES = ("azimuthCalculatedAngle", "elevationCalculatedAngle")


def create_exposure(seconds: float = 30.0) -> Observation:
    start = int(START * 1e9)
    return Observation("auxtel", "AT_O_1", start, start + int(seconds * 1e9))


def create_angles(time: Array, swing: float = 0.4, seed: int = 1) -> tuple[Array, Array]:
    """Azimuth and elevation of a track, curved as the sky is, with a swing in azimuth (arcsec)."""
    rng, seconds = np.random.default_rng(seed), time - START
    azimuth = (
        150 + 4e-3 * seconds + 3e-7 * seconds**2 + swing / 3600 * np.sin(2 * np.pi * 1.7 * seconds)
    )
    elevation = 62 + 2e-3 * seconds - 2e-7 * seconds**2
    return (
        azimuth + rng.normal(0, 0.03, len(time)) / 3600,
        elevation + rng.normal(0, 0.02, len(time)) / 3600,
    )


def create_message_times(first: float = -2.7, count: int = 36) -> list[tuple[float, Array]]:
    """The starts (UTC) of each message's samples, and their times."""
    return [(START + first + n, START + first + n + np.arange(100) / 100) for n in range(count)]


def create_packed_series(clock: Array | None = None) -> Series:
    starts = np.array([start for start, _ in create_message_times()])
    angle_pairs = [
        create_angles(time, seed=n) for n, (_, time) in enumerate(create_message_times())
    ]
    columns = {
        f"{name}{n}": np.array([pair[axis][n] for pair in angle_pairs])
        for axis, name in enumerate(ANGLES)
        for n in range(100)
    }
    stamps = starts + TAI if clock is None else clock
    return Series(starts + 1.2, {**columns, "cRIO_timestamp": stamps})


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


def polynomial_residual(time: Array, angle: Array, degree: int) -> Array:
    """Least squares by the normal equations of centred, scaled powers."""
    scaled = (time - time.mean()) / np.ptp(time)
    design = np.vander(scaled, degree + 1)
    fitted = design @ np.linalg.lstsq(design, angle - angle[0], rcond=None)[0]
    return np.asarray((angle - angle[0] - fitted) * 3600)


def test_it_equals_an_independent_computation_to_a_microarcsecond() -> None:
    time = np.concatenate([time for _, time in create_message_times()])
    angle_pairs = [
        create_angles(time, seed=n) for n, (_, time) in enumerate(create_message_times())
    ]
    azimuth, elevation = (np.concatenate([pair[axis] for pair in angle_pairs]) for axis in (0, 1))
    inside = (time >= START) & (time <= START + 30)
    # Stamps are of a double near 2e9, so good to 2e-7 s.
    azimuth_rms, elevation_rms = (
        np.sqrt(np.mean(polynomial_residual(time[inside], angle[inside], 4) ** 2))
        for angle in (azimuth, elevation)
    )
    nasmyth = Series(time, {"nasmyth2CalculatedAngle": 30 + 1e-3 * (time - START)})
    result = auxtel_jitter(create_packed_series(), nasmyth, observation=create_exposure())
    assert metric_value(result, "azimuth_rms") == pytest.approx(azimuth_rms, abs=1e-6)
    assert metric_value(result, "elevation_rms") == pytest.approx(elevation_rms, abs=1e-6)
    image_rms = np.hypot(azimuth_rms * np.cos(np.radians(elevation[inside][0])), elevation_rms)
    assert metric_value(result, "image_impact_rms") == pytest.approx(image_rms, abs=1e-6)
    assert metric_value(result, "rotator_rms") == pytest.approx(0, abs=1e-5)
    assert metric_value(result, "peak_frequency") == pytest.approx(1.7, abs=0.02)
    assert metric_value(result, "samples") == 3001


def test_the_rotator_is_about_a_parabola() -> None:
    time = START + np.arange(0, 30, 0.01)
    angle = 30 + 1e-9 * (time - START - 15) ** 3
    nasmyth = Series(time, {"nasmyth2CalculatedAngle": angle})
    result = auxtel_jitter(create_packed_series(), nasmyth, observation=create_exposure())
    expected = np.sqrt(np.mean(polynomial_residual(time, angle, 2) ** 2))
    assert metric_value(result, "rotator_rms") == pytest.approx(expected, abs=1e-6)


def test_unpacked_telemetry_is_the_same() -> None:
    time = np.concatenate([time for _, time in create_message_times()])
    angle_pairs = [
        create_angles(time, seed=n) for n, (_, time) in enumerate(create_message_times())
    ]
    columns = {
        name: np.concatenate([pair[n] for pair in angle_pairs]) for n, name in enumerate(ANGLES)
    }
    plain = auxtel_jitter(Series(time, columns), observation=create_exposure())
    other = auxtel_jitter(create_packed_series(), observation=create_exposure())
    assert metric_value(plain, "image_impact_rms") == pytest.approx(
        metric_value(other, "image_impact_rms"), abs=1e-6
    )


def test_a_clock_of_the_controller_that_jumps_moves_no_mount() -> None:
    stamps = np.array([start for start, _ in create_message_times()]) + TAI
    stamps[15:] += 0.4
    result = auxtel_jitter(create_packed_series(stamps), observation=create_exposure())
    truth = auxtel_jitter(create_packed_series(), observation=create_exposure())
    assert metric_value(result, "clock_jumps") >= 1
    assert metric_value(result, "image_impact_rms") > 2 * metric_value(truth, "image_impact_rms")
    assert metric_value(result, "mechanical_rms") == pytest.approx(
        metric_value(truth, "mechanical_rms"), rel=0.05
    )
    assert result.artifacts["jitter.json"]["failure"] == "timing"
    assert metric_value(truth, "clock_jumps") == 0


@pytest.mark.parametrize("kind", ["BIAS", "FLAT"])
def test_images_without_tracking_are_skipped(kind: str) -> None:
    event = Event("e", 0, {"additionalKeys": "imageType", "additionalValues": kind})
    result = auxtel_jitter(create_packed_series(), observation=create_exposure(), event=event)
    assert unknown_reason(result) == f"a {kind} is taken without tracking"


def test_short_exposures_are_skipped() -> None:
    assert "1.99 s are needed" in unknown_reason(
        auxtel_jitter(create_packed_series(), observation=create_exposure(1.98))
    )
    assert "1.99 s are needed" in unknown_reason(
        auxtel_jitter(create_packed_series(), observation=create_exposure(0.0))
    )
    assert metric_value(
        auxtel_jitter(create_packed_series(), observation=create_exposure(1.99)), "samples"
    ) in (199, 200)


def test_what_is_missing_is_unknown_with_its_reason() -> None:
    empty = Series(np.array([]), dict.fromkeys(ANGLES, np.array([])))
    assert "no usable telemetry" in unknown_reason(
        auxtel_jitter(empty, observation=create_exposure())
    )
    late = create_exposure(60.0)
    assert "of the exposure has telemetry" in unknown_reason(
        auxtel_jitter(create_packed_series(), observation=late)
    )


def write_recording(path: Path) -> Path:
    """Three exposures: one that swings, a BIAS, and one with a lone wrong point."""
    lines: list[tuple[float, str, dict[str, Any]]] = []
    for number, (kind, swing) in enumerate((("OBJECT", 1.2), ("BIAS", 1.2), ("OBJECT", 0.05))):
        start = START + 60 * number
        for n in range(-3, 34):
            time = start + n + np.arange(100) / 100
            pair = create_angles(time, swing, seed=n + 100 * (number + 1))
            if number == 2 and n == 10:
                pair[0][50] += 30 / 3600
            fields = {
                f"{name}{i}": float(angle)
                for name, axis_angles in zip(ANGLES, pair, strict=True)
                for i, angle in enumerate(axis_angles)
            }
            fields["cRIO_timestamp"] = start + n + TAI
            lines.append((start + n + 1.2, "lsst.sal.ATMCS.mount_AzEl_Encoders", fields))
        lines.append((start + 32.5, "lsst.sal.ATCamera.logevent_endReadout", {
            "imageName": f"AT_O_{number}", "requestedExposureTime": 30.0,
            "timestampAcquisitionStart": start + TAI, "additionalKeys": "imageType:groupId",
            "additionalValues": f"{kind}:g",
        }))  # fmt: skip
    with path.open("w") as stream:
        for at, topic, fields in sorted(lines, key=lambda line: line[0]):
            stream.write(json.dumps({"topic": topic, "time": at, "fields": fields}) + "\n")
    return path


async def test_the_rule_warns_of_a_shake_and_of_nothing_else(tmp_path: Path) -> None:
    data = write_recording(tmp_path / "auxtel.jsonl")
    lines: list[dict[str, Any]] = []
    messages: list[str] = []
    await run_backtest(
        load_site(SITE), ["auxtel-jitter"], [data], lines.append, messages.append, messages.append
    )
    runs = {line["observation"]: line for line in lines if line["kind"] == "run"}
    alerts = [(line["per"], line["severity"]) for line in lines if line["kind"] == "alert"]
    assert {run["state"] for run in runs.values()} == {"done"}
    assert alerts[0] == ("AT_O_0", "WARNING")
    assert {name for name, _ in alerts} == {"AT_O_0"}
    assert runs["AT_O_1"]["metrics"]["image_impact_rms"] is None
    glitched = runs["AT_O_2"]["metrics"]
    assert glitched["image_impact_rms"] > 0.25 > glitched["mechanical_rms"]
    assert glitched["fraction_seen"] == 1.0
