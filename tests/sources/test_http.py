"""A post is answered when it is kept, and taken whole or not at all."""

from __future__ import annotations

import asyncio
import json

import pytest

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.time import parse_instant
from catcher.ports import EngineBusy
from catcher.sources.http import HttpSource, HttpSourceSettings

NOW = parse_instant("2025-04-24T00:00:00Z")


def create_source(waiting: int = 256) -> HttpSource:
    return HttpSource("posts", HttpSourceSettings(waiting=waiting), lambda: NOW)


async def test_a_post_is_answered_when_its_batch_is_acknowledged() -> None:
    source = create_source()
    async with source.open() as batches:
        body = json.dumps(
            [{"topic": "a", "fields": {"x": 1}}, {"topic": "b", "time": "2025-04-24"}]
        )
        post_task = asyncio.ensure_future(source.ingest_json_events(body.encode()))
        batch = await anext(batches)
        assert batch.durable
        assert list(batch.events) == [
            Event("a", NOW, {"x": 1}, "posts"),
            Event("b", NOW, {}, "posts"),
        ]
        assert not post_task.done()
        await batch.acknowledge()
        assert await post_task == 2
    assert source.health().counts["events"] == 2


async def test_events_can_be_posted_directly_and_not_durable() -> None:
    source = create_source()
    async with source.open() as batches:
        post_task = asyncio.ensure_future(
            source.ingest_json_events([Event("a", NOW, {})], durable=False)
        )
        batch = await anext(batches)
        assert not batch.durable
        await batch.acknowledge()
        assert await post_task == 1


async def test_a_named_post_has_its_name_in_the_topic() -> None:
    source = create_source()
    async with source.open() as batches:
        for body, fields in ((b'{"wind": 12}', {"wind": 12}), (b"", {})):
            post_task = asyncio.ensure_future(source.ingest_webhook("flux-wind", body))
            batch = await anext(batches)
            assert batch.events[0] == Event("catcher.http.flux-wind", NOW, fields, "posts")
            await batch.acknowledge()
            assert await post_task == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "it is empty"),
        (b"wind=12", "not JSON"),
        (b'[{"topic": "a"}, {"fields": {}}]', "event 2 of 2: the event has no topic"),
        (b'{"topic": "a", "time": 3}', "time 3 is no time"),
        (b'{"topic": "catcher.images"}', "are results"),
        (b'"' + b"x" * 2_000_000 + b'"', "larger than the 1000000"),
        (b"[" + b"3," * 20 + b"3]", "(and 20 more)"),
    ],
)
async def test_a_bad_post_is_refused_completely(body: bytes, message: str) -> None:
    source = create_source()
    async with source.open():
        with pytest.raises(CatcherError) as error_info:
            await source.ingest_json_events(body)
    assert message in str(error_info.value)
    assert source.health().counts["events"] == 0


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "x" * 200, "\u202e"])
async def test_an_invalid_name_is_refused(name: str) -> None:
    source = create_source()
    async with source.open():
        with pytest.raises(CatcherError, match="is no name to post to"):
            await source.ingest_webhook(name)


async def test_when_too_many_wait_the_next_is_refused_as_busy() -> None:
    source = create_source(waiting=2)
    async with source.open() as batches:
        post_tasks = [
            asyncio.ensure_future(source.ingest_json_events([Event("a", NOW, {})]))
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        with pytest.raises(EngineBusy):
            await source.ingest_json_events([Event("a", NOW, {})])
        assert source.health().counts["busy"] == 1
        for _ in post_tasks:
            await (await anext(batches)).acknowledge()
        assert await asyncio.gather(*post_tasks) == [1, 1]


async def test_a_post_that_waits_at_the_end_is_refused() -> None:
    source = create_source()
    async with source.open():
        post_task = asyncio.ensure_future(source.ingest_json_events([Event("a", NOW, {})]))
        await asyncio.sleep(0)
    with pytest.raises(EngineBusy, match="stopped before the post was kept"):
        await post_task
    with pytest.raises(EngineBusy):
        await source.ingest_json_events([Event("a", NOW, {})])


async def test_nothing_posted_is_nothing_to_wait_for() -> None:
    source = create_source()
    async with source.open():
        assert await source.ingest_json_events(b"[]") == 0
