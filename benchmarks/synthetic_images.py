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
PRESCAN_COLUMNS, SERIAL_OVERSCAN, PARALLEL_OVERSCAN = 3, 64, 48
"""Columns before the light, columns and rows of overscan after it."""
STAMP_RADIUS = 24


@dataclass(frozen=True)
class ImageSpec:
    """What is put into a frame. Lengths in pixels, light in electrons, levels in ADU.

    `fwhm` and the ellipticities are those of the star on the pixels' centres; `beta` makes it a
    Moffat's, else it is a Gaussian's. `fwhm_gradient` is by how much the width grows from the left
    edge to the right one, `cosmic_rays` the number of particles, `trail` the electrons a pixel
    along a satellite's trail.
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
    fwhm_gradient: float = 0.0
    sky: float = 800.0
    gain: float = 1.6
    read_noise: float = 7.0
    bias: float = 22_000.0
    drift: float = 0.0
    cosmic_rays: int = 0
    trail: float = 0.0
    seed: int = 1


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Where the stars are (pixels of the detector from 0) and how bright; each amp's bias, gain."""

    x: Array
    y: Array
    flux: Array
    biases: tuple[float, ...] = ()
    gains: tuple[float, ...] = ()
    names: tuple[str, ...] = field(default=())


def render_scene(sky: ImageSpec) -> tuple[npt.NDArray[np.float32], GroundTruth]:
    """The expected electrons of a detector, and its stars."""
    rng = np.random.default_rng((sky.seed, 1))
    rows, columns = sky.shape
    light = np.full(sky.shape, sky.sky, np.float32)
    x = rng.uniform(0, columns - 1, sky.stars)
    y = rng.uniform(0, rows - 1, sky.stars)
    # Counts of stars rise towards the faint ones: N(>f) goes as f^-slope over the range.
    fraction = rng.uniform(0, 1, sky.stars)
    brightest_ratio = (sky.faintest / sky.brightest) ** sky.slope
    flux = sky.faintest * (1 - fraction * (1 - brightest_ratio)) ** (-1 / sky.slope)
    for star_x, star_y, star_flux in zip(x, y, flux, strict=True):
        width = sky.fwhm * (1 + sky.fwhm_gradient * (star_x / columns - 0.5))
        _add_star(light, sky, (float(star_x), float(star_y)), float(star_flux), width)
    if sky.trail:
        _add_trail(light, sky, rng)
    if sky.cosmic_rays:
        _add_cosmic_rays(light, sky, rng)
    return light, GroundTruth(x, y, flux)


def _add_star(
    light: npt.NDArray[np.float32],
    sky: ImageSpec,
    position: tuple[float, float],
    flux: float,
    fwhm: float,
) -> None:
    rows, columns = light.shape
    column, row = round(position[0]), round(position[1])
    left, right = max(0, column - STAMP_RADIUS), min(columns, column + STAMP_RADIUS + 1)
    low, high = max(0, row - STAMP_RADIUS), min(rows, row + STAMP_RADIUS + 1)
    dx = np.arange(left, right)[None, :] - position[0]
    dy = np.arange(low, high)[:, None] - position[1]
    light[low:high, left:right] += flux * star_profile(dx, dy, sky, fwhm)


def star_profile(dx: Array, dy: Array, sky: ImageSpec, fwhm: float) -> Array:
    """The light of a star of one electron at a distance from its centre."""
    ellipticity_squared = sky.e1**2 + sky.e2**2
    # (det M)^(1/2) of the quadratic form is 1, so that the width is that of the circle.
    norm = np.sqrt(1 - ellipticity_squared)
    form = ((1 - sky.e1) * dx**2 + (1 + sky.e1) * dy**2 - 2 * sky.e2 * dx * dy) / norm
    if sky.beta is None:
        sigma = fwhm / np.sqrt(8 * np.log(2))
        return np.exp(-form / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / sky.beta) - 1)
    return (sky.beta - 1) / (np.pi * alpha**2) * (1 + form / alpha**2) ** -sky.beta


def _add_trail(light: npt.NDArray[np.float32], sky: ImageSpec, rng: np.random.Generator) -> None:
    rows, columns = light.shape
    slope, start = rng.uniform(-0.6, 0.6), rng.uniform(0.3, 0.7) * rows
    sigma = sky.fwhm / np.sqrt(8 * np.log(2))
    middle = start + slope * (np.arange(columns) - columns / 2)
    for column, centre in enumerate(middle):
        low, high = max(0, int(centre) - STAMP_RADIUS), min(rows, int(centre) + STAMP_RADIUS)
        if high > low:
            distance = (np.arange(low, high) - centre) / np.hypot(1, slope)
            light[low:high, column] += sky.trail * np.exp(-0.5 * (distance / sigma) ** 2)


def _add_cosmic_rays(
    light: npt.NDArray[np.float32], sky: ImageSpec, rng: np.random.Generator
) -> None:
    """Particles: one to twelve pixels in a line, as sharp as pixels are."""
    rows, columns = light.shape
    for _ in range(sky.cosmic_rays):
        length, angle = rng.integers(1, 13), rng.uniform(0, np.pi)
        x, y = rng.uniform(20, columns - 20), rng.uniform(20, rows - 20)
        steps = np.arange(length)
        positions = (
            np.rint(y + steps * np.sin(angle)).astype(int),
            np.rint(x + steps * np.cos(angle)),
        )
        light[positions[0], positions[1].astype(int)] += rng.uniform(800, 4000)


def render_amplifiers(
    light: npt.NDArray[np.float32], sky: ImageSpec
) -> tuple[list[Raw], list[dict[str, object]], GroundTruth]:
    """The raw amplifiers with their headers, read out towards the four corners."""
    rng = np.random.default_rng((sky.seed, 2))
    rows, columns = sky.shape[0] // sky.amps[0], sky.shape[1] // sky.amps[1]
    raws, headers, biases, gains, names = [], [], [], [], []
    for number in range(sky.amps[0] * sky.amps[1]):
        amplifier_row, amplifier_column = divmod(number, sky.amps[1])
        bias, gain = sky.bias + 37.0 * number, sky.gain * (1 + 0.01 * (number % 5))
        amplifier_light = light[
            amplifier_row * rows : (amplifier_row + 1) * rows,
            amplifier_column * columns : (amplifier_column + 1) * columns,
        ]
        oriented = amplifier_light[
            :: -1 if amplifier_row else 1, :: -1 if amplifier_column % 2 else 1
        ]
        raws.append(_read_out_amplifier(oriented, sky, (bias, gain), rng))
        name = f"Segment{1 - amplifier_row}{amplifier_column}"
        headers.append(
            _build_header(sky, (amplifier_row, amplifier_column), (rows, columns), gain, name)
        )
        biases.append(bias)
        gains.append(gain)
        names.append(name)
    empty = np.empty(0)
    return (
        raws,
        headers,
        GroundTruth(empty, empty, empty, tuple(biases), tuple(gains), tuple(names)),
    )


def _read_out_amplifier(
    light: npt.NDArray[np.float32],
    sky: ImageSpec,
    levels: tuple[float, float],
    rng: np.random.Generator,
) -> Raw:
    bias, gain = levels
    rows, columns = light.shape
    shape = (rows + PARALLEL_OVERSCAN, PRESCAN_COLUMNS + columns + SERIAL_OVERSCAN)
    counts = rng.standard_normal(shape, np.float32)
    counts *= sky.read_noise / gain
    counts += bias
    counts += np.linspace(-0.5, 0.5, shape[0], dtype=np.float32)[:, None] * sky.drift
    photons = rng.poisson(light).astype(np.float32) if sky.sky < 50 else _draw_poisson(light, rng)
    counts[:rows, PRESCAN_COLUMNS : PRESCAN_COLUMNS + columns] += photons / np.float32(gain)
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def _draw_poisson(
    light: npt.NDArray[np.float32], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Photons: normal where there are many of them, with the third moment of Poisson's law."""
    noise = rng.standard_normal(light.shape, np.float32)
    root = np.sqrt(light)
    return np.asarray(light + root * noise + (noise**2 - 1) / 6, np.float32)


def _build_header(
    sky: ImageSpec, position: tuple[int, int], shape: tuple[int, int], gain: float, name: str
) -> dict[str, object]:
    (amplifier_row, amplifier_column), (rows, columns) = position, shape
    x = amplifier_column * columns + 1, (amplifier_column + 1) * columns
    y = amplifier_row * rows + 1, (amplifier_row + 1) * rows
    x, y = x[:: -1 if amplifier_column % 2 else 1], y[:: -1 if amplifier_row else 1]
    first, last = PRESCAN_COLUMNS + 1, PRESCAN_COLUMNS + columns
    return {
        "EXTNAME": name,
        "DETSIZE": f"[1:{sky.shape[1]},1:{sky.shape[0]}]",
        "DATASEC": f"[{first}:{last},1:{rows}]",
        "BIASSEC": f"[{last + 1}:{last + SERIAL_OVERSCAN},1:{rows}]",
        "DETSEC": f"[{x[0]}:{x[1]},{y[0]}:{y[1]}]",
        "GAIN": gain,
        "RDNOISE": sky.read_noise,
    }


def write_image(path: Path, sky: ImageSpec, compress: str = "") -> GroundTruth:
    """Writes a detector's file, an extension for each amplifier; returns what is in it."""
    light, stars = render_scene(sky)
    raws, headers, levels = render_amplifiers(light, sky)
    with fitsio.FITS(str(path), "rw", clobber=True) as file:
        file.write(None, header={"RAFTBAY": "R22", "CCDSLOT": "S11", "PIXSCALE": 0.2})
        for raw, header in zip(raws, headers, strict=True):
            options = {"compress": compress} if compress else {}
            file.write(raw, header=header, extname=header["EXTNAME"], **options)
    return GroundTruth(stars.x, stars.y, stars.flux, levels.biases, levels.gains, levels.names)
