"""A simulated night for `catcher demo`: realistic wind, mount, camera and scripts.

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

The wind of the half hour before the start is sent at once, so that windows and forecasts are known
from the beginning. Images are written to `DATA/images/NAME/DETECTOR.fits` before their endReadout
is sent.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.time import SECOND, Clock, Instant, Span, parse_instant
from catcher.ports import EventBatch
from catcher.simulation.camera import remove_old_images, write_detector_images
from catcher.simulation.mount import simulate_mount
from catcher.simulation.schedule import (
    END_READOUT_TOPIC,
    READOUT_TIME,
    Exposure,
    plan_exposures,
    simulate_readouts,
    simulate_scripts,
)
from catcher.simulation.wind import simulate_wind

_TICK_SECONDS = 0.05
_BATCH_SIZE = 500
_MIN_GAP: Span = 15 * SECOND


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
        if self.cadence < self.exposure + READOUT_TIME + _MIN_GAP:
            raise CatcherError(
                "the cadence leaves no time between exposures",
                f"make it at least {(self.exposure + READOUT_TIME + _MIN_GAP) / SECOND:g}s",
            )
        self.parse_start()

    def parse_start(self) -> Instant:
        """Returns when the night starts."""
        try:
            return parse_instant(self.start)
        except ValueError as error:
            raise CatcherError(f"start: {error}") from None

    def build_exposure_plan(self) -> Iterator[Exposure]:
        """Yields the exposures of the night, endlessly."""
        return plan_exposures(self.parse_start(), self.cadence, self.exposure, self.seed)


def simulate_night(settings: SimulatorSettings, source: str) -> Iterator[Event]:
    """Yields all events of a night in time order; the same for the same settings."""
    streams = (
        simulate_wind(settings.parse_start(), settings.seed, source),
        simulate_mount(settings.build_exposure_plan(), settings.seed, source),
        simulate_scripts(settings.build_exposure_plan(), source),
        simulate_readouts(settings.build_exposure_plan(), source),
    )
    merged = heapq.merge(*streams, key=lambda event: event.time)
    if not settings.length:
        return merged
    end = settings.parse_start() + settings.length
    return takewhile(lambda event: event.time < end, merged)


class SimulatorSource:
    """A simulated night as a source (`ports.Source`); its images are written below `data`.

    A batch's `position` is the simulated time; if it is passed back, the night continues after it.
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
        """The name in the site's configuration."""
        return self._name

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[EventBatch]]:
        """Runs the night from its start, or from its position."""
        return self._open_batches()

    def health(self) -> Health:
        """Returns the health: `ok` while the night lasts."""
        return Health(
            self._name, "simulator", self._state, self._since, self._last, "", dict(self._counts)
        )

    @asynccontextmanager
    async def _open_batches(self) -> AsyncIterator[AsyncIterator[EventBatch]]:
        self._set_state("ok")
        camera = _CameraWriter(self._settings, self._folder, self._after)
        batches = self._iter_batches(camera)
        try:
            yield batches
        finally:
            await batches.aclose()
            await camera.finish_current_write()
            self._set_state("ended")

    async def _iter_batches(self, camera: _CameraWriter) -> AsyncGenerator[EventBatch, None]:
        loop = asyncio.get_running_loop()
        speed = self._settings.speed
        events = (
            candidate
            for candidate in simulate_night(self._settings, self._name)
            if candidate.time > self._after
        )
        start = max(self._settings.parse_start(), self._after)
        started = loop.time()
        pending: list[Event] = []
        for event in events:
            stream_time = start + (loop.time() - started) * speed * SECOND
            if pending and (len(pending) >= _BATCH_SIZE or (speed and event.time > stream_time)):
                yield self._build_batch(pending)
                pending = []
            while speed and event.time > stream_time:
                await asyncio.sleep(_TICK_SECONDS)
                stream_time = start + (loop.time() - started) * speed * SECOND
            if event.topic == END_READOUT_TOPIC:
                await camera.wait_for_image(event.fields["imageName"])
                self._counts["images"] += 1
            pending.append(event)
        if pending:
            yield self._build_batch(pending)
        self._set_state("ended")

    def _build_batch(self, events: list[Event]) -> EventBatch:
        self._counts["events"] += len(events)
        self._last = self._clock()
        return EventBatch(self._name, events, position=str(events[-1].time))

    def _set_state(self, state: HealthState) -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state


class _CameraWriter:
    """Writes the images of the plan in a thread, one exposure ahead of the stream."""

    def __init__(self, settings: SimulatorSettings, folder: Path, after: Instant) -> None:
        self._settings = settings
        self._folder = folder
        self._plan = (
            exposure for exposure in settings.build_exposure_plan() if exposure.readout_end > after
        )
        self._next_exposure = next(self._plan)
        self._write_task = self._start_next_write()

    async def wait_for_image(self, name: str) -> None:
        """Returns once the image with that name is written, and starts the next one."""
        while True:
            await asyncio.shield(self._write_task)
            is_match = self._next_exposure.name == name
            self._next_exposure = next(self._plan)
            self._write_task = self._start_next_write()
            if is_match:
                return

    async def finish_current_write(self) -> None:
        """Waits for the image being written: a thread cannot be stopped."""
        await asyncio.wait({self._write_task})

    def _start_next_write(self) -> asyncio.Future[None]:
        return asyncio.ensure_future(
            asyncio.to_thread(self._write_and_prune_images, self._next_exposure)
        )

    def _write_and_prune_images(self, exposure: Exposure) -> None:
        try:
            write_detector_images(exposure, self._folder, self._settings.seed)
            remove_old_images(self._folder, self._settings.keep)
        except OSError as error:
            raise CatcherError(
                f"the simulated images cannot be written to {self._folder}: {error.strerror}",
                "choose another folder with --data",
            ) from error
