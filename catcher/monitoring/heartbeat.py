"""Heartbeats that leave the process, so that their absence is noticed outside.

One is sent only while the engine's own loop works or idles: a heartbeat that continued while the
engine hangs would be worse than none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from catcher.model.health import Health
from catcher.model.time import Instant, Span, format_instant, nanoseconds_to_seconds

MAX_PROBLEM_TEXTS = 5
FINAL_TIMEOUT = 2.0
"""How many seconds the last heartbeat may take."""


@dataclass(frozen=True, slots=True)
class HeartbeatMessage:
    """The state of an engine at one moment.

    `ok`: it is ready; `degraded`: it works, but has `problems`; `stopping`: it was told to stop;
    `stopped`: this is the last heartbeat.
    """

    time: Instant
    site: str
    engine: str
    state: Literal["ok", "degraded", "stopping", "stopped"]
    problems: tuple[str, ...] = ()

    @property
    def is_stopping(self) -> bool:
        """Whether the engine stops as it was told to."""
        return self.state in ("stopping", "stopped")

    def to_json(self) -> dict[str, Any]:
        """Returns JSON with the number of problems, and the text of the first few."""
        return {
            "time": format_instant(self.time),
            "site": self.site,
            "engine": self.engine,
            "state": self.state,
            "problems": len(self.problems),
            "words": list(self.problems[:MAX_PROBLEM_TEXTS]),
        }


class HeartbeatTarget(Protocol):
    """One target. `send_heartbeat` has its own timeout and never raises: see `health`."""

    async def send_heartbeat(self, heartbeat: HeartbeatMessage) -> None: ...
    def health(self) -> Health: ...


class HeartbeatSender:
    """Sends a heartbeat to each target at an interval, for as long as its context lasts.

    `get_heartbeat` returns the current heartbeat, or None while the engine's loop hangs; its
    argument is True for the last one, sent on exit. The targets do not wait for each other.
    """

    def __init__(
        self,
        interval: Span,
        targets: Sequence[HeartbeatTarget],
        get_heartbeat: Callable[[bool], HeartbeatMessage | None],
    ) -> None:
        self._interval, self._targets, self._get_heartbeat = (
            nanoseconds_to_seconds(interval),
            targets,
            get_heartbeat,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self.withheld_count = 0

    async def __aenter__(self) -> Self:
        for target in self._targets:
            self._tasks.append(
                asyncio.create_task(self._send_periodically(target), name="heartbeat")
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # After a failure the absence of heartbeats is the message.
        final = self._get_heartbeat(True) if error is None else None
        if final is not None and self._targets:
            final_sends = [
                asyncio.create_task(target.send_heartbeat(final)) for target in self._targets
            ]
            _, unfinished = await asyncio.wait(final_sends, timeout=FINAL_TIMEOUT)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    def health(self) -> list[Health]:
        """Returns the health of each target."""
        return [target.health() for target in self._targets]

    async def _send_periodically(self, target: HeartbeatTarget) -> None:
        loop = asyncio.get_running_loop()
        next_due = loop.time()
        while True:
            heartbeat = self._get_heartbeat(False)
            if heartbeat is None:
                self.withheld_count += 1
            else:
                await target.send_heartbeat(heartbeat)
            next_due = max(next_due + self._interval, loop.time())
            await asyncio.sleep(next_due - loop.time())
