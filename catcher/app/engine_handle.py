"""A running engine as other parts of the process see it, and the file that holds its URL."""

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

from catcher.app.monitoring import EngineMonitor
from catcher.engine.engine import Engine
from catcher.engine.event_bus import EventBus
from catcher.model.errors import Problem
from catcher.model.health import Health
from catcher.model.time import MILLISECOND, SECOND, Clock, Instant, Span, format_instant, wall_clock
from catcher.monitoring.process import tune_garbage_collector

ADDRESS_FILE = "engine.json"
DEFAULT_STOP_TIMEOUT = 20 * SECOND
"""How long a stop waits for running jobs, and then for pending notifications."""
NOTIFICATION_RESERVE = 5 * SECOND


class ShutdownDeadline:
    """The time limit of a stop, counted from its start.
    Jobs have all of it except a reserve for the notifications that they may cause.
    """

    def __init__(self, total: Span, clock: Clock = time.monotonic_ns) -> None:
        self.total, self._clock = total, clock
        self._started: Instant | None = None

    def start(self) -> None:
        """Starts counting, unless it has started."""
        self._started = self._clock() if self._started is None else self._started

    @property
    def remaining(self) -> Span:
        """The time left in total; 0 once it has passed."""
        self.start()
        return max(0, self.total - (self._clock() - (self._started or 0)))

    @property
    def remaining_for_jobs(self) -> Span:
        """The time left for running jobs."""
        return max(0, self.remaining - min(NOTIFICATION_RESERVE, self.total // 4))


@dataclass
class EngineHandle:
    """A running engine, as the terminal and the signal handlers see it.
    `request_reload` has its site reloaded, if it follows the files of one. `misconfigured` are
    problems for which a default is in effect.
    """

    engine: Engine
    event_bus: EventBus
    list_health: Callable[[], Sequence[Health]]
    problems: Sequence[Problem]
    data: Path
    request_reload: Callable[[], None] | None = None
    misconfigured: Sequence[Problem] = ()
    deadline: ShutdownDeadline = field(
        default_factory=lambda: ShutdownDeadline(DEFAULT_STOP_TIMEOUT)
    )
    monitor: EngineMonitor | None = None
    url: str = ""
    _task: asyncio.Task[None] | None = field(default=None, repr=False)

    def start(self, tasks: asyncio.TaskGroup, on_ended: Callable[[], object]) -> None:
        """Starts the engine's loop in a task group, which propagates whatever it raises."""
        self._task = tasks.create_task(self.engine.run())
        self._task.add_done_callback(lambda task: on_ended())

    async def wait_until_sources_open(self) -> None:
        """Waits until every source is open, or the loop has ended before."""
        if self._task is None:
            return
        open_task = asyncio.create_task(self.engine.sources_opened.wait())
        await asyncio.wait({open_task, self._task}, return_when=asyncio.FIRST_COMPLETED)
        open_task.cancel()
        tune_garbage_collector()

    async def wait_until_ended(self) -> None:
        """Waits until the loop has ended, by itself or after `stop`."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def stop(self) -> None:
        """Asks the engine to end after the current step."""
        self.deadline.start()
        if self.monitor is not None:
            self.monitor.set_stopping()
        self.engine.request_stop()

    def remove_address_file(self) -> None:
        """Removes the address file, so that nobody looks for the API; before an abrupt exit."""
        (self.data / ADDRESS_FILE).unlink(missing_ok=True)

    def health(self) -> Sequence[Health]:
        """Returns the health of sources, stores, executors and sinks."""
        return self.list_health()


def build_engine_name(clock: Clock) -> str:
    """Builds a name that no other engine has or had, from machine, process and start time."""
    return f"{platform.node() or 'engine'}-{os.getpid()}-{clock() // MILLISECOND:x}"


@contextmanager
def publish_engine_url(data: Path, url: str) -> Iterator[None]:
    """Writes the engine's URL into its folder, for commands to find; removes it afterwards."""
    path = data / ADDRESS_FILE
    row = {"url": url, "pid": os.getpid(), "started": format_instant(wall_clock())}
    temp_path = path.with_suffix(".new")
    temp_path.write_text(json.dumps(row))
    temp_path.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def read_engine_url(data: Path) -> str:
    """Returns the URL of the engine that runs on this folder; empty if none does."""
    try:
        row = json.loads((data / ADDRESS_FILE).read_text())
    except (OSError, ValueError):
        return ""
    return str(row.get("url", "")) if isinstance(row, dict) else ""
