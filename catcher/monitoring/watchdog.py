"""A thread that detects when the event loop is blocked, and by what."""

from __future__ import annotations

import asyncio
import asyncio.events
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from catcher.monitoring.loop_lag import LoopLagMeter
from catcher.monitoring.sliding_statistics import MonotonicClock

BLOCK_THRESHOLD = 1.0
"""Seconds without a tick of the loop after which it counts as blocked."""
MAX_REMEMBERED_BLOCKS = 20
MAX_STACK_LINES = 40
_STDLIB_PATH = str(Path(asyncio.__file__).parents[1])


@dataclass(frozen=True, slots=True)
class LoopBlock:
    """One blocking of the loop: its duration so far (s), and the stack that caused it.

    `place` is the innermost line of the stack outside the standard library. `over` tells that the
    loop runs again, so that `seconds` is the full duration. Stack and place are empty if no thread
    could run meanwhile: something held the interpreter itself.
    """

    seconds: float
    stack: str
    place: str = ""
    over: bool = False

    def __str__(self) -> str:
        head = f"the event loop was blocked for {self.seconds:.1f} s"
        if not self.over:
            head = f"the event loop has been blocked for {self.seconds:.1f} s"
        return f"{head}, by {self.place}" if self.place else head


class Watchdog:
    """Watches a loop lag meter from its own thread, for as long as its context lasts.

    Enter it in the thread of the loop. `write_stack` gets the stack while the loop is blocked, in
    the watchdog's thread, once per block; `on_block` gets the block when it is over, in the loop's
    thread.
    """

    def __init__(
        self,
        meter: LoopLagMeter,
        write_stack: Callable[[str], None],
        on_block: Callable[[LoopBlock], None] = lambda block: None,
        threshold: float = BLOCK_THRESHOLD,
        monotonic: MonotonicClock = time.monotonic,
    ) -> None:
        self._meter, self._write_stack, self._on_block = meter, write_stack, on_block
        self._threshold, self._monotonic = threshold, monotonic
        self._thread = threading.Thread(
            target=self._monitor_loop, name="catcher-watchdog", daemon=True
        )
        self._stopped = threading.Event()
        self._loop_thread_id = 0
        self._current_block: LoopBlock | None = None
        self.blocks: deque[LoopBlock] = deque(maxlen=MAX_REMEMBERED_BLOCKS)
        self.count = 0

    def __enter__(self) -> Self:
        self._loop_thread_id = threading.get_ident()
        self._meter.on_lag = self._handle_lag
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    @property
    def last_block(self) -> LoopBlock | None:
        """The last block, including a current one."""
        return self._current_block or (self.blocks[-1] if self.blocks else None)

    # -- in the watchdog's thread -------------------------------------------------------------

    def _monitor_loop(self) -> None:
        interval, last_check = self._threshold / 10, self._monotonic()
        reported_tick = -1.0
        while not self._stopped.wait(interval):
            now, previous_check = self._monotonic(), last_check
            last_check, last_tick = now, self._meter.last_tick
            # If this thread did not run either, the whole process was stopped, or something held
            # the interpreter, which `_handle_lag` reports.
            if now - previous_check > interval + self._threshold:
                continue
            if now - last_tick > self._threshold and last_tick != reported_tick:
                reported_tick = last_tick
                stack = traceback.extract_stack(sys._current_frames().get(self._loop_thread_id))
                text = "".join(stack.format()[-MAX_STACK_LINES:])
                self._current_block = LoopBlock(
                    now - last_tick, text, _describe_blocking_line(stack)
                )
                self._write_stack(f"{self._current_block}\n{text}")

    # -- in the loop's thread -----------------------------------------------------------------

    def _handle_lag(self, lag: float) -> None:
        block, self._current_block = self._current_block, None
        if lag <= self._threshold and block is None:
            return
        self.count += 1
        block = block or LoopBlock(lag, "")
        finished = replace(block, seconds=max(lag, block.seconds), over=True)
        self.blocks.append(finished)
        self._on_block(finished)


def _describe_blocking_line(stack: traceback.StackSummary) -> str:
    """Returns the innermost line outside the standard library that the loop is executing."""
    event_loop_frames = [
        index for index, frame in enumerate(stack) if frame.filename == asyncio.events.__file__
    ]
    callback_frames = stack[event_loop_frames[-1] + 1 :] if event_loop_frames else stack
    user_frames = [frame for frame in callback_frames if not _is_stdlib(frame.filename)]
    frame = (user_frames or callback_frames or stack)[-1]
    return f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"


def _is_stdlib(filename: str) -> bool:
    return filename.startswith((_STDLIB_PATH, "<")) and "site-packages" not in filename
