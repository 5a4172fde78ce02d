"""Forecasts the wind speed of the next minutes, with probabilities, and plots it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from catcher import Event, Metric, Result, Series, job

from .lib import plots
from .lib.anemometer import (
    MIN_COARSE_MINUTES,
    MIN_MINUTES,
    WindSamples,
    find_problem,
    select_valid_samples,
)
from .lib.spread_calibration import SpreadCalibration, calibrate_spread
from .lib.wind import (
    MINUTE,
    Array,
    MinuteMeans,
    WindForecast,
    forecast_mean_reverting,
    forecast_straight_line,
    gust_excess,
    horizon_times,
    one_minute_means,
    sample_gusts,
)

METHODS = {"mean_reverting": forecast_mean_reverting, "line": forecast_straight_line}
MAX_HISTORY = 2 * 3600.0
MAX_HORIZON = 6 * 3600.0
QUANTILES = (5, 25, 50, 75, 95)
METRIC_UNITS = {
    "forecast": "m/s",
    "forecast_sigma": "m/s",
    "forecast_max": "m/s",
    "probability": "",
    "probability_at_horizon": "",
}
GUST_METRIC_UNITS = {"forecast_gust": "m/s", "probability_gust": ""}


@dataclass(frozen=True)
class ForecastRequest:
    """The rule's parameters of a forecast."""

    horizon: float
    threshold: float
    method: str


@dataclass(frozen=True)
class ForecastResult:
    """A forecast: the distribution, 4,000 paths drawn from it, its numbers."""

    forecast: WindForecast
    paths: Array
    values: Mapping[str, float]
    calibration: SpreadCalibration


@job
def wind_extrapolation(
    wind: Series,
    horizon: float,
    threshold: float,
    method: str = "mean_reverting",
    column: str = "speed",
    gust_column: str = "maxSpeed",
    highest_plausible: float = 60.0,
    memory: float = 0.0,
    event: Event | None = None,
) -> Result:
    """Forecasts the one-minute mean wind speed `horizon` seconds ahead, with its odds.

    wind: samples of `column` in m/s at any cadence from 0.1 s to 10 min; the last two hours are
    used, and what is older to learn from. horizon: seconds ahead, up to six hours. threshold: m/s.
    method: `mean_reverting` (lib/model_averaging.py has its sources) or `line`. gust_column: the
    highest speed within a sample, where it is recorded. highest_plausible: a faster sample is
    discarded, as is a negative one, one that is no number, and one with an impossible direction or
    time. memory: seconds after which the site's past counts by a third; nought learns nothing.

    Metrics: `forecast`, `forecast_sigma` (mean and standard deviation of the one-minute mean at
    the horizon, m/s), `forecast_max` (the highest one-minute mean up to it, m/s), `probability`
    (that a one-minute mean exceeds the threshold at any time up to the horizon),
    `probability_at_horizon`, `samples` (used), `discarded`; with gusts `forecast_gust` (the
    highest, m/s) and `probability_gust` (that one exceeds the threshold); with a memory
    `spread_factor` (on the variance). Fewer than 5 minutes with samples (3, over 20 minutes, where
    samples come less often than each minute), samples that are too old, or a reading above nought
    that never changed for 20 minutes give *unknown*, with the reason.
    """
    if not 0 < horizon <= MAX_HORIZON:
        raise ValueError(f"horizon is {horizon:g} s; choose one from 1 s to 6 h")
    if not np.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}; choose a speed in m/s")
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; choose {' or '.join(METHODS)}")
    request = ForecastRequest(horizon, threshold, method)
    all_samples = select_valid_samples(wind, column, highest_plausible, event, gust_column)
    samples = all_samples.slice_from(all_samples.now - MAX_HISTORY)
    minutes = one_minute_means(samples.time, samples.speed, samples.now)
    min_minutes = MIN_MINUTES if method == "line" else MIN_COARSE_MINUTES
    reason = find_problem(samples, minutes, min_minutes)
    has_gusts = bool(np.isfinite(samples.gust).any())
    if reason:
        return _unknown_result(samples, minutes, reason, request, has_gusts)
    calibration = _calibrate_spread(all_samples, horizon, memory)
    result = _create_forecast(samples, minutes, request, calibration)
    document = _build_document(samples, result, request)
    calibration_artifact = (
        {"learned.json": {"memory": memory, **asdict(calibration)}} if memory > 0 else {}
    )
    return Result(
        metrics={**_build_metrics(result, memory), **_count_metrics(samples)},
        artifacts={
            "forecast.png": _plot_forecast(samples, minutes, result, request),
            "forecast.json": document,
            **calibration_artifact,
        },
        note=_format_message(result.values, samples, request),
    )


def _calibrate_spread(samples: WindSamples, horizon: float, memory: float) -> SpreadCalibration:
    if memory <= 0:
        return SpreadCalibration()
    minutes = one_minute_means(samples.time, samples.speed, samples.now)
    return calibrate_spread(minutes, horizon, memory)


def _create_forecast(
    samples: WindSamples,
    minutes: MinuteMeans,
    request: ForecastRequest,
    calibration: SpreadCalibration,
) -> ForecastResult:
    future_times = horizon_times(samples.now, request.horizon)
    forecast = METHODS[request.method](minutes, future_times, calibration.factor)
    paths = forecast.sample_paths()
    values = _compute_values(forecast, paths, request.threshold)
    excess_samples = gust_excess(minutes, samples.time, samples.gust, samples.now)
    if len(excess_samples) >= MIN_MINUTES:
        highest_gusts = sample_gusts(paths, excess_samples).max(axis=1)
        values["forecast_gust"] = float(highest_gusts.mean())
        gust_probability = float(np.mean(highest_gusts > request.threshold))
        values["probability_gust"] = max(gust_probability, values["probability"])
    return ForecastResult(forecast, paths, values, calibration)


def _compute_values(forecast: WindForecast, paths: Array, threshold: float) -> dict[str, float]:
    probability_at_horizon = float(forecast.exceedance_probability(threshold)[-1])
    highest = paths.max(axis=1)
    mean = float(forecast.mean[-1])
    return {
        "forecast": mean,
        "forecast_sigma": float(forecast.sigma[-1]),
        "forecast_max": max(float(highest.mean()), mean),
        "probability": max(float(np.mean(highest > threshold)), probability_at_horizon),
        "probability_at_horizon": probability_at_horizon,
    }


def _build_metrics(result: ForecastResult, memory: float) -> dict[str, Metric]:
    units = {**METRIC_UNITS, **GUST_METRIC_UNITS}
    metrics = {name: Metric(value, units[name]) for name, value in result.values.items()}
    return (
        {**metrics, "spread_factor": Metric(result.calibration.factor)} if memory > 0 else metrics
    )


def _count_metrics(samples: WindSamples) -> dict[str, Metric]:
    return {
        "samples": Metric(float(len(samples.time))),
        "discarded": Metric(float(samples.discarded)),
    }


def _unknown_result(
    samples: WindSamples,
    minutes: MinuteMeans,
    reason: str,
    request: ForecastRequest,
    has_gusts: bool,
) -> Result:
    units = {**METRIC_UNITS, **GUST_METRIC_UNITS} if has_gusts else METRIC_UNITS
    metrics = {name: Metric(None, unit, reason=reason) for name, unit in units.items()}
    figure = plots.create_figure("No wind forecast", reason[0].upper() + reason[1:])
    axes = plots.add_panel(figure, "wind speed, m/s")
    if len(samples.time):
        _plot_history(axes, samples, minutes)
        _set_axes_limits(axes, samples, samples.now - MAX_HISTORY / 4, request)
    else:
        plots.draw_message(axes, reason)
    document = {"unknown": reason, "samples": len(samples.time), "discarded": samples.discarded}
    return Result(
        metrics={**metrics, **_count_metrics(samples)},
        artifacts={"forecast.png": figure, "forecast.json": document},
        note=f"No wind forecast: {reason}",
    )


def _format_message(
    values: Mapping[str, float], samples: WindSamples, request: ForecastRequest
) -> str:
    last_minute = samples.speed[samples.time > samples.now - MINUTE]
    current_speed = float(last_minute.mean()) if len(last_minute) else float(samples.speed[-1])
    probability = _format_percent(values["probability"])
    condition = f"above {request.threshold:g} m/s within {_format_duration(request.horizon)}"
    return f"Wind {current_speed:.1f} m/s, {probability} chance {condition}"


def _plot_forecast(
    samples: WindSamples, minutes: MinuteMeans, result: ForecastResult, request: ForecastRequest
) -> plots.Figure:
    values = result.values
    end = plots.format_utc(samples.now + request.horizon)
    subtitle = (
        f"{values['forecast']:.1f} ± {values['forecast_sigma']:.1f} m/s at {end} UTC · "
        f"highest minute {values['forecast_max']:.1f} m/s"
    )
    if "forecast_gust" in values:
        subtitle += f" · gusts to {values['forecast_gust']:.1f} m/s"
    figure = plots.create_figure(_format_message(values, samples, request), subtitle)
    axes = plots.add_panel(figure, "wind speed, m/s")
    _plot_history(axes, samples, minutes)
    _plot_quantiles(axes, minutes, result)
    start = max(float(samples.time[0]), samples.now - max(1800.0, 2 * request.horizon))
    _set_axes_limits(axes, samples, start, request)
    plots.add_legend(axes)
    return figure


def _plot_history(axes: plots.Axes, samples: WindSamples, minutes: MinuteMeans) -> None:
    stride = slice(None, None, max(1, len(samples.time) // 3000))
    axes.plot(
        samples.time[stride],
        samples.speed[stride],
        ".",
        color=plots.MUTED,
        markersize=4,
        alpha=0.45,
    )
    # A line across a gap would show wind that nobody measured.
    gaps = (
        np.flatnonzero(np.diff(minutes.time) > max(3 * MINUTE, 2.5 * _typical_interval(minutes)))
        + 1
    )
    time, mean = (np.insert(values, gaps, np.nan) for values in (minutes.time, minutes.mean))
    axes.plot(time, mean, color=plots.BLUE, linewidth=3.5, label="1 min mean")


def _typical_interval(minutes: MinuteMeans) -> float:
    return float(np.median(np.diff(minutes.time))) if len(minutes.time) > 1 else MINUTE


def _plot_quantiles(axes: plots.Axes, minutes: MinuteMeans, result: ForecastResult) -> None:
    time = np.concatenate((minutes.time[-1:], result.forecast.time))
    bands = np.percentile(result.paths, QUANTILES, axis=0)
    start = np.full((len(QUANTILES), 1), minutes.mean[-1])
    low, lower, median, upper, high = np.concatenate((start, bands), axis=1)
    axes.fill_between(time, low, high, color=plots.YELLOW, alpha=0.16, linewidth=0, label="90 %")
    axes.fill_between(time, lower, upper, color=plots.YELLOW, alpha=0.32, linewidth=0, label="50 %")
    axes.plot(time, median, color=plots.YELLOW, linewidth=3.5, label="forecast")


def _set_axes_limits(
    axes: plots.Axes, samples: WindSamples, start: float, request: ForecastRequest
) -> None:
    threshold = request.threshold
    plots.draw_limit(axes, threshold, f"limit {threshold:g} m/s")
    axes.axvline(samples.now, color=plots.TEXT, linewidth=1.5, alpha=0.7)
    axes.annotate(
        f"now {plots.format_utc(samples.now)}",
        (samples.now, 0.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(6, 8),
        textcoords="offset points",
        color=plots.TEXT,
        size=15,
    )
    plots.set_utc_axis(axes, start, samples.now + request.horizon)
    lowest = float(samples.speed[samples.time >= start].min(initial=threshold))
    axes.set_ylim(max(0.0, lowest - 0.2 * threshold), max(axes.get_ylim()[1], threshold * 1.22))


def _build_document(
    samples: WindSamples, result: ForecastResult, request: ForecastRequest
) -> dict[str, Any]:
    bands = np.percentile(result.paths, QUANTILES, axis=0)
    time = result.forecast.time
    return {
        **asdict(request),
        "now": plots.format_utc(samples.now, "%Y-%m-%dT%H:%M:%SZ"),
        "samples": len(samples.time),
        "discarded": samples.discarded,
        **result.values,
        "time": [plots.format_utc(float(instant), "%Y-%m-%dT%H:%M:%SZ") for instant in time],
        "mean": result.forecast.mean.tolist(),
        "sigma": result.forecast.sigma.tolist(),
        "quantiles": {
            str(q): band.tolist() for q, band in zip(QUANTILES, bands, strict=True)
        },
    }  # fmt: skip


def _format_percent(probability: float) -> str:
    if probability < 0.01:
        return "<1 %"
    return ">99 %" if probability > 0.99 else f"{100 * probability:.0f} %"


def _format_duration(seconds: float) -> str:
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
