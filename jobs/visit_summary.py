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
    "amps_missing": 0.0,
}
"""What makes an outlier, and how far (as a part of the median) is never far."""
TOTALS = ("source_count", "n_psf_star", "cosmic_ray_count", "streak", "amps", "amps_missing")
"""What is summed over the detectors as well."""
AMPLIFIER, BLOCK = "amp", "block"
THUMBNAIL = "thumbnail"
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
    read = {name: _metrics_of(part) for name, part in sorted(parts.items())}
    columns = _columns(read)
    outliers = sorted({name for column in columns.values() for name in _outliers(column)})
    counts = {
        "n_inputs": Metric(float(len(read))),
        "detectors": Metric(float(len(read))),
        "missing": Metric(float(len(missing))),
        "outliers": Metric(float(len(outliers))),
    }
    note = _message(columns, len(read), outliers, missing)
    return Result(
        metrics={**_unknown(read, columns), **_summary(columns), **counts},
        fields={
            **{name: Field("detector", one.detectors, one.values, one.unit)
               for name, one in columns.items()},
            "outlier": Field("detector", tuple(read), np.array([one in outliers for one in read])),
            **_over_amplifiers(parts),
        },
        artifacts={
            "focal_plane.png": _picture(
                columns, list(read), missing, outliers, show, note, observation),
            **_mosaic(parts, missing, note, observation),
        },
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


def _fields_of(part: object, name: str) -> Mapping[str, Field]:
    """The fields of a part over something, by their names."""
    found = getattr(part, "fields", {})
    known = found if isinstance(found, Mapping) else {}
    return {key: one for key, one in known.items() if isinstance(one, Field) and one.over == name}


def _over_amplifiers(parts: Mapping[str, Any]) -> dict[str, Field]:
    """Each field that the parts have over amplifiers, over those of the whole visit."""
    gathered: dict[str, list[tuple[str, Field]]] = {}
    for detector in sorted(parts):
        for name, one in _fields_of(parts[detector], AMPLIFIER).items():
            gathered.setdefault(name, []).append((detector, one))
    return {
        f"{name}_amp": Field(
            AMPLIFIER,
            [f"{detector}/{amp}" for detector, one in found for amp in one.ids],
            np.concatenate([one.values for _, one in found]),
            found[0][1].unit,
        )
        for name, found in gathered.items()
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
        made[f"{name}_median"] = made[name]
        made[f"{name}_max"] = Metric(float(column.values.max()), column.unit)
        if name in TOTALS:
            made[f"{name}_total"] = Metric(float(column.values.sum()), column.unit)
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


def _mosaic(
    parts: Mapping[str, Any], missing: Collection[str], title: str, observation: Observation | None
) -> dict[str, Any]:
    """The whole focal plane as it saw the sky, from the parts' thumbnails."""
    small = {name: _thumbnail(part) for name, part in parts.items()}
    known = {name: image for name, image in small.items() if image is not None}
    if not known:
        return {}
    units = {_fields_of(parts[name], BLOCK)[THUMBNAIL].unit for name in known}
    named = f"{observation.id} · " if observation else ""
    unit = next(iter(units)) if len(units) == 1 else "each in its own unit"
    figure = plots.figure(title, f"{named}light of a pixel above the bias, {unit}")
    plots.mosaic(figure, known, places([*parts, *missing]))
    return {"mosaic.png": figure}


def _thumbnail(part: object) -> npt.NDArray[np.float64] | None:
    """A part's small image, from its field over blocks (`row,column`); None without one."""
    one = _fields_of(part, BLOCK).get(THUMBNAIL)
    if one is None or not len(one.ids):
        return None
    try:
        rows, columns = (int(number) + 1 for number in one.ids[-1].split(","))
        return one.values.reshape(rows, columns)
    except ValueError:
        return None
