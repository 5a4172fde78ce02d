"""Engines that share a portion of a site: each takes over what another left."""

from __future__ import annotations

import asyncio

from catcher.app.running import Running
from catcher.model.health import Update
from catcher.model.problem import CatcherError
from catcher.model.time import wall_clock
from catcher.stores.ledger import SqlLedger

LOOKED_AT = 1.0
"""Seconds between two looks for engines that are gone."""


async def take_over(ledger: SqlLedger, running: Running) -> None:
    """Has the runs of engines that are gone carried out here, until this one ends."""
    if not ledger.portion.shared:
        return
    ending = asyncio.create_task(running.until_end())
    try:
        while not ending.done():
            await asyncio.wait({ending}, timeout=LOOKED_AT)
            await _look(ledger, running)
    finally:
        ending.cancel()
        await asyncio.wait({ending})


async def _look(ledger: SqlLedger, running: Running) -> None:
    try:
        runs = await ledger.adopt(running.engine.parts.rules)
    except CatcherError:
        return  # The ledger's own health tells of it, and whoever is fenced off ends by that.
    if runs:
        words = f"{len(runs)} runs of an engine that is gone are carried out here"
        running.live.publish(Update("problem", wall_clock(), words))
        running.engine.take_up(runs)
