"""Detectors of 16 amplifiers with a sky of known stars, made from a seed, to judge the jobs by.

Nothing here is taken from the jobs: stars are laid down photon by photon in expectation, light and
read noise are drawn, and the amplifiers are written as LSSTCam writes them (prescan, light,
serial and parallel overscan, four ways of reading out).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import fitsio
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Raw = npt.NDArray[np.uint16]
PRESCAN, SERIAL, PARALLEL = 3, 64, 48
"""Columns before the light, columns and rows of overscan after it."""
STAMP = 24


@dataclass(frozen=True)
class Sky:
    """What is put into a frame. Lengths in pixels, light in electrons, levels in ADU.

    `fwhm` and the ellipticities are those of the star on the pixels' centres; `beta` makes it a
    Moffat's, else it is a Gaussian's. `widening` is by how much the width grows from the left
    edge to the right one, `hits` the number of particles, `trail` the electrons a pixel along a
    satellite's trail.
    """

    shape: tuple[int, int] = (4000, 4072)
    amps: tuple[int, int] = (2, 8)
    stars: int = 1500
    faintest: float = 2_000.0
    brightest: float = 300_000.0
    slope: float = 0.6
    fwhm: float = 4.0
    e1: float = 0.0
    e2: float = 0.0
    beta: float | None = None
    widening: float = 0.0
    sky: float = 800.0
    gain: float = 1.6
    read_noise: float = 7.0
    bias: float = 22_000.0
    drift: float = 0.0
    hits: int = 0
    trail: float = 0.0
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Truth:
    """Where the stars are (pixels of the detector from 0) and how bright; each amp's bias, gain."""

    x: Array
    y: Array
    flux: Array
    biases: tuple[float, ...] = ()
    gains: tuple[float, ...] = ()
    names: tuple[str, ...] = field(default=())


def scene(sky: Sky) -> tuple[npt.NDArray[np.float32], Truth]:
    """The expected electrons of a detector, and its stars."""
    draw = np.random.default_rng((sky.seed, 1))
    rows, columns = sky.shape
    light = np.full(sky.shape, sky.sky, np.float32)
    x = draw.uniform(0, columns - 1, sky.stars)
    y = draw.uniform(0, rows - 1, sky.stars)
    # Counts of stars rise towards the faint ones: N(>f) goes as f^-slope over the range.
    part = draw.uniform(0, 1, sky.stars)
    rare = (sky.faintest / sky.brightest) ** sky.slope
    flux = sky.faintest * (1 - part * (1 - rare)) ** (-1 / sky.slope)
    for at_x, at_y, much in zip(x, y, flux, strict=True):
        width = sky.fwhm * (1 + sky.widening * (at_x / columns - 0.5))
        _lay(light, sky, (float(at_x), float(at_y)), float(much), width)
    if sky.trail:
        _trail(light, sky, draw)
    if sky.hits:
        _hit(light, sky, draw)
    return light, Truth(x, y, flux)


def _lay(
    light: npt.NDArray[np.float32], sky: Sky, at: tuple[float, float], flux: float, fwhm: float
) -> None:
    rows, columns = light.shape
    column, row = round(at[0]), round(at[1])
    left, right = max(0, column - STAMP), min(columns, column + STAMP + 1)
    low, high = max(0, row - STAMP), min(rows, row + STAMP + 1)
    dx = np.arange(left, right)[None, :] - at[0]
    dy = np.arange(low, high)[:, None] - at[1]
    light[low:high, left:right] += flux * profile(dx, dy, sky, fwhm)


def profile(dx: Array, dy: Array, sky: Sky, fwhm: float) -> Array:
    """The light of a star of one electron at a distance from its centre."""
    e2 = sky.e1**2 + sky.e2**2
    # (det M)^(1/2) of the quadratic form is 1, so that the width is that of the circle.
    norm = np.sqrt(1 - e2)
    form = ((1 - sky.e1) * dx**2 + (1 + sky.e1) * dy**2 - 2 * sky.e2 * dx * dy) / norm
    if sky.beta is None:
        sigma = fwhm / np.sqrt(8 * np.log(2))
        return np.exp(-form / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / sky.beta) - 1)
    return (sky.beta - 1) / (np.pi * alpha**2) * (1 + form / alpha**2) ** -sky.beta


def _trail(light: npt.NDArray[np.float32], sky: Sky, draw: np.random.Generator) -> None:
    rows, columns = light.shape
    slope, start = draw.uniform(-0.6, 0.6), draw.uniform(0.3, 0.7) * rows
    sigma = sky.fwhm / np.sqrt(8 * np.log(2))
    middle = start + slope * (np.arange(columns) - columns / 2)
    for column, centre in enumerate(middle):
        low, high = max(0, int(centre) - STAMP), min(rows, int(centre) + STAMP)
        if high > low:
            away = (np.arange(low, high) - centre) / np.hypot(1, slope)
            light[low:high, column] += sky.trail * np.exp(-0.5 * (away / sigma) ** 2)


def _hit(light: npt.NDArray[np.float32], sky: Sky, draw: np.random.Generator) -> None:
    """Particles: one to twelve pixels in a line, as sharp as pixels are."""
    rows, columns = light.shape
    for _ in range(sky.hits):
        length, angle = draw.integers(1, 13), draw.uniform(0, np.pi)
        x, y = draw.uniform(20, columns - 20), draw.uniform(20, rows - 20)
        steps = np.arange(length)
        at = np.rint(y + steps * np.sin(angle)).astype(int), np.rint(x + steps * np.cos(angle))
        light[at[0], at[1].astype(int)] += draw.uniform(800, 4000)


def amplifiers(
    light: npt.NDArray[np.float32], sky: Sky
) -> tuple[list[Raw], list[dict[str, object]], Truth]:
    """The raw amplifiers with their headers, read out towards the four corners."""
    draw = np.random.default_rng((sky.seed, 2))
    rows, columns = sky.shape[0] // sky.amps[0], sky.shape[1] // sky.amps[1]
    raws, heads, biases, gains, names = [], [], [], [], []
    for number in range(sky.amps[0] * sky.amps[1]):
        up, across = divmod(number, sky.amps[1])
        bias, gain = sky.bias + 37.0 * number, sky.gain * (1 + 0.01 * (number % 5))
        part = light[up * rows : (up + 1) * rows, across * columns : (across + 1) * columns]
        turned = part[:: -1 if up else 1, :: -1 if across % 2 else 1]
        raws.append(_read_out(turned, sky, (bias, gain), draw))
        name = f"Segment{1 - up}{across}"
        heads.append(_head(sky, (up, across), (rows, columns), gain, name))
        biases.append(bias)
        gains.append(gain)
        names.append(name)
    nothing = np.empty(0)
    return raws, heads, Truth(nothing, nothing, nothing, tuple(biases), tuple(gains), tuple(names))


def _read_out(
    light: npt.NDArray[np.float32], sky: Sky, levels: tuple[float, float], draw: np.random.Generator
) -> Raw:
    bias, gain = levels
    rows, columns = light.shape
    shape = (rows + PARALLEL, PRESCAN + columns + SERIAL)
    counts = draw.standard_normal(shape, np.float32)
    counts *= sky.read_noise / gain
    counts += bias
    counts += np.linspace(-0.5, 0.5, shape[0], dtype=np.float32)[:, None] * sky.drift
    lit = draw.poisson(light).astype(np.float32) if sky.sky < 50 else _poisson(light, draw)
    counts[:rows, PRESCAN : PRESCAN + columns] += lit / np.float32(gain)
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def _poisson(light: npt.NDArray[np.float32], draw: np.random.Generator) -> npt.NDArray[np.float32]:
    """Photons: normal where there are many of them, with the third moment of Poisson's law."""
    noise = draw.standard_normal(light.shape, np.float32)
    root = np.sqrt(light)
    return np.asarray(light + root * noise + (noise**2 - 1) / 6, np.float32)


def _head(
    sky: Sky, at: tuple[int, int], shape: tuple[int, int], gain: float, name: str
) -> dict[str, object]:
    (up, across), (rows, columns) = at, shape
    x = across * columns + 1, (across + 1) * columns
    y = up * rows + 1, (up + 1) * rows
    x, y = x[:: -1 if across % 2 else 1], y[:: -1 if up else 1]
    first, last = PRESCAN + 1, PRESCAN + columns
    return {
        "EXTNAME": name,
        "DETSIZE": f"[1:{sky.shape[1]},1:{sky.shape[0]}]",
        "DATASEC": f"[{first}:{last},1:{rows}]",
        "BIASSEC": f"[{last + 1}:{last + SERIAL},1:{rows}]",
        "DETSEC": f"[{x[0]}:{x[1]},{y[0]}:{y[1]}]",
        "GAIN": gain,
        "RDNOISE": sky.read_noise,
    }


def write(path: Path, sky: Sky, compress: str = "") -> Truth:
    """Writes a detector's file, an extension for each amplifier; returns what is in it."""
    light, stars = scene(sky)
    raws, heads, levels = amplifiers(light, sky)
    with fitsio.FITS(str(path), "rw", clobber=True) as file:
        file.write(None, header={"RAFTBAY": "R22", "CCDSLOT": "S11", "PIXSCALE": 0.2})
        for raw, head in zip(raws, heads, strict=True):
            more = {"compress": compress} if compress else {}
            file.write(raw, header=head, extname=head["EXTNAME"], **more)
    return Truth(stars.x, stars.y, stars.flux, levels.biases, levels.gains, levels.names)
