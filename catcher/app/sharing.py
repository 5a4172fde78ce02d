"""What goes on beside an engine as long as it runs.

Engines that share a portion of a site each take over what another left. What streams say of
their fields is written down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from catcher.app.kept import Kept
from catcher.app.running import Running
from catcher.model.health import Update
from catcher.model.problem import CatcherError
from catcher.model.time import wall_clock
from catcher.stores.catalogue import Catalogue
from catcher.stores.ledger import SqlLedger

LOOKED_AT = 1.0
"""Seconds between two looks for engines that are gone, and for new schemas."""


async def beside(kept: Kept, running: Running) -> None:
    """Looks after all of it until the engine ends."""
    looks: list[Callable[[], Awaitable[None]]] = [
        lambda: _describe(kept.telemetry.live.catalogue, running)
    ]
    if kept.ledger.portion.shared:
        looks.append(lambda: _take_over(kept.ledger, running))
    ending = asyncio.create_task(running.until_end())
    try:
        while not ending.done():
            await asyncio.wait({ending}, timeout=LOOKED_AT)
            for look in looks:
                await look()
    finally:
        ending.cancel()
        await asyncio.wait({ending})


async def _take_over(ledger: SqlLedger, running: Running) -> None:
    """The runs of engines that are gone are carried out here."""
    try:
        runs = await ledger.adopt(running.engine.parts.rules)
    except CatcherError:
        return  # The ledger's own health tells of it, and whoever is fenced off ends by that.
    if runs:
        words = f"{len(runs)} runs of an engine that is gone are carried out here"
        running.live.publish(Update("problem", wall_clock(), words))
        running.engine.take_up(runs)


async def _describe(catalogue: Catalogue, running: Running) -> None:
    """What the sources have learned of their streams' fields goes into the catalogue."""
    told = (getattr(one, "described", None) for one in running.engine.parts.sources)
    new = [catalogue.learn(dict(described)) for described in told if described]
    if any(new):
        try:
            await asyncio.to_thread(catalogue.save)
        except OSError as error:
            words = f"the catalogue of fields cannot be written: {error.strerror}"
            running.live.publish(Update("problem", wall_clock(), words))
