"""What an InfluxDB answers to a query, chunk by chunk, as columns.

1.x and 2.x answer in MessagePack where they are asked to (a third of the time of JSON), 3.x in
JSON. Either way an answer consists of chunks that each say whether more follow, so that one that
was cut is never taken for whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from catcher.model.problem import CatcherError
from catcher.model.text import plain
from catcher.ports import StoreAway
from catcher.stores.influx_rows import BufferFull, Messages, UnpackException
from catcher.stores.web import Answer, retry_after

JSON, MSGPACK = "application/json", "application/x-msgpack"
LARGEST_CHUNK = 2**28
CUT = "see to the server, and ask again"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a series: the names of its columns, and the columns."""

    columns: tuple[str, ...]
    cells: tuple[Sequence[Any], ...]

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return len(self.cells[0]) if self.cells else 0

    def column(self, name: str) -> Sequence[Any]:
        """The cells of a column."""
        return self.cells[self.columns.index(name)]

    def plain(self) -> list[Sequence[Any]]:
        """The columns as plain values, in their order."""
        return [one.tolist() if isinstance(one, np.ndarray) else one for one in self.cells]


class Refused(CatcherError):
    """The server understood the request and will not answer it; `reason` is what it said."""

    def __init__(self, who: str, reason: str, hint: str = "see what the server says") -> None:
        super().__init__(f"{who} refused: {plain(reason, 300)}", hint)
        self.reason = reason


def chunks(answer: Answer, who: str) -> Iterator[Chunk]:
    """The chunks of an answer. StoreAway where it is not whole, Refused with the server's words."""
    _check_status(answer, who)
    if answer.kind == MSGPACK:
        messages = _msgpack(answer, who)
    elif answer.kind == JSON:
        messages = _json(answer, who)
    else:
        raise StoreAway(
            f"{who} answered with {plain(answer.kind, 60) or 'nothing'}, which no InfluxDB does",
            "see whether the address is the database's own",
        )
    more, any_came = False, False
    for message in messages:
        any_came = True
        if isinstance(message, tuple) and len(message) == 3:
            names, columns, more = message
            yield Chunk(names, tuple(columns))
            continue
        more = False
        for result in _results(message, who):
            more = more or bool(result.get("partial"))
            for series in result.get("series") or ():
                yield _chunk(series, who)
    if more or not any_came:
        raise StoreAway(f"{who} ended its answer before it was whole; nothing of it was used", CUT)


def _check_status(answer: Answer, who: str) -> None:
    if answer.status == 200:
        return
    said = _said(answer.words())
    if answer.status in (401, 403):
        raise StoreAway(
            f"{who} refused the credentials: {plain(said, 200)}",
            "see to the token, or username and password",
        )
    if answer.status in (400, 404, 405, 406, 413, 415, 422):
        raise Refused(who, f"{answer.status} {said}")
    raise StoreAway(
        f"{who} answered {answer.status}: {plain(said, 200)}", "see to the server",
        retry_after(answer.headers),
    )  # fmt: skip


def _said(body: str) -> str:
    try:
        told = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body
    if isinstance(told, dict):
        return str(told.get("error") or told.get("message") or body)
    return body


def _json(answer: Answer, who: str) -> Iterator[Any]:
    left = bytearray()
    for piece in answer.pieces:
        left += piece
        *lines, rest = left.split(b"\n")
        for line in lines:
            if line.strip():
                yield _decoded(bytes(line), who)
        left = bytearray(rest)
        if len(left) > LARGEST_CHUNK:
            raise _too_large(who)
    if left.strip():
        yield _decoded(bytes(left), who)


def _decoded(line: bytes, who: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise StoreAway(
            f"{who} sent what is no whole answer; nothing of it was used", CUT
        ) from None


def _msgpack(answer: Answer, who: str) -> Iterator[Any]:
    messages = Messages(LARGEST_CHUNK)
    try:
        for piece in answer.pieces:
            yield from messages.feed(piece)
        yield from messages.rest()
    except BufferFull:
        raise _too_large(who) from None
    except (UnpackException, ValueError, RecursionError):
        raise StoreAway(
            f"{who} sent what is no whole answer; nothing of it was used", CUT
        ) from None


def _too_large(who: str) -> CatcherError:
    return CatcherError(f"{who} sent a chunk that is too large", "ask for fewer fields at once")


def _results(message: Any, who: str) -> list[dict[str, Any]]:
    if not isinstance(message, dict):
        raise StoreAway(f"{who} sent what is no answer to a query", CUT)
    if "error" in message:
        raise Refused(who, str(message["error"]))
    found = [one for one in message.get("results") or () if isinstance(one, dict)]
    for one in found:
        if "error" in one:
            raise Refused(who, str(one["error"]))
    return found


def _chunk(series: Any, who: str) -> Chunk:
    """The rows of a message as columns; rows that are not as wide as they say are no answer."""
    try:
        columns = tuple(map(str, series["columns"]))
        rows = series.get("values") or ()
        cells = tuple(zip(*rows, strict=True)) or tuple(() for _ in columns)
        if len(cells) != len(columns):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StoreAway(f"{who} sent rows that do not fit their columns", CUT) from None
    return Chunk(columns, cells)
