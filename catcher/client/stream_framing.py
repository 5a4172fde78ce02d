"""Answers in frames, so that an interrupted one is never taken for complete.
A frame is a letter, the length of its body (four bytes) and the body: `S` a chunk of telemetry as
an Arrow stream, `M` objects as MessagePack, `X` an error that occurred midway, `Z` the end with the
number of frames before it. An answer without its end is refused.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import numpy as np

from catcher.model.errors import CatcherError
from catcher.model.event import Series

MEDIA_TYPE = "application/vnd.catcher.frames"
MAX_FRAME_BYTES = 512 * 2**20
_HEADER = struct.Struct(">cI")


def encode_frame(frame_type: bytes, body: bytes) -> bytes:
    """Encodes one frame."""
    return _HEADER.pack(frame_type, len(body)) + body


async def encode_frames(frame_type: bytes, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Encodes all frames of an answer; an error ends it with an error frame."""
    count = 0
    try:
        async for body in bodies:
            yield encode_frame(frame_type, body)
            count += 1
    except CatcherError as error:
        yield encode_frame(b"X", msgspec.json.encode({"error": error.message, "hint": error.hint}))
        return
    yield encode_frame(b"Z", struct.pack(">I", count))


async def decode_frames(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Decodes the bodies of an answer's frames. Raises CatcherError if it is not complete."""
    buffer, count, has_ended = bytearray(), 0, False
    async for chunk in chunks:
        buffer += chunk
        while (frame := _pop_frame(buffer)) is not None:
            frame_type, body = frame
            if has_ended:
                raise _build_response_error("goes on after its end")
            if frame_type == b"X":
                details = msgspec.json.decode(body)
                raise CatcherError(str(details["error"]), str(details["hint"]))
            if frame_type == b"Z":
                if struct.unpack(">I", body)[0] != count:
                    raise _build_response_error("has lost a part")
                has_ended = True
            else:
                count += 1
                yield body
    if buffer or not has_ended:
        raise _build_response_error("broke off")


def _pop_frame(buffer: bytearray) -> tuple[bytes, bytes] | None:
    if len(buffer) < _HEADER.size:
        return None
    frame_type, length = _HEADER.unpack_from(buffer)
    if frame_type not in b"SMXZ" or length > MAX_FRAME_BYTES:
        raise _build_response_error("is of another form")
    end = _HEADER.size + length
    if len(buffer) < end:
        return None
    body = bytes(buffer[_HEADER.size : end])
    del buffer[:end]
    return frame_type, body


def _build_response_error(problem: str) -> CatcherError:
    return CatcherError(f"the engine's answer {problem}", "nothing of it was used: ask again")


# -- telemetry ------------------------------------------------------------------------------


def encode_series(series: Series) -> bytes:
    """Encodes a chunk as an Arrow stream, exactly: times stay float64 seconds."""
    import pyarrow as pa

    names = ["", *series.columns]
    fields = [pa.field(name, pa.float64()) for name in names]
    unit_metadata = {f"unit:{name}": unit for name, unit in series.units.items()}
    schema = pa.schema(fields, metadata={"topic": series.topic, **unit_metadata})
    arrays = [pa.array(series.time), *(pa.array(column) for column in series.columns.values())]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    return bytes(sink.getvalue())


def decode_series(data: bytes) -> Series:
    """Decodes the chunk in an Arrow stream."""
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(data) as reader:
            table = reader.read_all()
    except pa.ArrowInvalid as error:
        raise _build_response_error("cannot be read") from error
    metadata = {
        name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()
    }
    units = {name.removeprefix("unit:"): unit for name, unit in metadata.items() if ":" in name}
    arrays = [np.asarray(column.to_numpy(), dtype=np.float64) for column in table.columns]
    columns = dict(zip(table.column_names[1:], arrays[1:], strict=True))
    return Series(arrays[0], columns, units, metadata.get("topic", ""))


# -- objects --------------------------------------------------------------------------------


def _encode_numpy_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, dtype="<f8").tobytes()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)


def _decode_float_array(kind: type, value: Any) -> Any:
    if isinstance(value, bytes):
        return np.frombuffer(value, dtype="<f8").astype(np.float64)
    raise NotImplementedError(kind)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_numpy_value)


def encode_objects(objects: Sequence[Any]) -> bytes:
    """Encodes objects as MessagePack, exactly: NaN and nanoseconds are preserved."""
    return _encoder.encode(list(objects))


def decode_objects(data: bytes, kind: Any) -> list[Any]:
    """Decodes objects of a kind."""
    try:
        objects: list[Any] = msgspec.msgpack.decode(
            data, type=list[kind], dec_hook=_decode_float_array
        )
    except msgspec.MsgspecError as error:
        raise CatcherError(
            f"the engine's answer cannot be read ({error})", "its Catcher may be of another version"
        ) from error
    return objects
