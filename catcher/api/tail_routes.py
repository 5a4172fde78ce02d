"""The route that streams admitted events in order, one per line, for recorders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from fnmatch import translate
from re import compile as pattern

import msgspec
from fastapi import FastAPI, Query
from fastapi.responses import StreamingResponse

from catcher.model.errors import CatcherError
from catcher.model.event import AdmittedEvent
from catcher.model.time import format_instant
from catcher.ports import UpdateFeed

MAX_PENDING_BATCHES = 1_000
"""Batches that wait for a slow reader; beyond, the oldest are dropped, and reported as lost."""
KEEPALIVE_INTERVAL = 10.0
"""Seconds after which an empty line shows that the engine is alive."""
MAX_PATTERNS, MAX_PATTERN_LENGTH = 100, 500
_encode = msgspec.json.Encoder(enc_hook=str).encode


def add_tail_route(api: FastAPI, feed: UpdateFeed) -> None:
    """Adds the route."""

    @api.get("/tail")
    async def tail(topic: list[str] = Query(default=[])) -> StreamingResponse:  # noqa: B008
        """Events as they are let in: a recorded line each, `{"lost": n}` where some were lost."""
        if len(topic) > MAX_PATTERNS or any(
            len(pattern_text) > MAX_PATTERN_LENGTH for pattern_text in topic
        ):
            raise CatcherError(
                f"at most {MAX_PATTERNS} patterns of "
                f"{MAX_PATTERN_LENGTH} characters can be followed",
                "follow fewer, or all",
            )
        return StreamingResponse(
            _stream_event_lines(feed, topic), media_type="application/x-ndjson"
        )


async def _stream_event_lines(feed: UpdateFeed, topics: Sequence[str]) -> AsyncIterator[bytes]:
    patterns = [pattern(translate(topic_glob)) for topic_glob in topics]
    is_followed_by_topic: dict[str, bool] = {}

    def is_followed_topic(topic: str) -> bool:
        if topic not in is_followed_by_topic:
            if len(is_followed_by_topic) > 50_000:
                is_followed_by_topic.clear()
            is_followed_by_topic[topic] = not patterns or any(
                pattern_regex.match(topic) for pattern_regex in patterns
            )
        return is_followed_by_topic[topic]

    async with feed.subscribe_events(MAX_PENDING_BATCHES) as batches:
        yield b"\n"
        next_batch = asyncio.ensure_future(anext(batches))
        try:
            while True:
                done, _ = await asyncio.wait({next_batch}, timeout=KEEPALIVE_INTERVAL)
                if not done:
                    yield b"\n"
                    continue
                batch = next_batch.result()
                next_batch = asyncio.ensure_future(anext(batches))
                if isinstance(batch, int):
                    yield _encode({"lost": batch}) + b"\n"
                elif lines := [
                    _encode_event_line(topic_glob)
                    for topic_glob in batch
                    if is_followed_topic(topic_glob.event.topic)
                ]:
                    yield b"".join(lines)
        finally:
            next_batch.cancel()
            await asyncio.wait({next_batch})


def _encode_event_line(admitted: AdmittedEvent) -> bytes:
    event = admitted.event
    row = {
        "topic": event.topic,
        "time": format_instant(event.time),
        "fields": event.fields,
        "source": event.source,
    }
    return _encode(row) + b"\n"
