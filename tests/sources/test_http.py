"""A post is answered when it is kept, and taken whole or not at all."""

from __future__ import annotations

import asyncio
import json

import pytest

from catcher.model.event import Event
from catcher.model.problem import CatcherError
from catcher.model.time import parse_instant
from catcher.ports import Busy
from catcher.sources.http import HttpSettings, HttpSource

NOW = parse_instant("2025-04-24T00:00:00Z")


def source(waiting: int = 256) -> HttpSource:
    return HttpSource("posts", HttpSettings(waiting=waiting), lambda: NOW)


async def test_a_post_is_answered_when_its_delivery_is_done() -> None:
    posts = source()
    async with posts.open() as deliveries:
        body = json.dumps(
            [{"topic": "a", "fields": {"x": 1}}, {"topic": "b", "time": "2025-04-24"}]
        )
        posting = asyncio.ensure_future(posts.post(body.encode()))
        delivery = await anext(deliveries)
        assert delivery.durable
        assert list(delivery.events) == [
            Event("a", NOW, {"x": 1}, "posts"),
            Event("b", NOW, {}, "posts"),
        ]
        assert not posting.done()
        await delivery.done()
        assert await posting == 2
    assert posts.health().counts["events"] == 2


async def test_events_can_be_given_as_they_are_and_without_keeping() -> None:
    posts = source()
    async with posts.open() as deliveries:
        posting = asyncio.ensure_future(posts.post([Event("a", NOW, {})], durable=False))
        delivery = await anext(deliveries)
        assert not delivery.durable
        await delivery.done()
        assert await posting == 1


async def test_a_named_post_enters_under_its_name() -> None:
    posts = source()
    async with posts.open() as deliveries:
        for body, fields in ((b'{"wind": 12}', {"wind": 12}), (b"", {})):
            posting = asyncio.ensure_future(posts.post_named("flux-wind", body))
            delivery = await anext(deliveries)
            assert delivery.events[0] == Event("catcher.http.flux-wind", NOW, fields, "posts")
            await delivery.done()
            assert await posting == 1


@pytest.mark.parametrize(
    ("body", "words"),
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
async def test_a_bad_post_is_refused_whole(body: bytes, words: str) -> None:
    posts = source()
    async with posts.open():
        with pytest.raises(CatcherError) as refused:
            await posts.post(body)
    assert words in str(refused.value)
    assert posts.health().counts["events"] == 0


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "x" * 200, "\u202e"])
async def test_a_name_that_is_none_is_refused(name: str) -> None:
    posts = source()
    async with posts.open():
        with pytest.raises(CatcherError, match="is no name to post to"):
            await posts.post_named(name)


async def test_when_too_many_wait_the_next_is_told_to_come_again() -> None:
    posts = source(waiting=2)
    async with posts.open() as deliveries:
        waiting = [asyncio.ensure_future(posts.post([Event("a", NOW, {})])) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await posts.post([Event("a", NOW, {})])
        assert posts.health().counts["busy"] == 1
        for _ in waiting:
            await (await anext(deliveries)).done()
        assert await asyncio.gather(*waiting) == [1, 1]


async def test_who_waits_when_it_ends_is_told_so() -> None:
    posts = source()
    async with posts.open():
        posting = asyncio.ensure_future(posts.post([Event("a", NOW, {})]))
        await asyncio.sleep(0)
    with pytest.raises(Busy, match="stopped before the post was kept"):
        await posting
    with pytest.raises(Busy):
        await posts.post([Event("a", NOW, {})])


async def test_nothing_posted_is_nothing_to_wait_for() -> None:
    posts = source()
    async with posts.open():
        assert await posts.post(b"[]") == 0
