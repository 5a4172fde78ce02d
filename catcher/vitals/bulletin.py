"""The health of every part as events: rules may watch what watches.

Each change of a source's, store's, executor's, sink's or heartbeat's state is an event of the
topic `catcher.health`, and every minute so is the state of each. Its fields are `part` (`source
efd`), `role`, `kind`, `name`, `state`, `problem` and `since`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from catcher.model.event import HEALTH_TOPIC, Event
from catcher.model.health import Health, HealthState
from catcher.model.time import MINUTE, SECOND, Clock, Instant, Span, to_seconds
from catcher.ports import Delivery
from catcher.vitals.parts import Part

NAME = "catcher-health"


class Bulletin:
    """A source (`ports.Source`) of the engine's own; nothing of it is durable.

    `parts` are looked at every `look`; `wanted` says whether any rule would hear.
    """

    def __init__(
        self,
        parts: Callable[[], Iterable[Part]],
        wanted: Callable[[], bool],
        clock: Clock,
        look: Span = SECOND,
        repeat: Span = MINUTE,
    ) -> None:
        self._parts, self._wanted, self._clock = parts, wanted, clock
        self._look, self._repeat = look, repeat
        self._told: dict[str, tuple[str, str]] = {}
        self._whole: Instant | None = None
        self._state: HealthState = "starting"
        self._since, self._count = clock(), 0

    @property
    def name(self) -> str:
        """No source of a site is called so by chance."""
        return NAME

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """News for as long as the context lasts."""
        return self._opened()

    def health(self) -> Health:
        """`ok` while it looks."""
        counts = {"events": self._count}
        return Health(NAME, "bulletin", self._state, self._since, counts=counts)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        self._state, self._since = "ok", self._clock()
        try:
            yield self._deliveries()
        finally:
            self._state, self._since = "ended", self._clock()

    async def _deliveries(self) -> AsyncIterator[Delivery]:
        while True:
            if self._wanted() and (events := self.news()):
                self._count += len(events)
                yield Delivery(NAME, events)
            await asyncio.sleep(to_seconds(self._look))

    def news(self) -> list[Event]:
        """What has changed since the last time; every `repeat` all of it."""
        now = self._clock()
        whole = self._whole is None or now - self._whole >= self._repeat
        if whole:
            self._whole = now
        events = []
        for part in self._parts():
            # A part that has only just been made says nothing yet.
            if part.health.state == "starting" and part.name not in self._told:
                continue
            told = part.health.state, part.health.problem
            if whole or self._told.get(part.name, ("", ""))[0] != told[0]:
                events.append(Event(HEALTH_TOPIC, now, part.fields(), NAME))
            self._told[part.name] = told
        return events
