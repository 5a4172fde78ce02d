"""An event loop that is really blocked, and who sees it."""

from __future__ import annotations

import asyncio
import threading

from catcher.vitals import Block, LoopMeter, Watchdog

PATIENCE = 30


class Desk:
    """Takes what the watchdog writes and tells."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.seen = threading.Event()
        self.told: list[Block] = []
        self.over = asyncio.Event()

    def write(self, text: str) -> None:
        self.written.append(text)
        self.seen.set()

    def tell(self, block: Block) -> None:
        self.told.append(block)
        self.over.set()


def a_thoughtless_job(desk: Desk) -> None:
    assert desk.seen.wait(PATIENCE), "nobody saw that the loop is blocked"


async def test_a_blocked_loop_is_seen_while_it_is_blocked_with_the_stack_that_blocks_it() -> None:
    desk = Desk()
    with LoopMeter() as meter, Watchdog(meter, desk.write, desk.tell, limit=0.2) as watchdog:
        a_thoughtless_job(desk)
        during = watchdog.last
        async with asyncio.timeout(PATIENCE):
            await desk.over.wait()
    assert during is not None and not during.over
    assert "a_thoughtless_job" in during.stack
    assert during.place.endswith(
        " in a_thoughtless_job: assert desk.seen.wait(PATIENCE), "
        '"nobody saw that the loop is blocked"'
    )
    (text,) = desk.written
    assert "the event loop has been blocked for 0." in text
    assert "a_thoughtless_job" in text
    (block,) = desk.told
    assert block.over and block.seconds >= 0.2
    assert "the event loop was blocked for" in str(block)
    assert "a_thoughtless_job" in block.stack
    assert (watchdog.count, watchdog.last) == (1, block)


async def test_each_block_is_told_once_and_apart_from_the_next() -> None:
    desk = Desk()
    with LoopMeter() as meter, Watchdog(meter, desk.write, desk.tell, limit=0.1) as watchdog:
        for _ in range(2):
            desk.seen.clear()
            desk.over.clear()
            a_thoughtless_job(desk)
            async with asyncio.timeout(PATIENCE):
                await desk.over.wait()
        assert watchdog.count >= 2
    assert len(desk.written) == len([one for one in desk.told if one.stack])


async def test_a_lag_that_no_thread_could_see_is_counted_without_a_stack() -> None:
    desk = Desk()
    meter = LoopMeter()
    with meter, Watchdog(meter, desk.write, desk.tell, limit=1000) as watchdog:
        meter.hear(2000.0)
        assert watchdog.last == Block(2000.0, "", over=True)
    assert (desk.written, watchdog.count) == ([], 1)
    assert str(desk.told[0]) == "the event loop was blocked for 2000.0 s"


async def test_the_meter_measures_by_how_much_the_loop_is_late() -> None:
    heard = asyncio.Queue[float]()
    with LoopMeter(every=0.001) as meter:
        meter.hear = heard.put_nowait
        for _ in range(20):
            assert await heard.get() >= 0
        assert meter.lag.count >= 20
    assert meter.lag.quantiles(1.0)[0] >= meter.lag.quantiles(0.5)[0]
