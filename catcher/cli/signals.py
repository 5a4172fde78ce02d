"""How signals stop an engine, and how its process ends if it does not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from catcher.model.time import nanoseconds_to_seconds

if TYPE_CHECKING:
    from catcher.app import EngineHandle

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
OPENING_TIMEOUT = 20.0
STOP_GRACE_SECONDS = 10.0
"""Seconds beyond its limit after which a stop is given up and the process ended."""
STOP_TIMEOUT_STATUS = 75
"""The exit status of a process whose stop was given up (EX_TEMPFAIL of sysexits.h)."""


class SignalHandler:
    """Handles signals for as long as the context lasts, on the loop and in the thread of entry.
    The first Ctrl-C or SIGTERM ends the engine after the current step, or its opening. The next
    ends the process at once, and so does a stop that takes far longer than it may. That is safe:
    unfinished work is resumed at the next start. SIGHUP reloads the site.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._handle: EngineHandle | None = None
        self._stop_timer: threading.Timer | None = None
        self._previous_handlers: dict[signal.Signals, Any] = {}
        self.cancelled_while_opening = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signal_number in STOP_SIGNALS:
                self._previous_handlers[signal_number] = signal.getsignal(signal_number)
                self._loop.add_signal_handler(signal_number, self._handle_stop_signal)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stop_timer is not None:
            self._stop_timer.cancel()
        for signal_number, handler in self._previous_handlers.items():
            self._loop.remove_signal_handler(signal_number)
            signal.signal(signal_number, handler)
        if self._previous_handlers:
            self._loop.remove_signal_handler(signal.SIGHUP)

    def attach_engine(self, handle: EngineHandle) -> None:
        """Sets the engine that signals stop."""
        self._handle = handle
        if self._previous_handlers and handle.request_reload is not None:
            self._loop.add_signal_handler(signal.SIGHUP, handle.request_reload)

    def _handle_stop_signal(self) -> None:
        for signal_number in STOP_SIGNALS:
            self._loop.remove_signal_handler(signal_number)
            # Unlike a handler of the loop's, this one runs even while something blocks the loop.
            signal.signal(
                signal_number,
                lambda number, frame: self._exit_process(_IMMEDIATE_MESSAGE, 128 + number),
            )
        handle = self._handle
        timeout = (
            OPENING_TIMEOUT if handle is None else nanoseconds_to_seconds(handle.deadline.total)
        )
        self._stop_timer = threading.Timer(
            timeout + STOP_GRACE_SECONDS,
            self._exit_process,
            [_TIMEOUT_MESSAGE, STOP_TIMEOUT_STATUS],
        )
        self._stop_timer.daemon = True
        self._stop_timer.start()
        if handle is not None:
            handle.stop()
        elif self._task is not None:
            self.cancelled_while_opening = True
            self._task.cancel()

    def _exit_process(self, message: str, status: int) -> None:
        if self._handle is not None:
            self._handle.remove_address_file()
        # Not through one of Python's streams: the interrupted code may hold its lock.
        os.write(sys.stderr.fileno(), f"{message}\n".encode())
        os._exit(status)


_IMMEDIATE_MESSAGE = "ended at once; what was going on is taken up at the next start"
_TIMEOUT_MESSAGE = "the stop took too long; what was going on is taken up at the next start"
