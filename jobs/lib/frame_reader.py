"""Reads detectors from files (FITS, plain, gzip or RICE) and from arrays.
A plain image with BIASSEC and DATASEC (or TRIMSEC) is one amplifier; a file with several image
extensions has one in each. What cannot be an image raises BadFrame.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
import numpy.typing as npt

from .detector import (
    READ_ERRORS,
    AmplifierPlane,
    AmplifiersUnreadable,
    Detector,
    assemble_detector,
    describe_error,
)
from .sections import MAX_SIDE, NO_DEFAULTS, Header, HeaderDefaults

Mask = npt.NDArray[np.bool_]

MAX_PIXELS = MAX_SIDE**2
MAX_AMPLIFIERS = 256
UNSIGNED_16_BITPIX = (16, 20)
"""BITPIX as stored, and as cfitsio understands it together with BZERO = 32768."""
MASK_EXTENSIONS = ("MASK", "DQ", "BPM")
"""Names of extensions that mark bad pixels (not 0) and hold no light."""


class BadFrame(ValueError):
    """A file that is no readable image of a detector; the message says what to do."""


def read_detector(
    frame: Path | npt.NDArray[Any], mask: Mask | None = None, defaults: HeaderDefaults = NO_DEFAULTS
) -> Detector:
    """Reads a FITS file, or takes an array. Raises BadFrame if there is no image in it."""
    if isinstance(frame, np.ndarray):
        return _read_array(frame, mask, defaults)
    with _open_fits(frame) as file:
        planes, file_masks = _read_planes(file, frame)
        if not planes:
            raise BadFrame(f"{frame.name} holds no two-dimensional image; is it the raw frame?")
        masks = file_masks if mask is None else [mask]
        try:
            return assemble_detector(
                planes, _detector_name(planes[0].header, _base_name(frame)), masks, defaults
            )
        except AmplifiersUnreadable as error:
            raise _unreadable_error(frame, error) from error


def _read_array(frame: npt.NDArray[Any], mask: Mask | None, defaults: HeaderDefaults) -> Detector:
    pixels = np.squeeze(np.asarray(frame)) if frame.ndim > 2 else np.asarray(frame)
    if pixels.ndim != 2 or not pixels.size or pixels.dtype.kind not in "iufb":
        shape = " x ".join(map(str, frame.shape))
        raise BadFrame(f"an array of {shape} {frame.dtype} is no image; give rows and columns")
    masks = [] if mask is None else [np.asarray(mask, np.bool_)]
    if isinstance(frame, np.ma.MaskedArray):
        masks.append(np.ma.getmaskarray(frame).reshape(pixels.shape))
    numbers = pixels.astype(np.uint8) if pixels.dtype.kind == "b" else pixels
    plane = AmplifierPlane(
        "", (numbers.shape[0], numbers.shape[1]), lambda key: None, lambda: numbers
    )
    return assemble_detector([plane], "array", masks, defaults)


@contextmanager
def _open_fits(frame: Path) -> Iterator[Any]:
    if not frame.is_file():
        raise BadFrame(f"there is no image {frame.name}; look whether it was written at all")
    try:
        file = fitsio.FITS(str(frame))
    except READ_ERRORS as error:
        raise _unreadable_error(frame, error) from error
    with file:
        yield file


def _read_planes(file: Any, frame: Path) -> tuple[list[AmplifierPlane], list[Mask]]:
    """Returns the amplifiers of a file, and its masks."""
    try:
        images = [hdu for hdu in file if _is_image(hdu)]
        light_hdus = [hdu for hdu in images if hdu.get_extname().upper() not in MASK_EXTENSIONS]
        primary = file[0].read_header().get
        plain_file = frame if _is_plain(frame) else None
        planes = [_create_plane(hdu, primary, plain_file) for hdu in light_hdus[:MAX_AMPLIFIERS]]
        return planes, [hdu.read() != 0 for hdu in images if hdu not in light_hdus]
    except BadFrame:
        raise
    except READ_ERRORS as error:
        raise _unreadable_error(frame, error) from error


def _unreadable_error(frame: Path, error: Exception) -> BadFrame:
    message = (
        f"{frame.name} cannot be read, it may be cut short or damaged ({describe_error(error)})"
    )
    return BadFrame(f"{message}; copy it again")


def _base_name(frame: Path) -> str:
    return frame.name.split(".")[0]


def _is_image(hdu: Any) -> bool:
    if hdu.get_exttype() != "IMAGE_HDU":
        return False
    sides = [side for side in hdu.get_dims() if side != 1]
    if len(sides) != 2:
        return False
    if sides[0] * sides[1] > MAX_PIXELS:
        size = f"{sides[1]} x {sides[0]}"
        raise BadFrame(f"a header claims {size} pixels; no detector has as many")
    return bool(sides[0] * sides[1] > 0)


def _create_plane(hdu: Any, primary: Header, plain_file: Path | None) -> AmplifierPlane:
    header, info = hdu.read_header(), hdu.get_info()
    rows, columns = (side for side in hdu.get_dims() if side != 1)
    is_unsigned = plain_file is not None and not info["is_compressed_image"]
    is_unsigned &= (info["img_type"], info["img_equiv_type"]) == UNSIGNED_16_BITPIX

    def read_key(key: str) -> Any:
        value = header.get(key)
        return primary(key) if value is None else value

    def read_pixels() -> npt.NDArray[Any]:
        if plain_file is not None and is_unsigned:
            return _read_unsigned(plain_file, info["data_start"], (rows, columns))
        return np.asarray(np.squeeze(hdu.read()))

    return AmplifierPlane(str(header.get("EXTNAME") or ""), (rows, columns), read_key, read_pixels)


def _is_plain(frame: Path) -> bool:
    with frame.open("rb") as stream:
        return stream.read(6) == b"SIMPLE"


def _read_unsigned(frame: Path, start: int, shape: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """Reads pixels of 16 bits straight from the file, which takes a third of the time.
    They are stored with the high byte first, less 32,768 (FITS standard 4.0, section 4.4.2.5), so
    the highest bit has to be flipped.
    """
    stored = np.fromfile(frame, ">u2", shape[0] * shape[1], offset=start)
    if stored.size < shape[0] * shape[1]:
        raise OSError("the file ends within its pixels")
    pixels = stored.byteswap(inplace=True).view(stored.dtype.newbyteorder())
    pixels ^= np.uint16(0x8000)
    return np.asarray(pixels.reshape(shape), np.uint16)


def _detector_name(header: Header, name: str) -> str:
    raft, slot = header("RAFTBAY"), header("CCDSLOT")
    if raft and slot:
        return f"{raft}_{slot}"
    return str(header("DETECTOR") or header("CCDNAME") or name)
