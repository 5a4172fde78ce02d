"""Detectors from files: FITS, plain, gzip or RICE, and arrays.

A plain image with BIASSEC and DATASEC (or TRIMSEC) is one amplifier; a file with several image
extensions has one in each. What cannot be an image is refused in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
import numpy.typing as npt

from .detector import TROUBLE, Detector, Plane, Unreadable, assemble, words
from .sections import MOST_SIDE, NOTHING_GIVEN, Given, Header

Mask = npt.NDArray[np.bool_]

MOST_PIXELS = MOST_SIDE**2
MOST_AMPLIFIERS = 256
UNSIGNED_16 = (16, 20)
"""BITPIX as stored, and as cfitsio understands it together with BZERO = 32768."""
MASKS = ("MASK", "DQ", "BPM")
"""Names of extensions that mark bad pixels (not nought) and hold no light."""


class BadFrame(ValueError):
    """A file that is no readable image of a detector; the message says what to do."""


def read_detector(
    frame: Path | npt.NDArray[Any], mask: Mask | None = None, given: Given = NOTHING_GIVEN
) -> Detector:
    """Reads a FITS file, or takes an array; BadFrame where there is no image in it."""
    if isinstance(frame, np.ndarray):
        return _from_array(frame, mask, given)
    with _opened(frame) as file:
        planes, marked = _listed(file, frame)
        if not planes:
            raise BadFrame(f"{frame.name} holds no two-dimensional image; is it the raw frame?")
        masks = marked if mask is None else [mask]
        try:
            return assemble(planes, _named(planes[0].header, _stem(frame)), masks, given)
        except Unreadable as error:
            raise _cut_short(frame, error) from error


def _from_array(frame: npt.NDArray[Any], mask: Mask | None, given: Given) -> Detector:
    pixels = np.squeeze(np.asarray(frame)) if frame.ndim > 2 else np.asarray(frame)
    if pixels.ndim != 2 or not pixels.size or pixels.dtype.kind not in "iufb":
        shape = " x ".join(map(str, frame.shape))
        raise BadFrame(f"an array of {shape} {frame.dtype} is no image; give rows and columns")
    masks = [] if mask is None else [np.asarray(mask, np.bool_)]
    if isinstance(frame, np.ma.MaskedArray):
        masks.append(np.ma.getmaskarray(frame).reshape(pixels.shape))
    numbers = pixels.astype(np.uint8) if pixels.dtype.kind == "b" else pixels
    plane = Plane("", (numbers.shape[0], numbers.shape[1]), lambda key: None, lambda: numbers)
    return assemble([plane], "array", masks, given)


@contextmanager
def _opened(frame: Path) -> Iterator[Any]:
    if not frame.is_file():
        raise BadFrame(f"there is no image {frame.name}; look whether it was written at all")
    try:
        file = fitsio.FITS(str(frame))
    except TROUBLE as error:
        raise _cut_short(frame, error) from error
    with file:
        yield file


def _listed(file: Any, frame: Path) -> tuple[list[Plane], list[Mask]]:
    """The amplifiers of a file, and its masks."""
    try:
        images = [hdu for hdu in file if _is_image(hdu)]
        lit = [hdu for hdu in images if hdu.get_extname().upper() not in MASKS]
        primary = file[0].read_header().get
        plain = frame if _is_plain(frame) else None
        planes = [_plane(hdu, primary, plain) for hdu in lit[:MOST_AMPLIFIERS]]
        return planes, [hdu.read() != 0 for hdu in images if hdu not in lit]
    except BadFrame:
        raise
    except TROUBLE as error:
        raise _cut_short(frame, error) from error


def _cut_short(frame: Path, error: Exception) -> BadFrame:
    told = f"{frame.name} cannot be read, it may be cut short or damaged ({words(error)})"
    return BadFrame(f"{told}; copy it again")


def _stem(frame: Path) -> str:
    return frame.name.split(".")[0]


def _is_image(hdu: Any) -> bool:
    if hdu.get_exttype() != "IMAGE_HDU":
        return False
    sides = [side for side in hdu.get_dims() if side != 1]
    if len(sides) != 2:
        return False
    if sides[0] * sides[1] > MOST_PIXELS:
        claimed = f"{sides[1]} x {sides[0]}"
        raise BadFrame(f"a header claims {claimed} pixels; no detector has as many")
    return bool(sides[0] * sides[1] > 0)


def _plane(hdu: Any, primary: Header, plain: Path | None) -> Plane:
    header, info = hdu.read_header(), hdu.get_info()
    rows, columns = (side for side in hdu.get_dims() if side != 1)
    straight = plain is not None and not info["is_compressed_image"]
    straight &= (info["img_type"], info["img_equiv_type"]) == UNSIGNED_16

    def named(key: str) -> Any:
        found = header.get(key)
        return primary(key) if found is None else found

    def read() -> npt.NDArray[Any]:
        if plain is not None and straight:
            return _unsigned(plain, info["data_start"], (rows, columns))
        return np.asarray(np.squeeze(hdu.read()))

    return Plane(str(header.get("EXTNAME") or ""), (rows, columns), named, read)


def _is_plain(frame: Path) -> bool:
    with frame.open("rb") as stream:
        return stream.read(6) == b"SIMPLE"


def _unsigned(frame: Path, start: int, shape: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """Pixels of 16 bits straight from the file, which takes a third of the time.

    They are stored with the high byte first, less 32,768 (FITS standard 4.0, section 4.4.2.5),
    which is to turn the highest bit over.
    """
    stored = np.fromfile(frame, ">u2", shape[0] * shape[1], offset=start)
    if stored.size < shape[0] * shape[1]:
        raise OSError("the file ends within its pixels")
    pixels = stored.byteswap(inplace=True).view(stored.dtype.newbyteorder())
    pixels ^= np.uint16(0x8000)
    return np.asarray(pixels.reshape(shape), np.uint16)


def _named(header: Header, name: str) -> str:
    raft, slot = header("RAFTBAY"), header("CCDSLOT")
    if raft and slot:
        return f"{raft}_{slot}"
    return str(header("DETECTOR") or header("CCDNAME") or name)
