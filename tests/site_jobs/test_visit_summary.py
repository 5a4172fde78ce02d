"""A visit in one line: its middle, its extremes, and the detector that stands out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catcher import Metric, Observation, Result
from catcher.testing import load_job

visit_summary = load_job("visit_summary", site=Path(__file__).parents[2])
NAMES = [f"R22_S{row}{column}" for row in range(3) for column in range(3)]
VISIT = Observation("exposure", "MC_O_20250424_000012", 0, 30_000_000_000)


def create_part(fwhm: float | None, sky: float = 400.0) -> Result:
    metrics: dict[str, Metric | float | int | None] = {
        "psf_fwhm": Metric(fwhm, "pixel", {"detector": "x"}, "" if fwhm else "no star"),
        "sky_bg": Metric(sky, "electron"),
        "source_count": 30.0,
    }
    return Result(metrics=metrics)


def metric_value(result: Result, name: str) -> float | None:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    return metric.value


def test_the_middle_and_the_extremes_of_each_metric() -> None:
    widths = dict(zip(NAMES, [4.0, 4.1, 3.9, 4.05, 3.95, 4.0, 4.02, 3.98, 4.01], strict=True))
    result = visit_summary({name: create_part(width) for name, width in widths.items()})
    assert metric_value(result, "psf_fwhm") == np.median(list(widths.values()))
    assert (metric_value(result, "psf_fwhm_min"), metric_value(result, "psf_fwhm_max")) == (
        3.9,
        4.1,
    )
    assert metric_value(result, "source_count_total") == 270
    assert metric_value(result, "outliers") == 0
    assert result.fields["psf_fwhm"].over == "detector"
    assert (
        dict(zip(result.fields["psf_fwhm"].ids, result.fields["psf_fwhm"].values, strict=True))
        == widths
    )
    assert result.note == "PSF 4.0 pixels over 9 detectors"


def test_outlying_and_missing_detectors_are_named() -> None:
    parts = {name: create_part(4.0 + 0.01 * i) for i, name in enumerate(NAMES)}
    parts["R22_S12"] = create_part(6.1)
    del parts["R22_S20"]
    missing = {"R22_S20": "not done in time"}
    result = visit_summary(parts, missing=missing, observation=VISIT)
    assert result.note == "PSF 4.0 pixels over 8 detectors; R22_S12 stands out; R22_S20 missing"
    assert metric_value(result, "outliers") == metric_value(result, "missing") == 1
    assert metric_value(result, "detectors") == 8
    assert set(result.artifacts) == {"focal_plane.png"}


def test_a_detector_without_a_psf_is_left_out_of_its_median() -> None:
    parts = {name: create_part(4.0) for name in NAMES} | {"R22_S00": create_part(None)}
    result = visit_summary(parts)
    assert metric_value(result, "psf_fwhm") == 4.0
    assert "R22_S00" not in result.fields["psf_fwhm"].ids
    assert len(result.fields["sky_bg"].ids) == 9


def test_what_no_detector_has_is_unknown_with_the_reason_of_the_parts() -> None:
    result = visit_summary({name: create_part(None) for name in NAMES})
    metric = result.metrics["psf_fwhm"]
    assert isinstance(metric, Metric)
    assert (metric.value, metric.reason) == (None, "no detector has it: no star")
    assert result.note == "No PSF over 9 detectors"


def test_a_visit_without_results() -> None:
    result = visit_summary({}, missing=NAMES)
    assert metric_value(result, "missing") == 9
    assert "missing" in result.note
    with pytest.raises(ValueError, match="no detectors to gather"):
        visit_summary({})


def test_any_camera_is_drawn() -> None:
    names = [
        f"R{a}{b}_S{c}{d}" for a in range(5) for b in range(5) for c in range(3) for d in range(3)
    ]
    for detectors in (names, ["R00_SG0", "R22_S11"], ["ccd1"], [f"chip {i}" for i in range(7)]):
        result = visit_summary({name: create_part(4.0) for name in detectors})
        assert metric_value(result, "detectors") == len(detectors)
        figure = result.artifacts["focal_plane.png"]
        assert figure.get_size_inches()[0] > 10
