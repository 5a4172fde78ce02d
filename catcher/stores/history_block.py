"""A block: some samples of one topic as typed columns, in bytes.

A block stands by itself: a head (JSON) with the topic, the span of time, the number of rows and
where each column lies, then the columns, each compressed and with a checksum of its own, so
that reading two columns of fifty costs two. Numbers are float64, their bytes transposed before
compression (neighbours differ in the low bytes only); what is not a number is a JSON list.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import KeysView, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from catcher.model.event import FloatArray
from catcher.model.time import Instant
from catcher.stores.documents import document
from catcher.stores.history_table import IntArray, PrintArray, Table

Kind = Literal["time", "print", "number", "flag", "value"]

MAGIC = b"CHB1"
OPENING = struct.Struct("<4sIII")
"""Magic, length of the head, length of the columns, checksum of the head."""


class Column(msgspec.Struct, frozen=True, array_like=True):
    """Where a column lies, counted from the end of the head."""

    name: str
    kind: Kind
    offset: int
    length: int
    checksum: int


class Head(msgspec.Struct, frozen=True):
    """What a block says of itself. Times in nanoseconds UTC; `written` by the engine's clock."""

    topic: str
    rows: int
    first: Instant
    last: Instant
    written: Instant
    columns: tuple[Column, ...]


class Torn(Exception):
    """Bytes that are no whole block."""


_head = msgspec.json.Decoder(Head)


def encoded(topic: str, table: Table, written: Instant) -> bytes:
    """The bytes of a block."""
    pieces: list[bytes] = []
    columns: list[Column] = []
    offset = 0
    for name, kind, data in _packed(table):
        columns.append(Column(name, kind, offset, len(data), zlib.crc32(data)))
        pieces.append(data)
        offset += len(data)
    first, last = int(table.time.min()), int(table.time.max())
    head = Head(topic, len(table.time), first, last, written, tuple(columns))
    text = document(head).encode()
    opening = OPENING.pack(MAGIC, len(text), offset, zlib.crc32(text))
    return b"".join((opening, text, *pieces))


def opened(data: bytes | memoryview, offset: int = 0) -> tuple[Head, int, int]:
    """The head of the block at an offset, where its columns begin, and where it ends."""
    try:
        magic, length, body, checksum = OPENING.unpack_from(data, offset)
    except struct.error:
        raise Torn from None
    start = offset + OPENING.size
    text = bytes(data[start : start + length])
    end = start + length + body
    if magic != MAGIC or zlib.crc32(text) != checksum or end > len(data):
        raise Torn
    try:
        return _head.decode(text), start + length, end
    except msgspec.MsgspecError:
        raise Torn from None


class Block:
    """The columns of one block, each unpacked when it is asked for; Torn where one is damaged."""

    def __init__(self, data: bytes) -> None:
        self.head, start, _ = opened(data)
        body = memoryview(data)[start:]
        self._times = self._prints = b""
        self._numbers: dict[str, bytes] = {}
        self._values: dict[str, bytes] = {}
        self.flags: set[str] = set()
        for column in self.head.columns:
            packed = bytes(body[column.offset : column.offset + column.length])
            if zlib.crc32(packed) != column.checksum:
                raise Torn
            self._take(column, packed)

    def _take(self, column: Column, packed: bytes) -> None:
        if column.kind == "time":
            self._times = packed
        elif column.kind == "print":
            self._prints = packed
        elif column.kind == "value":
            self._values[column.name] = packed
        else:
            self._numbers[column.name] = packed
        if column.kind == "flag":
            self.flags.add(column.name)

    @property
    def rows(self) -> int:
        """The number of samples."""
        return self.head.rows

    @property
    def time(self) -> IntArray:
        """Nanoseconds UTC, in the order of arrival."""
        return _untransposed(self._times, np.dtype(np.int64))

    @property
    def prints(self) -> PrintArray:
        """The samples' fingerprints."""
        return np.frombuffer(self._prints, np.uint32)

    @property
    def numeric(self) -> KeysView[str]:
        """The columns that hold numbers and truth values."""
        return self._numbers.keys()

    @property
    def other(self) -> KeysView[str]:
        """The columns that hold anything else."""
        return self._values.keys()

    def number(self, name: str) -> FloatArray:
        """A numeric column; NaN where a sample has none."""
        return _untransposed(self._numbers[name], np.dtype(np.float64))

    def value(self, name: str) -> Sequence[Any]:
        """A column of other values; None where a sample has none."""
        values: list[Any] = msgspec.json.decode(zlib.decompress(self._values[name]))
        return values


def _packed(table: Table) -> list[tuple[str, Kind, bytes]]:
    packed: list[tuple[str, Kind, bytes]] = [
        ("", "time", _transposed(table.time)),
        ("", "print", table.prints.tobytes()),
    ]
    for name, column in table.numbers.items():
        kind: Kind = "flag" if name in table.flags else "number"
        packed.append((name, kind, _transposed(column)))
    for name, values in table.values.items():
        packed.append((name, "value", zlib.compress(document(values).encode(), 1)))
    return packed


def _transposed(column: npt.NDArray[Any]) -> bytes:
    planes = column.view(np.uint8).reshape(len(column), column.dtype.itemsize).T
    return zlib.compress(planes.tobytes(), 1)


def _untransposed(data: bytes, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    planes = np.frombuffer(zlib.decompress(data), np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)
