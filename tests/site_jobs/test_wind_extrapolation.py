"""The wind forecast, by what it promises: honest odds, any cadence, never a made-up number."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from catcher import Event, Metric, Result, Series
from catcher.testing import load_job

SITE = Path(__file__).parents[2]
wind_extrapolation = load_job("wind_extrapolation", site=SITE)
Array = npt.NDArray[np.float64]
START = 1_745_452_800.0
FORECASTS = ("forecast", "forecast_sigma", "forecast_max", "probability", "probability_at_horizon")


def create_wind(minutes: float, cadence: float, mean: float = 10.0, seed: int = 1) -> Series:
    """Wind about `mean` m/s with minutes of memory, sampled every `cadence` seconds."""
    rng = np.random.default_rng(seed)
    time = START + np.arange(0, minutes * 60, cadence)
    slow = np.sin(2 * np.pi * time / 700) + 0.5 * np.sin(2 * np.pi * time / 190 + 1)
    return Series(time, {"speed": np.abs(mean + slow + rng.normal(0, 0.8, len(time)))})


def metric_value(result: Result, name: str) -> float:
    metric = result.metrics[name]
    assert isinstance(metric, Metric), name
    assert metric.value is not None, metric.reason
    return metric.value


def unknown_reason(result: Result, name: str = "probability") -> str:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    assert metric.value is None
    return metric.reason


def test_the_forecast_leans_on_the_level_of_the_last_half_hour() -> None:
    wind = create_wind(30, 1.0)
    result = wind_extrapolation(wind, horizon=600.0, threshold=15.0)
    assert metric_value(result, "forecast") == pytest.approx(wind["speed"].mean(), abs=1.5)
    assert metric_value(result, "forecast_max") >= metric_value(result, "forecast")
    assert metric_value(result, "samples") == 1800
    assert result.metrics["forecast"].unit == "m/s"
    assert result.note.startswith("Wind ")
    assert "above 15 m/s within 10 min" in result.note


def test_probabilities_grow_as_the_threshold_falls_and_order_among_themselves() -> None:
    wind = create_wind(30, 1.0)
    results = [
        wind_extrapolation(wind, 600.0, limit) for limit in (3.0, 9.0, 10.0, 11.0, 13.0, 25.0)
    ]
    anytime = [metric_value(result, "probability") for result in results]
    at_end = [metric_value(result, "probability_at_horizon") for result in results]
    assert anytime == sorted(anytime, reverse=True)
    assert anytime[0] > 0.99
    assert anytime[-1] < 0.01
    assert all(at_horizon <= any_time for at_horizon, any_time in zip(at_end, anytime, strict=True))


def test_rougher_wind_has_a_wider_forecast() -> None:
    rng = np.random.default_rng(4)
    time = START + np.arange(0, 1800, 5.0)
    rough = np.repeat(rng.normal(0, 2.0, 30), 12)
    smooth = np.repeat(rng.normal(0, 0.1, 30), 12)
    wide = wind_extrapolation(Series(time, {"speed": 10 + rough}), 600.0, 15.0)
    narrow = wind_extrapolation(Series(time, {"speed": 10 + smooth}), 600.0, 15.0)
    assert metric_value(wide, "forecast_sigma") > 1.5 * metric_value(narrow, "forecast_sigma")


def test_a_longer_horizon_is_less_certain() -> None:
    wind = create_wind(30, 5.0)
    sigmas = [
        metric_value(wind_extrapolation(wind, horizon, 15.0), "forecast_sigma")
        for horizon in (60, 300, 600, 3600)
    ]
    assert sigmas == sorted(sigmas)


@pytest.mark.parametrize("cadence", [0.1, 1.0, 25.6, 60.0, 300.0, 600.0])
def test_any_cadence_gives_the_same_forecast_of_a_steady_wind(cadence: float) -> None:
    time = START + np.arange(0, 3600, cadence)
    wind = Series(time, {"speed": 10 + 0.3 * np.sin(2 * np.pi * time / 7200)})
    result = wind_extrapolation(wind, 600.0, 15.0)
    assert metric_value(result, "forecast") == pytest.approx(10.0, abs=0.35)
    assert metric_value(result, "probability") < 0.1


def test_impossible_samples_are_discarded_and_counted() -> None:
    clean = create_wind(30, 1.0)
    speed = clean["speed"].copy()
    speed[10], speed[500], speed[900], speed[1200] = 100.8, -3.0, np.nan, np.inf
    result = wind_extrapolation(Series(clean.time, {"speed": speed}), 600.0, 15.0)
    truth = wind_extrapolation(clean, 600.0, 15.0)
    assert metric_value(result, "discarded") == 4
    assert metric_value(result, "samples") == 1796
    assert metric_value(result, "forecast") == pytest.approx(
        metric_value(truth, "forecast"), abs=0.05
    )


def test_a_gap_is_a_gap() -> None:
    clean = create_wind(30, 1.0)
    is_kept = (clean.time < START + 600) | (clean.time > START + 1200)
    result = wind_extrapolation(
        Series(clean.time[is_kept], {"speed": clean["speed"][is_kept]}), 600.0, 15.0
    )
    assert metric_value(result, "forecast") == pytest.approx(10.0, abs=2.0)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (Series(np.array([]), {"speed": np.array([])}), "no good sample"),
        (Series(START + np.arange(600.0), {"speed": np.full(600, 100.8)}), "no good sample"),
        (create_wind(3, 1.0), "only 3 of the last minutes"),
        (Series(START + np.arange(3600.0), {"speed": np.full(3600, 7.2)}), "stuck"),
        (create_wind(15, 600.0), "only 2 of the last minutes"),
    ],
)  # fmt: skip
def test_what_cannot_be_known_is_unknown_with_its_reason(series: Series, message: str) -> None:
    result = wind_extrapolation(series, 600.0, 15.0)
    for name in FORECASTS:
        assert message in unknown_reason(result, name)
    assert result.artifacts["forecast.json"]["unknown"] == unknown_reason(result)


def test_calm_is_not_a_stuck_sensor() -> None:
    calm = Series(START + np.arange(3600.0), {"speed": np.zeros(3600)})
    assert metric_value(wind_extrapolation(calm, 600.0, 15.0), "probability") < 0.01


def test_samples_that_are_too_old_give_no_forecast() -> None:
    wind = create_wind(30, 1.0)
    now = Event("lsst.sal.ESS.airFlow", int((wind.time[-1] + 840) * 1e9), {})
    result = wind_extrapolation(wind, 600.0, 15.0, event=now)
    assert unknown_reason(result) == "the newest good sample is 14 min old"


def test_the_straight_line_stays_available_and_is_itself() -> None:
    time = START + np.arange(0, 1800, 60.0)
    rise = Series(time, {"speed": 5 + (time - START) / 600})
    result = wind_extrapolation(rise, 600.0, 15.0, method="line")
    # The line is through means of single samples, and ends half a minute before the horizon.
    assert metric_value(result, "forecast") == pytest.approx(5 + (1740 + 600) / 600, abs=0.06)
    reverting = wind_extrapolation(rise, 600.0, 15.0)
    assert metric_value(reverting, "forecast") < metric_value(result, "forecast")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0.0}, "horizon is 0 s"),
        ({"horizon": 1e6}, "6 h"),
        ({"method": "magic"}, "line"),
    ],
)
def test_arguments_without_a_meaning_are_refused(
    arguments: dict[str, object], message: str
) -> None:
    all_arguments = {"horizon": 600.0, "threshold": 15.0, **arguments}
    with pytest.raises(ValueError, match=message):
        wind_extrapolation(create_wind(30, 10.0), **all_arguments)


def test_a_line_through_three_points_is_no_forecast() -> None:
    coarse = create_wind(30, 600.0)
    assert "only 3 of the last minutes" in unknown_reason(
        wind_extrapolation(coarse, 600.0, 15.0, method="line")
    )
    assert metric_value(wind_extrapolation(coarse, 600.0, 15.0), "forecast_sigma") > 0.5


def add_columns(series: Series, **columns: Array) -> Series:
    return Series(series.time, {**series.columns, **columns})


def test_gusts_are_forecast_where_they_are_recorded() -> None:
    clean = create_wind(60, 1.0)
    rng = np.random.default_rng(2)
    gusts = clean["speed"] * 1.3 + rng.normal(0, 0.1, len(clean.time))
    result = wind_extrapolation(add_columns(clean, maxSpeed=gusts), 600.0, 15.0)
    assert metric_value(result, "forecast_gust") > 1.2 * metric_value(result, "forecast_max")
    assert metric_value(result, "probability_gust") >= metric_value(result, "probability")
    assert "gusts to" in result.artifacts["forecast.png"].texts[1].get_text()
    assert "forecast_gust" not in wind_extrapolation(clean, 600.0, 15.0).metrics
    without_gusts = add_columns(clean, maxSpeed=np.full(len(clean.time), np.nan))
    assert "forecast_gust" not in wind_extrapolation(without_gusts, 600.0, 15.0).metrics


def test_a_gust_that_cannot_be_is_no_gust() -> None:
    clean = create_wind(60, 1.0)
    gusts = clean["speed"] + 1
    gusts[::600], gusts[300::600] = 400.0, 0.0
    wild = wind_extrapolation(add_columns(clean, maxSpeed=gusts), 600.0, 15.0)
    calm = wind_extrapolation(add_columns(clean, maxSpeed=clean["speed"] + 1), 600.0, 15.0)
    assert metric_value(wild, "forecast_gust") == pytest.approx(
        metric_value(calm, "forecast_gust"), abs=0.1
    )


def test_a_sample_with_an_impossible_direction_is_discarded() -> None:
    clean = create_wind(30, 1.0)
    direction = np.full(len(clean.time), 200.0)
    direction[100:103] = 592.0
    result = wind_extrapolation(add_columns(clean, direction=direction), 600.0, 15.0)
    assert metric_value(result, "discarded") == 3


@pytest.mark.parametrize("jump", [3600.0, -4e8, 4e9, np.nan, np.inf])
def test_samples_whose_clock_jumped_are_discarded(jump: float) -> None:
    clean = create_wind(30, 1.0)
    time = clean.time.copy()
    time[700:705] += jump
    now = Event("lsst.sal.ESS.airFlow", int(clean.time[-1] * 1e9), {})
    result = wind_extrapolation(Series(time, dict(clean.columns)), 600.0, 15.0, event=now)
    truth = wind_extrapolation(clean, 600.0, 15.0, event=now)
    assert metric_value(result, "discarded") == 5
    assert metric_value(result, "forecast") == pytest.approx(
        metric_value(truth, "forecast"), abs=0.05
    )


def test_samples_out_of_order_and_twice_are_put_in_order() -> None:
    clean = create_wind(30, 1.0)
    mixed = np.random.default_rng(3).permutation(np.r_[0:1800, 0:1800])
    shuffled = Series(clean.time[mixed], {"speed": clean["speed"][mixed]})
    first, second = (wind_extrapolation(series, 600.0, 15.0) for series in (clean, shuffled))
    assert metric_value(first, "forecast") == pytest.approx(
        metric_value(second, "forecast"), abs=1e-9
    )


def test_a_memory_learns_how_wide_this_site_is() -> None:
    rng = np.random.default_rng(5)
    time = START + np.arange(0, 3 * 86400, 60.0)
    # Quiet half hours and sudden jumps: more than the minutes at hand let expect.
    jumps = np.cumsum(np.where(rng.random(len(time)) < 0.04, rng.normal(0, 3.0, len(time)), 0.0))
    level = 10 + 4 * np.sin(jumps / 3) + rng.normal(0, 0.05, len(time))
    restless = Series(time, {"speed": level})
    plain, learned = (
        wind_extrapolation(restless, 600.0, 15.0, memory=memory) for memory in (0.0, 2 * 86400.0)
    )
    assert metric_value(learned, "spread_factor") > 1.5
    assert metric_value(learned, "forecast_sigma") > 1.2 * metric_value(plain, "forecast_sigma")
    assert metric_value(learned, "forecast") == pytest.approx(
        metric_value(plain, "forecast"), abs=0.2
    )
    calibration = learned.artifacts["learned.json"]
    assert calibration["memory"] == 2 * 86400
    assert calibration["judged"] > 800
    assert calibration["weight"] < calibration["judged"]
    assert "learned.json" not in plain.artifacts


def test_a_short_past_teaches_nothing() -> None:
    result = wind_extrapolation(create_wind(30, 1.0), 600.0, 15.0, memory=86400.0)
    assert metric_value(result, "spread_factor") == 1.0
    assert result.artifacts["learned.json"]["judged"] == 0


def test_a_calm_may_end_and_never_goes_below_zero() -> None:
    calm = Series(START + np.arange(1800.0), {"speed": np.zeros(1800)})
    result = wind_extrapolation(calm, 600.0, 15.0)
    assert 0 < metric_value(result, "forecast") < 0.5
    assert result.artifacts["forecast.json"]["quantiles"]["5"][-1] == 0
    assert metric_value(wind_extrapolation(calm, 600.0, -1.0), "probability_at_horizon") == 1


def test_the_same_samples_give_the_same_numbers_and_a_document_that_is_json() -> None:
    first, second = (wind_extrapolation(create_wind(30, 10.0), 600.0, 11.0) for _ in range(2))
    assert first.metrics == second.metrics
    document = json.loads(json.dumps(first.artifacts["forecast.json"], allow_nan=False))
    assert document["method"] == "mean_reverting"
    assert len(document["time"]) == len(document["mean"]) == 10
    assert document["quantiles"]["5"][-1] < document["mean"][-1] < document["quantiles"]["95"][-1]


def test_the_night_of_the_real_anemometer(shared_data: Path) -> None:
    lines = (shared_data / "ess-airflow-2025-04-24.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    time = np.array([np.datetime64(row["time"][:-1], "ns").astype(float) / 1e9 for row in rows])
    speed = np.array([row["fields"]["speed"] for row in rows])
    result = wind_extrapolation(Series(time, {"speed": speed}), 600.0, 15.0)
    assert metric_value(result, "samples") == 65
    assert 0 <= metric_value(result, "forecast") < 4
    assert metric_value(result, "probability") < 0.01


SITES = ["arm_ena", "arm_sgp_e13", "midc_uat", "nrel_srrl", "surfrad_slv"]


def test_on_real_wind_it_beats_the_mean_and_knows_how_sure_it_is(shared_data: Path) -> None:
    """Some half hours of each archive, ten minutes ahead.

    The constants were fitted on these archives, so this holds them to what they claim; docs/jobs.md
    has the figures with the judged site left out.
    """
    ratios = []
    for site in SITES:
        past, future, times = read_half_hours(shared_data / "wind" / f"{site}_1min.csv.gz")
        forecasts = [
            run_forecast(window, window_times)
            for window, window_times in zip(past, times, strict=True)
        ]
        forecast, sigma = np.array(forecasts).T
        error, mean_error = future - forecast, future - past[:, -10:].mean(axis=1)
        ratios.append(np.sqrt(np.mean(error**2) / np.mean(mean_error**2)))
        assert 0.6 < np.std(error / sigma) < 1.5, site
    assert np.mean(ratios) < 1.0


def read_half_hours(path: Path) -> tuple[Array, Array, Array]:
    with gzip.open(path, "rt") as stream:
        rows = [(float(row["time"]), float(row["speed"])) for row in csv.DictReader(stream)]
    time, speed = np.array(rows).T
    step = max(10, (len(time) - 40) // 30)
    starts = [i for i in range(0, len(time) - 40, step) if time[i + 39] - time[i] == 39 * 60]
    past = np.array([speed[i : i + 30] for i in starts])
    future = np.array([speed[i + 39] for i in starts])
    return past, future, np.array([time[i : i + 30] for i in starts])


def run_forecast(past: Array, time: Array) -> tuple[float, float]:
    # The archives stamp a mean once for its minute; 10 minutes on, the last minute is the tenth.
    series = Series(time, {"speed": past})
    result = wind_extrapolation(series, horizon=600.0, threshold=15.0)
    metrics = result.metrics
    if metrics["forecast"].value is None:
        return float(past.mean()), float("inf")
    return metrics["forecast"].value, metrics["forecast_sigma"].value
