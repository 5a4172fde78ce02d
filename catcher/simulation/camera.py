"""A small camera: nine detectors of 256 by 256 pixels, two amplifiers each, written as FITS."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catcher.model.time import format_instant, nanoseconds_to_seconds
from catcher.simulation.schedule import Exposure

DETECTORS = tuple(f"R22_S{row}{column}" for row in range(3) for column in range(3))
_SIDE, _OVERSCAN = 256, 32
_AMPS = ("C00", "C10")
_PIXEL_SCALE = 0.2
_GAIN, _READ_NOISE, _BIAS = 1.6, 6.0, 1000.0
_SKY_LEVELS = {"g": 300.0, "r": 650.0, "i": 1000.0}
_STAR_COUNT, _FAINTEST, _BRIGHTEST = 35, 4_000.0, 60_000.0
_STAMP_RADIUS = 12
_FWHM = 2.3548
_FITS_BLOCK = 2880

Image = npt.NDArray[np.float64]
HeaderCard = tuple[str, str | float | int | bool]


def write_detector_images(exposure: Exposure, folder: Path, seed: int) -> None:
    """Writes `folder/NAME/DETECTOR.fits`; the image's folder is created atomically.

    Pixels depend only on the exposure and the seed. Each file has an extension per amplifier, with
    DATASEC, BIASSEC, DETSEC, GAIN, RDNOISE and SATURATE.
    """
    image_folder = folder / exposure.name
    temp_folder = folder / f".{exposure.name}.part"
    shutil.rmtree(temp_folder, ignore_errors=True)
    temp_folder.mkdir(parents=True)
    for index, detector in enumerate(DETECTORS):
        rng = np.random.default_rng((seed, 4, exposure.number, index))
        (temp_folder / f"{detector}.fits").write_bytes(
            _build_detector_fits(exposure, detector, index, rng)
        )
    shutil.rmtree(image_folder, ignore_errors=True)
    temp_folder.rename(image_folder)


def remove_old_images(folder: Path, keep_count: int) -> None:
    """Removes all but the newest `keep_count` images of the simulated camera."""
    images = sorted(path for path in folder.glob("MC_O_*") if path.is_dir())
    for image in images[:-keep_count] if keep_count else images:
        shutil.rmtree(image, ignore_errors=True)


def _build_detector_fits(
    exposure: Exposure, detector: str, index: int, rng: np.random.Generator
) -> bytes:
    electrons = rng.poisson(_simulate_expected_electrons(exposure, index, rng)).astype(np.float64)
    header = _build_fits_header(
        [
            ("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True),
            ("IMAGEID", exposure.name), ("DETECTOR", detector), ("FILTER", exposure.band),
            ("EXPTIME", nanoseconds_to_seconds(exposure.length)), ("PIXSCALE", _PIXEL_SCALE),
            ("DATE-BEG", format_instant(exposure.start).rstrip("Z")), ("TIMESYS", "UTC"),
        ]
    )  # fmt: skip
    half = _SIDE // 2
    parts = [header]
    for number, amp in enumerate(_AMPS):
        start = number * half
        signal = electrons[:, start : start + half]
        parts.append(
            _build_amplifier_hdu(
                amp, signal, start, detector, _BIAS + 17 * index + 40 * number, rng
            )
        )
    return b"".join(parts)


def _simulate_expected_electrons(exposure: Exposure, index: int, rng: np.random.Generator) -> Image:
    """Returns the expected electrons of sky and stars."""
    expected = np.full((_SIDE, _SIDE), _SKY_LEVELS.get(exposure.band, 600.0))
    # The focal plane is slightly tilted: seeing is worse at its edge.
    width = exposure.seeing * (1 + 0.04 * (index // 3 - 1)) / _PIXEL_SCALE / _FWHM
    long_width = width * (1.25 if exposure.shaken else 1.0)
    axis = np.arange(-_STAMP_RADIUS, _STAMP_RADIUS + 1)
    for _ in range(_STAR_COUNT):
        x, y = rng.uniform(_STAMP_RADIUS, _SIDE - 1 - _STAMP_RADIUS, 2)
        flux = _FAINTEST * (_BRIGHTEST / _FAINTEST) ** float(rng.uniform())
        column, row = round(float(x)), round(float(y))
        x_profile = np.exp(-0.5 * ((axis + column - x) / long_width) ** 2)
        y_profile = np.exp(-0.5 * ((axis + row - y) / width) ** 2)
        star = np.outer(y_profile, x_profile) * flux / (2 * np.pi * long_width * width)
        rows = slice(row - _STAMP_RADIUS, row + _STAMP_RADIUS + 1)
        expected[rows, column - _STAMP_RADIUS : column + _STAMP_RADIUS + 1] += star
    return expected


def _build_amplifier_hdu(
    amp: str, signal: Image, start_column: int, detector: str, bias: float, rng: np.random.Generator
) -> bytes:
    rows, columns = signal.shape
    raw = rng.normal(bias, _READ_NOISE / _GAIN, (rows, columns + _OVERSCAN))
    raw[:, :columns] += signal / _GAIN
    pixels = np.clip(np.rint(raw), 0, 65535).astype(np.int32)
    header = _build_fits_header(
        [
            ("XTENSION", "IMAGE"),
            ("BITPIX", 16),
            ("NAXIS", 2),
            ("NAXIS1", columns + _OVERSCAN),
            ("NAXIS2", rows),
            ("PCOUNT", 0),
            ("GCOUNT", 1),
            ("BZERO", 32768),
            ("BSCALE", 1),
            ("EXTNAME", amp),
            ("DETECTOR", detector),
            ("DATASEC", f"[1:{columns},1:{rows}]"),
            ("BIASSEC", f"[{columns + 1}:{columns + _OVERSCAN},1:{rows}]"),
            ("DETSEC", f"[{start_column + 1}:{start_column + columns},1:{rows}]"),
            ("GAIN", _GAIN),
            ("RDNOISE", _READ_NOISE),
            ("SATURATE", 65535),
            ("PIXSCALE", _PIXEL_SCALE),
        ]
    )
    data = (pixels - 32768).astype(">i2").tobytes()
    return header + data + b"\0" * (-len(data) % _FITS_BLOCK)


def _build_fits_header(cards: Sequence[HeaderCard]) -> bytes:
    """Formats a header in the fixed format (FITS standard 4.0, sections 4.1 and 4.2)."""
    lines = [f"{name:<8}= {_format_card_value(value)}" for name, value in cards]
    text = "".join(f"{line:<80}" for line in [*lines, "END"])
    return text.encode("ascii") + b" " * (-len(text) % _FITS_BLOCK)


def _format_card_value(value: str | float | int | bool) -> str:
    if isinstance(value, bool):
        return f"{'T' if value else 'F':>20}"
    if isinstance(value, str):
        return f"'{value:<8}'"
    return f"{value:>20}"
