"""Periodic work beside a running engine.
Engines that share a rule subset take over each other's abandoned runs. The fields that sources have
learned of their streams are saved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from catcher.app.engine_handle import EngineHandle
from catcher.app.stores import Stores
from catcher.model.errors import CatcherError
from catcher.model.health import LiveUpdate
from catcher.model.time import wall_clock
from catcher.stores.ledger.ledger import SqlLedger
from catcher.stores.topic_catalog import TopicCatalog

CHECK_INTERVAL = 1.0
"""Seconds between two checks for dead engines and for new schemas."""


async def run_housekeeping(stores: Stores, handle: EngineHandle) -> None:
    """Runs all background checks until the engine ends."""
    checks: list[Callable[[], Awaitable[None]]] = [
        lambda: _update_topic_catalogue(stores.telemetry.live.catalog, handle)
    ]
    if stores.ledger.rule_subset.shared:
        checks.append(lambda: _adopt_abandoned_runs(stores.ledger, handle))
    end_task = asyncio.create_task(handle.wait_until_ended())
    try:
        while not end_task.done():
            await asyncio.wait({end_task}, timeout=CHECK_INTERVAL)
            for check in checks:
                await check()
    finally:
        end_task.cancel()
        await asyncio.wait({end_task})


async def _adopt_abandoned_runs(ledger: SqlLedger, handle: EngineHandle) -> None:
    """Requeues here the runs of engines that are gone."""
    try:
        runs = await ledger.take_over_runs(handle.engine.components.rules)
    except CatcherError:
        return  # The ledger's own health reports it, and a fenced engine ends by that.
    if runs:
        message = f"{len(runs)} runs of an engine that is gone are carried out here"
        handle.event_bus.publish(LiveUpdate("problem", wall_clock(), message))
        handle.engine.restart_orphaned_runs(runs)


async def _update_topic_catalogue(catalogue: TopicCatalog, handle: EngineHandle) -> None:
    """Adds the stream schemas that the sources have learned to the topic catalogue."""
    schemas_by_source = (
        getattr(source, "field_schemas", None) for source in handle.engine.components.sources
    )
    changes = [catalogue.add_topics(dict(schemas)) for schemas in schemas_by_source if schemas]
    if any(changes):
        try:
            await asyncio.to_thread(catalogue.save)
        except OSError as error:
            message = f"the catalogue of fields cannot be written: {error.strerror}"
            handle.event_bus.publish(LiveUpdate("problem", wall_clock(), message))
