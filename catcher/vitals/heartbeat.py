"""A heartbeat that leaves the process, so that its absence is noticed outside.

A beat is sent only while the engine's own loop takes steps or turns idly: one that went on while
the engine hangs would be worse than none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from catcher.model.health import Health
from catcher.model.time import Instant, Span, format_instant, to_seconds

FEW = 5
PARTING = 2.0
"""Seconds that the last beat may take."""


@dataclass(frozen=True, slots=True)
class Beat:
    """How an engine does at one moment.

    `ok`: it is ready; `degraded`: it works, but `problems` say what is not as it should be;
    `stopping`: it was told to stop; `stopped`: this is the last.
    """

    time: Instant
    site: str
    engine: str
    state: Literal["ok", "degraded", "stopping", "stopped"]
    problems: tuple[str, ...] = ()

    @property
    def parting(self) -> bool:
        """Whether the engine ends as it was told to."""
        return self.state in ("stopping", "stopped")

    def row(self) -> dict[str, Any]:
        """As JSON: the number of problems, and the first few in words."""
        return {
            "time": format_instant(self.time),
            "site": self.site,
            "engine": self.engine,
            "state": self.state,
            "problems": len(self.problems),
            "words": list(self.problems[:FEW]),
        }


class Outlet(Protocol):
    """One way out. `beat` keeps its own time limit and never raises: `health` tells."""

    async def beat(self, beat: Beat) -> None: ...
    def health(self) -> Health: ...


class Heart:
    """Sends a beat to each outlet every so often, for as long as its context lasts.

    `look` gives the beat of now, None while the engine's loop does not turn. The outlets do
    not wait for each other. Leaving sends a last beat.
    """

    def __init__(
        self, every: Span, outlets: Sequence[Outlet], look: Callable[[bool], Beat | None]
    ) -> None:
        self._every, self._outlets, self._look = to_seconds(every), outlets, look
        self._tasks: list[asyncio.Task[None]] = []
        self.withheld = 0

    async def __aenter__(self) -> Self:
        for outlet in self._outlets:
            self._tasks.append(asyncio.create_task(self._go_on(outlet), name="heartbeat"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # After a failure the absence of beats is the message.
        last = self._look(True) if error is None else None
        if last is not None and self._outlets:
            parting = [asyncio.create_task(one.beat(last)) for one in self._outlets]
            _, late = await asyncio.wait(parting, timeout=PARTING)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def health(self) -> list[Health]:
        """One for each outlet."""
        return [outlet.health() for outlet in self._outlets]

    async def _go_on(self, outlet: Outlet) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            beat = self._look(False)
            if beat is None:
                self.withheld += 1
            else:
                await outlet.beat(beat)
            due = max(due + self._every, loop.time())
            await asyncio.sleep(due - loop.time())
