"""Frames with a known truth, made by other means than the jobs use."""

from __future__ import annotations

from pathlib import Path

import fitsio
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
BIAS, READ_NOISE, GAIN, SKY = 1000.0, 6.0, 1.5, 400.0
"""ADU, electrons, electrons per ADU, electrons per pixel."""


def create_star_field(
    shape: tuple[int, int], sigma: float, e1: float = 0.0, e2: float = 0.0, stars: int = 40,
    flux: float = 60_000.0, seed: int = 1, beta: float | None = None,
) -> Array:  # fmt: skip
    """Electrons of stars on a jittered grid, elliptical Gaussians or round Moffats.

    sigma in pixels: (det M)^(1/4) of the Gaussian; with `beta` the Moffat's alpha. e1, e2 as
    (Ixx - Iyy) / (Ixx + Iyy) and 2 Ixy / (Ixx + Iyy).
    """
    rng = np.random.default_rng(seed)
    columns = int(np.ceil(np.sqrt(stars)))
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    electrons = np.zeros(shape)
    half_trace = sigma**2 / np.sqrt(1 - e1**2 - e2**2)
    moments = half_trace * np.array([[1 + e1, e2], [e2, 1 - e1]])
    inverse = np.linalg.inv(moments)
    for i in range(stars):
        row, column = divmod(i, columns)
        x0 = shape[1] * (column + 0.5) / columns + rng.uniform(-2, 2)
        y0 = shape[0] * (row + 0.5) / columns + rng.uniform(-2, 2)
        dx, dy = x - x0, y - y0
        brightness = flux * rng.uniform(0.4, 1.0)
        if beta is None:
            form = inverse[0, 0] * dx**2 + inverse[1, 1] * dy**2 + 2 * inverse[0, 1] * dx * dy
            profile = np.exp(-form / 2) / (2 * np.pi * sigma**2)
        else:
            profile = (beta - 1) / (np.pi * sigma**2) * (1 + (dx**2 + dy**2) / sigma**2) ** -beta
        electrons += brightness * profile
    return electrons


def create_raw_pixels(
    electrons: Array, seed: int = 1, overscan: int = 16
) -> npt.NDArray[np.uint16]:
    """The light of an amplifier as it is read out, with its overscan columns on the right."""
    rng = np.random.default_rng(seed)
    light = rng.poisson(electrons + SKY) + rng.normal(0, READ_NOISE, electrons.shape)
    overscan_pixels = rng.normal(0, READ_NOISE, (electrons.shape[0], overscan))
    counts = BIAS + np.concatenate((light, overscan_pixels), axis=1) / GAIN
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def create_headers(shape: tuple[int, int], overscan: int = 16) -> dict[str, object]:
    """What the file says of one amplifier of `shape` (rows, columns of light)."""
    rows, columns = shape
    return {
        "DATASEC": f"[1:{columns},1:{rows}]",
        "BIASSEC": f"[{columns + 1}:{columns + overscan},1:{rows}]",
        "GAIN": GAIN,
    }


def write_single_amplifier(path: Path, electrons: Array, **extra_headers: object) -> Path:
    """One amplifier in the primary image."""
    shape = (electrons.shape[0], electrons.shape[1])
    fitsio.write(
        str(path),
        create_raw_pixels(electrons),
        header={**create_headers(shape), **extra_headers},
        clobber=True,
    )
    return path


def write_two_amplifiers(
    path: Path, electrons: Array, gains: tuple[float, float] = (GAIN, GAIN)
) -> Path:
    """Both halves of a detector, an extension each; the right one is read from the right."""
    rows, columns = electrons.shape
    half_width = columns // 2
    with fitsio.FITS(str(path), "rw", clobber=True) as file:
        file.write(None, header={"PIXSCALE": 0.2})
        sections = {
            "C00": f"[1:{half_width},1:{rows}]",
            "C01": f"[{columns}:{half_width + 1},1:{rows}]",
        }
        for i, (name, section) in enumerate(sections.items()):
            light = electrons[:, half_width:][:, ::-1] if i else electrons[:, :half_width]
            header = {**create_headers((rows, half_width)), "DETSEC": section, "GAIN": gains[i]}
            file.write(create_raw_pixels(light, seed=i), header=header, extname=name)
    return path
