"""A recorded stream played as it was, or faster.

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

from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Clock, Instant
from catcher.ports import Delivery
from catcher.sources.recorded import Entry, entries, find_files

_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """What to play, and how fast. The sample is in this module's docstring."""

    files: tuple[str, ...]
    speed: str | float = 1.0

    def __post_init__(self) -> None:
        if not self.files:
            raise CatcherError("a replay without files plays nothing", "name files, or a folder")
        self.pace()

    def pace(self) -> float:
        """Recorded seconds a second; 0 for as fast as possible."""
        try:
            pace = 0.0 if self.speed == "max" else float(self.speed)
        except ValueError:
            pace = -1.0
        if not 0 <= pace < float("inf"):
            raise CatcherError(
                f"speed {self.speed!r} is no speed", "write a number such as 60, or max"
            )
        return pace


class ReplaySource:
    """Recorded events as a source (`ports.Source`); relative paths are below `root`.

    A delivery's `position` has a line `FILE:LINE` for each file; given back as `position`, the
    replay goes on after those lines.
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
        self._lines = _parse(position)
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"events": 0, "rejected": 0}

    @property
    def name(self) -> str:
        """The name that the site gives it."""
        return self._name

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Plays from its position on; CatcherError where a file is missing."""
        return self._opened()

    def health(self) -> Health:
        """`ended` once all is played; the problem is the last line that was no event."""
        return Health(
            self._name, "replay", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        find_files(self._files)
        self._become("ok")
        recorded = entries(self._files, self._name, self._lines)
        deliveries = self._deliveries(recorded)
        try:
            yield deliveries
        finally:
            await deliveries.aclose()
            recorded.close()
            self._become("ended")

    async def _deliveries(
        self, recorded: Generator[Entry, None, None]
    ) -> AsyncGenerator[Delivery, None]:
        pace = self._settings.pace()
        loop = asyncio.get_running_loop()
        begun, first = loop.time(), None
        while batch := await _in_thread(recorded):
            if not pace:
                yield self._delivery(batch)
                continue
            first = batch[0].time if first is None and batch[0].time else first
            while batch:
                heard = (loop.time() - begun) * pace * SECOND + (first or 0)
                due = next((i for i, one in enumerate(batch) if one.time > heard), len(batch))
                if due:
                    yield self._delivery(batch[:due])
                    batch = batch[due:]
                else:
                    await asyncio.sleep((batch[0].time - heard) / pace / SECOND)
        self._become("ended")

    def _delivery(self, batch: Sequence[Entry]) -> Delivery:
        events = [entry.item for entry in batch if isinstance(entry.item, Event)]
        rejected = [str(entry.item) for entry in batch if not isinstance(entry.item, Event)]
        self._lines.update({entry.file: entry.line for entry in batch})
        self._counts["events"] += len(events)
        self._counts["rejected"] += len(rejected)
        self._problem = rejected[-1] if rejected else self._problem
        self._last = self._clock()
        position = "\n".join(f"{file}:{line}" for file, line in sorted(self._lines.items()))
        return Delivery(self._name, events, rejected, position=position)

    def _become(self, state: HealthState) -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state


async def _in_thread(recorded: Generator[Entry, None, None]) -> list[Entry]:
    """The next entries, read beside the loop; a cancelled reading is waited for."""
    reading = asyncio.ensure_future(asyncio.to_thread(lambda: list(islice(recorded, _BATCH))))
    try:
        return await asyncio.shield(reading)
    finally:
        if not reading.done():
            await asyncio.wait({reading})


def _parse(position: str) -> dict[str, int]:
    lines = {}
    for text in position.splitlines():
        file, _, line = text.rpartition(":")
        if file and line.isdecimal():
            lines[file] = int(line)
    return lines
