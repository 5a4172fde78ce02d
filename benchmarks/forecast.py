"""The wind forecast beside simpler ones, on archives that it was not fitted to.

    python -m benchmarks forecast [--data FOLDER] [--history 30] [--ahead 10] [--every 0]

The folder holds a series a file, `NAME.csv` or `NAME.csv.gz` with the columns time (seconds, UTC)
and speed (m/s); it is cut into one-minute means. Each archive in turn is left out, everything that
can be fitted (the experts' constants, the regression, Holt's two, the baselines' spread) is fitted
to the others, and each forecasts the one left out from `history` minutes without a gap, `ahead`
minutes on. `--shipped` takes the constants as they ship instead, `--fit` prints those for all
archives together.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import norm

from benchmarks import reporting
from benchmarks.forecast_fit import fit_constants
from jobs.lib.model_averaging import Array, ModelConstants, ModelEnsemble
from jobs.lib.spread_calibration import SpreadCalibration, calibrate_spread
from jobs.lib.wind import (
    DEGREES_OF_FREEDOM,
    FITTED_CONSTANTS,
    MINUTE,
    MinuteMeans,
    WindForecast,
    forecast_straight_line,
    horizon_times,
    one_minute_means,
)

DATA = Path(__file__).parents[2] / "shared" / "data" / "wind"
MAX_WINDOWS, MINUTES_PER_DAY, MEMORY_SECONDS = 700, 1440, 2 * 86400.0
MAX_RATIO, MAX_HIGHEST_ERROR, MIN_SKILL, MIN_Z, MAX_Z = 0.97, 0.93, 0.36, 0.85, 1.2
HEADINGS = ("archive", "method", "RMSE (m/s)", "ratio", "z sd", "Brier skill", "highest")


@dataclass(frozen=True)
class WindArchive:
    """One site: its minutes, and windows of it (rows of past and of future means)."""

    name: str
    minutes: MinuteMeans
    past: Array
    future: Array
    starts: Array

    @property
    def target(self) -> Array:
        return np.asarray(self.future[:, -1])

    @property
    def recent(self) -> Array:
        return np.asarray(self.past[:, -10:].mean(axis=1))


@dataclass(frozen=True)
class WindowForecasts:
    """For each window: mean and standard deviation at the end, odds of exceeding the archive's
    90th percentile there, and the highest minute."""

    mean: Array
    sigma: Array
    exceedance_probability: Array
    highest: Array


Method = Callable[[WindArchive, Sequence[WindArchive], float], WindowForecasts]


def read_archive(path: Path, history: int, ahead: int, every: int) -> WindArchive:
    """An archive and its windows: all, `every` so many minutes, or 700 evenly spread."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        rows = [(float(row["time"]), float(row["speed"])) for row in csv.DictReader(stream)]
    time, speed = np.array(rows).T
    valid = np.isfinite(speed) & (speed >= 0) & (speed <= 60)
    minutes = one_minute_means(time[valid], speed[valid], float(time[valid].max()))
    length = history + ahead
    starts = np.arange(len(minutes.time) - length + 1)
    span = minutes.time[starts + length - 1] - minutes.time[starts]
    starts = starts[np.abs(span - (length - 1) * MINUTE) < 1.0]
    starts = starts[:: every or max(1, len(starts) // MAX_WINDOWS)]
    values = minutes.mean[starts[:, None] + np.arange(length)]
    name = path.name.split(".")[0]
    return WindArchive(name, minutes, values[:, :history], values[:, history:], starts)


def create_ensemble_method(constants: ModelConstants, use_memory: bool = False) -> Method:
    """The forecast that ships, with these constants; with `use_memory` as one does with a
    memory.
    """

    def forecast_windows(
        archive: WindArchive, _: Sequence[WindArchive], threshold: float
    ) -> WindowForecasts:
        history, ahead = archive.past.shape[1], archive.future.shape[1]
        ensemble = ModelEnsemble(
            np.arange(history, dtype=float), history + np.arange(ahead, dtype=float)
        )
        levels = archive.past[:, -30:].mean(axis=1)
        forecasts = ensemble.forecast_each(archive.past)
        centre, covariance = ensemble.combine(forecasts, levels, constants)
        factor = _learned_factors(archive, ahead) if use_memory else np.ones(len(centre))
        scale = factor[:, None, None] * covariance * (DEGREES_OF_FREEDOM - 2) / DEGREES_OF_FREEDOM
        return _summarize_forecasts(centre, scale, threshold)

    return forecast_windows


def _summarize_forecasts(centre: Array, scale: Array, threshold: float) -> WindowForecasts:
    rows = []
    for location, scale_matrix in zip(centre, scale, strict=True):
        forecast = WindForecast(
            np.arange(len(location), dtype=float), location, scale_matrix, DEGREES_OF_FREEDOM
        )
        highest = float(forecast.sample_paths(1000).max(axis=1).mean())
        rows.append(
            (
                forecast.mean[-1],
                forecast.sigma[-1],
                forecast.exceedance_probability(threshold)[-1],
                highest,
            )
        )
    return WindowForecasts(*np.array(rows).T)


def _learned_factors(archive: WindArchive, ahead: int) -> Array:
    """The factor that each window's past teaches, learned anew each day."""
    factors: dict[int, SpreadCalibration] = {}
    for start in archive.starts:
        day = int(start) // MINUTES_PER_DAY
        if day not in factors:
            past_days = slice(0, day * MINUTES_PER_DAY)
            past = MinuteMeans(archive.minutes.time[past_days], archive.minutes.mean[past_days])
            factors[day] = calibrate_spread(past, ahead * MINUTE, MEMORY_SECONDS)
    return np.array([factors[int(start) // MINUTES_PER_DAY].factor for start in archive.starts])


def create_baseline(predict: Callable[[WindArchive, Sequence[WindArchive]], Array]) -> Method:
    """A baseline: normal errors with the spread of the other archives, the highest minute with
    the bias of this one put right."""

    def forecast_windows(
        archive: WindArchive, training: Sequence[WindArchive], threshold: float
    ) -> WindowForecasts:
        predicted = predict(archive, training)
        errors = [
            float(np.mean((other.target - predict(other, training)) ** 2)) for other in training
        ]
        sigma = float(np.sqrt(np.mean(errors))) if errors else 1.0
        probability = norm.sf((threshold - predicted) / sigma)
        bias = float(np.mean(archive.future.max(axis=1) - predicted))
        return WindowForecasts(
            predicted, np.full(len(predicted), sigma), probability, predicted + bias
        )

    return forecast_windows


def predict_line(archive: WindArchive, _: Sequence[WindArchive]) -> Array:
    """The least-squares line, as `method: line` has it."""
    history, ahead = archive.past.shape[1], archive.future.shape[1]
    time = (np.arange(history) - history + 0.5) * MINUTE
    future = horizon_times(0.0, ahead * MINUTE)
    return np.array(
        [forecast_straight_line(MinuteMeans(time, row), future).centre[-1] for row in archive.past]
    )


def predict_holt(archive: WindArchive, training: Sequence[WindArchive]) -> Array:
    """Holt's linear smoothing, its two constants those that serve the other archives best."""
    grid = [(alpha, beta) for alpha in (0.1, 0.2, 0.3, 0.5) for beta in (0.0, 0.02, 0.05, 0.1)]
    errors = [
        np.mean([
            np.mean((other.target - _smooth_holt(other, *pair)) ** 2)
            / np.mean((other.target - other.recent) ** 2)
            for other in training or (archive,)
        ])
        for pair in grid
    ]  # fmt: skip
    return _smooth_holt(archive, *grid[int(np.argmin(errors))])


def _smooth_holt(archive: WindArchive, alpha: float, beta: float) -> Array:
    level, trend = archive.past[:, :5].mean(axis=1), np.zeros(len(archive.past))
    for value in archive.past.T:
        before = level
        level = alpha * value + (1 - alpha) * (level + trend)
        trend = beta * (level - before) + (1 - beta) * trend
    return np.asarray(level + archive.future.shape[1] * trend)


def predict_regression(archive: WindArchive, training: Sequence[WindArchive]) -> Array:
    """Least squares on the means of 3, 20 and 30 minutes beside that of 10."""

    def build_features(windows: WindArchive) -> Array:
        means = [windows.past[:, -span:].mean(axis=1) - windows.recent for span in (3, 20, 30)]
        return np.stack(means, axis=1)

    gram, moment = np.zeros((3, 3)), np.zeros(3)
    for other in training or (archive,):
        weight = 1.0 / float(np.mean((other.target - other.recent) ** 2)) / len(other.target)
        design = build_features(other)
        gram += weight * design.T @ design
        moment += weight * design.T @ (other.target - other.recent)
    return np.asarray(archive.recent + build_features(archive) @ np.linalg.solve(gram, moment))


BASELINES: Mapping[str, Method] = {
    "persistence": create_baseline(lambda archive, _: np.asarray(archive.past[:, -1])),
    "mean": create_baseline(lambda archive, _: archive.recent),
    "line": create_baseline(predict_line),
    "holt": create_baseline(predict_holt),
    "regression": create_baseline(predict_regression),
}


def score_forecasts(
    archive: WindArchive, forecasts: WindowForecasts, threshold: float
) -> reporting.Row:
    """The figures of one method on one archive."""
    error, reference_error = archive.target - forecasts.mean, archive.target - archive.recent
    exceeded = archive.target > threshold
    rate = float(exceeded.mean())
    highest = archive.future.max(axis=1)
    return {
        "rmse": _rms(error),
        "ratio": _rms(error) / _rms(reference_error),
        "z": float(np.std(error / forecasts.sigma)),
        "skill": 1
        - float(np.mean((forecasts.exceedance_probability - exceeded) ** 2))
        / (rate * (1 - rate) or np.nan),
        "highest": _rms(highest - forecasts.highest) / float(np.std(highest - archive.recent)),
    }


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def compare_methods(archives: Sequence[WindArchive], shipped: bool) -> list[reporting.Row]:
    """Every method on every archive, the archive left out of what is fitted."""
    rows = []
    for archive in archives:
        training = [other for other in archives if other is not archive]
        constants = FITTED_CONSTANTS if shipped else _fit_constants(training)
        methods = {
            "catcher": create_ensemble_method(constants),
            "catcher, memory 2 d": create_ensemble_method(constants, use_memory=True),
            **BASELINES,
        }
        threshold = float(np.percentile(archive.minutes.mean, 90))
        for name, method in methods.items():
            forecasts = method(archive, training, threshold)
            rows.append({"archive": archive.name, "method": name,
                         **score_forecasts(archive, forecasts, threshold)})  # fmt: skip
    for name in dict.fromkeys(row["method"] for row in rows):
        method_rows = [row for row in rows if row["method"] == name]
        keys = ("rmse", "ratio", "z", "skill", "highest")
        mean = {key: float(np.nanmean([row[key] for row in method_rows])) for key in keys}
        rows.append({"archive": "all", "method": name, **mean})
    return rows


def _fit_constants(archives: Sequence[WindArchive]) -> ModelConstants:
    return fit_constants([(archive.minutes.time, archive.minutes.mean) for archive in archives])


def list_missed_targets(rows: Sequence[reporting.Row]) -> list[str]:
    """What falls short of the targets, in words."""
    catcher_rows = [row for row in rows if row["method"] == "catcher"]
    problems = []
    for row in catcher_rows:
        site = row["archive"]
        if site != "all":
            problems += [f"{site}: worse than the mean"] if row["ratio"] > 1 else []
            problems += [f"{site}: z {row['z']:.2f}"] if not MIN_Z <= row["z"] <= MAX_Z else []
        else:
            problems += [f"ratio {row['ratio']:.3f}"] if row["ratio"] > MAX_RATIO else []
            problems += [f"Brier skill {row['skill']:.2f}"] if row["skill"] < MIN_SKILL else []
            problems += (
                [f"highest {row['highest']:.3f}"] if row["highest"] > MAX_HIGHEST_ERROR else []
            )
    return problems


def main(options: Sequence[str]) -> None:
    """Prints the table, keeps it, and says what falls short."""
    parser = argparse.ArgumentParser(prog="benchmarks forecast", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--history", type=int, default=30)
    parser.add_argument("--ahead", type=int, default=10)
    parser.add_argument("--every", type=int, default=0, help="minutes between forecasts")
    parser.add_argument("--shipped", action="store_true", help="the constants as they ship")
    parser.add_argument("--fit", action="store_true", help="print constants for all archives")
    args = parser.parse_args(options)
    paths = sorted((*args.data.glob("*.csv"), *args.data.glob("*.csv.gz")))
    if not paths:
        raise SystemExit(f"no series (NAME.csv or NAME.csv.gz) in {args.data}; say --data FOLDER")
    archives = [read_archive(path, args.history, args.ahead, args.every) for path in paths]
    archives = [archive for archive in archives if len(archive.past)]
    if args.fit:
        constants = _fit_constants(archives)
        print(
            replace(
                constants,
                log_weights=tuple(
                    round(float(log_weight), 3) for log_weight in constants.log_weights
                ),
            )
        )
        return
    machine = reporting.describe_machine()
    rows = compare_methods(archives, args.shipped or len(archives) < 2)
    title = f"{args.ahead} minutes ahead from {args.history}, the archive left out"
    reporting.print_table(title, machine, HEADINGS, [
        (row["archive"], row["method"], *(f"{row[key]:.3f}" for key in
         ("rmse", "ratio", "z", "skill", "highest"))) for row in rows
    ])  # fmt: skip
    if (args.data, args.history, args.ahead, args.shipped) == (DATA, 30, 10, False):
        reporting.write_results("forecast", machine, rows)
    problems = list_missed_targets(rows)
    if problems:
        raise SystemExit(f"missed: {'; '.join(problems)}")
