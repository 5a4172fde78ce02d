"""Rows of an InfluxDB's MessagePack that are all numbers, read as arrays instead of objects.

A number takes nine bytes there (a marker and eight), so that rows without gaps and texts have one
length, and a chunk of them is a table of bytes that numpy reads at once. Integers are written as
short as they are, null in one byte: rows with these have no one length and are left to msgpack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
from msgpack import BufferFull as BufferFull
from msgpack import UnpackException as UnpackException

LONGEST_HEAD = 2**16
CELL = 9
FLOAT, LONGS = 0xCB, (0xD3, 0xCF)
FEW, MANY = 0x90, 0xDC
"""How an array of up to 15 cells begins, and one of more."""


class NotThese(Exception):
    """The message is of another form."""


class Head:
    """How a message with one series begins, up to its rows; NotThese where it is none."""

    def __init__(self, data: bytes) -> None:
        unpacker = msgpack.Unpacker()
        unpacker.feed(data)
        try:
            _expect(unpacker.read_map_header() == 1 and unpacker.unpack() == "results")
            _expect(unpacker.read_array_header() == 1)
            self.of_result = unpacker.read_map_header()
            self.of_result -= _skipped(unpacker, "series") + 1
            _expect(unpacker.read_array_header() == 1)
            left = unpacker.read_map_header()
            self.columns: list[str] = []
            while left:
                left -= 1
                key = unpacker.unpack()
                if key == "values":
                    break
                value = unpacker.unpack()
                self.columns = value if key == "columns" else self.columns
            else:
                raise NotThese
            self.of_series = left
            self.rows: int = unpacker.read_array_header()
            self.end: int = unpacker.tell()
        except (msgpack.UnpackException, ValueError, TypeError, LookupError):
            raise NotThese from None
        self.before = 1 if len(self.columns) < 16 else 3
        self.stride = self.before + CELL * len(self.columns)

    def begins(self, row: bytes) -> bool:
        """Whether a row has the one length that all may have."""
        return len(row) == self.stride and all(
            row[self.before + CELL * place] in (FLOAT, *LONGS) for place in range(len(self.columns))
        )


def _expect(holds: bool) -> None:
    if not holds:
        raise NotThese


def _skipped(unpacker: Any, wanted: str) -> int:
    """How many pairs of a map come before a key."""
    for count in range(8):
        if unpacker.unpack() == wanted:
            return count
        unpacker.skip()
    raise NotThese


def columns_of(data: bytes | bytearray, head: Head) -> list[Any]:
    """The columns of the rows after a head; NotThese where one is of another form."""
    table = np.frombuffer(data, np.uint8, head.rows * head.stride, head.end)
    table = table.reshape(head.rows, head.stride)
    width = len(head.columns)
    first = FEW | width if head.before == 1 else MANY
    _expect(bool(np.all(table[:, 0] == first)))
    if head.before == 3:
        _expect(bool(np.all(table[:, 1] == width >> 8) and np.all(table[:, 2] == width & 0xFF)))
    found: list[Any] = []
    for place in range(width):
        at = head.before + CELL * place
        marker = int(table[0, at])
        _expect(marker in (FLOAT, *LONGS) and bool(np.all(table[:, at] == marker)))
        cells = np.ascontiguousarray(table[:, at + 1 : at + CELL])
        kind, own = (">f8", np.float64) if marker == FLOAT else (">i8", np.int64)
        found.append(cells.view(kind).reshape(-1).astype(own))
    return found


class Messages:
    """Messages out of pieces as they come: `feed` each, then `rest` at the end.

    A message is what msgpack makes of it, or `(names, columns, partial)` where its rows are
    numbers alone. msgpack's own errors pass.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._data = bytearray()
        self._head: Head | None = None
        self._generic: Any = None
        self._fed = 0

    def feed(self, piece: bytes) -> Iterator[Any]:
        """The messages that are whole with this piece."""
        self._data += piece
        yield from self._taken(last=False)

    def rest(self) -> Iterator[Any]:
        """The messages of what is left; ValueError where that is no whole one."""
        yield from self._taken(last=True)
        if self._data:
            raise ValueError("the end is missing")

    def _taken(self, last: bool) -> Iterator[Any]:
        while self._data:
            if self._generic is None:
                try:
                    message = self._as_rows(last)
                except NotThese:
                    self._begin_generic()
                    continue
            else:
                message = self._as_any()
            if message is None:
                return
            yield message

    def _as_rows(self, last: bool) -> Any:
        """A message of numbers; None until it is whole."""
        if self._head is None:
            if len(self._data) < LONGEST_HEAD and not last:
                return None
            self._head = Head(bytes(self._data[:LONGEST_HEAD]))
            row = bytes(self._data[self._head.end : self._head.end + self._head.stride])
            _expect(self._head.rows > 0 and self._head.begins(row))
        head = self._head
        end = head.end + head.rows * head.stride
        if end > self._largest:
            raise msgpack.BufferFull
        if len(self._data) < end + 64 and not last:
            return None
        _expect(len(self._data) >= end)
        columns = columns_of(self._data, head)
        partial, size = self._tail(end, head.of_series + head.of_result)
        del self._data[: end + size]
        self._head = None
        return tuple(head.columns), columns, partial

    def _tail(self, start: int, pairs: int) -> tuple[bool, int]:
        """What follows the rows: whether more follows, and how long it is."""
        unpacker = msgpack.Unpacker()
        unpacker.feed(bytes(self._data[start : start + 256]))
        partial = False
        try:
            for _ in range(pairs):
                key, value = unpacker.unpack(), unpacker.unpack()
                partial = partial or (key == "partial" and bool(value))
            return partial, unpacker.tell()
        except (msgpack.UnpackException, ValueError):
            raise NotThese from None

    def _begin_generic(self) -> None:
        self._head = None
        self._generic = msgpack.Unpacker(use_list=False, max_buffer_size=self._largest)
        self._fed = 0

    def _as_any(self) -> Any:
        """A message of any form; None until it is whole."""
        self._generic.feed(memoryview(self._data)[self._fed :])
        self._fed = len(self._data)
        try:
            message = self._generic.unpack()
        except msgpack.OutOfData:
            return None
        del self._data[: self._generic.tell()]
        self._generic = None
        return message
