"""A thread that sees when the event loop is blocked, and what blocks it."""

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

from catcher.vitals.loop import LoopMeter
from catcher.vitals.recent import Seconds

LIMIT = 1.0
"""Seconds without a turn of the loop after which it counts as blocked."""
REMEMBERED = 20
DEEPEST = 40
_LIBRARY = str(Path(asyncio.__file__).parents[1])


@dataclass(frozen=True, slots=True)
class Block:
    """One time that the loop was blocked: for how long so far (s), and the stack that did it.

    `place` is the innermost line of the stack that is not of Python's own library. `over` tells
    that the loop turns again, so that `seconds` is the whole of it. Stack and place are empty
    where no thread could run meanwhile: something held the interpreter itself.
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
    """Looks at a loop meter from a thread of its own, for as long as its context lasts.

    It is entered in the thread of the loop. `write` gets the stack while the loop is blocked,
    in the watchdog's thread, once for each block; `tell` gets the block when it is over, in
    the loop's.
    """

    def __init__(
        self,
        meter: LoopMeter,
        write: Callable[[str], None],
        tell: Callable[[Block], None] = lambda block: None,
        limit: float = LIMIT,
        seconds: Seconds = time.monotonic,
    ) -> None:
        self._meter, self._write, self._tell = meter, write, tell
        self._limit, self._seconds = limit, seconds
        self._thread = threading.Thread(target=self._watch, name="catcher-watchdog", daemon=True)
        self._ended = threading.Event()
        self._loops_thread = 0
        self._now: Block | None = None
        self.blocks: deque[Block] = deque(maxlen=REMEMBERED)
        self.count = 0

    def __enter__(self) -> Self:
        self._loops_thread = threading.get_ident()
        self._meter.hear = self._turned
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def last(self) -> Block | None:
        """The last block, that of now included."""
        return self._now or (self.blocks[-1] if self.blocks else None)

    # -- in the watchdog's thread -------------------------------------------------------------

    def _watch(self) -> None:
        pause, looked = self._limit / 10, self._seconds()
        told_at = -1.0
        while not self._ended.wait(pause):
            now, before = self._seconds(), looked
            looked, ticked = now, self._meter.ticked
            # Who did not run itself cannot blame the loop: the whole process was stopped, or
            # something held the interpreter, which `_turned` tells.
            if now - before > pause + self._limit:
                continue
            if now - ticked > self._limit and ticked != told_at:
                told_at = ticked
                stack = traceback.extract_stack(sys._current_frames().get(self._loops_thread))
                text = "".join(stack.format()[-DEEPEST:])
                self._now = Block(now - ticked, text, _place(stack))
                self._write(f"{self._now}\n{text}")

    # -- in the loop's ------------------------------------------------------------------------

    def _turned(self, lag: float) -> None:
        seen, self._now = self._now, None
        if lag <= self._limit and seen is None:
            return
        self.count += 1
        seen = seen or Block(lag, "")
        over = replace(seen, seconds=max(lag, seen.seconds), over=True)
        self.blocks.append(over)
        self._tell(over)


def _place(stack: traceback.StackSummary) -> str:
    """The innermost line that somebody wrote for what the loop does now."""
    begins = [number for number, one in enumerate(stack) if one.filename == asyncio.events.__file__]
    own = stack[begins[-1] + 1 :] if begins else stack
    written = [one for one in own if not _is_pythons(one.filename)]
    one = (written or own or stack)[-1]
    return f"{one.filename}:{one.lineno} in {one.name}: {one.line}"


def _is_pythons(name: str) -> bool:
    return name.startswith((_LIBRARY, "<")) and "site-packages" not in name
