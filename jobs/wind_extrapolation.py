"""The wind speed of the next minutes, with honest odds, and the plot that shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from catcher import Event, Metric, Result, Series, job

from .lib import plots
from .lib.anemometer import FEWEST_COARSE, FEWEST_MINUTES, Reading, believable, unusable
from .lib.learning import Learned, learned
from .lib.wind import (
    MINUTE,
    Array,
    Forecast,
    Minutes,
    gust_excess,
    gusts,
    horizon_times,
    one_minute_means,
    reverting,
    straight_line,
)

METHODS = {"mean_reverting": reverting, "line": straight_line}
LONGEST_HISTORY = 2 * 3600.0
LONGEST_HORIZON = 6 * 3600.0
QUANTILES = (5, 25, 50, 75, 95)
NAMES = {
    "forecast": "m/s",
    "forecast_sigma": "m/s",
    "forecast_max": "m/s",
    "probability": "",
    "probability_at_horizon": "",
}
GUST_NAMES = {"forecast_gust": "m/s", "probability_gust": ""}


@dataclass(frozen=True)
class Asked:
    """What the rule wants to know."""

    horizon: float
    threshold: float
    method: str


@dataclass(frozen=True)
class Outlook:
    """What is forecast: the distribution, 4,000 courses drawn from it, its numbers."""

    forecast: Forecast
    paths: Array
    numbers: Mapping[str, float]
    learned: Learned


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
    method: `mean_reverting` (lib/experts.py has its sources) or `line`. gust_column: the highest
    speed within a sample, where it is recorded. highest_plausible: a faster sample is discarded,
    as is a negative one, one that is no number, and one with an impossible direction or time.
    memory: seconds after which the site's past counts by a third; nought learns nothing.

    Metrics: `forecast`, `forecast_sigma` (mean and standard deviation of the one-minute mean at
    the horizon, m/s), `forecast_max` (the highest one-minute mean up to it, m/s), `probability`
    (that a one-minute mean exceeds the threshold at any time up to the horizon),
    `probability_at_horizon`, `samples` (used), `discarded`; with gusts `forecast_gust` (the
    highest, m/s) and `probability_gust` (that one exceeds the threshold); with a memory
    `spread_factor` (on the variance). Fewer than 5 minutes with samples (3, over 20 minutes, where
    samples come less often than each minute), samples that are too old, or a reading above nought
    that never changed for 20 minutes give *unknown*, with the reason.
    """
    if not 0 < horizon <= LONGEST_HORIZON:
        raise ValueError(f"horizon is {horizon:g} s; choose one from 1 s to 6 h")
    if not np.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}; choose a speed in m/s")
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; choose {' or '.join(METHODS)}")
    asked = Asked(horizon, threshold, method)
    whole = believable(wind, column, highest_plausible, event, gust_column)
    reading = whole.since(whole.now - LONGEST_HISTORY)
    minutes = one_minute_means(reading.time, reading.speed, reading.now)
    fewest = FEWEST_MINUTES if method == "line" else FEWEST_COARSE
    reason = unusable(reading, minutes, fewest)
    gusty = bool(np.isfinite(reading.gust).any())
    if reason:
        return _unknown(reading, minutes, reason, asked, gusty)
    taught = _taught(whole, horizon, memory)
    outlook = _outlook(reading, minutes, asked, taught)
    document = _document(reading, outlook, asked)
    kept = {"learned.json": {"memory": memory, **asdict(taught)}} if memory > 0 else {}
    return Result(
        metrics={**_metrics(outlook, memory), **_counts(reading)},
        artifacts={
            "forecast.png": _picture(reading, minutes, outlook, asked),
            "forecast.json": document,
            **kept,
        },
        note=_message(outlook.numbers, reading, asked),
    )


def _taught(whole: Reading, horizon: float, memory: float) -> Learned:
    if memory <= 0:
        return Learned()
    minutes = one_minute_means(whole.time, whole.speed, whole.now)
    return learned(minutes, horizon, memory)


def _outlook(reading: Reading, minutes: Minutes, asked: Asked, taught: Learned) -> Outlook:
    ahead = horizon_times(reading.now, asked.horizon)
    forecast = METHODS[asked.method](minutes, ahead, taught.factor)
    paths = forecast.paths()
    numbers = _numbers(forecast, paths, asked.threshold)
    excess = gust_excess(minutes, reading.time, reading.gust, reading.now)
    if len(excess) >= FEWEST_MINUTES:
        highest = gusts(paths, excess).max(axis=1)
        numbers["forecast_gust"] = float(highest.mean())
        odds = float(np.mean(highest > asked.threshold))
        numbers["probability_gust"] = max(odds, numbers["probability"])
    return Outlook(forecast, paths, numbers, taught)


def _numbers(forecast: Forecast, paths: Array, threshold: float) -> dict[str, float]:
    at_end = float(forecast.above(threshold)[-1])
    highest = paths.max(axis=1)
    mean = float(forecast.mean[-1])
    return {
        "forecast": mean,
        "forecast_sigma": float(forecast.sigma[-1]),
        "forecast_max": max(float(highest.mean()), mean),
        "probability": max(float(np.mean(highest > threshold)), at_end),
        "probability_at_horizon": at_end,
    }


def _metrics(outlook: Outlook, memory: float) -> dict[str, Metric]:
    units = {**NAMES, **GUST_NAMES}
    known = {name: Metric(value, units[name]) for name, value in outlook.numbers.items()}
    return {**known, "spread_factor": Metric(outlook.learned.factor)} if memory > 0 else known


def _counts(reading: Reading) -> dict[str, Metric]:
    return {
        "samples": Metric(float(len(reading.time))),
        "discarded": Metric(float(reading.discarded)),
    }


def _unknown(reading: Reading, minutes: Minutes, reason: str, asked: Asked, gusty: bool) -> Result:
    units = {**NAMES, **GUST_NAMES} if gusty else NAMES
    metrics = {name: Metric(None, unit, reason=reason) for name, unit in units.items()}
    figure = plots.figure("No wind forecast", reason[0].upper() + reason[1:])
    axes = plots.panel(figure, "wind speed, m/s")
    if len(reading.time):
        _history(axes, reading, minutes)
        _frame(axes, reading, reading.now - LONGEST_HISTORY / 4, asked)
    else:
        plots.blank(axes, reason)
    document = {"unknown": reason, "samples": len(reading.time), "discarded": reading.discarded}
    return Result(
        metrics={**metrics, **_counts(reading)},
        artifacts={"forecast.png": figure, "forecast.json": document},
        note=f"No wind forecast: {reason}",
    )


def _message(numbers: Mapping[str, float], reading: Reading, asked: Asked) -> str:
    latest = reading.speed[reading.time > reading.now - MINUTE]
    present = float(latest.mean()) if len(latest) else float(reading.speed[-1])
    odds = _percent(numbers["probability"])
    within = f"above {asked.threshold:g} m/s within {_span(asked.horizon)}"
    return f"Wind {present:.1f} m/s, {odds} chance {within}"


def _picture(reading: Reading, minutes: Minutes, outlook: Outlook, asked: Asked) -> plots.Figure:
    numbers = outlook.numbers
    end = plots.utc(reading.now + asked.horizon)
    subtitle = (
        f"{numbers['forecast']:.1f} ± {numbers['forecast_sigma']:.1f} m/s at {end} UTC · "
        f"highest minute {numbers['forecast_max']:.1f} m/s"
    )
    if "forecast_gust" in numbers:
        subtitle += f" · gusts to {numbers['forecast_gust']:.1f} m/s"
    figure = plots.figure(_message(numbers, reading, asked), subtitle)
    axes = plots.panel(figure, "wind speed, m/s")
    _history(axes, reading, minutes)
    _fan(axes, minutes, outlook)
    start = max(float(reading.time[0]), reading.now - max(1800.0, 2 * asked.horizon))
    _frame(axes, reading, start, asked)
    plots.names(axes)
    return figure


def _history(axes: plots.Axes, reading: Reading, minutes: Minutes) -> None:
    thin = slice(None, None, max(1, len(reading.time) // 3000))
    axes.plot(
        reading.time[thin], reading.speed[thin], ".", color=plots.DIM, markersize=4, alpha=0.45
    )
    # A line across a gap would show wind that nobody measured.
    gaps = np.flatnonzero(np.diff(minutes.time) > max(3 * MINUTE, 2.5 * _usual(minutes))) + 1
    time, mean = (np.insert(part, gaps, np.nan) for part in (minutes.time, minutes.mean))
    axes.plot(time, mean, color=plots.BLUE, linewidth=3.5, label="1 min mean")


def _usual(minutes: Minutes) -> float:
    return float(np.median(np.diff(minutes.time))) if len(minutes.time) > 1 else MINUTE


def _fan(axes: plots.Axes, minutes: Minutes, outlook: Outlook) -> None:
    time = np.concatenate((minutes.time[-1:], outlook.forecast.time))
    bands = np.percentile(outlook.paths, QUANTILES, axis=0)
    start = np.full((len(QUANTILES), 1), minutes.mean[-1])
    low, lower, middle, upper, high = np.concatenate((start, bands), axis=1)
    axes.fill_between(time, low, high, color=plots.YELLOW, alpha=0.16, linewidth=0, label="90 %")
    axes.fill_between(time, lower, upper, color=plots.YELLOW, alpha=0.32, linewidth=0, label="50 %")
    axes.plot(time, middle, color=plots.YELLOW, linewidth=3.5, label="forecast")


def _frame(axes: plots.Axes, reading: Reading, start: float, asked: Asked) -> None:
    threshold = asked.threshold
    plots.level(axes, threshold, f"limit {threshold:g} m/s")
    axes.axvline(reading.now, color=plots.TEXT, linewidth=1.5, alpha=0.7)
    axes.annotate(
        f"now {plots.utc(reading.now)}", (reading.now, 0.0), xycoords=axes.get_xaxis_transform(),
        xytext=(6, 8), textcoords="offset points", color=plots.TEXT, size=15,
    )  # fmt: skip
    plots.utc_axis(axes, start, reading.now + asked.horizon)
    calm = float(reading.speed[reading.time >= start].min(initial=threshold))
    axes.set_ylim(max(0.0, calm - 0.2 * threshold), max(axes.get_ylim()[1], threshold * 1.22))


def _document(reading: Reading, outlook: Outlook, asked: Asked) -> dict[str, Any]:
    bands = np.percentile(outlook.paths, QUANTILES, axis=0)
    time = outlook.forecast.time
    return {
        **asdict(asked),
        "now": plots.utc(reading.now, "%Y-%m-%dT%H:%M:%SZ"),
        "samples": len(reading.time),
        "discarded": reading.discarded,
        **outlook.numbers,
        "time": [plots.utc(float(at), "%Y-%m-%dT%H:%M:%SZ") for at in time],
        "mean": outlook.forecast.mean.tolist(),
        "sigma": outlook.forecast.sigma.tolist(),
        "quantiles": {
            str(q): band.tolist() for q, band in zip(QUANTILES, bands, strict=True)
        },
    }  # fmt: skip


def _percent(probability: float) -> str:
    if probability < 0.01:
        return "<1 %"
    return ">99 %" if probability > 0.99 else f"{100 * probability:.0f} %"


def _span(seconds: float) -> str:
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
