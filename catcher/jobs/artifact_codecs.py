"""Encodes and decodes artifacts; the suffix of the name selects the codec. Nothing is pickled.

- `.json`: JSON values, numpy scalars and arrays, datetimes, `Series`, `Field`, `Metric`. Arrays and
  tuples come back as lists, NaN and infinities as null, datetimes as text, the last three as
  themselves.
- `.npz`: a mapping of names to arrays, or one array (then named `data`); comes back as a dict.
- `.parquet`: a `Series`, a `Field`, a dict of columns, a list of rows, an Arrow table; comes back
  as it went in, columns as arrays.
- `.csv`: the same; comes back as a dict of columns.
- `.png`: a matplotlib figure or bytes; comes back as bytes.
- `.svg`, `.html`, `.txt`: a matplotlib figure (svg), Bokeh models (html, standalone), text or UTF-8
  bytes; come back as text.
- `.fits`: an array, a list of arrays, an astropy HDU or HDUList, bytes; comes back as an array, or
  as a list of several.
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

from catcher.jobs.json_codec import decode_json_artifact, encode_json_artifact
from catcher.jobs.table_codecs import from_csv, from_parquet, to_csv, to_parquet
from catcher.model.errors import CatcherError
from catcher.model.result import EncodedArtifact

MAX_ARTIFACT_BYTES = 256 * 2**20
MAX_NAME_LENGTH = 128
CODEC_ERRORS = (
    TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RuntimeError, OSError,
    EOFError, ImportError, Warning, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What the encoding and decoding libraries raise for unsupported objects and damaged bytes."""


@dataclass(frozen=True, slots=True)
class ArtifactCodec:
    """One artifact format: its media type, encoder and decoder."""

    mime: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def encode_artifact(
    name: str, item: object, max_bytes: int = MAX_ARTIFACT_BYTES
) -> EncodedArtifact:
    """Encodes an artifact; CatcherError says what is wrong with the name, object or size."""
    codec = get_codec(name)
    try:
        data = codec.encode(item)
    except CODEC_ERRORS as error:
        reason = str(error) or type(error).__name__
        message = f"the artifact {name!r} cannot be written from a {_get_type_name(item)}: {reason}"
        raise CatcherError(message) from error
    if len(data) > max_bytes:
        raise CatcherError(
            f"the artifact {name!r} has {len(data) / 2**20:.0f} MiB, "
            f"at most {max_bytes / 2**20:.0f} MiB are kept",
            "keep a summary, or bin it",
        )
    return EncodedArtifact(name, data, codec.mime)


def decode_artifact(name: str, data: bytes) -> Any:
    """Decodes an artifact; CatcherError if its bytes are damaged."""
    codec = get_codec(name)
    try:
        return codec.decode(data)
    except CatcherError:
        raise
    except CODEC_ERRORS as error:
        message = f"the artifact {name!r} cannot be read: {str(error) or type(error).__name__}"
        raise CatcherError(message, "its bytes are damaged or of another form") from error


def get_codec(name: str) -> ArtifactCodec:
    """Returns the codec of a name's suffix; CatcherError if it is no plain file name."""
    is_plain = (
        name.isprintable() and not set(name) & set('/\\:*?"<>|') and len(name) <= MAX_NAME_LENGTH
    )
    if not name or not is_plain or name.startswith(".") or name != name.strip():
        raise CatcherError(
            f"{name[:MAX_NAME_LENGTH]!r} is no name for an artifact",
            "use a plain file name such as plot.png",
        )
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in CODECS:
        known_suffixes = " ".join(CODECS)
        raise CatcherError(
            f"{name!r} has no form that is known", f"end the name in one of {known_suffixes}"
        )
    return CODECS[suffix]


def _get_type_name(item: object) -> str:
    return f"{type(item).__module__}.{type(item).__qualname__}".removeprefix("builtins.")


# -- arrays ---------------------------------------------------------------------------------


def _to_npz(item: object) -> bytes:
    arrays = item if isinstance(item, Mapping) else {"data": item}
    converted = {str(name): np.asarray(array) for name, array in arrays.items()}
    object_names = [name for name, array in converted.items() if array.dtype.hasobject]
    if object_names:
        raise TypeError(f"{object_names[0]!r} is no plain array (ragged, or of objects)")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **converted)
    return buffer.getvalue()


def _from_npz(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _to_fits(item: object) -> bytes:
    if isinstance(item, bytes):
        return _check_magic(item, b"SIMPLE  =", "FITS")
    from astropy.io import fits

    if isinstance(item, np.ndarray):
        hdus = fits.HDUList([fits.PrimaryHDU(_to_fits_array(item))])
    elif isinstance(item, fits.HDUList):
        hdus = item
    elif isinstance(item, fits.PrimaryHDU):
        hdus = fits.HDUList([item])
    elif isinstance(item, fits.hdu.base.ExtensionHDU):
        hdus = fits.HDUList([fits.PrimaryHDU(), item])
    elif isinstance(item, Sequence) and not isinstance(item, str):
        images = [fits.ImageHDU(_to_fits_array(np.asarray(array))) for array in item]
        hdus = fits.HDUList([fits.PrimaryHDU(), *images])
    else:
        raise TypeError("give an array, a list of arrays, or an astropy HDU")
    buffer = io.BytesIO()
    hdus.writeto(buffer, output_verify="fix")
    return buffer.getvalue()


def _to_fits_array(array: Any) -> Any:
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


# -- images, HTML, text ---------------------------------------------------------------------


def _to_png(item: object) -> bytes:
    if isinstance(item, bytes):
        return _check_magic(item, b"\x89PNG\r\n\x1a\n", "PNG")
    return _render_figure(item, "png", {"Software": None})


def _to_svg(item: object) -> bytes:
    if isinstance(item, str | bytes):
        return _encode_text(item)
    return _render_figure(item, "svg", {"Date": None})


def _render_figure(figure: Any, image_format: str, metadata: Mapping[str, None]) -> bytes:
    """Renders a matplotlib figure (or the figure of an Axes) and closes it."""
    figure = getattr(figure, "figure", figure)
    if not hasattr(figure, "savefig"):
        raise TypeError("give a matplotlib figure, or bytes")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=image_format, dpi="figure", metadata=metadata)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)
    return buffer.getvalue()


def _to_html(item: object) -> bytes:
    if isinstance(item, str | bytes):
        return _encode_text(item)
    from bokeh.embed import file_html
    from bokeh.model import Model
    from bokeh.resources import INLINE

    models = [item] if isinstance(item, Model) else item
    if not isinstance(models, Sequence) or not all(isinstance(model, Model) for model in models):
        raise TypeError("give a Bokeh figure or layout, or text")
    return str(file_html(models, INLINE, title="Catcher")).encode()


def _encode_text(item: object) -> bytes:
    if isinstance(item, bytes):
        item.decode()
        return item
    if not isinstance(item, str):
        raise TypeError("give text")
    return item.encode()


def _decode_text(data: bytes) -> str:
    return data.decode()


def _check_magic(data: bytes, magic: bytes, format_name: str) -> bytes:
    if not data.startswith(magic):
        raise ValueError(f"these bytes are no {format_name}")
    return data


CODECS: Mapping[str, ArtifactCodec] = {
    ".json": ArtifactCodec("application/json", encode_json_artifact, decode_json_artifact),
    ".npz": ArtifactCodec("application/x-npz", _to_npz, _from_npz),
    ".parquet": ArtifactCodec("application/vnd.apache.parquet", to_parquet, from_parquet),
    ".csv": ArtifactCodec("text/csv", to_csv, from_csv),
    ".png": ArtifactCodec("image/png", _to_png, bytes),
    ".svg": ArtifactCodec("image/svg+xml", _to_svg, _decode_text),
    ".html": ArtifactCodec("text/html", _to_html, _decode_text),
    ".fits": ArtifactCodec("application/fits", _to_fits, _from_fits),
    ".txt": ArtifactCodec("text/plain", _encode_text, _decode_text),
}
