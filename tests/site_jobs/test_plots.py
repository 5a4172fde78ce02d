"""Plots that a phone can show at 3 a.m.: whole, small, and with their message in words."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from catcher import Observation, Result, Series
from catcher.testing import load_job
from tests.site_jobs.frame_builders import create_star_field, write_two_amplifiers

SITE = Path(__file__).parents[2]
START = 1_745_454_000.0
VISIT = Observation("exposure", "MC_O_20250424_000012", int(START * 1e9), int((START + 30) * 1e9))


def run_wind() -> Result:
    time = START + np.arange(1800.0)
    speed = 12 + np.random.default_rng(1).normal(0, 1, 1800)
    result: Result = load_job("wind_extrapolation", SITE)(
        Series(time, {"speed": speed}), 600.0, 15.0
    )
    return result


def run_wind_without_samples() -> Result:
    result: Result = load_job("wind_extrapolation", SITE)(
        Series(np.array([]), {"speed": np.array([])}), 600, 15
    )
    return result


def run_mount() -> Result:
    time = START + np.linspace(0, 30, 601)
    jitter = np.random.default_rng(1).normal(0, 0.1, 601) / 3600
    axis = Series(time, {"actualPosition": 60 + jitter, "demandPosition": np.full(601, 60.0)})
    result: Result = load_job("mount_jitter", SITE)(axis, axis, observation=VISIT)
    return result


def run_image(tmp_path: Path) -> Result:
    frame = write_two_amplifiers(tmp_path / "R22_S11.fits", create_star_field((400, 400), 2.0))
    result: Result = load_job("rapid_image_metrics", SITE)(frame, preview=True)
    return result


def run_visit() -> Result:
    names = [f"R22_S{row}{column}" for row in range(3) for column in range(3)]
    parts = {name: Result(metrics={"psf_fwhm": 4.0 + 0.1 * i}) for i, name in enumerate(names)}
    result: Result = load_job("visit_summary", SITE)(parts, missing=["R21_S00"], observation=VISIT)
    return result


@pytest.mark.parametrize("job", ["wind", "no_wind", "mount", "image", "visit"])
def test_a_plot_is_complete_and_small_and_has_its_message(job: str, tmp_path: Path) -> None:
    runners = {
        "wind": run_wind,
        "no_wind": run_wind_without_samples,
        "mount": run_mount,
        "visit": run_visit,
    }
    result = run_image(tmp_path) if job == "image" else runners[job]()
    figure = next(item for name, item in result.artifacts.items() if name.endswith(".png"))
    assert isinstance(figure, Figure)
    title, *_ = figure.texts
    assert title.get_text().replace("\n", " ")[:12] == result.note[:12]
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    width, height = struct.unpack(">II", stream.getvalue()[16:24])
    assert (width, height) == (1080, 720)
    assert len(stream.getvalue()) < 150_000
    bounds = figure.bbox
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= bounds.x0
        assert box.x1 <= bounds.x1
