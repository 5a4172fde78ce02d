"""Replays a recorded stream at its original speed, or faster.

In `catcher.yaml`:

    sources:
      night:
        replay:
          files: [recorded/night.jsonl.gz, recorded/lsst.sal.ESS.airFlow.parquet]
          speed: 60          # recorded seconds a second; `max`, or 0: as fast as possible
        clock: stream        # its time is not the time of the wall

It ends with the last event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.time import SECOND, Clock, Instant
from catcher.ports import EventBatch
from catcher.recordings.reader import RecordedEntry, find_recording_files, iter_recorded_entries

_BATCH_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """What to play, and how fast. The sample is in this module's docstring."""

    files: tuple[str, ...]
    speed: str | float = 1.0

    def __post_init__(self) -> None:
        if not self.files:
            raise CatcherError("a replay without files plays nothing", "name files, or a folder")
        self.parse_speed()

    def parse_speed(self) -> float:
        """Returns the recorded seconds per second; 0 for as fast as possible."""
        try:
            speed = 0.0 if self.speed == "max" else float(self.speed)
        except ValueError:
            speed = -1.0
        if not 0 <= speed < float("inf"):
            raise CatcherError(
                f"speed {self.speed!r} is no speed", "write a number such as 60, or max"
            )
        return speed


class ReplaySource:
    """Recorded events as a source (`ports.Source`); relative paths are below `root`.

    A batch's `position` has a line `FILE:LINE` for each file; if it is passed as `position`, the
    replay continues after those lines.
    """

    def __init__(
        self,
        name: str,
        settings: ReplaySettings,
        clock: Clock,
        root: Path | None = None,
        position: str = "",
    ) -> None:
        self._name = name
        self._files = [(root or Path()) / Path(file).expanduser() for file in settings.files]
        self._settings = settings
        self._clock = clock
        self._last_lines = _parse_position(position)
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"events": 0, "rejected": 0}

    @property
    def name(self) -> str:
        """The name in the site's configuration."""
        return self._name

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[EventBatch]]:
        """Replays from its position. Raises CatcherError if a file is missing."""
        return self._open_batches()

    def health(self) -> Health:
        """Returns the health: `ended` after the last event; the problem is the last bad line."""
        return Health(
            self._name, "replay", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    @asynccontextmanager
    async def _open_batches(self) -> AsyncIterator[AsyncIterator[EventBatch]]:
        find_recording_files(self._files)
        self._set_state("ok")
        recording = iter_recorded_entries(self._files, self._name, self._last_lines)
        batches = self._iter_batches(recording)
        try:
            yield batches
        finally:
            await batches.aclose()
            recording.close()
            self._set_state("ended")

    async def _iter_batches(
        self, recording: Generator[RecordedEntry, None, None]
    ) -> AsyncGenerator[EventBatch, None]:
        speed = self._settings.parse_speed()
        loop = asyncio.get_running_loop()
        started, first = loop.time(), None
        while chunk := await _read_next_entries(recording):
            if not speed:
                yield self._build_batch(chunk)
                continue
            first = chunk[0].time if first is None and chunk[0].time else first
            while chunk:
                stream_time = (loop.time() - started) * speed * SECOND + (first or 0)
                due_count = next(
                    (i for i, entry in enumerate(chunk) if entry.time > stream_time), len(chunk)
                )
                if due_count:
                    yield self._build_batch(chunk[:due_count])
                    chunk = chunk[due_count:]
                else:
                    await asyncio.sleep((chunk[0].time - stream_time) / speed / SECOND)
        self._set_state("ended")

    def _build_batch(self, chunk: Sequence[RecordedEntry]) -> EventBatch:
        events = [entry.item for entry in chunk if isinstance(entry.item, Event)]
        rejected = [str(entry.item) for entry in chunk if not isinstance(entry.item, Event)]
        self._last_lines.update({entry.file: entry.line for entry in chunk})
        self._counts["events"] += len(events)
        self._counts["rejected"] += len(rejected)
        self._problem = rejected[-1] if rejected else self._problem
        self._last = self._clock()
        position = "\n".join(f"{file}:{line}" for file, line in sorted(self._last_lines.items()))
        return EventBatch(self._name, events, rejected, position=position)

    def _set_state(self, state: HealthState) -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state


async def _read_next_entries(
    recording: Generator[RecordedEntry, None, None],
) -> list[RecordedEntry]:
    """Reads the next entries off the event loop; waits for the read even if cancelled."""
    read_task = asyncio.ensure_future(
        asyncio.to_thread(lambda: list(islice(recording, _BATCH_SIZE)))
    )
    try:
        return await asyncio.shield(read_task)
    finally:
        if not read_task.done():
            await asyncio.wait({read_task})


def _parse_position(position: str) -> dict[str, int]:
    lines = {}
    for text in position.splitlines():
        file, _, line = text.rpartition(":")
        if file and line.isdecimal():
            lines[file] = int(line)
    return lines
