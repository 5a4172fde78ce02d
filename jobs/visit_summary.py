"""Summarizes a visit: the detectors' metrics in one, and the outliers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from catcher import Field, Metric, Observation, Result, job

from .lib import plots
from .lib.focal_plane import detector_positions

OUTLIER_TOLERANCES = {
    "psf_fwhm": 0.15,
    "psf_fwhm_arcsec": 0.15,
    "sky_bg": 0.15,
    "sky_noise": 0.15,
    "overscan_noise": 0.15,
    "dead_fraction": 0.0,
    "saturated_fraction": 0.0,
    "amps_missing": 0.0,
}
"""The metrics that make an outlier, and the deviation (as a part of the median) that never does."""
TOTALLED_METRICS = (
    "source_count",
    "n_psf_star",
    "cosmic_ray_count",
    "streak",
    "amps",
    "amps_missing",
)
"""Metrics that are also summed over the detectors."""
AMPLIFIER, BLOCK = "amp", "block"
THUMBNAIL = "thumbnail"
_FIRST_COLUMNS = (
    "psf_fwhm_arcsec",
    "psf_fwhm",
    "sky_bg",
    "sky_noise",
    "source_count",
    "n_psf_star",
)
OUTLIER_SIGMAS = 5.0
"""Robust sigmas (1.4826 times the median absolute deviation) that make an outlier."""
MIN_FRACTION = 0.01


@dataclass(frozen=True)
class MetricColumn:
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
    and as `NAME_min`, `NAME_median`, `NAME_max`; counts as totals besides (`NAME_total`);
    `n_inputs` (detectors with a result; also `detectors`), `missing`, `outliers`. A detector is
    an outlier in psf_fwhm, sky_bg, sky_noise or overscan_noise when it is more than 5 robust
    sigmas and 15 % from the median, in dead_fraction or saturated_fraction when more than 1 % and
    5 robust sigmas above it, in amps_missing when it lacks more than most. Fields over
    `detector`: each metric, and `outlier` (1 or 0); over `amp` (`R22_S11/C00`): what the parts
    have over amplifiers, as `NAME_amp`. Artifacts: `focal_plane.png`, and `mosaic.png` where the
    parts have thumbnails. The note names outliers and missing detectors.
    """
    if not parts and not missing:
        raise ValueError("there are no detectors to gather; look at the runs of the parts")
    part_metrics = {name: _part_metrics(part) for name, part in sorted(parts.items())}
    columns = _build_columns(part_metrics)
    outliers = sorted({name for column in columns.values() for name in _find_outliers(column)})
    counts = {
        "n_inputs": Metric(float(len(part_metrics))),
        "detectors": Metric(float(len(part_metrics))),
        "missing": Metric(float(len(missing))),
        "outliers": Metric(float(len(outliers))),
    }
    note = _format_message(columns, len(part_metrics), outliers, missing)
    return Result(
        metrics={
            **_unknown_metrics(part_metrics, columns),
            **_summarize_columns(columns),
            **counts,
        },
        fields={
            **{
                name: Field("detector", column.detectors, column.values, column.unit)
                for name, column in columns.items()
            },
            "outlier": Field(
                "detector",
                tuple(part_metrics),
                np.array([name in outliers for name in part_metrics]),
            ),
            **_amplifier_fields(parts),
        },
        artifacts={
            "focal_plane.png": _plot_focal_plane(
                columns, list(part_metrics), missing, outliers, show, note, observation
            ),
            **_plot_mosaic(parts, missing, note, observation),
        },
        note=note,
    )


def _part_metrics(part: object) -> dict[str, Metric]:
    metrics = getattr(part, "metrics", part)
    if not isinstance(metrics, Mapping):
        return {}
    return {
        str(name): value if isinstance(value, Metric) else Metric(value)
        for name, value in metrics.items()
        if isinstance(value, Metric | float | int | None)
    }


def _part_fields(part: object, name: str) -> Mapping[str, Field]:
    """Returns the fields of a part over something, by their names."""
    fields = getattr(part, "fields", {})
    mapping = fields if isinstance(fields, Mapping) else {}
    return {
        key: field
        for key, field in mapping.items()
        if isinstance(field, Field) and field.over == name
    }


def _amplifier_fields(parts: Mapping[str, Any]) -> dict[str, Field]:
    """Joins each field that the parts have over amplifiers to one over those of the whole visit."""
    gathered: dict[str, list[tuple[str, Field]]] = {}
    for detector in sorted(parts):
        for name, field in _part_fields(parts[detector], AMPLIFIER).items():
            gathered.setdefault(name, []).append((detector, field))
    return {
        f"{name}_amp": Field(
            AMPLIFIER,
            [f"{detector}/{amp}" for detector, field in entries for amp in field.ids],
            np.concatenate([field.values for _, field in entries]),
            entries[0][1].unit,
        )
        for name, entries in gathered.items()
    }


def _build_columns(part_metrics: Mapping[str, Mapping[str, Metric]]) -> dict[str, MetricColumn]:
    gathered: dict[str, list[tuple[str, float, str]]] = {}
    for detector, metrics in part_metrics.items():
        for name, metric in metrics.items():
            if metric.value is not None and metric.is_known:
                gathered.setdefault(name, []).append((detector, metric.value, metric.unit))
    # The metrics that readers ask for first come first.
    order = sorted(
        gathered,
        key=lambda name: (_FIRST_COLUMNS.index(name) if name in _FIRST_COLUMNS else 99, name),
    )
    return {
        name: MetricColumn(name, rows[0][2], tuple(row[0] for row in rows),
                     np.array([row[1] for row in rows]))
        for name, rows in ((name, gathered[name]) for name in order)
    }  # fmt: skip


def _summarize_columns(columns: Mapping[str, MetricColumn]) -> dict[str, Metric]:
    metrics = {name: Metric(column.median, column.unit) for name, column in columns.items()}
    for name, column in columns.items():
        metrics[f"{name}_min"] = Metric(float(column.values.min()), column.unit)
        metrics[f"{name}_median"] = metrics[name]
        metrics[f"{name}_max"] = Metric(float(column.values.max()), column.unit)
        if name in TOTALLED_METRICS:
            metrics[f"{name}_total"] = Metric(float(column.values.sum()), column.unit)
    return metrics


def _unknown_metrics(
    part_metrics: Mapping[str, Mapping[str, Metric]], columns: Mapping[str, MetricColumn]
) -> dict[str, Metric]:
    missing_metrics: dict[str, Metric] = {}
    for metrics in part_metrics.values():
        for name, metric in metrics.items():
            if name not in columns:
                reason = f"no detector has it: {metric.reason}"
                missing_metrics.setdefault(name, Metric(None, metric.unit, reason=reason))
    return missing_metrics


def _find_outliers(column: MetricColumn) -> list[str]:
    if column.name not in OUTLIER_TOLERANCES or len(column.values) < 3:
        return []
    deviations = column.values - column.median
    sigma = 1.4826 * float(np.median(np.abs(deviations)))
    tolerance = OUTLIER_TOLERANCES[column.name] * abs(column.median)
    if tolerance == 0:
        far_mask = (deviations > OUTLIER_SIGMAS * sigma) & (deviations > MIN_FRACTION)
    else:
        far_mask = (np.abs(deviations) > OUTLIER_SIGMAS * sigma) & (np.abs(deviations) > tolerance)
    return [name for name, is_far in zip(column.detectors, far_mask, strict=True) if is_far]


def _format_message(
    columns: Mapping[str, MetricColumn],
    count: int,
    outliers: Sequence[str],
    missing: Collection[str],
) -> str:
    text = f"{_format_psf(columns)} over {count} detector{'' if count == 1 else 's'}"
    if outliers:
        text += f"; {plots.format_list(outliers)} stand{'s' if len(outliers) == 1 else ''} out"
    if missing:
        text += f"; {plots.format_list(sorted(missing))} missing"
    return text


def _format_psf(columns: Mapping[str, MetricColumn]) -> str:
    if "psf_fwhm_arcsec" in columns:
        return f'PSF {columns["psf_fwhm_arcsec"].median:.2f}"'
    if "psf_fwhm" in columns:
        return f"PSF {columns['psf_fwhm'].median:.1f} pixels"
    return "No PSF"


def _plot_focal_plane(
    columns: Mapping[str, MetricColumn], detectors: Sequence[str], missing: Collection[str],
    outliers: Sequence[str], show: str, title: str, observation: Observation | None,
) -> plots.Figure:  # fmt: skip
    prefix = f"{observation.id} · " if observation else ""
    show = show or ("psf_fwhm_arcsec" if "psf_fwhm_arcsec" in columns else "psf_fwhm")
    column = columns.get(show)
    unit = f" ({column.unit})" if column and column.unit and column.unit not in show else ""
    figure = plots.create_figure(title, f"{prefix}{show}{unit} of each detector")
    values = dict(zip(column.detectors, column.values, strict=True)) if column else {}
    positions = detector_positions([*detectors, *missing])
    cells = {
        position: (name, float(values.get(name, np.nan))) for name, position in positions.items()
    }
    plots.draw_focal_plane(figure, cells, marked=set(outliers), missing=set(missing))
    return figure


def _plot_mosaic(
    parts: Mapping[str, Any], missing: Collection[str], title: str, observation: Observation | None
) -> dict[str, Any]:
    """Plots the sky over the whole focal plane, from the parts' thumbnails."""
    thumbnails = {name: _read_thumbnail(part) for name, part in parts.items()}
    images = {name: image for name, image in thumbnails.items() if image is not None}
    if not images:
        return {}
    units = {_part_fields(parts[name], BLOCK)[THUMBNAIL].unit for name in images}
    prefix = f"{observation.id} · " if observation else ""
    unit = next(iter(units)) if len(units) == 1 else "each in its own unit"
    figure = plots.create_figure(title, f"{prefix}light of a pixel above the bias, {unit}")
    plots.draw_mosaic(figure, images, detector_positions([*parts, *missing]))
    return {"mosaic.png": figure}


def _read_thumbnail(part: object) -> npt.NDArray[np.float64] | None:
    """Returns a part's thumbnail, from its field over blocks (`row,column`); None without one."""
    field = _part_fields(part, BLOCK).get(THUMBNAIL)
    if field is None or not len(field.ids):
        return None
    try:
        rows, columns = (int(number) + 1 for number in field.ids[-1].split(","))
        return field.values.reshape(rows, columns)
    except ValueError:
        return None
