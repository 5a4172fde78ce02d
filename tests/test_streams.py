"""The streams between the rooms: everybody hears all, and a slow watcher harms only itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

from catcher.model.event import Admitted, Event
from catcher.model.health import Update
from catcher.model.run import Firing, Run
from catcher.streams import Streams


def firing(number: int) -> Firing:
    return Firing("wind", str(number), number, "digest", "speed = 12 > 10")


async def taken(updates: AsyncIterator[Update], count: int) -> list[Update]:
    """The next so many."""
    async with asyncio.timeout(10):
        return [await anext(updates) for _ in range(count)]


async def test_a_watcher_sees_all_nouns_in_the_order_in_which_they_were_told() -> None:
    streams = Streams()
    one = firing(7)
    run = Run(one.id, one, "extrapolate")
    async with streams.watch() as updates:
        streams.firings.on_next(one)
        streams.runs.on_next(run)
        streams.publish(Update("problem", 9, "the broker is away"))
        found = await taken(updates, 3)
    assert [(update.kind, update.time, update.body) for update in found] == [
        ("firing", 7, one),
        ("run", 7, run),
        ("problem", 9, "the broker is away"),
    ]


async def test_events_have_a_stream_of_their_own() -> None:
    streams = Streams()
    batch = (Admitted(Event("wind", 1, {"speed": 12})),)
    async with streams.watch() as updates, streams.watch_events() as batches:
        streams.events.on_next(batch)
        streams.firings.on_next(firing(1))
        async with asyncio.timeout(10):
            assert await anext(batches) == batch
        assert [update.kind for update in await taken(updates, 1)] == ["firing"]


async def test_a_slow_watcher_loses_the_oldest_and_is_told_so() -> None:
    streams = Streams()
    async with streams.watch(size=3) as updates:
        for number in range(10):
            streams.firings.on_next(firing(number))
        assert streams.lost == 7
        told, *kept = await taken(updates, 4)
        assert told.kind == "problem"
        assert told.body.startswith("7 updates were lost")
        assert [update.time for update in kept] == [7, 8, 9]
        streams.firings.on_next(firing(10))
        assert [update.time for update in await taken(updates, 1)] == [10]


async def test_what_was_lost_stays_counted_when_the_watcher_has_gone() -> None:
    streams = Streams()
    for _ in range(2):
        async with streams.watch(size=1):
            assert streams.watching == 1
            for number in range(4):
                streams.firings.on_next(firing(number))
    assert streams.watching == 0
    assert streams.lost == 6


async def test_a_slow_watcher_takes_nothing_from_another() -> None:
    streams = Streams()
    async with streams.watch(size=1), streams.watch() as updates:
        for number in range(50):
            streams.firings.on_next(firing(number))
        found = await taken(updates, 50)
    assert all(after.time == before.time + 1 for before, after in pairwise(found))


async def test_a_watcher_sees_nothing_of_before_and_nothing_of_after() -> None:
    streams = Streams()
    streams.firings.on_next(firing(1))
    async with streams.watch() as updates:
        streams.firings.on_next(firing(2))
        assert [update.time for update in await taken(updates, 1)] == [2]
    streams.firings.on_next(firing(3))
    assert streams.lost == 0


async def test_a_watcher_waits_until_something_happens() -> None:
    streams = Streams()
    async with streams.watch() as updates, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(taken(updates, 1))
        await asyncio.sleep(0)
        assert not waiting.done()
        streams.firings.on_next(firing(5))
        assert [update.time for update in await waiting] == [5]
