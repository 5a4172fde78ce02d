"""The table of the wind forecast beside simpler ones: what issue and documentation claim of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import forecast
from benchmarks.forecast_fit import fit_constants
from jobs.lib.wind import FITTED_CONSTANTS


def test_the_shipped_forecast_meets_its_targets_on_real_wind(shared_data: Path) -> None:
    """As they ship; the archive left out is `make bench`'s to judge."""
    folder = shared_data / "wind"
    archives = [forecast.read_archive(path, 30, 10, 0) for path in sorted(folder.iterdir())]
    rows = forecast.compare_methods(archives, shipped=True)
    assert forecast.list_missed_targets(rows) == []
    means = {row["method"]: row["ratio"] for row in rows if row["archive"] == "all"}
    assert means["catcher"] < min(means[name] for name in forecast.BASELINES)
    assert max(means, key=lambda name: means[name]) == "line"


def test_a_folder_without_series_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no series"):
        forecast.main(["--data", str(tmp_path)])


def test_series_of_any_cadence_become_minutes(tmp_path: Path) -> None:
    time = 1_745_452_800.0 + np.arange(0, 7200, 10.0)
    lines = [f"{instant},{8 + np.sin(instant / 300):.3f}" for instant in time]
    lines[50] = f"{time[50]},100.8"
    (tmp_path / "here.csv").write_text("time,speed\n" + "\n".join(lines) + "\n")
    archive = forecast.read_archive(tmp_path / "here.csv", 30, 10, 1)
    assert archive.name == "here"
    assert len(archive.past) == 120 - 40 + 1
    assert archive.past.max() < 9.1


@pytest.mark.long
def test_the_fit_comes_to_the_constants_that_ship(shared_data: Path) -> None:
    paths = sorted((shared_data / "wind").iterdir())
    archives = [forecast.read_archive(path, 30, 10, 20).minutes for path in paths]
    constants = fit_constants([(minutes.time, minutes.mean) for minutes in archives])
    assert constants.log_weights == pytest.approx(FITTED_CONSTANTS.log_weights, abs=0.05)
    assert constants.likelihood_power == pytest.approx(FITTED_CONSTANTS.likelihood_power, rel=0.05)
    assert constants.drift_variance == pytest.approx(FITTED_CONSTANTS.drift_variance, rel=0.2)
