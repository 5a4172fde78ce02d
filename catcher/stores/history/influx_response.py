"""Reads purely numeric rows of InfluxDB's MessagePack as arrays instead of objects.

A number takes nine bytes there (a marker and eight), so rows without gaps and texts have one
length, and a chunk of them is a table of bytes that numpy reads at once. Some integers are encoded
shorter, and null takes one byte: rows with these have no fixed length and are left to msgpack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import msgspec
import numpy as np
from msgpack import BufferFull as BufferFull
from msgpack import UnpackException as UnpackException

from catcher.model.errors import CatcherError
from catcher.model.text import sanitize_single_line
from catcher.ports import StoreUnavailable
from catcher.transport.http import HttpResponse, parse_retry_seconds

MAX_HEADER_BYTES = 2**16
CELL_BYTES = 9
FLOAT_MARKER, INTEGER_MARKERS = 0xCB, (0xD3, 0xCF)
SHORT_ARRAY_MARKER, LONG_ARRAY_MARKER = 0x90, 0xDC
"""First byte of an array of up to 15 cells, and of a longer one."""


class UnsupportedShape(Exception):
    """The message has another form."""


class RowsHeader:
    """The start of a message with one series, up to its rows. Raises UnsupportedShape otherwise."""

    def __init__(self, data: bytes) -> None:
        unpacker = msgpack.Unpacker()
        unpacker.feed(data)
        try:
            _require_supported(unpacker.read_map_header() == 1 and unpacker.unpack() == "results")
            _require_supported(unpacker.read_array_header() == 1)
            self.result_pairs_left = unpacker.read_map_header()
            self.result_pairs_left -= _skip_to_key(unpacker, "series") + 1
            _require_supported(unpacker.read_array_header() == 1)
            pairs_left = unpacker.read_map_header()
            self.columns: list[str] = []
            while pairs_left:
                pairs_left -= 1
                key = unpacker.unpack()
                if key == "values":
                    break
                value = unpacker.unpack()
                self.columns = value if key == "columns" else self.columns
            else:
                raise UnsupportedShape
            self.series_pairs_left = pairs_left
            self.row_count: int = unpacker.read_array_header()
            self.end: int = unpacker.tell()
        except (msgpack.UnpackException, ValueError, TypeError, LookupError):
            raise UnsupportedShape from None
        self.prefix_bytes = 1 if len(self.columns) < 16 else 3
        self.stride = self.prefix_bytes + CELL_BYTES * len(self.columns)

    def is_numeric_row(self, row: bytes) -> bool:
        """True if a row has the fixed length that all rows may have."""
        return len(row) == self.stride and all(
            row[self.prefix_bytes + CELL_BYTES * index] in (FLOAT_MARKER, *INTEGER_MARKERS)
            for index in range(len(self.columns))
        )


def _require_supported(condition: bool) -> None:
    if not condition:
        raise UnsupportedShape


def _skip_to_key(unpacker: Any, key: str) -> int:
    """Returns how many pairs of a map precede a key."""
    for count in range(8):
        if unpacker.unpack() == key:
            return count
        unpacker.skip()
    raise UnsupportedShape


def decode_numeric_columns(data: bytes | bytearray, header: RowsHeader) -> list[Any]:
    """Returns the columns of the rows after a header. Raises UnsupportedShape if one has another
    form.
    """
    table = np.frombuffer(data, np.uint8, header.row_count * header.stride, header.end)
    table = table.reshape(header.row_count, header.stride)
    width = len(header.columns)
    array_marker = SHORT_ARRAY_MARKER | width if header.prefix_bytes == 1 else LONG_ARRAY_MARKER
    _require_supported(bool(np.all(table[:, 0] == array_marker)))
    if header.prefix_bytes == 3:
        _require_supported(
            bool(np.all(table[:, 1] == width >> 8) and np.all(table[:, 2] == width & 0xFF))
        )
    columns: list[Any] = []
    for index in range(width):
        offset = header.prefix_bytes + CELL_BYTES * index
        marker = int(table[0, offset])
        _require_supported(
            marker in (FLOAT_MARKER, *INTEGER_MARKERS) and bool(np.all(table[:, offset] == marker))
        )
        cells = np.ascontiguousarray(table[:, offset + 1 : offset + CELL_BYTES])
        wire_dtype, dtype = (">f8", np.float64) if marker == FLOAT_MARKER else (">i8", np.int64)
        columns.append(cells.view(wire_dtype).reshape(-1).astype(dtype))
    return columns


class MessageStream:
    """Parses messages from chunks: `feed_chunk` each, then `read_remaining_messages` at the end.

    A message is what msgpack decodes, or `(names, columns, partial)` if its rows are purely
    numeric. msgpack's own errors propagate.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data = bytearray()
        self._header: RowsHeader | None = None
        self._unpacker: Any = None
        self._fed_bytes = 0

    def feed_chunk(self, chunk: bytes) -> Iterator[Any]:
        """Yields the messages that are complete with this chunk."""
        self._data += chunk
        yield from self._read_messages(is_last=False)

    def read_remaining_messages(self) -> Iterator[Any]:
        """Yields the remaining messages. Raises ValueError if the last one is incomplete."""
        yield from self._read_messages(is_last=True)
        if self._data:
            raise ValueError("the end is missing")

    def _read_messages(self, is_last: bool) -> Iterator[Any]:
        while self._data:
            if self._unpacker is None:
                try:
                    message = self._read_rows_message(is_last)
                except UnsupportedShape:
                    self._start_generic_parser()
                    continue
            else:
                message = self._read_generic_message()
            if message is None:
                return
            yield message

    def _read_rows_message(self, is_last: bool) -> Any:
        """Reads a numeric message; None until it is complete."""
        if self._header is None:
            if len(self._data) < MAX_HEADER_BYTES and not is_last:
                return None
            self._header = RowsHeader(bytes(self._data[:MAX_HEADER_BYTES]))
            row = bytes(self._data[self._header.end : self._header.end + self._header.stride])
            _require_supported(self._header.row_count > 0 and self._header.is_numeric_row(row))
        header = self._header
        end = header.end + header.row_count * header.stride
        if end > self._max_bytes:
            raise msgpack.BufferFull
        if len(self._data) < end + 64 and not is_last:
            return None
        _require_supported(len(self._data) >= end)
        columns = decode_numeric_columns(self._data, header)
        partial, size = self._read_trailer(end, header.series_pairs_left + header.result_pairs_left)
        del self._data[: end + size]
        self._header = None
        return tuple(header.columns), columns, partial

    def _read_trailer(self, start: int, pairs: int) -> tuple[bool, int]:
        """Reads what follows the rows; returns whether messages follow, and its length in bytes."""
        unpacker = msgpack.Unpacker()
        unpacker.feed(bytes(self._data[start : start + 256]))
        partial = False
        try:
            for _ in range(pairs):
                key, value = unpacker.unpack(), unpacker.unpack()
                partial = partial or (key == "partial" and bool(value))
            return partial, unpacker.tell()
        except (msgpack.UnpackException, ValueError):
            raise UnsupportedShape from None

    def _start_generic_parser(self) -> None:
        self._header = None
        self._unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=self._max_bytes)
        self._fed_bytes = 0

    def _read_generic_message(self) -> Any:
        """Reads a message of any form; None until it is complete."""
        self._unpacker.feed(memoryview(self._data)[self._fed_bytes :])
        self._fed_bytes = len(self._data)
        try:
            message = self._unpacker.unpack()
        except msgpack.OutOfData:
            return None
        del self._data[: self._unpacker.tell()]
        self._unpacker = None
        return message


# InfluxDB's response to a query, chunk by chunk, as columns.


JSON, MSGPACK = "application/json", "application/x-msgpack"
MAX_CHUNK_BYTES = 2**28
TRUNCATED_HINT = "see to the server, and ask again"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a series: the names of its columns, and the columns."""

    columns: tuple[str, ...]
    cells: tuple[Sequence[Any], ...]

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return len(self.cells[0]) if self.cells else 0

    def get_column(self, name: str) -> Sequence[Any]:
        """Returns the cells of a column."""
        return self.cells[self.columns.index(name)]

    def columns_to_lists(self) -> list[Sequence[Any]]:
        """Returns the columns as plain values, in order."""
        return [
            column.tolist() if isinstance(column, np.ndarray) else column for column in self.cells
        ]


class QueryRefused(CatcherError):
    """The server understood the request but refused it; `reason` is its message."""

    def __init__(
        self, server_name: str, reason: str, hint: str = "see what the server says"
    ) -> None:
        super().__init__(f"{server_name} refused: {sanitize_single_line(reason, 300)}", hint)
        self.reason = reason


def iter_response_chunks(response: HttpResponse, server_name: str) -> Iterator[Chunk]:
    """Yields the chunks of a response.

    Raises StoreUnavailable if it is incomplete, QueryRefused with the server's message.
    """
    _raise_for_status(response, server_name)
    if response.content_type == MSGPACK:
        messages = _iter_msgpack_messages(response, server_name)
    elif response.content_type == JSON:
        messages = _iter_json_messages(response, server_name)
    else:
        raise StoreUnavailable(
            f"{server_name} answered with "
            f"{sanitize_single_line(response.content_type, 60) or 'nothing'}, "
            "which no InfluxDB does",
            "see whether the address is the database's own",
        )
    is_partial, has_messages = False, False
    for message in messages:
        has_messages = True
        if isinstance(message, tuple) and len(message) == 3:
            names, columns, is_partial = message
            yield Chunk(names, tuple(columns))
            continue
        is_partial = False
        for result in _extract_results(message, server_name):
            is_partial = is_partial or bool(result.get("partial"))
            for series in result.get("series") or ():
                yield _series_to_chunk(series, server_name)
    if is_partial or not has_messages:
        raise StoreUnavailable(
            f"{server_name} ended its answer before it was whole; nothing of it was used",
            TRUNCATED_HINT,
        )


def _raise_for_status(response: HttpResponse, server_name: str) -> None:
    if response.status == 200:
        return
    error_text = _extract_error_message(response.read_error_text())
    if response.status in (401, 403):
        raise StoreUnavailable(
            f"{server_name} refused the credentials: {sanitize_single_line(error_text, 200)}",
            "see to the token, or username and password",
        )
    if response.status in (400, 404, 405, 406, 413, 415, 422):
        raise QueryRefused(server_name, f"{response.status} {error_text}")
    raise StoreUnavailable(
        f"{server_name} answered {response.status}: {sanitize_single_line(error_text, 200)}",
        "see to the server",
        parse_retry_seconds(response.headers),
    )


def _extract_error_message(body: str) -> str:
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body
    if isinstance(payload, dict):
        return str(payload.get("error") or payload.get("message") or body)
    return body


def _iter_json_messages(response: HttpResponse, server_name: str) -> Iterator[Any]:
    buffer = bytearray()
    for chunk in response.chunks:
        buffer += chunk
        *lines, remainder = buffer.split(b"\n")
        for line in lines:
            if line.strip():
                yield _decode_json_line(bytes(line), server_name)
        buffer = bytearray(remainder)
        if len(buffer) > MAX_CHUNK_BYTES:
            raise _too_large_error(server_name)
    if buffer.strip():
        yield _decode_json_line(bytes(buffer), server_name)


def _decode_json_line(line: bytes, server_name: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise StoreUnavailable(
            f"{server_name} sent what is no whole answer; nothing of it was used", TRUNCATED_HINT
        ) from None


def _iter_msgpack_messages(response: HttpResponse, server_name: str) -> Iterator[Any]:
    messages = MessageStream(MAX_CHUNK_BYTES)
    try:
        for chunk in response.chunks:
            yield from messages.feed_chunk(chunk)
        yield from messages.read_remaining_messages()
    except BufferFull:
        raise _too_large_error(server_name) from None
    except (UnpackException, ValueError, RecursionError):
        raise StoreUnavailable(
            f"{server_name} sent what is no whole answer; nothing of it was used", TRUNCATED_HINT
        ) from None


def _too_large_error(server_name: str) -> CatcherError:
    return CatcherError(
        f"{server_name} sent a chunk that is too large", "ask for fewer fields at once"
    )


def _extract_results(message: Any, server_name: str) -> list[dict[str, Any]]:
    if not isinstance(message, dict):
        raise StoreUnavailable(f"{server_name} sent what is no answer to a query", TRUNCATED_HINT)
    if "error" in message:
        raise QueryRefused(server_name, str(message["error"]))
    results = [result for result in message.get("results") or () if isinstance(result, dict)]
    for result in results:
        if "error" in result:
            raise QueryRefused(server_name, str(result["error"]))
    return results


def _series_to_chunk(series: Any, server_name: str) -> Chunk:
    """Returns the rows of a message as columns. Raises StoreUnavailable if their width is wrong."""
    try:
        columns = tuple(map(str, series["columns"]))
        rows = series.get("values") or ()
        cells = tuple(zip(*rows, strict=True)) or tuple(() for _ in columns)
        if len(cells) != len(columns):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StoreUnavailable(
            f"{server_name} sent rows that do not fit their columns", TRUNCATED_HINT
        ) from None
    return Chunk(columns, cells)
