"""An engine with everything around it, open for as long as a context lasts."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from catcher.engine import Engine
from catcher.model.health import Health
from catcher.model.problem import Problem
from catcher.model.time import SECOND, format_instant, wall_clock
from catcher.streams import Streams

ADDRESS = "engine.json"
DRAIN = 20 * SECOND
"""How long a stop waits for running jobs and for notices on their way."""


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
    url: str = ""
    _task: asyncio.Task[None] | None = field(default=None, repr=False)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Starts the loop in a task group, which carries whatever it raises."""
        self._task = tasks.create_task(self.engine.run())

    async def until_open(self) -> None:
        """Returns when every source is open, or the loop has ended before."""
        if self._task is None:
            return
        opened = asyncio.create_task(self.engine.opened.wait())
        await asyncio.wait({opened, self._task}, return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()

    async def until_end(self) -> None:
        """Returns when the loop has ended, by itself or told to."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def stop(self) -> None:
        """Asks the engine to end after the step in hand."""
        self.engine.stop()

    def health(self) -> Sequence[Health]:
        """How sources, stores, executors and sinks are doing."""
        return self.healths()


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
