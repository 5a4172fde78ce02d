"""One worker process: opened, given calls one at a time, and discarded when anything goes wrong.
Each worker has a pool of its own with a single process, so that no lock, pipe or queue is shared
with another worker: whatever a job does to its process harms that worker only.
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

from catcher.executors.worker_main import (
    execute_pickled_call,
    get_worker_pid,
    isolate_worker,
    unpickle_outcome,
)
from catcher.jobs.worker import SILENT_EXIT_STATUS, build_timeout_outcome
from catcher.model.run import JobCall, JobOutcome
from catcher.model.time import nanoseconds_to_seconds

MAX_OUTPUT_BYTES = 65_536
MAX_DRAIN_BYTES = 16 * MAX_OUTPUT_BYTES
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0


class OutputTail:
    """The end of a worker's output, read continuously so that the worker never blocks on it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self._reader, self.writer = context.Pipe(duplex=False)
        os.set_blocking(self._reader.fileno(), False)
        self._buffer = bytearray()
        self._total_bytes = 0
        asyncio.get_running_loop().add_reader(self._reader.fileno(), self._read_chunk)

    def reset(self) -> None:
        """Discards what was printed so far."""
        self._drain_pipe()
        self._buffer.clear()
        self._total_bytes = 0

    def read_text(self) -> str:
        """Returns what was printed since, at most the last 64 KiB of it."""
        self._drain_pipe()
        omitted_bytes = self._total_bytes - len(self._buffer)
        text = self._buffer.decode("utf-8", "replace")
        return f"... {omitted_bytes} bytes before this\n{text}" if omitted_bytes else text

    def close(self) -> None:
        """Closes both ends."""
        asyncio.get_running_loop().remove_reader(self._reader.fileno())
        self._reader.close()
        self.writer.close()

    def _drain_pipe(self) -> None:
        # A child that a job left behind may print for ever.
        for _ in range(MAX_DRAIN_BYTES // MAX_OUTPUT_BYTES):
            if not self._read_chunk():
                return

    def _read_chunk(self) -> bool:
        try:
            chunk = os.read(self._reader.fileno(), MAX_OUTPUT_BYTES)
        except BlockingIOError:
            return False
        self._total_bytes += len(chunk)
        self._buffer += chunk
        del self._buffer[:-MAX_OUTPUT_BYTES]
        return bool(chunk)


class WorkerProcess:
    """One worker process and the pipes to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self._output = OutputTail()
        self._liveness_reader, self._liveness_writer = context.Pipe(duplex=False)
        self._pool: ProcessPool | None = None
        self._pid = 0

    async def open(self) -> None:
        """Starts the process and waits for its answer. Raises OSError or TimeoutError."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["catcher.executors.forkserver_preload"])
        initargs = [self._output.writer, self._liveness_reader]
        pool = ProcessPool(1, initializer=isolate_worker, initargs=initargs, context=context)
        self._pool = pool
        # Starting the server that forks the workers takes a second: not on the loop.
        start_task = asyncio.ensure_future(asyncio.to_thread(pool.schedule, get_worker_pid))
        try:
            pid_future = await asyncio.shield(start_task)
            async with asyncio.timeout(START_TIMEOUT):
                self._pid = await asyncio.wrap_future(pid_future)
        except (RuntimeError, BrokenExecutor) as error:
            raise OSError(f"a worker process did not start: {error}") from error
        finally:
            # `close` has to find the process that the thread is starting.
            await asyncio.wait({start_task})

    async def execute_call(
        self, call: JobCall, abandoned: asyncio.Future[JobOutcome]
    ) -> JobOutcome | None:
        """Executes a call. None if nobody waits for it any more (`abandoned` is done).
        After anything but an outcome from the worker itself the worker is unusable; `is_healthy` is
        False then.
        """
        try:
            pickled_call = pickle.dumps(call, pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            return JobOutcome("failed", error=f"the arguments cannot be sent: {error}", retry=False)
        self._output.reset()
        try:
            result_future = asyncio.wrap_future(
                self._started_pool.schedule(execute_pickled_call, args=[pickled_call])
            )
        except RuntimeError as error:
            self._pid = 0
            return JobOutcome("failed", error=f"the worker process is gone: {error}")
        futures: set[asyncio.Future[Any]] = {result_future, abandoned}
        timeout = nanoseconds_to_seconds(call.timeout)
        await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if result_future.done():
            return self._future_to_outcome(result_future)
        self._kill_process()
        result_future.cancel()
        return None if abandoned.done() else self._attach_output(build_timeout_outcome(call))

    @property
    def is_healthy(self) -> bool:
        """True if it can execute the next call."""
        return self._pid != 0

    async def close(self) -> bool:
        """Ends the process and all that it started. False if that timed out."""
        pool, self._pool = self._pool, None
        if pool is None:
            return True
        stop: Callable[[], None] = pool.stop
        stop()
        self._kill_process()
        loop, joined = asyncio.get_running_loop(), asyncio.Event()

        def join_pool() -> None:
            pool.join()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(joined.set)

        # Pebble's join may wait for a pipe that nobody reads; such a thread is abandoned.
        Thread(target=join_pool, name="catcher-worker-end", daemon=True).start()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await joined.wait()
        except TimeoutError:
            return False
        return True

    def close_pipes(self) -> None:
        """Closes the pipes, which ends whatever its jobs left behind."""
        self._output.close()
        self._liveness_writer.close()
        self._liveness_reader.close()

    @property
    def _started_pool(self) -> ProcessPool:
        if self._pool is None:
            raise RuntimeError("the slot is closed")
        return self._pool

    def _future_to_outcome(self, result_future: asyncio.Future[bytes]) -> JobOutcome:
        try:
            outcome = unpickle_outcome(result_future.result())
        except ProcessExpired as error:
            self._kill_process()
            return self._attach_output(JobOutcome("failed", error=_describe_exit(error.exitcode)))
        except (pickle.UnpicklingError, ImportError, AttributeError, TypeError, EOFError) as error:
            return JobOutcome("failed", error=f"the result cannot be read: {error}", retry=False)
        except (RuntimeError, OSError, BrokenExecutor, asyncio.CancelledError) as error:
            self._kill_process()
            return self._attach_output(JobOutcome("failed", error=f"the worker is gone: {error}"))
        return self._attach_output(outcome)

    def _attach_output(self, outcome: JobOutcome) -> JobOutcome:
        output = self._output.read_text()
        return replace(outcome, console_output=output) if output else outcome

    def _kill_process(self) -> None:
        """Kills the worker with its process group at once, whatever it is doing."""
        pid, self._pid = self._pid, 0
        if pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


def _describe_exit(status: int) -> str:
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        memory_hint = (
            "; it may have needed too much memory" if name in ("SIGKILL", "SIGSEGV") else ""
        )
        return f"the job's process was ended by {name}{memory_hint}"
    if status == SILENT_EXIT_STATUS:
        return "the job ended its process with os._exit; return a Result instead"
    return f"the job's process ended with status {status} before it answered"
