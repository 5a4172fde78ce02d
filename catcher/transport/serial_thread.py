"""A thread of a sink for calls that may block or never return."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from catcher.ports import SinkError

Work = Callable[[], Any]
_QueuedTask = tuple[Work, Future[Any]]


class SerialThread:
    """Runs one call after another, outside of the engine's event loop.

    A call that hangs blocks only this thread: the next one is refused until it has returned. The
    thread does not keep the process from exiting.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: SimpleQueue[_QueuedTask | None] = SimpleQueue()
        self._current: Future[Any] | None = None
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tasks.put(None)

    async def run(self, work: Work) -> Any:
        """Returns the result of `work` (awaited if it is a coroutine), or raises its error.

        Raises SinkError while the call before it, which nothing waits for any more, is still
        running.
        """
        if self._current is not None and not self._current.done():
            raise SinkError("it still hangs in the delivery before this one")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run_tasks, name=self._name, daemon=True)
            self._thread.start()
        future: Future[Any] = Future()
        # Marked as running, so that a cancelled wait does not cancel it under the thread.
        future.set_running_or_notify_cancel()
        self._current = future
        self._tasks.put((work, future))
        return await asyncio.wrap_future(future)

    def _run_tasks(self) -> None:
        with asyncio.Runner() as runner:
            while (task := self._tasks.get()) is not None:
                work, future = task
                try:
                    result = work()
                    if inspect.isawaitable(result):
                        result = runner.run(_awaitable_to_coroutine(result))
                # Any exception of a site's code or a library, even SystemExit, goes to the waiter.
                except BaseException as error:  # noqa: BLE001
                    future.set_exception(_wrap_base_exception(error))
                else:
                    future.set_result(result)


def _awaitable_to_coroutine(awaitable: Any) -> Coroutine[Any, Any, Any]:
    async def wait() -> Any:
        return await awaitable

    return wait()


def _wrap_base_exception(error: BaseException) -> Exception:
    """Returns an exception that does not end the event loop of the waiter."""
    return error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__} raised")
