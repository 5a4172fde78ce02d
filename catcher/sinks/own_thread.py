"""A thread of a sink's own, for what may block or never come back."""

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
_Task = tuple[Work, Future[Any]]


class OwnThread:
    """Carries out one piece of work after another, outside of the engine's loop.

    What hangs in it hangs alone: the next piece is refused until it has come back. The thread
    does not keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._busy: Future[Any] | None = None
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
        """What the work returns (awaited, where it is a coroutine) or raises.

        SinkError while the piece before it, which nobody waits for any more, still goes on.
        """
        if self._busy is not None and not self._busy.done():
            raise SinkError("it still hangs in the delivery before this one")
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        answer: Future[Any] = Future()
        # Marked as running, so that a cancelled wait does not cancel it under the thread.
        answer.set_running_or_notify_cancel()
        self._busy = answer
        self._tasks.put((work, answer))
        return await asyncio.wrap_future(answer)

    def _work(self) -> None:
        with asyncio.Runner() as runner:
            while (task := self._tasks.get()) is not None:
                work, answer = task
                try:
                    found = work()
                    if inspect.isawaitable(found):
                        found = runner.run(_awaited(found))
                # Whatever a site's code or a library raises, SystemExit too, is the waiter's.
                except BaseException as error:  # noqa: BLE001
                    answer.set_exception(_as_error(error))
                else:
                    answer.set_result(found)


def _awaited(found: Any) -> Coroutine[Any, Any, Any]:
    async def wait() -> Any:
        return await found

    return wait()


def _as_error(error: BaseException) -> Exception:
    """As something that does not end the loop of whoever waits for it."""
    return error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__} raised")
