"""An engine with everything around it, open for as long as a context lasts."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from catcher.app.selfwatch import SelfWatch
from catcher.engine import Engine
from catcher.model.health import Health
from catcher.model.problem import Problem
from catcher.model.time import MILLISECOND, SECOND, Clock, Instant, Span, format_instant, wall_clock
from catcher.streams import Streams
from catcher.vitals.process import spare_the_collector

ADDRESS = "engine.json"
STOP = 20 * SECOND
"""How long a stop waits for running jobs, and then for notices on their way."""
FOR_NOTICES = 5 * SECOND


class Grace:
    """How long a stop may still take, counted from its beginning.

    Jobs have all of it but what is kept for the notices that they may lead to.
    """

    def __init__(self, whole: Span, clock: Clock = time.monotonic_ns) -> None:
        self.whole, self._clock = whole, clock
        self._begun: Instant | None = None

    def begin(self) -> None:
        """The stop begins, unless it has."""
        self._begun = self._clock() if self._begun is None else self._begun

    @property
    def left(self) -> Span:
        """What is left of the whole; nought when it is over."""
        self.begin()
        return max(0, self.whole - (self._clock() - (self._begun or 0)))

    @property
    def for_jobs(self) -> Span:
        """How long jobs may go on."""
        return max(0, self.left - min(FOR_NOTICES, self.whole // 4))


@dataclass
class Running:
    """A running engine, as the terminal and the signals see it.

    `ask_to_reload` has its site read anew, where it follows the files of one. `misconfigured`
    are problems for which some default stands in.
    """

    engine: Engine
    live: Streams
    healths: Callable[[], Sequence[Health]]
    problems: Sequence[Problem]
    data: Path
    ask_to_reload: Callable[[], None] | None = None
    misconfigured: Sequence[Problem] = ()
    grace: Grace = field(default_factory=lambda: Grace(STOP))
    watch: SelfWatch | None = None
    url: str = ""
    _task: asyncio.Task[None] | None = field(default=None, repr=False)

    def start(self, tasks: asyncio.TaskGroup, ended: Callable[[], object]) -> None:
        """Starts the loop in a task group, which carries whatever it raises."""
        self._task = tasks.create_task(self.engine.run())
        self._task.add_done_callback(lambda task: ended())

    async def until_open(self) -> None:
        """Returns when every source is open, or the loop has ended before."""
        if self._task is None:
            return
        opened = asyncio.create_task(self.engine.opened.wait())
        await asyncio.wait({opened, self._task}, return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        spare_the_collector()

    async def until_end(self) -> None:
        """Returns when the loop has ended, by itself or told to."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def stop(self) -> None:
        """Asks the engine to end after the step in hand."""
        self.grace.begin()
        if self.watch is not None:
            self.watch.stopping()
        self.engine.stop()

    def abandon(self) -> None:
        """The process is about to end at once: nobody shall look for its API."""
        (self.data / ADDRESS).unlink(missing_ok=True)

    def health(self) -> Sequence[Health]:
        """How sources, stores, executors and sinks are doing."""
        return self.healths()


def engine_name(clock: Clock) -> str:
    """A name that no other engine has or had: of the machine, the process and its start."""
    return f"{platform.node() or 'engine'}-{os.getpid()}-{clock() // MILLISECOND:x}"


@contextmanager
def announced(data: Path, url: str) -> Iterator[None]:
    """Writes where the engine answers into its folder, for commands to find; removes it after."""
    path = data / ADDRESS
    row = {"url": url, "pid": os.getpid(), "started": format_instant(wall_clock())}
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(row))
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def announced_at(data: Path) -> str:
    """The address of the engine that runs on this folder; empty where none does."""
    try:
        row = json.loads((data / ADDRESS).read_text())
    except (OSError, ValueError):
        return ""
    return str(row.get("url", "")) if isinstance(row, dict) else ""
