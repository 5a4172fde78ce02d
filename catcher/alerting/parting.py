"""The end of a lane: what waits is tried once more, at once, and then left to the next start."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from catcher.model.time import SECOND, Span, to_seconds

LAST_TRY: Span = 2 * SECOND
"""So long a sink that fails already may take for its last try."""


class Parting:
    """When a lane need not be waited for any longer.

    `forbidden`: the sink asked not to be tried before the end of the present rest.
    """

    def __init__(self) -> None:
        self.forbidden = False
        self._leaving, self._in_vain = asyncio.Event(), asyncio.Event()

    def begin(self) -> None:
        """The engine is about to end."""
        self._leaving.set()

    async def rest(self, pause: Span) -> None:
        """Waits between a try that failed and the next, which the end brings forward."""
        tried = self._leaving.is_set()
        if not tried:
            with suppress(TimeoutError):
                async with asyncio.timeout(to_seconds(pause)):
                    await self._leaving.wait()
        if tried or (self._leaving.is_set() and self.forbidden):
            self._in_vain.set()
            await asyncio.sleep(to_seconds(pause))

    async def over(self, idle: asyncio.Event, failing: bool) -> None:
        """Returns once nothing waits any more, or a last try was in vain."""
        ends = [asyncio.create_task(one.wait()) for one in (idle, self._in_vain)]
        try:
            limit = to_seconds(LAST_TRY) if failing else None
            await asyncio.wait(ends, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in ends:
                one.cancel()
