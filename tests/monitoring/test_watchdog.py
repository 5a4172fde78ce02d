"""An event loop that is really blocked, and who sees it."""

from __future__ import annotations

import asyncio
import threading

from catcher.monitoring import LoopBlock, LoopLagMeter, Watchdog

TIMEOUT = 30


class BlockRecorder:
    """Takes what the watchdog writes and tells."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.write_event = threading.Event()
        self.blocks: list[LoopBlock] = []
        self.block_ended = asyncio.Event()

    def write(self, text: str) -> None:
        self.texts.append(text)
        self.write_event.set()

    def record_block(self, block: LoopBlock) -> None:
        self.blocks.append(block)
        self.block_ended.set()


def run_blocking_job(recorder: BlockRecorder) -> None:
    assert recorder.write_event.wait(TIMEOUT), "nobody saw that the loop is blocked"


async def test_a_blocked_loop_is_seen_while_it_is_blocked_with_the_stack_that_blocks_it() -> None:
    recorder = BlockRecorder()
    with (
        LoopLagMeter() as meter,
        Watchdog(meter, recorder.write, recorder.record_block, threshold=0.2) as watchdog,
    ):
        run_blocking_job(recorder)
        current_block = watchdog.last_block
        async with asyncio.timeout(TIMEOUT):
            await recorder.block_ended.wait()
    assert current_block is not None and not current_block.over
    assert "run_blocking_job" in current_block.stack
    assert current_block.place.endswith(
        " in run_blocking_job: assert recorder.write_event.wait(TIMEOUT), "
        '"nobody saw that the loop is blocked"'
    )
    (text,) = recorder.texts
    assert "the event loop has been blocked for 0." in text
    assert "run_blocking_job" in text
    (block,) = recorder.blocks
    assert block.over and block.seconds >= 0.2
    assert "the event loop was blocked for" in str(block)
    assert "run_blocking_job" in block.stack
    assert (watchdog.count, watchdog.last_block) == (1, block)


async def test_each_block_is_reported_once() -> None:
    recorder = BlockRecorder()
    with (
        LoopLagMeter() as meter,
        Watchdog(meter, recorder.write, recorder.record_block, threshold=0.1) as watchdog,
    ):
        for _ in range(2):
            recorder.write_event.clear()
            recorder.block_ended.clear()
            run_blocking_job(recorder)
            async with asyncio.timeout(TIMEOUT):
                await recorder.block_ended.wait()
        assert watchdog.count >= 2
    assert len(recorder.texts) == len([block for block in recorder.blocks if block.stack])


async def test_a_lag_that_no_thread_could_see_is_counted_without_a_stack() -> None:
    recorder = BlockRecorder()
    meter = LoopLagMeter()
    with meter, Watchdog(meter, recorder.write, recorder.record_block, threshold=1000) as watchdog:
        meter.on_lag(2000.0)
        assert watchdog.last_block == LoopBlock(2000.0, "", over=True)
    assert (recorder.texts, watchdog.count) == ([], 1)
    assert str(recorder.blocks[0]) == "the event loop was blocked for 2000.0 s"


async def test_the_meter_measures_by_how_much_the_loop_is_late() -> None:
    lags = asyncio.Queue[float]()
    with LoopLagMeter(interval=0.001) as meter:
        meter.on_lag = lags.put_nowait
        for _ in range(20):
            assert await lags.get() >= 0
        assert meter.lag.count >= 20
    assert meter.lag.compute_quantiles(1.0)[0] >= meter.lag.compute_quantiles(0.5)[0]
