"""What a visit is worth: the detectors' metrics in one, and the one that stands out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from catcher import Field, Metric, Observation, Result, job

from .lib import plots
from .lib.focal_plane import places

JUDGED = {
    "psf_fwhm": 0.15,
    "psf_fwhm_arcsec": 0.15,
    "sky_bg": 0.15,
    "sky_noise": 0.15,
    "overscan_noise": 0.15,
    "dead_fraction": 0.0,
    "saturated_fraction": 0.0,
}
"""What makes an outlier, and how far (as a part of the median) is never far."""
_FIRST = ("psf_fwhm_arcsec", "psf_fwhm", "sky_bg", "sky_noise", "source_count", "n_psf_star")
FAR = 5.0
"""Robust sigmas (1.4826 times the median absolute deviation) that are far."""
LEAST_FRACTION = 0.01


@dataclass(frozen=True)
class Column:
    """One metric over the detectors that have it."""

    name: str
    unit: str
    detectors: tuple[str, ...]
    values: npt.NDArray[np.float64]

    @property
    def median(self) -> float:
        """The median over the detectors."""
        return float(np.median(self.values))


@job
def visit_summary(
    parts: Mapping[str, Any],
    missing: Collection[str] = (),
    observation: Observation | None = None,
    show: str = "",
) -> Result:
    """Gathers the detectors of one visit.

    parts: the results of `rapid_image_metrics` by detector. missing: detectors without one.
    show: the metric that the picture shows; without it the PSF, in arcsec where it can be.

    Metrics: each metric of the detectors under its own name as its median over the detectors,
    `NAME_min` and `NAME_max`; `source_count` and `n_psf_star` as totals besides (`NAME_sum`);
    `detectors` (with a result), `missing`, `outliers`. A detector is an outlier in psf_fwhm,
    sky_bg, sky_noise or overscan_noise when it is more than 5 robust sigmas and 15 % from the
    median, in dead_fraction or saturated_fraction when more than 1 % and 5 robust sigmas above
    it. Fields over `detector`: each metric. The note names outliers and missing detectors.
    """
    if not parts and not missing:
        raise ValueError("there are no detectors to gather; look at the runs of the parts")
    read = {name: _metrics_of(part) for name, part in sorted(parts.items())}
    columns = _columns(read)
    outliers = sorted({name for column in columns.values() for name in _outliers(column)})
    counts = {
        "detectors": Metric(float(len(read))),
        "missing": Metric(float(len(missing))),
        "outliers": Metric(float(len(outliers))),
    }
    note = _message(columns, len(read), outliers, missing)
    return Result(
        metrics={**_unknown(read, columns), **_summary(columns), **counts},
        fields={name: Field("detector", one.detectors, one.values, one.unit)
                for name, one in columns.items()},
        artifacts={"focal_plane.png": _picture(
            columns, list(read), missing, outliers, show, note, observation)},
        note=note,
    )  # fmt: skip


def _metrics_of(part: object) -> dict[str, Metric]:
    found = getattr(part, "metrics", part)
    if not isinstance(found, Mapping):
        return {}
    return {
        str(name): value if isinstance(value, Metric) else Metric(value)
        for name, value in found.items()
        if isinstance(value, Metric | float | int | None)
    }


def _columns(read: Mapping[str, Mapping[str, Metric]]) -> dict[str, Column]:
    gathered: dict[str, list[tuple[str, float, str]]] = {}
    for detector, metrics in read.items():
        for name, metric in metrics.items():
            if metric.value is not None and metric.known:
                gathered.setdefault(name, []).append((detector, metric.value, metric.unit))
    # Those that a reader asks for first come first.
    order = sorted(gathered, key=lambda name: (_FIRST.index(name) if name in _FIRST else 99, name))
    return {
        name: Column(name, rows[0][2], tuple(row[0] for row in rows),
                     np.array([row[1] for row in rows]))
        for name, rows in ((name, gathered[name]) for name in order)
    }  # fmt: skip


def _summary(columns: Mapping[str, Column]) -> dict[str, Metric]:
    made = {name: Metric(column.median, column.unit) for name, column in columns.items()}
    for name, column in columns.items():
        made[f"{name}_min"] = Metric(float(column.values.min()), column.unit)
        made[f"{name}_max"] = Metric(float(column.values.max()), column.unit)
        if name in ("source_count", "n_psf_star"):
            made[f"{name}_sum"] = Metric(float(column.values.sum()), column.unit)
    return made


def _unknown(
    read: Mapping[str, Mapping[str, Metric]], columns: Mapping[str, Column]
) -> dict[str, Metric]:
    lacking: dict[str, Metric] = {}
    for metrics in read.values():
        for name, metric in metrics.items():
            if name not in columns:
                reason = f"no detector has it: {metric.reason}"
                lacking.setdefault(name, Metric(None, metric.unit, reason=reason))
    return lacking


def _outliers(column: Column) -> list[str]:
    if column.name not in JUDGED or len(column.values) < 3:
        return []
    away = column.values - column.median
    spread = 1.4826 * float(np.median(np.abs(away)))
    near = JUDGED[column.name] * abs(column.median)
    if near == 0:
        far = (away > FAR * spread) & (away > LEAST_FRACTION)
    else:
        far = (np.abs(away) > FAR * spread) & (np.abs(away) > near)
    return [name for name, is_far in zip(column.detectors, far, strict=True) if is_far]


def _message(
    columns: Mapping[str, Column], count: int, outliers: Sequence[str], missing: Collection[str]
) -> str:
    words = f"{_psf(columns)} over {count} detector{'' if count == 1 else 's'}"
    if outliers:
        words += f"; {plots.listed(outliers)} stand{'s' if len(outliers) == 1 else ''} out"
    if missing:
        words += f"; {plots.listed(sorted(missing))} missing"
    return words


def _psf(columns: Mapping[str, Column]) -> str:
    if "psf_fwhm_arcsec" in columns:
        return f'PSF {columns["psf_fwhm_arcsec"].median:.2f}"'
    if "psf_fwhm" in columns:
        return f"PSF {columns['psf_fwhm'].median:.1f} pixels"
    return "No PSF"


def _picture(
    columns: Mapping[str, Column], detectors: Sequence[str], missing: Collection[str],
    outliers: Sequence[str], show: str, title: str, observation: Observation | None,
) -> plots.Figure:  # fmt: skip
    named = f"{observation.id} · " if observation else ""
    show = show or ("psf_fwhm_arcsec" if "psf_fwhm_arcsec" in columns else "psf_fwhm")
    column = columns.get(show)
    unit = f" ({column.unit})" if column and column.unit and column.unit not in show else ""
    figure = plots.figure(title, f"{named}{show}{unit} of each detector")
    values = dict(zip(column.detectors, column.values, strict=True)) if column else {}
    laid = places([*detectors, *missing])
    cells = {at: (name, float(values.get(name, np.nan))) for name, at in laid.items()}
    plots.tiles(figure, cells, marked=set(outliers), missing=set(missing))
    return figure
