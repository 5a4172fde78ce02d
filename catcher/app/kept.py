"""Where an engine keeps what it makes: its stores, opened in order, closed in the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from catcher.app.places import (
    SPOOL,
    ledger_address,
    ledger_is_strict,
    open_objects,
)
from catcher.app.telemetry import Telemetry, open_telemetry
from catcher.model.health import Health
from catcher.model.time import Clock
from catcher.ports import History, ObjectStore
from catcher.site import Site
from catcher.stores.history import EmbeddedHistory
from catcher.stores.ledger import SqlLedger
from catcher.stores.objects import Objects, ObjectSettings
from catcher.stores.spool import LIMIT, SpooledObjects

if TYPE_CHECKING:
    from catcher.stores.metrics_exporting import Exporter
    from catcher.stores.metrics_influx import InfluxMetricSettings

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """The stores of one engine. In memory `spool` is None; without a metric store `metrics` is."""

    ledger: SqlLedger
    telemetry: Telemetry
    objects: ObjectStore
    spool: SpooledObjects | None = None
    metrics: Exporter | None = None

    @property
    def history(self) -> History:
        """Telemetry, and the records of other services."""
        return self.telemetry.history

    def health(self) -> list[Health]:
        """One for each store."""
        found = [self.ledger.health(), *self.telemetry.health()]
        found += [] if self.spool is None else [self.spool.health()]
        return found if self.metrics is None else [*found, self.metrics.health()]


async def open_in_memory(lifetimes: AsyncExitStack, engine: str, clock: Clock) -> Kept:
    """Stores that are gone with the context."""
    ledger = await lifetimes.enter_async_context(SqlLedger("sqlite://", engine, clock))
    history = await lifetimes.enter_async_context(EmbeddedHistory(None, clock=clock))
    return Kept(
        ledger,
        Telemetry(history, history),
        Objects(ObjectSettings(url="memory://")),
    )


async def open_kept(
    lifetimes: AsyncExitStack, site: Site, data: Path, engine: str, clock: Clock, told: Told
) -> Kept:
    """Opens the stores of a site, the ledger first: nothing else while another engine holds it.

    `told` hears for which engine this one stands by.
    """
    settings = _metric_settings(site)
    ledger = SqlLedger(
        ledger_address(site, data), engine, clock, full=ledger_is_strict(site), told=told,
        exports=settings.waiting if settings else 0, portion=site.settings.engine,
    )  # fmt: skip
    await lifetimes.enter_async_context(ledger)
    telemetry = await open_telemetry(lifetimes, site, data / "history", clock)
    spool = SpooledObjects(
        open_objects(site, data), data / SPOOL, clock, site.settings.stores.spool or LIMIT,
        listed=ledger.artifact_checksum,
    )  # fmt: skip
    await lifetimes.enter_async_context(spool)
    metrics = await _exporter(lifetimes, ledger, settings, data, clock) if settings else None
    return Kept(ledger, telemetry, spool, spool, metrics)


def _metric_settings(site: Site) -> InfluxMetricSettings | None:
    if site.settings.stores.metrics.kind != "influxdb":
        return None
    # Not every site has an InfluxDB, and its client is slow to import.
    from catcher.stores.metrics_influx import InfluxMetricSettings

    return site.settings.stores.metrics.bind(InfluxMetricSettings)


async def _exporter(
    lifetimes: AsyncExitStack, ledger: SqlLedger, settings: InfluxMetricSettings, data: Path,
    clock: Clock,
) -> Exporter:  # fmt: skip
    from catcher.stores.metrics_exporting import Exporter
    from catcher.stores.metrics_influx import InfluxMetrics
    from catcher.stores.metrics_letters import DeadPoints

    dead = DeadPoints(data / "dead-letters" / "metrics.lp")
    store = await lifetimes.enter_async_context(InfluxMetrics(settings, clock, dead))
    exporter = Exporter(ledger, store, clock, settings.longest_pause)
    return await lifetimes.enter_async_context(exporter)
