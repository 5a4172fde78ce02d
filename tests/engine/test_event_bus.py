"""The streams between the rooms: everybody hears all, and a slow watcher harms only itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

from catcher.engine.event_bus import EventBus
from catcher.model.event import AdmittedEvent, Event
from catcher.model.health import LiveUpdate
from catcher.model.run import Firing, Run


def create_firing(number: int) -> Firing:
    return Firing("wind", str(number), number, "digest", "speed = 12 > 10")


async def read_updates(updates: AsyncIterator[LiveUpdate], count: int) -> list[LiveUpdate]:
    """The next so many."""
    async with asyncio.timeout(10):
        return [await anext(updates) for _ in range(count)]


async def test_subscriber_receives_all_updates_in_order() -> None:
    event_bus = EventBus()
    wind_firing = create_firing(7)
    run = Run(wind_firing.id, wind_firing, "extrapolate")
    async with event_bus.subscribe() as updates:
        event_bus.firings.on_next(wind_firing)
        event_bus.runs.on_next(run)
        event_bus.publish(LiveUpdate("problem", 9, "the broker is away"))
        received = await read_updates(updates, 3)
    assert [(update.kind, update.time, update.body) for update in received] == [
        ("firing", 7, wind_firing),
        ("run", 7, run),
        ("problem", 9, "the broker is away"),
    ]


async def test_events_have_their_own_stream() -> None:
    event_bus = EventBus()
    batch = (AdmittedEvent(Event("wind", 1, {"speed": 12})),)
    async with event_bus.subscribe() as updates, event_bus.subscribe_events() as batches:
        event_bus.events.on_next(batch)
        event_bus.firings.on_next(create_firing(1))
        async with asyncio.timeout(10):
            assert await anext(batches) == batch
        assert [update.kind for update in await read_updates(updates, 1)] == ["firing"]


async def test_slow_subscriber_loses_the_oldest_and_is_notified() -> None:
    event_bus = EventBus()
    async with event_bus.subscribe(size=3) as updates:
        for number in range(10):
            event_bus.firings.on_next(create_firing(number))
        assert event_bus.lost_count == 7
        problem, *remaining = await read_updates(updates, 4)
        assert problem.kind == "problem"
        assert problem.body.startswith("7 updates were lost")
        assert [update.time for update in remaining] == [7, 8, 9]
        event_bus.firings.on_next(create_firing(10))
        assert [update.time for update in await read_updates(updates, 1)] == [10]


async def test_lost_updates_stay_counted_after_unsubscribing() -> None:
    event_bus = EventBus()
    for _ in range(2):
        async with event_bus.subscribe(size=1):
            assert event_bus.subscriber_count == 1
            for number in range(4):
                event_bus.firings.on_next(create_firing(number))
    assert event_bus.subscriber_count == 0
    assert event_bus.lost_count == 6


async def test_slow_subscriber_does_not_affect_another() -> None:
    event_bus = EventBus()
    async with event_bus.subscribe(size=1), event_bus.subscribe() as updates:
        for number in range(50):
            event_bus.firings.on_next(create_firing(number))
        received = await read_updates(updates, 50)
    assert all(current.time == previous.time + 1 for previous, current in pairwise(received))


async def test_subscriber_receives_nothing_from_before_or_after() -> None:
    event_bus = EventBus()
    event_bus.firings.on_next(create_firing(1))
    async with event_bus.subscribe() as updates:
        event_bus.firings.on_next(create_firing(2))
        assert [update.time for update in await read_updates(updates, 1)] == [2]
    event_bus.firings.on_next(create_firing(3))
    assert event_bus.lost_count == 0


async def test_subscriber_waits_for_the_next_update() -> None:
    event_bus = EventBus()
    async with event_bus.subscribe() as updates, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(read_updates(updates, 1))
        await asyncio.sleep(0)
        assert not waiting.done()
        event_bus.firings.on_next(create_firing(5))
        assert [update.time for update in await waiting] == [5]
