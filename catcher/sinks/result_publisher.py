"""Publishes a message for each committed result ("metric available").

    # catcher.yaml
    announce:
      mqtt: {host: broker.example, topic: "catcher/results/{rule}"}
      kafka: {servers: "kafka.example:9094", topic: catcher.results}

What cannot be published waits, at most `MAX_PENDING` results: they are in the ledger, so the oldest
may be dropped, and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.run import Run
from catcher.model.time import Clock, Instant

MAX_PENDING = 10_000
INITIAL_BACKOFF, MAX_BACKOFF = 0.5, 30.0
SHUTDOWN_TIMEOUT = 2.0

PublishFunction = Callable[[Run], Awaitable[None]]
"""Publishes one result; raises OSError if it may be retried, ValueError if not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttResultSettings:
    """The broker and how to enter it; `topic` may hold {site} and {rule}.

    With `stores: large_files:` each file is told under the topic `files`, which may hold
    {salname} and {event}; without it none is. `port` 0 means 1883, or 8883 with `tls`; `ca` is a
    PEM file, empty for the machine's own authorities.
    """

    host: str = "localhost"
    port: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    client_id: str = ""
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    tls: bool = False
    ca: str = ""
    topic: str = "catcher/{site}/results/{rule}"
    files: str = "sal/{salname}/{event}"
    qos: Literal[0, 1, 2] = 1

    def __post_init__(self) -> None:
        for topic in (self.topic, self.files):
            if not topic or "+" in topic or "#" in topic:
                raise CatcherError(
                    f"{topic!r} is no topic to publish to", "write it like catcher/results/{rule}"
                )


class ResultPublisher:
    """A bounded queue of results, published one after the other for as long as it is open.

    With `include_parts` also parts that have files.
    """

    def __init__(
        self, name: str, publish: PublishFunction, clock: Clock, max_pending: int = MAX_PENDING,
        include_parts: bool = False,
    ) -> None:  # fmt: skip
        self._name, self._publish, self._clock = name, publish, clock
        self._include_parts = include_parts
        self._pending: deque[Run] = deque(maxlen=max_pending)
        self._wakeup, self._drained = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"published": 0, "failed": 0, "dropped": 0, "refused": 0}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._publish_pending(), name=f"announcer {self._name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is None:
            return
        if self._pending and self._state != "away":
            with suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                    await self._drained.wait()
        self._task.cancel()
        await asyncio.wait({self._task})
        self._set_state("ended")

    def enqueue(self, run: Run) -> None:
        """Queues a committed run, if it is done and not a part (unless parts are included)."""
        if run.state != "done" or (run.parent and not (self._include_parts and run.artifacts)):
            return
        if len(self._pending) == self._pending.maxlen:
            self._counts["dropped"] += 1
        self._pending.append(run)
        self._drained.clear()
        self._wakeup.set()

    def health(self) -> Health:
        """Returns the health, `away` from a failed publication until the next success."""
        counts = {**self._counts, "waiting": len(self._pending)}
        return Health(
            self._name, "results", self._state, self._since, self._last, self._problem, counts
        )

    async def _publish_pending(self) -> None:
        backoff = INITIAL_BACKOFF
        while True:
            await self._wakeup.wait()
            while self._pending:
                run = self._pending[0]
                if not await self._try_publish_run(run):
                    await asyncio.sleep(backoff)
                    backoff = min(2 * backoff, MAX_BACKOFF)
                    continue
                backoff = INITIAL_BACKOFF
                # It may have been dropped meanwhile.
                if self._pending and self._pending[0] is run:
                    self._pending.popleft()
            self._wakeup.clear()
            self._drained.set()

    async def _try_publish_run(self, run: Run) -> bool:
        """Returns whether the result is finished: published, or rejected for good."""
        try:
            await self._publish(run)
        except (OSError, ValueError) as error:
            self._set_state("away", str(error))
            if isinstance(error, ValueError) or getattr(error, "final", False):
                self._counts["refused"] += 1
                return True
            self._counts["failed"] += 1
            return False
        self._counts["published"] += 1
        self._last = self._clock()
        self._set_state("ok")
        return True

    def _set_state(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem
