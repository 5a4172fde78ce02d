"""One worker process: opened, given calls one at a time, thrown away when anything is odd.

Each slot has a pool of its own with a single process, so that no lock, pipe or queue is shared
with another slot: whatever a job does to its process harms that slot only.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from threading import Thread
from typing import Any

from pebble import ProcessExpired, ProcessPool

from catcher.executors.confinement import confine, execute_packed, unpacked, warm
from catcher.model.run import Call, Outcome
from catcher.model.time import to_seconds
from catcher.working.worker import VANISHED, timed_out

PRINTED = 65_536
MOST_DRAINED = 16 * PRINTED
OPENING = 60.0
CLOSING = 10.0


class Tail:
    """The end of what a worker prints, read as it comes so that it never waits for a reader."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self._reader, self.writer = context.Pipe(duplex=False)
        os.set_blocking(self._reader.fileno(), False)
        self._kept = bytearray()
        self._total = 0
        asyncio.get_running_loop().add_reader(self._reader.fileno(), self._read)

    def clear(self) -> None:
        """Forgets what was printed up to now."""
        self._drain()
        self._kept.clear()
        self._total = 0

    def text(self) -> str:
        """What was printed since, at most the last 64 KiB of it."""
        self._drain()
        lost = self._total - len(self._kept)
        text = self._kept.decode("utf-8", "replace")
        return f"... {lost} bytes before this\n{text}" if lost else text

    def close(self) -> None:
        """Closes both ends."""
        asyncio.get_running_loop().remove_reader(self._reader.fileno())
        self._reader.close()
        self.writer.close()

    def _drain(self) -> None:
        # A child that a job left behind may print for ever.
        for _ in range(MOST_DRAINED // PRINTED):
            if not self._read():
                return

    def _read(self) -> bool:
        try:
            block = os.read(self._reader.fileno(), PRINTED)
        except BlockingIOError:
            return False
        self._total += len(block)
        self._kept += block
        del self._kept[:-PRINTED]
        return bool(block)


class Slot:
    """One worker process and the way to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self._tail = Tail()
        self._lifeline, self._alive = context.Pipe(duplex=False)
        self._pool: ProcessPool | None = None
        self._pid = 0

    async def open(self) -> None:
        """Starts the process and waits until it answers; OSError or TimeoutError if it doesn't."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["catcher.executors.preloading"])
        ends = [self._tail.writer, self._lifeline]
        pool = ProcessPool(1, initializer=confine, initargs=ends, context=context)
        self._pool = pool
        # Starting the server that forks the workers takes a second: not on the loop.
        starting = asyncio.ensure_future(asyncio.to_thread(pool.schedule, warm))
        try:
            first = await asyncio.shield(starting)
            async with asyncio.timeout(OPENING):
                self._pid = await asyncio.wrap_future(first)
        except (RuntimeError, BrokenExecutor) as error:
            raise OSError(f"a worker process did not start: {error}") from error
        finally:
            # Whoever closes the slot has to find the process that the thread is starting.
            await asyncio.wait({starting})

    async def perform(self, call: Call, given_up: asyncio.Future[Outcome]) -> Outcome | None:
        """Executes a call. None when nobody waits for it any more (`given_up` is done).

        After anything but an outcome from the worker itself the slot is of no use; `sound` says
        so.
        """
        try:
            packed = pickle.dumps(call, pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            return Outcome("failed", error=f"the arguments cannot be sent: {error}", retry=False)
        self._tail.clear()
        try:
            work = asyncio.wrap_future(self._running_pool.schedule(execute_packed, args=[packed]))
        except RuntimeError as error:
            self._pid = 0
            return Outcome("failed", error=f"the worker process is gone: {error}")
        either: set[asyncio.Future[Any]] = {work, given_up}
        limit = to_seconds(call.timeout)
        await asyncio.wait(either, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return self._told(work)
        self._end_process()
        work.cancel()
        return None if given_up.done() else self._with_print(timed_out(call))

    @property
    def sound(self) -> bool:
        """Whether the next call may be given to it."""
        return self._pid != 0

    async def close(self) -> bool:
        """Ends the process and all that it started. False if that could not be seen through."""
        pool, self._pool = self._pool, None
        if pool is None:
            return True
        stop: Callable[[], None] = pool.stop
        stop()
        self._end_process()
        loop, gone = asyncio.get_running_loop(), asyncio.Event()

        def join() -> None:
            pool.join()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(gone.set)

        # Pebble's join may wait for a pipe that nobody reads; such a thread is left to itself.
        Thread(target=join, name="catcher-worker-end", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSING):
                await gone.wait()
        except TimeoutError:
            return False
        return True

    def release(self) -> None:
        """Closes the pipes; the slot is over, and what its jobs left behind with it."""
        self._tail.close()
        self._alive.close()
        self._lifeline.close()

    @property
    def _running_pool(self) -> ProcessPool:
        if self._pool is None:
            raise RuntimeError("the slot is closed")
        return self._pool

    def _told(self, work: asyncio.Future[bytes]) -> Outcome:
        try:
            outcome = unpacked(work.result())
        except ProcessExpired as error:
            self._end_process()
            return self._with_print(Outcome("failed", error=_died(error.exitcode)))
        except (pickle.UnpicklingError, ImportError, AttributeError, TypeError, EOFError) as error:
            return Outcome("failed", error=f"the result cannot be read: {error}", retry=False)
        except (RuntimeError, OSError, BrokenExecutor, asyncio.CancelledError) as error:
            self._end_process()
            return self._with_print(Outcome("failed", error=f"the worker is gone: {error}"))
        return self._with_print(outcome)

    def _with_print(self, outcome: Outcome) -> Outcome:
        printed = self._tail.text()
        return replace(outcome, printed=printed) if printed else outcome

    def _end_process(self) -> None:
        """Kills the worker with all of its process group: at once, whatever it is doing."""
        pid, self._pid = self._pid, 0
        if pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


def _died(status: int) -> str:
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        memory = "; it may have needed too much memory" if name in ("SIGKILL", "SIGSEGV") else ""
        return f"the job's process was ended by {name}{memory}"
    if status == VANISHED:
        return "the job ended its process with os._exit; return a Result instead"
    return f"the job's process ended with status {status} before it answered"
