"""How an engine is told to end, and how its process ends when it does not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from catcher.model.time import to_seconds

if TYPE_CHECKING:
    from catcher.app import Running

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WHILE_OPENING = 20.0
OVERTIME = 10.0
"""Seconds beyond its limit after which a stop is given up and the process ended."""
LATE = 75
"""The status of a process whose stop was given up (EX_TEMPFAIL of sysexits.h)."""


class Ending:
    """Signals for as long as the context lasts, on the loop and in the thread that enter it.

    The first Ctrl-C or SIGTERM ends the engine after the step in hand, or its opening. The next
    ends the process at once, and so does a stop that takes far longer than it may. That is
    safe: what was going on is taken up at the next start. SIGHUP reads the site anew.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._running: Running | None = None
        self._late: threading.Timer | None = None
        self._before: dict[signal.Signals, Any] = {}
        self.before_it_began = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in SIGNALS:
                self._before[name] = signal.getsignal(name)
                self._loop.add_signal_handler(name, self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._late is not None:
            self._late.cancel()
        for name, handler in self._before.items():
            self._loop.remove_signal_handler(name)
            signal.signal(name, handler)
        if self._before:
            self._loop.remove_signal_handler(signal.SIGHUP)

    def concerns(self, running: Running) -> None:
        """The engine that is to end."""
        self._running = running
        if self._before and running.ask_to_reload is not None:
            self._loop.add_signal_handler(signal.SIGHUP, running.ask_to_reload)

    def _stop(self) -> None:
        for name in SIGNALS:
            self._loop.remove_signal_handler(name)
            # Unlike a handler of the loop's, this one runs while something blocks the loop.
            signal.signal(name, lambda number, frame: self._leave(_AT_ONCE, 128 + number))
        running = self._running
        limit = WHILE_OPENING if running is None else to_seconds(running.grace.whole)
        self._late = threading.Timer(limit + OVERTIME, self._leave, [_TOO_LONG, LATE])
        self._late.daemon = True
        self._late.start()
        if running is not None:
            running.stop()
        elif self._task is not None:
            self.before_it_began = True
            self._task.cancel()

    def _leave(self, words: str, status: int) -> None:
        if self._running is not None:
            self._running.abandon()
        # Not through a stream of Python's: the code that was interrupted may hold its lock.
        os.write(sys.stderr.fileno(), f"{words}\n".encode())
        os._exit(status)


_AT_ONCE = "ended at once; what was going on is taken up at the next start"
_TOO_LONG = "the stop took too long; what was going on is taken up at the next start"
