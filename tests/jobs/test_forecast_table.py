"""The table of the wind forecast beside simpler ones: what issue and documentation claim of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import forecast
from benchmarks.forecast_fit import fit
from jobs.lib.wind import CONSTANTS


def test_the_shipped_forecast_meets_its_targets_on_real_wind(shared_data: Path) -> None:
    """As they ship; the archive left out is `make bench`'s to judge."""
    folder = shared_data / "wind"
    archives = [forecast.read(path, 30, 10, 0) for path in sorted(folder.iterdir())]
    rows = forecast.compared(archives, shipped=True)
    assert forecast.missed(rows) == []
    means = {row["method"]: row["ratio"] for row in rows if row["archive"] == "all"}
    assert means["catcher"] < min(means[name] for name in forecast.BASELINES)
    assert max(means, key=lambda name: means[name]) == "line"


def test_a_folder_without_series_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no series"):
        forecast.main(["--data", str(tmp_path)])


def test_series_of_any_cadence_become_minutes(tmp_path: Path) -> None:
    time = 1_745_452_800.0 + np.arange(0, 7200, 10.0)
    lines = [f"{at},{8 + np.sin(at / 300):.3f}" for at in time]
    lines[50] = f"{time[50]},100.8"
    (tmp_path / "here.csv").write_text("time,speed\n" + "\n".join(lines) + "\n")
    archive = forecast.read(tmp_path / "here.csv", 30, 10, 1)
    assert archive.name == "here"
    assert len(archive.past) == 120 - 40 + 1
    assert archive.past.max() < 9.1


@pytest.mark.long
def test_the_fit_comes_to_the_constants_that_ship(shared_data: Path) -> None:
    paths = sorted((shared_data / "wind").iterdir())
    archives = [forecast.read(path, 30, 10, 20).minutes for path in paths]
    found = fit([(one.time, one.mean) for one in archives])
    assert found.votes == pytest.approx(CONSTANTS.votes, abs=0.05)
    assert found.trust == pytest.approx(CONSTANTS.trust, rel=0.05)
    assert found.drift == pytest.approx(CONSTANTS.drift, rel=0.2)
