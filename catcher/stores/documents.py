"""JSON documents of the stores: total on the way in.

What a stream or a job brings may be anything (lone surrogates, numpy scalars, a key that is no
text, nesting without end); it is made plain before it is written, so that no event can keep a
transaction from being committed. NaN and infinity become null.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

DEEPEST = 32
_INT64 = 2**63


def _simpler(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)


_encode = msgspec.json.Encoder(enc_hook=_simpler).encode


def document(value: Any) -> str:
    """JSON of a noun or a value; never raises for its content."""
    try:
        return _encode(value).decode()
    except (ValueError, TypeError, OverflowError, RecursionError):
        return _encode(_plain(value, 0)).decode()


def read_document(text: str) -> Any:
    """The value of a JSON text of the ledger."""
    return msgspec.json.decode(text)


def clean(text: str) -> str:
    """Text that every database takes: no lone surrogate, no NUL."""
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _plain_number(value)
    if depth >= DEEPEST:
        return "…"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {clean(str(name)): _plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    simpler = _simpler(value)
    return clean(simpler) if isinstance(simpler, str) else _plain(simpler, depth + 1)


def _plain_number(value: int | float) -> int | float | None:
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
