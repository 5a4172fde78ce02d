"""A block: some samples of one topic as typed columns, encoded as bytes.

A block is self-contained: a header (JSON) with the topic, the time range, the number of rows and
the location of each column, then the columns, each compressed and with its own checksum, so that
reading two columns of fifty costs two. Numbers are float64, with their bytes transposed before
compression (neighbours differ in the low bytes only); any other column is a JSON list.
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
from catcher.stores.history.columns import ColumnTable, FingerprintArray, IntArray
from catcher.stores.ledger.mappers import encode_json

ColumnKind = Literal["time", "print", "number", "flag", "value"]

MAGIC = b"CHB1"
PREAMBLE = struct.Struct("<4sIII")
"""Magic, length of the header, length of the columns, checksum of the header."""


class ColumnHeader(msgspec.Struct, frozen=True, array_like=True):
    """The location of a column, relative to the end of the header."""

    name: str
    kind: ColumnKind
    offset: int
    length: int
    checksum: int


class BlockHeader(msgspec.Struct, frozen=True):
    """The metadata of a block. Times in nanoseconds UTC; `written` by the engine's clock."""

    topic: str
    rows: int
    first: Instant
    last: Instant
    written: Instant
    columns: tuple[ColumnHeader, ...]


class CorruptBlock(Exception):
    """The bytes are not a complete block."""


_header_decoder = msgspec.json.Decoder(BlockHeader)


def encode_block(topic: str, table: ColumnTable, written: Instant) -> bytes:
    """Returns the bytes of a block."""
    chunks: list[bytes] = []
    columns: list[ColumnHeader] = []
    offset = 0
    for name, kind, data in _compress_columns(table):
        columns.append(ColumnHeader(name, kind, offset, len(data), zlib.crc32(data)))
        chunks.append(data)
        offset += len(data)
    first, last = int(table.time.min()), int(table.time.max())
    header = BlockHeader(topic, len(table.time), first, last, written, tuple(columns))
    header_json = encode_json(header).encode()
    preamble = PREAMBLE.pack(MAGIC, len(header_json), offset, zlib.crc32(header_json))
    return b"".join((preamble, header_json, *chunks))


def decode_block_header(data: bytes | memoryview, offset: int = 0) -> tuple[BlockHeader, int, int]:
    """Returns the header of the block at an offset, where its columns begin, and where it ends.

    Raises CorruptBlock if it is damaged.
    """
    try:
        magic, length, body_length, checksum = PREAMBLE.unpack_from(data, offset)
    except struct.error:
        raise CorruptBlock from None
    start = offset + PREAMBLE.size
    header_json = bytes(data[start : start + length])
    end = start + length + body_length
    if magic != MAGIC or zlib.crc32(header_json) != checksum or end > len(data):
        raise CorruptBlock
    try:
        return _header_decoder.decode(header_json), start + length, end
    except msgspec.MsgspecError:
        raise CorruptBlock from None


class Block:
    """The columns of a block, each unpacked on access. Raises CorruptBlock if one is damaged."""

    def __init__(self, data: bytes) -> None:
        self.header, start, _ = decode_block_header(data)
        body = memoryview(data)[start:]
        self._times = self._fingerprints = b""
        self._numbers: dict[str, bytes] = {}
        self._values: dict[str, bytes] = {}
        self.flags: set[str] = set()
        for column in self.header.columns:
            compressed = bytes(body[column.offset : column.offset + column.length])
            if zlib.crc32(compressed) != column.checksum:
                raise CorruptBlock
            self._add_column(column, compressed)

    def _add_column(self, column: ColumnHeader, compressed: bytes) -> None:
        if column.kind == "time":
            self._times = compressed
        elif column.kind == "print":
            self._fingerprints = compressed
        elif column.kind == "value":
            self._values[column.name] = compressed
        else:
            self._numbers[column.name] = compressed
        if column.kind == "flag":
            self.flags.add(column.name)

    @property
    def row_count(self) -> int:
        """The number of samples."""
        return self.header.rows

    @property
    def time(self) -> IntArray:
        """Nanoseconds UTC, in order of arrival."""
        return _decompress_column(self._times, np.dtype(np.int64))

    @property
    def fingerprints(self) -> FingerprintArray:
        """The samples' fingerprints."""
        return np.frombuffer(self._fingerprints, np.uint32)

    @property
    def numeric_columns(self) -> KeysView[str]:
        """The columns of numbers and booleans."""
        return self._numbers.keys()

    @property
    def other_columns(self) -> KeysView[str]:
        """The columns of any other type."""
        return self._values.keys()

    def get_numbers(self, name: str) -> FloatArray:
        """Returns a numeric column; NaN if a sample has none."""
        return _decompress_column(self._numbers[name], np.dtype(np.float64))

    def get_values(self, name: str) -> Sequence[Any]:
        """Returns a column of other values; None if a sample has none."""
        values: list[Any] = msgspec.json.decode(zlib.decompress(self._values[name]))
        return values


def _compress_columns(table: ColumnTable) -> list[tuple[str, ColumnKind, bytes]]:
    compressed: list[tuple[str, ColumnKind, bytes]] = [
        ("", "time", _compress_column(table.time)),
        ("", "print", table.fingerprints.tobytes()),
    ]
    for name, column in table.numbers.items():
        kind: ColumnKind = "flag" if name in table.flags else "number"
        compressed.append((name, kind, _compress_column(column)))
    for name, values in table.values.items():
        compressed.append((name, "value", zlib.compress(encode_json(values).encode(), 1)))
    return compressed


def _compress_column(column: npt.NDArray[Any]) -> bytes:
    byte_planes = column.view(np.uint8).reshape(len(column), column.dtype.itemsize).T
    return zlib.compress(byte_planes.tobytes(), 1)


def _decompress_column(data: bytes, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    byte_planes = np.frombuffer(zlib.decompress(data), np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(byte_planes.T).reshape(-1).view(dtype)
