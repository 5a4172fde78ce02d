"""Answers in frames, so that what broke off is never taken for whole.

A frame is a letter, the length of what follows (four bytes) and that: `S` a stretch of telemetry
as an Arrow stream, `M` nouns as MessagePack, `X` an error that came midway, `Z` the end with the
number of frames before it. An answer without its end is refused.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import numpy as np

from catcher.model.event import Series
from catcher.model.problem import CatcherError

MEDIA = "application/vnd.catcher.frames"
LARGEST = 512 * 2**20
_HEAD = struct.Struct(">cI")


def frame(letter: bytes, body: bytes) -> bytes:
    """One frame."""
    return _HEAD.pack(letter, len(body)) + body


async def framed(letter: bytes, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """All frames of an answer; an error ends it with words for the reader."""
    count = 0
    try:
        async for body in bodies:
            yield frame(letter, body)
            count += 1
    except CatcherError as error:
        yield frame(b"X", msgspec.json.encode({"error": error.message, "hint": error.hint}))
        return
    yield frame(b"Z", struct.pack(">I", count))


async def bodies(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What the frames of an answer hold; CatcherError where it is not whole."""
    buffer, count, over = bytearray(), 0, False
    async for chunk in chunks:
        buffer += chunk
        while (taken := _taken(buffer)) is not None:
            letter, body = taken
            if over:
                raise _broken("goes on after its end")
            if letter == b"X":
                told = msgspec.json.decode(body)
                raise CatcherError(str(told["error"]), str(told["hint"]))
            if letter == b"Z":
                if struct.unpack(">I", body)[0] != count:
                    raise _broken("has lost a part")
                over = True
            else:
                count += 1
                yield body
    if buffer or not over:
        raise _broken("broke off")


def _taken(buffer: bytearray) -> tuple[bytes, bytes] | None:
    if len(buffer) < _HEAD.size:
        return None
    letter, length = _HEAD.unpack_from(buffer)
    if letter not in b"SMXZ" or length > LARGEST:
        raise _broken("is of another form")
    end = _HEAD.size + length
    if len(buffer) < end:
        return None
    body = bytes(buffer[_HEAD.size : end])
    del buffer[:end]
    return letter, body


def _broken(words: str) -> CatcherError:
    return CatcherError(f"the engine's answer {words}", "nothing of it was used: ask again")


# -- telemetry ------------------------------------------------------------------------------


def from_series(series: Series) -> bytes:
    """A stretch as an Arrow stream, exactly: times stay float64 seconds."""
    import pyarrow as pa

    names = ["", *series.columns]
    fields = [pa.field(name, pa.float64()) for name in names]
    about = {f"unit:{name}": unit for name, unit in series.units.items()}
    schema = pa.schema(fields, metadata={"topic": series.topic, **about})
    arrays = [pa.array(series.time), *(pa.array(one) for one in series.columns.values())]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    return bytes(sink.getvalue())


def to_series(data: bytes) -> Series:
    """The stretch that an Arrow stream holds."""
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(data) as reader:
            table = reader.read_all()
    except pa.ArrowInvalid as error:
        raise _broken("cannot be read") from error
    about = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
    units = {name.removeprefix("unit:"): unit for name, unit in about.items() if ":" in name}
    arrays = [np.asarray(column.to_numpy(), dtype=np.float64) for column in table.columns]
    columns = dict(zip(table.column_names[1:], arrays[1:], strict=True))
    return Series(arrays[0], columns, units, about.get("topic", ""))


# -- nouns ----------------------------------------------------------------------------------


def _enc(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, dtype="<f8").tobytes()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)


def _dec(kind: type, value: Any) -> Any:
    if isinstance(value, bytes):
        return np.frombuffer(value, dtype="<f8").astype(np.float64)
    raise NotImplementedError(kind)


_encoder = msgspec.msgpack.Encoder(enc_hook=_enc)


def from_nouns(nouns: Sequence[Any]) -> bytes:
    """Nouns as MessagePack, exactly: NaN and nanoseconds stay."""
    return _encoder.encode(list(nouns))


def to_nouns(data: bytes, kind: Any) -> list[Any]:
    """The nouns of a kind."""
    try:
        found: list[Any] = msgspec.msgpack.decode(data, type=list[kind], dec_hook=_dec)
    except msgspec.MsgspecError as error:
        raise CatcherError(
            f"the engine's answer cannot be read ({error})", "its Catcher may be of another version"
        ) from error
    return found
