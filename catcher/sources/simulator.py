"""A simulated night for `catcher demo`: wind, a mount, a camera and scripts, as from the real ones.

In `catcher.yaml`:

    sources:
      night:
        simulator:
          speed: 20            # simulated seconds a second; 0: as fast as possible
          seed: 1              # the same seed gives the same night
          start: 2025-04-25T02:00:00Z
          cadence: 90s         # from one exposure to the next
          exposure: 30s
          length: 0s           # of the night; 0 is without end
          keep: 200            # images that stay on disk
        clock: stream

The wind of the half hour before the start comes at once, so that windows and forecasts are known
from the beginning. Images are written to `DATA/images/NAME/DETECTOR.fits` before their
endReadout goes out.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Clock, Instant, Span, parse_instant
from catcher.ports import Delivery
from catcher.sources.simulated_camera import drop_images, write_images
from catcher.sources.simulated_mount import mount
from catcher.sources.simulated_night import (
    END_READOUT,
    READOUT,
    Exposure,
    exposures,
    readouts,
    scripts,
)
from catcher.sources.simulated_wind import wind

_TICK = 0.05
_BATCH = 500
_BETWEEN: Span = 15 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """Which night, and how fast. The sample is in this module's docstring."""

    speed: float = 20.0
    seed: int = 1
    start: str = "2025-04-25T02:00:00Z"
    cadence: Span = 90 * SECOND
    exposure: Span = 30 * SECOND
    length: Span = 0
    keep: int = 200
    images: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.speed < float("inf"):
            raise CatcherError(f"speed {self.speed} is no speed", "write a number such as 20")
        if self.seed < 0 or self.keep < 1 or self.length < 0 or self.exposure < SECOND:
            raise CatcherError(
                "a simulated night has seed >= 0, keep >= 1, length >= 0s, exposure >= 1s"
            )
        if self.cadence < self.exposure + READOUT + _BETWEEN:
            raise CatcherError(
                "the cadence leaves no time between exposures",
                f"make it at least {(self.exposure + READOUT + _BETWEEN) / SECOND:g}s",
            )
        self.begin()

    def begin(self) -> Instant:
        """When the night starts."""
        try:
            return parse_instant(self.start)
        except ValueError as error:
            raise CatcherError(f"start: {error}") from None

    def plan(self) -> Iterator[Exposure]:
        """The exposures of the night, without end."""
        return exposures(self.begin(), self.cadence, self.exposure, self.seed)


def night(settings: SimulatorSettings, source: str) -> Iterator[Event]:
    """All events of a night in time order; the same for the same settings."""
    streams = (
        wind(settings.begin(), settings.seed, source),
        mount(settings.plan(), settings.seed, source),
        scripts(settings.plan(), source),
        readouts(settings.plan(), source),
    )
    merged = heapq.merge(*streams, key=lambda event: event.time)
    if not settings.length:
        return merged
    end = settings.begin() + settings.length
    return takewhile(lambda event: event.time < end, merged)


class SimulatorSource:
    """A simulated night as a source (`ports.Source`); its images go below `data`.

    A delivery's `position` is the simulated time; given back, the night goes on after it.
    """

    def __init__(
        self,
        name: str,
        settings: SimulatorSettings,
        clock: Clock,
        data: Path,
        position: str = "",
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._folder = data / (settings.images or "images")
        self._after = int(position) if position.isdecimal() else 0
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._counts = {"events": 0, "images": 0}

    @property
    def name(self) -> str:
        """The name that the site gives it."""
        return self._name

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """The night from its start, or from its position on."""
        return self._opened()

    def health(self) -> Health:
        """`ok` while the night lasts."""
        return Health(
            self._name, "simulator", self._state, self._since, self._last, "", dict(self._counts)
        )

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        self._become("ok")
        camera = _Camera(self._settings, self._folder, self._after)
        deliveries = self._deliveries(camera)
        try:
            yield deliveries
        finally:
            await deliveries.aclose()
            await camera.stop()
            self._become("ended")

    async def _deliveries(self, camera: _Camera) -> AsyncGenerator[Delivery, None]:
        loop = asyncio.get_running_loop()
        speed = self._settings.speed
        events = (one for one in night(self._settings, self._name) if one.time > self._after)
        start = max(self._settings.begin(), self._after)
        begun = loop.time()
        batch: list[Event] = []
        for event in events:
            heard = start + (loop.time() - begun) * speed * SECOND
            if batch and (len(batch) >= _BATCH or (speed and event.time > heard)):
                yield self._delivery(batch)
                batch = []
            while speed and event.time > heard:
                await asyncio.sleep(_TICK)
                heard = start + (loop.time() - begun) * speed * SECOND
            if event.topic == END_READOUT:
                await camera.written(event.fields["imageName"])
                self._counts["images"] += 1
            batch.append(event)
        if batch:
            yield self._delivery(batch)
        self._become("ended")

    def _delivery(self, batch: list[Event]) -> Delivery:
        self._counts["events"] += len(batch)
        self._last = self._clock()
        return Delivery(self._name, batch, position=str(batch[-1].time))

    def _become(self, state: HealthState) -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state


class _Camera:
    """Writes the images of the plan in a thread, one exposure ahead of the stream."""

    def __init__(self, settings: SimulatorSettings, folder: Path, after: Instant) -> None:
        self._settings = settings
        self._folder = folder
        self._plan = (one for one in settings.plan() if one.read > after)
        self._next = next(self._plan)
        self._writing = self._begin()

    async def written(self, name: str) -> None:
        """Returns once the image of that name is there, and begins the one after it."""
        while True:
            await asyncio.shield(self._writing)
            found = self._next.name == name
            self._next = next(self._plan)
            self._writing = self._begin()
            if found:
                return

    async def stop(self) -> None:
        """Waits for the image in hand: a thread cannot be stopped."""
        await asyncio.wait({self._writing})

    def _begin(self) -> asyncio.Future[None]:
        return asyncio.ensure_future(asyncio.to_thread(self._write, self._next))

    def _write(self, exposure: Exposure) -> None:
        try:
            write_images(exposure, self._folder, self._settings.seed)
            drop_images(self._folder, self._settings.keep)
        except OSError as error:
            raise CatcherError(
                f"the simulated images cannot be written to {self._folder}: {error.strerror}",
                "choose another folder with --data",
            ) from error
