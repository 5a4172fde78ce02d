"""The health of every component as events, so that rules can monitor the monitoring.

Each change of a source's, store's, executor's, sink's or heartbeat's state is an event of the topic
`catcher.health`, and every minute so is the state of each. Its fields are `part` (`source efd`),
`role`, `kind`, `name`, `state`, `problem` and `since`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from catcher.model.event import HEALTH_TOPIC, Event
from catcher.model.health import Health, HealthState
from catcher.model.time import MINUTE, SECOND, Clock, Instant, Span, nanoseconds_to_seconds
from catcher.monitoring.component import Component
from catcher.ports import EventBatch

SOURCE_NAME = "catcher-health"


class HealthSource:
    """A source (`ports.Source`) of the engine's own; nothing of it is durable.

    The components are polled every `poll_interval`; `has_listeners` tells whether any rule uses the
    events.
    """

    def __init__(
        self,
        list_components: Callable[[], Iterable[Component]],
        has_listeners: Callable[[], bool],
        clock: Clock,
        poll_interval: Span = SECOND,
        repeat_interval: Span = MINUTE,
    ) -> None:
        self._list_components, self._has_listeners, self._clock = (
            list_components,
            has_listeners,
            clock,
        )
        self._poll_interval, self._repeat_interval = poll_interval, repeat_interval
        self._reported: dict[str, tuple[str, str]] = {}
        self._last_full_report: Instant | None = None
        self._state: HealthState = "starting"
        self._since, self._event_count = clock(), 0

    @property
    def name(self) -> str:
        """A name that no source of a site has by chance."""
        return SOURCE_NAME

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[EventBatch]]:
        """Opens the stream of events for as long as the context lasts."""
        return self._open_stream()

    def health(self) -> Health:
        """Returns the health, `ok` while the stream is open."""
        counts = {"events": self._event_count}
        return Health(SOURCE_NAME, "bulletin", self._state, self._since, counts=counts)

    @asynccontextmanager
    async def _open_stream(self) -> AsyncIterator[AsyncIterator[EventBatch]]:
        self._state, self._since = "ok", self._clock()
        try:
            yield self._iter_batches()
        finally:
            self._state, self._since = "ended", self._clock()

    async def _iter_batches(self) -> AsyncIterator[EventBatch]:
        while True:
            if self._has_listeners() and (events := self.collect_health_events()):
                self._event_count += len(events)
                yield EventBatch(SOURCE_NAME, events)
            await asyncio.sleep(nanoseconds_to_seconds(self._poll_interval))

    def collect_health_events(self) -> list[Event]:
        """Returns what has changed since the last call; everything each `repeat_interval`."""
        now = self._clock()
        is_full_report = (
            self._last_full_report is None or now - self._last_full_report >= self._repeat_interval
        )
        if is_full_report:
            self._last_full_report = now
        events = []
        for component in self._list_components():
            # A component that has just been created has no state to report yet.
            if (
                component.health.state == "starting"
                and component.qualified_name not in self._reported
            ):
                continue
            status = component.health.state, component.health.problem
            if (
                is_full_report
                or self._reported.get(component.qualified_name, ("", ""))[0] != status[0]
            ):
                events.append(Event(HEALTH_TOPIC, now, component.to_event_fields(), SOURCE_NAME))
            self._reported[component.qualified_name] = status
        return events
