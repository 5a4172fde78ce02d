"""Artifacts as bytes and back: the suffix of the name says the form. Nothing is ever pickled.

- `.json`: JSON values, numpy scalars and arrays, datetimes, `Series`, `Field`, `Metric`. Arrays
  and tuples come back as lists, NaN and infinities as null, datetimes as text, the three nouns as
  themselves.
- `.npz`: a mapping of names to arrays, or one array (then named `data`); comes back as a dict.
- `.parquet`: a `Series`, a `Field`, a dict of columns, a list of rows, an Arrow table; comes back
  as it went in, columns as arrays.
- `.csv`: the same; comes back as a dict of columns.
- `.png`: a matplotlib figure or bytes; comes back as bytes.
- `.svg`, `.html`, `.txt`: a matplotlib figure (svg), Bokeh models (html, standalone), text or
  UTF-8 bytes; come back as text.
- `.fits`: an array, a list of arrays, an astropy HDU or HDUList, bytes; comes back as an array,
  as a list where there were several.
"""

from __future__ import annotations

import io
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.working.documents import from_json, to_json
from catcher.working.tables import from_csv, from_parquet, to_csv, to_parquet

LARGEST = 256 * 2**20
LONGEST_NAME = 128
TROUBLE = (
    TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RuntimeError, OSError,
    EOFError, ImportError, Warning, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What the libraries that write and read forms raise for objects and bytes that they dislike."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of artifact: its media type and both ways."""

    mime: str
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


def encode(name: str, item: object, largest: int = LARGEST) -> Encoded:
    """An artifact as bytes. CatcherError says what is wrong with the name, object or size."""
    form = form_of(name)
    try:
        data = form.write(item)
    except TROUBLE as error:
        reason = str(error) or type(error).__name__
        message = f"the artifact {name!r} cannot be written from a {_type(item)}: {reason}"
        raise CatcherError(message) from error
    if len(data) > largest:
        raise CatcherError(
            f"the artifact {name!r} has {len(data) / 2**20:.0f} MiB, "
            f"at most {largest / 2**20:.0f} MiB are kept",
            "keep a summary, or bin it",
        )
    return Encoded(name, data, form.mime)


def decode(name: str, data: bytes) -> Any:
    """The object that an artifact's bytes stand for; CatcherError where they are damaged."""
    form = form_of(name)
    try:
        return form.read(data)
    except CatcherError:
        raise
    except TROUBLE as error:
        message = f"the artifact {name!r} cannot be read: {str(error) or type(error).__name__}"
        raise CatcherError(message, "its bytes are damaged or of another form") from error


def form_of(name: str) -> Form:
    """The form that a name's suffix says; CatcherError where the name is no plain file name."""
    plain = name.isprintable() and not set(name) & set('/\\:*?"<>|') and len(name) <= LONGEST_NAME
    if not name or not plain or name.startswith(".") or name != name.strip():
        raise CatcherError(
            f"{name[:LONGEST_NAME]!r} is no name for an artifact",
            "use a plain file name such as plot.png",
        )
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in FORMS:
        known = " ".join(FORMS)
        raise CatcherError(f"{name!r} has no form that is known", f"end the name in one of {known}")
    return FORMS[suffix]


def _type(item: object) -> str:
    return f"{type(item).__module__}.{type(item).__qualname__}".removeprefix("builtins.")


# -- arrays ---------------------------------------------------------------------------------


def _to_npz(item: object) -> bytes:
    arrays = item if isinstance(item, Mapping) else {"data": item}
    checked = {str(name): np.asarray(array) for name, array in arrays.items()}
    objects = [name for name, array in checked.items() if array.dtype.hasobject]
    if objects:
        raise TypeError(f"{objects[0]!r} is no plain array (ragged, or of objects)")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **checked)
    return buffer.getvalue()


def _from_npz(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _to_fits(item: object) -> bytes:
    if isinstance(item, bytes):
        return _checked(item, b"SIMPLE  =", "FITS")
    from astropy.io import fits

    if isinstance(item, np.ndarray):
        hdus = fits.HDUList([fits.PrimaryHDU(_numbers(item))])
    elif isinstance(item, fits.HDUList):
        hdus = item
    elif isinstance(item, fits.PrimaryHDU):
        hdus = fits.HDUList([item])
    elif isinstance(item, fits.hdu.base.ExtensionHDU):
        hdus = fits.HDUList([fits.PrimaryHDU(), item])
    elif isinstance(item, Sequence) and not isinstance(item, str):
        images = [fits.ImageHDU(_numbers(np.asarray(array))) for array in item]
        hdus = fits.HDUList([fits.PrimaryHDU(), *images])
    else:
        raise TypeError("give an array, a list of arrays, or an astropy HDU")
    buffer = io.BytesIO()
    hdus.writeto(buffer, output_verify="fix")
    return buffer.getvalue()


def _numbers(array: Any) -> Any:
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"FITS holds numbers, not {array.dtype}")
    return array


def _from_fits(data: bytes) -> Any:
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.filterwarnings("error", "File may have been truncated")
        with fits.open(io.BytesIO(data), memmap=False) as hdus:
            arrays = [np.asarray(hdu.data) for hdu in hdus if hdu.data is not None]
    return arrays[0] if len(arrays) == 1 else arrays


# -- pictures, pages, text ------------------------------------------------------------------


def _to_png(item: object) -> bytes:
    if isinstance(item, bytes):
        return _checked(item, b"\x89PNG\r\n\x1a\n", "PNG")
    return _drawn(item, "png", {"Software": None})


def _to_svg(item: object) -> bytes:
    if isinstance(item, str | bytes):
        return _to_text(item)
    return _drawn(item, "svg", {"Date": None})


def _drawn(figure: Any, form: str, metadata: Mapping[str, None]) -> bytes:
    """A matplotlib figure (or an Axes of one), drawn and closed."""
    figure = getattr(figure, "figure", figure)
    if not hasattr(figure, "savefig"):
        raise TypeError("give a matplotlib figure, or bytes")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi="figure", metadata=metadata)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)
    return buffer.getvalue()


def _to_html(item: object) -> bytes:
    if isinstance(item, str | bytes):
        return _to_text(item)
    from bokeh.embed import file_html
    from bokeh.model import Model
    from bokeh.resources import INLINE

    models = [item] if isinstance(item, Model) else item
    if not isinstance(models, Sequence) or not all(isinstance(one, Model) for one in models):
        raise TypeError("give a Bokeh figure or layout, or text")
    return str(file_html(models, INLINE, title="Catcher")).encode()


def _to_text(item: object) -> bytes:
    if isinstance(item, bytes):
        item.decode()
        return item
    if not isinstance(item, str):
        raise TypeError("give text")
    return item.encode()


def _from_text(data: bytes) -> str:
    return data.decode()


def _checked(data: bytes, magic: bytes, form: str) -> bytes:
    if not data.startswith(magic):
        raise ValueError(f"these bytes are no {form}")
    return data


FORMS: Mapping[str, Form] = {
    ".json": Form("application/json", to_json, from_json),
    ".npz": Form("application/x-npz", _to_npz, _from_npz),
    ".parquet": Form("application/vnd.apache.parquet", to_parquet, from_parquet),
    ".csv": Form("text/csv", to_csv, from_csv),
    ".png": Form("image/png", _to_png, bytes),
    ".svg": Form("image/svg+xml", _to_svg, _from_text),
    ".html": Form("text/html", _to_html, _from_text),
    ".fits": Form("application/fits", _to_fits, _from_fits),
    ".txt": Form("text/plain", _to_text, _from_text),
}
