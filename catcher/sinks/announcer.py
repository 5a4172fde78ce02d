"""Tells others, as messages, that a result has been committed ("metric available").

    # catcher.yaml
    announce:
      mqtt: {host: broker.example, topic: "catcher/results/{rule}"}
      kafka: {servers: "kafka.example:9094", topic: catcher.results}

What cannot be published waits, at most `MOST_WAITING` of them: the results themselves are in
the ledger, so that the oldest may be dropped, and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.run import Run
from catcher.model.time import Clock, Instant

MOST_WAITING = 10_000
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
PARTING = 2.0

Publish = Callable[[Run], Awaitable[None]]
"""Publishes one result; OSError where it may be tried again, ValueError where it may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttAnnouncement:
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


class Announcer:
    """A bounded queue of results, published one after the other for as long as it is open.

    With `parts` also of parts of a visit that have files.
    """

    def __init__(
        self, name: str, publish: Publish, clock: Clock, most: int = MOST_WAITING,
        parts: bool = False,
    ) -> None:  # fmt: skip
        self._name, self._publish, self._clock = name, publish, clock
        self._parts = parts
        self._waiting: deque[Run] = deque(maxlen=most)
        self._arrived, self._empty = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"published": 0, "failed": 0, "dropped": 0, "refused": 0}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work(), name=f"announcer {self._name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is None:
            return
        if self._waiting and self._state != "away":
            with suppress(TimeoutError):
                async with asyncio.timeout(PARTING):
                    await self._empty.wait()
        self._task.cancel()
        await asyncio.wait({self._task})
        self._become("ended")

    def take(self, run: Run) -> None:
        """A run was committed; one that is done, and no part of another, is told of."""
        if run.state != "done" or (run.parent and not (self._parts and run.artifacts)):
            return
        if len(self._waiting) == self._waiting.maxlen:
            self._counts["dropped"] += 1
        self._waiting.append(run)
        self._empty.clear()
        self._arrived.set()

    def health(self) -> Health:
        """`away` after a result that could not be published, until one could."""
        counts = {**self._counts, "waiting": len(self._waiting)}
        return Health(
            self._name, "results", self._state, self._since, self._last, self._problem, counts
        )

    async def _work(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._arrived.wait()
            while self._waiting:
                run = self._waiting[0]
                if not await self._told(run):
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
                pause = FIRST_PAUSE
                # It may have been dropped meanwhile.
                if self._waiting and self._waiting[0] is run:
                    self._waiting.popleft()
            self._arrived.clear()
            self._empty.set()

    async def _told(self, run: Run) -> bool:
        """Whether nothing more is to be done about a result."""
        try:
            await self._publish(run)
        except (OSError, ValueError) as error:
            self._become("away", str(error))
            if isinstance(error, ValueError) or getattr(error, "final", False):
                self._counts["refused"] += 1
                return True
            self._counts["failed"] += 1
            return False
        self._counts["published"] += 1
        self._last = self._clock()
        self._become("ok")
        return True

    def _become(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem
