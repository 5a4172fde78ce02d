"""The route that tells admitted events in their order, a line each, for whoever records them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from fnmatch import translate
from re import compile as pattern

import msgspec
from fastapi import FastAPI, Query
from fastapi.responses import StreamingResponse

from catcher.model.event import Admitted
from catcher.model.problem import CatcherError
from catcher.model.time import format_instant
from catcher.ports import Live

KEPT = 1_000
"""How many batches wait for a slow reader; of those beyond, the oldest are lost, and told."""
SIGN = 10.0
"""Seconds after which an empty line says that the engine is there."""
MOST_PATTERNS, LONGEST = 100, 500
_encode = msgspec.json.Encoder(enc_hook=str).encode


def tailing(api: FastAPI, live: Live) -> None:
    """Adds the route."""

    @api.get("/tail")
    async def tail(topic: list[str] = Query(default=[])) -> StreamingResponse:  # noqa: B008
        """Events as they are let in: a recorded line each, `{"lost": n}` where some were lost."""
        if len(topic) > MOST_PATTERNS or any(len(one) > LONGEST for one in topic):
            raise CatcherError(
                f"at most {MOST_PATTERNS} patterns of {LONGEST} characters can be followed",
                "follow fewer, or all",
            )
        return StreamingResponse(_lines(live, topic), media_type="application/x-ndjson")


async def _lines(live: Live, topics: Sequence[str]) -> AsyncIterator[bytes]:
    shapes = [pattern(translate(one)) for one in topics]
    known: dict[str, bool] = {}

    def wanted(topic: str) -> bool:
        if topic not in known:
            if len(known) > 50_000:
                known.clear()
            known[topic] = not shapes or any(one.match(topic) for one in shapes)
        return known[topic]

    async with live.watch_events(KEPT) as batches:
        yield b"\n"
        coming = asyncio.ensure_future(anext(batches))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=SIGN)
                if not done:
                    yield b"\n"
                    continue
                batch = coming.result()
                coming = asyncio.ensure_future(anext(batches))
                if isinstance(batch, int):
                    yield _encode({"lost": batch}) + b"\n"
                elif lines := [_line(one) for one in batch if wanted(one.event.topic)]:
                    yield b"".join(lines)
        finally:
            coming.cancel()
            await asyncio.wait({coming})


def _line(admitted: Admitted) -> bytes:
    event = admitted.event
    row = {
        "topic": event.topic,
        "time": format_instant(event.time),
        "fields": event.fields,
        "source": event.source,
    }
    return _encode(row) + b"\n"
