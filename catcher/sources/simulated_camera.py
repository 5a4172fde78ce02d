"""A small camera: nine detectors of 256 by 256 pixels, two amplifiers each, written as FITS."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catcher.model.time import format_instant, to_seconds
from catcher.sources.simulated_night import Exposure

DETECTORS = tuple(f"R22_S{row}{column}" for row in range(3) for column in range(3))
_SIDE, _OVERSCAN = 256, 32
_AMPS = ("C00", "C10")
_PIXEL = 0.2
_GAIN, _READ_NOISE, _BIAS = 1.6, 6.0, 1000.0
_SKY = {"g": 300.0, "r": 650.0, "i": 1000.0}
_STARS, _FAINTEST, _BRIGHTEST = 35, 4_000.0, 60_000.0
_STAMP = 12
_FWHM = 2.3548
_BLOCK = 2880

Image = npt.NDArray[np.float64]
Card = tuple[str, str | float | int | bool]


def write_images(exposure: Exposure, folder: Path, seed: int) -> None:
    """Writes `folder/NAME/DETECTOR.fits`; the folder of the image appears complete, or not.

    Pixels depend on the exposure and the seed alone. Each file has an extension for each
    amplifier, with DATASEC, BIASSEC, DETSEC, GAIN, RDNOISE and SATURATE.
    """
    final = folder / exposure.name
    part = folder / f".{exposure.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for place, detector in enumerate(DETECTORS):
        draw = np.random.default_rng((seed, 4, exposure.number, place))
        (part / f"{detector}.fits").write_bytes(_detector(exposure, detector, place, draw))
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)


def drop_images(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` images of the simulated camera."""
    images = sorted(one for one in folder.glob("MC_O_*") if one.is_dir())
    for image in images[:-keep] if keep else images:
        shutil.rmtree(image, ignore_errors=True)


def _detector(exposure: Exposure, detector: str, place: int, draw: np.random.Generator) -> bytes:
    electrons = draw.poisson(_scene(exposure, place, draw)).astype(np.float64)
    head = _header(
        [
            ("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True),
            ("IMAGEID", exposure.name), ("DETECTOR", detector), ("FILTER", exposure.band),
            ("EXPTIME", to_seconds(exposure.length)), ("PIXSCALE", _PIXEL),
            ("DATE-BEG", format_instant(exposure.begin).rstrip("Z")), ("TIMESYS", "UTC"),
        ]
    )  # fmt: skip
    half = _SIDE // 2
    parts = [head]
    for number, amp in enumerate(_AMPS):
        first = number * half
        light = electrons[:, first : first + half]
        parts.append(
            _amplifier(amp, light, first, detector, _BIAS + 17 * place + 40 * number, draw)
        )
    return b"".join(parts)


def _scene(exposure: Exposure, place: int, draw: np.random.Generator) -> Image:
    """Expected electrons of sky and stars."""
    expected = np.full((_SIDE, _SIDE), _SKY.get(exposure.band, 600.0))
    # The focal plane is a little tilted: seeing is worse at its edge.
    width = exposure.seeing * (1 + 0.04 * (place // 3 - 1)) / _PIXEL / _FWHM
    long = width * (1.25 if exposure.shaken else 1.0)
    axis = np.arange(-_STAMP, _STAMP + 1)
    for _ in range(_STARS):
        x, y = draw.uniform(_STAMP, _SIDE - 1 - _STAMP, 2)
        flux = _FAINTEST * (_BRIGHTEST / _FAINTEST) ** float(draw.uniform())
        column, row = round(float(x)), round(float(y))
        across = np.exp(-0.5 * ((axis + column - x) / long) ** 2)
        up = np.exp(-0.5 * ((axis + row - y) / width) ** 2)
        star = np.outer(up, across) * flux / (2 * np.pi * long * width)
        rows = slice(row - _STAMP, row + _STAMP + 1)
        expected[rows, column - _STAMP : column + _STAMP + 1] += star
    return expected


def _amplifier(
    amp: str, light: Image, first: int, detector: str, bias: float, draw: np.random.Generator
) -> bytes:
    rows, columns = light.shape
    raw = draw.normal(bias, _READ_NOISE / _GAIN, (rows, columns + _OVERSCAN))
    raw[:, :columns] += light / _GAIN
    pixels = np.clip(np.rint(raw), 0, 65535).astype(np.int32)
    head = _header(
        [
            ("XTENSION", "IMAGE"), ("BITPIX", 16), ("NAXIS", 2),
            ("NAXIS1", columns + _OVERSCAN), ("NAXIS2", rows), ("PCOUNT", 0), ("GCOUNT", 1),
            ("BZERO", 32768), ("BSCALE", 1), ("EXTNAME", amp), ("DETECTOR", detector),
            ("DATASEC", f"[1:{columns},1:{rows}]"),
            ("BIASSEC", f"[{columns + 1}:{columns + _OVERSCAN},1:{rows}]"),
            ("DETSEC", f"[{first + 1}:{first + columns},1:{rows}]"),
            ("GAIN", _GAIN), ("RDNOISE", _READ_NOISE), ("SATURATE", 65535), ("PIXSCALE", _PIXEL),
        ]
    )  # fmt: skip
    data = (pixels - 32768).astype(">i2").tobytes()
    return head + data + b"\0" * (-len(data) % _BLOCK)


def _header(cards: Sequence[Card]) -> bytes:
    """A header in the fixed format (FITS standard 4.0, sections 4.1 and 4.2)."""
    lines = [f"{name:<8}= {_value(value)}" for name, value in cards]
    text = "".join(f"{line:<80}" for line in [*lines, "END"])
    return text.encode("ascii") + b" " * (-len(text) % _BLOCK)


def _value(value: str | float | int | bool) -> str:
    if isinstance(value, bool):
        return f"{'T' if value else 'F':>20}"
    if isinstance(value, str):
        return f"'{value:<8}'"
    return f"{value:>20}"
