"""The picture of `catcher alarms report --plot`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.image import imread

from catcher.alerting.alarm_statistics import compute_statistics
from catcher.authoring.alarm_plot import draw_alarm_plot
from catcher.model.time import DAY, MINUTE
from tests.alerting.builders import NIGHT, create_alert

BLUE = (0x44, 0x77, 0xAA)


def test_last_ten_minutes_of_a_week_are_drawn(tmp_path: Path) -> None:
    end = NIGHT + 7 * DAY
    opened = end - 5 * MINUTE
    episodes = [create_alert(key=str(key), opened=opened, appeared=opened) for key in range(12)]
    file = tmp_path / "week.png"
    draw_alarm_plot(compute_statistics(episodes, NIGHT, end), file)
    pixels = np.round(imread(file)[:, :, :3] * 255)
    assert (np.abs(pixels - BLUE).max(axis=2) < 10).sum() > 100


def test_a_week_without_alerts_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "quiet.svg"
    draw_alarm_plot(compute_statistics([], NIGHT, NIGHT + 7 * DAY), file)
    assert "<svg" in file.read_text()
