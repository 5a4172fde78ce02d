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
from tests.jobs.frames import star_field, two_amplifiers

SITE = Path(__file__).parents[2]
START = 1_745_454_000.0
VISIT = Observation("exposure", "MC_O_20250424_000012", int(START * 1e9), int((START + 30) * 1e9))


def wind() -> Result:
    time = START + np.arange(1800.0)
    speed = 12 + np.random.default_rng(1).normal(0, 1, 1800)
    made: Result = load_job("wind_extrapolation", SITE)(Series(time, {"speed": speed}), 600.0, 15.0)
    return made


def no_wind() -> Result:
    made: Result = load_job("wind_extrapolation", SITE)(
        Series(np.array([]), {"speed": np.array([])}), 600, 15
    )
    return made


def mount() -> Result:
    time = START + np.linspace(0, 30, 601)
    shake = np.random.default_rng(1).normal(0, 0.1, 601) / 3600
    axis = Series(time, {"actualPosition": 60 + shake, "demandPosition": np.full(601, 60.0)})
    made: Result = load_job("mount_jitter", SITE)(axis, axis, observation=VISIT)
    return made


def image(tmp_path: Path) -> Result:
    frame = two_amplifiers(tmp_path / "R22_S11.fits", star_field((400, 400), 2.0))
    made: Result = load_job("rapid_image_metrics", SITE)(frame, preview=True)
    return made


def visit() -> Result:
    names = [f"R22_S{row}{column}" for row in range(3) for column in range(3)]
    parts = {name: Result(metrics={"psf_fwhm": 4.0 + 0.1 * i}) for i, name in enumerate(names)}
    made: Result = load_job("visit_summary", SITE)(parts, missing=["R21_S00"], observation=VISIT)
    return made


@pytest.mark.parametrize("job", ["wind", "no_wind", "mount", "image", "visit"])
def test_a_plot_is_whole_and_small_and_says_it_in_words(job: str, tmp_path: Path) -> None:
    makers = {"wind": wind, "no_wind": no_wind, "mount": mount, "visit": visit}
    result = image(tmp_path) if job == "image" else makers[job]()
    figure = next(item for name, item in result.artifacts.items() if name.endswith(".png"))
    assert isinstance(figure, Figure)
    title, *_ = figure.texts
    assert title.get_text().replace("\n", " ")[:12] == result.note[:12]
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    width, height = struct.unpack(">II", stream.getvalue()[16:24])
    assert (width, height) == (1080, 720)
    assert len(stream.getvalue()) < 150_000
    inside = figure.bbox
    for words in figure.texts:
        box = words.get_window_extent()
        assert box.x0 >= inside.x0
        assert box.x1 <= inside.x1
