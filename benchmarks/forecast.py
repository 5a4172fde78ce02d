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

from benchmarks import records
from benchmarks.forecast_fit import fit
from jobs.lib.experts import Array, Constants, Panel
from jobs.lib.learning import Learned, learned
from jobs.lib.wind import (
    CONSTANTS,
    DEGREES,
    MINUTE,
    Forecast,
    Minutes,
    horizon_times,
    one_minute_means,
    straight_line,
)

DATA = Path(__file__).parents[2] / "shared" / "data" / "wind"
MOST, DAY, MEMORY = 700, 1440, 2 * 86400.0
RATIO, HIGHEST, SKILL, LOW, HIGH = 0.97, 0.93, 0.36, 0.85, 1.2
HEADINGS = ("archive", "method", "RMSE (m/s)", "ratio", "z sd", "Brier skill", "highest")


@dataclass(frozen=True)
class Archive:
    """One site: its minutes, and windows of it (rows of past and of future means)."""

    name: str
    minutes: Minutes
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
class Forecasts:
    """For each window: mean and standard deviation at the end, odds of exceeding the archive's
    90th percentile there, and the highest minute."""

    mean: Array
    sigma: Array
    odds: Array
    highest: Array


Method = Callable[[Archive, Sequence[Archive], float], Forecasts]


def read(path: Path, history: int, ahead: int, every: int) -> Archive:
    """An archive and its windows: all, `every` so many minutes, or 700 evenly spread."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        rows = [(float(row["time"]), float(row["speed"])) for row in csv.DictReader(stream)]
    time, speed = np.array(rows).T
    good = np.isfinite(speed) & (speed >= 0) & (speed <= 60)
    minutes = one_minute_means(time[good], speed[good], float(time[good].max()))
    whole = history + ahead
    starts = np.arange(len(minutes.time) - whole + 1)
    span = minutes.time[starts + whole - 1] - minutes.time[starts]
    starts = starts[np.abs(span - (whole - 1) * MINUTE) < 1.0]
    starts = starts[:: every or max(1, len(starts) // MOST)]
    values = minutes.mean[starts[:, None] + np.arange(whole)]
    name = path.name.split(".")[0]
    return Archive(name, minutes, values[:, :history], values[:, history:], starts)


def experts(constants: Constants, learn: bool = False) -> Method:
    """The forecast that ships, with these constants; with `learn` as one does with a memory."""

    def forecast(archive: Archive, _: Sequence[Archive], threshold: float) -> Forecasts:
        history, ahead = archive.past.shape[1], archive.future.shape[1]
        panel = Panel(np.arange(history, dtype=float), history + np.arange(ahead, dtype=float))
        level = archive.past[:, -30:].mean(axis=1)
        said = panel.opinions(archive.past)
        centre, covariance = panel.combined(said, level, constants)
        factor = _taught(archive, ahead) if learn else np.ones(len(centre))
        scale = factor[:, None, None] * covariance * (DEGREES - 2) / DEGREES
        return _of(centre, scale, threshold)

    return forecast


def _of(centre: Array, scale: Array, threshold: float) -> Forecasts:
    rows = []
    for middle, spread in zip(centre, scale, strict=True):
        one = Forecast(np.arange(len(middle), dtype=float), middle, spread, DEGREES)
        highest = float(one.paths(1000).max(axis=1).mean())
        rows.append((one.mean[-1], one.sigma[-1], one.above(threshold)[-1], highest))
    return Forecasts(*np.array(rows).T)


def _taught(archive: Archive, ahead: int) -> Array:
    """The factor that each window's past teaches, learned anew each day."""
    factors: dict[int, Learned] = {}
    for start in archive.starts:
        day = int(start) // DAY
        if day not in factors:
            until = slice(0, day * DAY)
            past = Minutes(archive.minutes.time[until], archive.minutes.mean[until])
            factors[day] = learned(past, ahead * MINUTE, MEMORY)
    return np.array([factors[int(start) // DAY].factor for start in archive.starts])


def simple(mean: Callable[[Archive, Sequence[Archive]], Array]) -> Method:
    """A baseline: normal errors with the spread of the other archives, the highest minute with
    the bias of this one put right."""

    def forecast(archive: Archive, others: Sequence[Archive], threshold: float) -> Forecasts:
        at = mean(archive, others)
        errors = [float(np.mean((one.target - mean(one, others)) ** 2)) for one in others]
        sigma = float(np.sqrt(np.mean(errors))) if errors else 1.0
        odds = norm.sf((threshold - at) / sigma)
        bias = float(np.mean(archive.future.max(axis=1) - at))
        return Forecasts(at, np.full(len(at), sigma), odds, at + bias)

    return forecast


def line(archive: Archive, _: Sequence[Archive]) -> Array:
    """The least-squares line, as `method: line` has it."""
    history, ahead = archive.past.shape[1], archive.future.shape[1]
    time = (np.arange(history) - history + 0.5) * MINUTE
    at = horizon_times(0.0, ahead * MINUTE)
    return np.array([straight_line(Minutes(time, row), at).centre[-1] for row in archive.past])


def holt(archive: Archive, others: Sequence[Archive]) -> Array:
    """Holt's linear smoothing, its two constants those that serve the other archives best."""
    grid = [(alpha, beta) for alpha in (0.1, 0.2, 0.3, 0.5) for beta in (0.0, 0.02, 0.05, 0.1)]
    errors = [
        np.mean([
            np.mean((one.target - _smoothed(one, *pair)) ** 2)
            / np.mean((one.target - one.recent) ** 2)
            for one in others or (archive,)
        ])
        for pair in grid
    ]  # fmt: skip
    return _smoothed(archive, *grid[int(np.argmin(errors))])


def _smoothed(archive: Archive, alpha: float, beta: float) -> Array:
    level, trend = archive.past[:, :5].mean(axis=1), np.zeros(len(archive.past))
    for value in archive.past.T:
        before = level
        level = alpha * value + (1 - alpha) * (level + trend)
        trend = beta * (level - before) + (1 - beta) * trend
    return np.asarray(level + archive.future.shape[1] * trend)


def regression(archive: Archive, others: Sequence[Archive]) -> Array:
    """Least squares on the means of 3, 20 and 30 minutes beside that of 10."""

    def features(one: Archive) -> Array:
        means = [one.past[:, -span:].mean(axis=1) - one.recent for span in (3, 20, 30)]
        return np.stack(means, axis=1)

    square, product = np.zeros((3, 3)), np.zeros(3)
    for one in others or (archive,):
        weight = 1.0 / float(np.mean((one.target - one.recent) ** 2)) / len(one.target)
        design = features(one)
        square += weight * design.T @ design
        product += weight * design.T @ (one.target - one.recent)
    return np.asarray(archive.recent + features(archive) @ np.linalg.solve(square, product))


BASELINES: Mapping[str, Method] = {
    "persistence": simple(lambda one, _: np.asarray(one.past[:, -1])),
    "mean": simple(lambda one, _: one.recent),
    "line": simple(line),
    "holt": simple(holt),
    "regression": simple(regression),
}


def judged(archive: Archive, found: Forecasts, threshold: float) -> records.Row:
    """The figures of one method on one archive."""
    error, usual = archive.target - found.mean, archive.target - archive.recent
    happened = archive.target > threshold
    rate = float(happened.mean())
    highest = archive.future.max(axis=1)
    return {
        "rmse": _rms(error),
        "ratio": _rms(error) / _rms(usual),
        "z": float(np.std(error / found.sigma)),
        "skill": 1 - float(np.mean((found.odds - happened) ** 2)) / (rate * (1 - rate) or np.nan),
        "highest": _rms(highest - found.highest) / float(np.std(highest - archive.recent)),
    }


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def compared(archives: Sequence[Archive], shipped: bool) -> list[records.Row]:
    """Every method on every archive, the archive left out of what is fitted."""
    rows = []
    for archive in archives:
        others = [one for one in archives if one is not archive]
        constants = CONSTANTS if shipped else _fitted(others)
        methods = {
            "catcher": experts(constants),
            "catcher, memory 2 d": experts(constants, learn=True),
            **BASELINES,
        }
        threshold = float(np.percentile(archive.minutes.mean, 90))
        for name, method in methods.items():
            found = method(archive, others, threshold)
            rows.append({"archive": archive.name, "method": name,
                         **judged(archive, found, threshold)})  # fmt: skip
    for name in dict.fromkeys(row["method"] for row in rows):
        of = [row for row in rows if row["method"] == name]
        keys = ("rmse", "ratio", "z", "skill", "highest")
        mean = {key: float(np.nanmean([row[key] for row in of])) for key in keys}
        rows.append({"archive": "all", "method": name, **mean})
    return rows


def _fitted(archives: Sequence[Archive]) -> Constants:
    return fit([(one.minutes.time, one.minutes.mean) for one in archives])


def missed(rows: Sequence[records.Row]) -> list[str]:
    """What falls short of the targets, in words."""
    ours = [row for row in rows if row["method"] == "catcher"]
    found = []
    for row in ours:
        where = row["archive"]
        if where != "all":
            found += [f"{where}: worse than the mean"] if row["ratio"] > 1 else []
            found += [f"{where}: z {row['z']:.2f}"] if not LOW <= row["z"] <= HIGH else []
        else:
            found += [f"ratio {row['ratio']:.3f}"] if row["ratio"] > RATIO else []
            found += [f"Brier skill {row['skill']:.2f}"] if row["skill"] < SKILL else []
            found += [f"highest {row['highest']:.3f}"] if row["highest"] > HIGHEST else []
    return found


def main(options: Sequence[str]) -> None:
    """Prints the table, keeps it, and says what falls short."""
    parser = argparse.ArgumentParser(prog="benchmarks forecast", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--history", type=int, default=30)
    parser.add_argument("--ahead", type=int, default=10)
    parser.add_argument("--every", type=int, default=0, help="minutes between forecasts")
    parser.add_argument("--shipped", action="store_true", help="the constants as they ship")
    parser.add_argument("--fit", action="store_true", help="print constants for all archives")
    asked = parser.parse_args(options)
    paths = sorted((*asked.data.glob("*.csv"), *asked.data.glob("*.csv.gz")))
    if not paths:
        raise SystemExit(f"no series (NAME.csv or NAME.csv.gz) in {asked.data}; say --data FOLDER")
    archives = [read(path, asked.history, asked.ahead, asked.every) for path in paths]
    archives = [one for one in archives if len(one.past)]
    if asked.fit:
        found = _fitted(archives)
        print(replace(found, votes=tuple(round(float(vote), 3) for vote in found.votes)))
        return
    begun = records.machine()
    rows = compared(archives, asked.shipped or len(archives) < 2)
    title = f"{asked.ahead} minutes ahead from {asked.history}, the archive left out"
    records.show(title, begun, HEADINGS, [
        (row["archive"], row["method"], *(f"{row[key]:.3f}" for key in
         ("rmse", "ratio", "z", "skill", "highest"))) for row in rows
    ])  # fmt: skip
    if (asked.data, asked.history, asked.ahead, asked.shipped) == (DATA, 30, 10, False):
        records.write("forecast", begun, rows)
    short = missed(rows)
    if short:
        raise SystemExit(f"missed: {'; '.join(short)}")
