"""The wind speed of the next minutes, with honest odds, and the plot that shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr

from catcher import Event, Metric, Result, Series, job

from .lib import plots
from .lib.wind import (
    MINUTE,
    Array,
    Forecast,
    Minutes,
    horizon_times,
    mean_reverting,
    one_minute_means,
    straight_line,
)

METHODS = {"mean_reverting": mean_reverting, "line": straight_line}
LONGEST_HISTORY = 3600.0
LONGEST_HORIZON = 6 * 3600.0
STUCK_AFTER = 1200.0
FEWEST_MINUTES = 5
FEWEST_COARSE, COARSE_SPAN = 3, 1200.0
QUANTILES = (5, 25, 50, 75, 95)
NAMES = {
    "forecast": "m/s",
    "forecast_sigma": "m/s",
    "forecast_max": "m/s",
    "probability": "",
    "probability_at_horizon": "",
}


@dataclass(frozen=True)
class Reading:
    """The samples that can be believed, up to `now`, and how many could not be."""

    time: Array
    speed: Array
    discarded: int
    now: float


@job
def wind_extrapolation(
    wind: Series,
    horizon: float,
    threshold: float,
    method: str = "mean_reverting",
    column: str = "speed",
    highest_plausible: float = 60.0,
    event: Event | None = None,
) -> Result:
    """Forecasts the one-minute mean wind speed `horizon` seconds ahead, with its odds.

    wind: samples of `column` in m/s at any cadence from 0.1 s to 10 min; the last hour is used.
    horizon: seconds ahead, up to six hours. threshold: m/s. method: `mean_reverting` (see
    lib/wind.py for its source) or `line`. highest_plausible: a faster sample is discarded, as is
    a negative one or one that is no number.

    Metrics: `forecast`, `forecast_sigma` (mean and standard deviation of the one-minute mean at
    the horizon, m/s), `forecast_max` (the highest one-minute mean up to it, m/s), `probability`
    (that a one-minute mean exceeds the threshold at any time up to the horizon),
    `probability_at_horizon`, `samples` (used), `discarded`. Fewer than 5 minutes with samples (3,
    over 20 minutes, where samples come less often than each minute), samples that are too old, or
    a reading above nought that never changed for 20 minutes give *unknown*, with the reason.
    """
    if not 0 < horizon <= LONGEST_HORIZON:
        raise ValueError(f"horizon is {horizon:g} s; choose one from 1 s to 6 h")
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; choose {' or '.join(METHODS)}")
    reading = _believable(wind, column, highest_plausible, event)
    minutes = one_minute_means(reading.time, reading.speed, reading.now)
    reason = _unusable(reading, minutes)
    if reason:
        return _unknown(reading, minutes, reason, horizon, threshold)
    forecast = METHODS[method](minutes, horizon_times(reading.now, horizon))
    paths = forecast.paths()
    numbers = _numbers(forecast, paths, threshold)
    picture = _picture(reading, minutes, forecast, paths, numbers, horizon, threshold)
    document = _document(reading, forecast, paths, numbers, horizon, threshold, method)
    return Result(
        metrics=_metrics(numbers, reading),
        artifacts={"forecast.png": picture, "forecast.json": document},
        note=_message(numbers, reading, horizon, threshold),
    )


def _believable(wind: Series, column: str, highest: float, event: Event | None) -> Reading:
    speed, time = wind[column], wind.time
    good = np.isfinite(speed) & (speed >= 0) & (speed <= highest) & np.isfinite(time)
    newest = float(time[good].max()) if good.any() else 0.0
    now = max(event.time / 1e9, newest) if event and event.time / 1e9 - newest < 86400 else newest
    recent = good & (time > now - LONGEST_HISTORY)
    order = np.argsort(time[recent], kind="stable")
    return Reading(time[recent][order], speed[recent][order], int((~good).sum()), now)


def _unusable(reading: Reading, minutes: Minutes) -> str:
    count = len(reading.time)
    if count == 0:
        return "there is no good sample of the wind"
    cadence = float(np.median(np.diff(reading.time))) if count > 1 else 0.0
    age = reading.now - float(reading.time[-1])
    if age > max(3 * cadence, 2 * MINUTE):
        return f"the newest good sample is {age / MINUTE:.0f} min old"
    span = float(minutes.time[-1] - minutes.time[0])
    coarse = cadence > MINUTE and len(minutes.time) >= FEWEST_COARSE and span >= COARSE_SPAN
    if len(minutes.time) < FEWEST_MINUTES and not coarse:
        return f"only {len(minutes.time)} of the last minutes have good samples, 5 are needed"
    return _stuck(reading)


def _stuck(reading: Reading) -> str:
    changed = np.flatnonzero(np.diff(reading.speed))
    start = int(changed[-1]) + 1 if len(changed) else 0
    lasted = float(reading.time[-1] - reading.time[start])
    value = float(reading.speed[-1])
    if value > 0 and lasted >= STUCK_AFTER and len(reading.time) - start >= 10:
        return f"the sensor looks stuck: exactly {value:g} m/s for {lasted / MINUTE:.0f} min"
    return ""


def _numbers(forecast: Forecast, paths: Array, threshold: float) -> dict[str, float]:
    mean, scale = float(forecast.mean[-1]), float(np.sqrt(forecast.scale[-1, -1]))
    gap = mean - threshold
    at_end = float(stdtr(forecast.degrees, gap / scale)) if scale > 0 else float(gap > 0)
    highest = paths.max(axis=1)
    return {
        "forecast": mean,
        "forecast_sigma": float(forecast.sigma[-1]),
        "forecast_max": float(highest.mean()),
        "probability": max(float(np.mean(highest > threshold)), at_end),
        "probability_at_horizon": at_end,
    }


def _metrics(numbers: Mapping[str, float], reading: Reading) -> dict[str, Metric]:
    known = {name: Metric(numbers[name], unit) for name, unit in NAMES.items()}
    return {**known, **_counts(reading)}


def _counts(reading: Reading) -> dict[str, Metric]:
    return {
        "samples": Metric(float(len(reading.time))),
        "discarded": Metric(float(reading.discarded)),
    }


def _unknown(
    reading: Reading, minutes: Minutes, reason: str, horizon: float, threshold: float
) -> Result:
    metrics = {name: Metric(None, unit, reason=reason) for name, unit in NAMES.items()}
    figure = plots.figure("No wind forecast", reason[0].upper() + reason[1:])
    axes = plots.panel(figure, "wind speed, m/s")
    if len(reading.time):
        _history(axes, reading, minutes)
        _frame(axes, reading, reading.now - LONGEST_HISTORY / 2, horizon, threshold)
    else:
        plots.blank(axes, reason)
    document = {"unknown": reason, "samples": len(reading.time), "discarded": reading.discarded}
    return Result(
        metrics={**metrics, **_counts(reading)},
        artifacts={"forecast.png": figure, "forecast.json": document},
        note=f"No wind forecast: {reason}",
    )


def _message(
    numbers: Mapping[str, float], reading: Reading, horizon: float, threshold: float
) -> str:
    latest = reading.speed[reading.time > reading.now - MINUTE]
    present = float(latest.mean()) if len(latest) else float(reading.speed[-1])
    odds = _percent(numbers["probability"])
    return f"Wind {present:.1f} m/s, {odds} chance above {threshold:g} m/s within {_span(horizon)}"


def _picture(
    reading: Reading, minutes: Minutes, forecast: Forecast, paths: Array,
    numbers: Mapping[str, float], horizon: float, threshold: float,
) -> plots.Figure:  # fmt: skip
    end = plots.utc(reading.now + horizon)
    subtitle = (
        f"Forecast {numbers['forecast']:.1f} ± {numbers['forecast_sigma']:.1f} m/s at {end} UTC,"
        f" highest minute {numbers['forecast_max']:.1f} m/s"
    )
    figure = plots.figure(_message(numbers, reading, horizon, threshold), subtitle)
    axes = plots.panel(figure, "wind speed, m/s")
    _history(axes, reading, minutes)
    _fan(axes, minutes, forecast, paths)
    start = max(float(reading.time[0]), reading.now - max(1800.0, 2 * horizon))
    _frame(axes, reading, start, horizon, threshold)
    plots.names(axes)
    return figure


def _history(axes: plots.Axes, reading: Reading, minutes: Minutes) -> None:
    thin = slice(None, None, max(1, len(reading.time) // 3000))
    axes.plot(
        reading.time[thin], reading.speed[thin], ".", color=plots.DIM, markersize=4, alpha=0.45
    )
    axes.plot(minutes.time, minutes.mean, color=plots.BLUE, linewidth=3.5, label="1 min mean")


def _fan(axes: plots.Axes, minutes: Minutes, forecast: Forecast, paths: Array) -> None:
    time = np.concatenate((minutes.time[-1:], forecast.time))
    bands = np.percentile(paths, QUANTILES, axis=0)
    start = np.full((len(QUANTILES), 1), minutes.mean[-1])
    low, lower, middle, upper, high = np.concatenate((start, bands), axis=1)
    axes.fill_between(time, low, high, color=plots.YELLOW, alpha=0.16, linewidth=0, label="90 %")
    axes.fill_between(time, lower, upper, color=plots.YELLOW, alpha=0.32, linewidth=0, label="50 %")
    axes.plot(time, middle, color=plots.YELLOW, linewidth=3.5, label="forecast")


def _frame(
    axes: plots.Axes, reading: Reading, start: float, horizon: float, threshold: float
) -> None:
    plots.level(axes, threshold, f"limit {threshold:g} m/s")
    axes.axvline(reading.now, color=plots.TEXT, linewidth=1.5, alpha=0.7)
    axes.annotate(
        f"now {plots.utc(reading.now)}", (reading.now, 0.0), xycoords=axes.get_xaxis_transform(),
        xytext=(6, 8), textcoords="offset points", color=plots.TEXT, size=15,
    )  # fmt: skip
    plots.utc_axis(axes, start, reading.now + horizon)
    calm = float(reading.speed[reading.time >= start].min(initial=threshold))
    axes.set_ylim(max(0.0, calm - 0.2 * threshold), max(axes.get_ylim()[1], threshold * 1.22))


def _document(
    reading: Reading, forecast: Forecast, paths: Array, numbers: Mapping[str, float],
    horizon: float, threshold: float, method: str,
) -> dict[str, Any]:  # fmt: skip
    bands = np.percentile(paths, QUANTILES, axis=0)
    return {
        "method": method,
        "now": plots.utc(reading.now, "%Y-%m-%dT%H:%M:%SZ"),
        "horizon": horizon,
        "threshold": threshold,
        "samples": len(reading.time),
        "discarded": reading.discarded,
        **numbers,
        "time": [plots.utc(float(at), "%Y-%m-%dT%H:%M:%SZ") for at in forecast.time],
        "mean": forecast.mean.tolist(),
        "sigma": forecast.sigma.tolist(),
        "quantiles": {
            str(q): band.tolist() for q, band in zip(QUANTILES, bands, strict=True)
        },
    }  # fmt: skip


def _percent(probability: float) -> str:
    if probability < 0.01:
        return "under 1 %"
    return "over 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"


def _span(seconds: float) -> str:
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
