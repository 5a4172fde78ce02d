"""An engine's stores, opened in order and closed in reverse order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from catcher.app.paths import (
    SPOOL_PATH,
    has_synchronous_commits,
    open_artifact_store,
    resolve_ledger_url,
)
from catcher.app.telemetry import EngineTelemetry, open_engine_telemetry
from catcher.model.health import Health
from catcher.model.time import Clock
from catcher.ports import History, ObjectStore
from catcher.site import Site
from catcher.stores.artifacts.object_store import ObjectSettings, ObstoreStore
from catcher.stores.artifacts.spool import DEFAULT_LIMIT, SpooledObjects
from catcher.stores.history.embedded import EmbeddedHistory
from catcher.stores.ledger.ledger import SqlLedger

if TYPE_CHECKING:
    from catcher.stores.metrics.exporter import Exporter
    from catcher.stores.metrics.influxdb import InfluxMetricSettings

MessageCallback = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores of one engine. In memory `spool` is None; without a metric store `metrics` is."""

    ledger: SqlLedger
    telemetry: EngineTelemetry
    objects: ObjectStore
    spool: SpooledObjects | None = None
    metrics: Exporter | None = None

    @property
    def history(self) -> History:
        """Telemetry, and the records of other services."""
        return self.telemetry.history

    def health(self) -> list[Health]:
        """Returns the health of each store."""
        healths = [self.ledger.health(), *self.telemetry.health()]
        healths += [] if self.spool is None else [self.spool.health()]
        return healths if self.metrics is None else [*healths, self.metrics.health()]


async def open_memory_stores(exit_stack: AsyncExitStack, engine: str, clock: Clock) -> Stores:
    """Opens stores in memory, which are lost with the context."""
    ledger = await exit_stack.enter_async_context(SqlLedger("sqlite://", engine, clock))
    history = await exit_stack.enter_async_context(EmbeddedHistory(None, clock=clock))
    return Stores(
        ledger,
        EngineTelemetry(history, history),
        ObstoreStore(ObjectSettings(url="memory://")),
    )


async def open_stores(
    exit_stack: AsyncExitStack,
    site: Site,
    data: Path,
    engine: str,
    clock: Clock,
    on_standby: MessageCallback,
) -> Stores:
    """Opens the stores of a site, the ledger first: nothing else while another engine holds it.
    `on_standby` receives which engine this one stands by for.
    """
    settings = _get_metric_settings(site)
    ledger = SqlLedger(
        resolve_ledger_url(site, data),
        engine,
        clock,
        full_sync=has_synchronous_commits(site),
        on_standby=on_standby,
        max_exports=settings.waiting if settings else 0,
        rule_subset=site.settings.engine,
    )
    await exit_stack.enter_async_context(ledger)
    telemetry = await open_engine_telemetry(exit_stack, site, data / "history", clock)
    spool = SpooledObjects(
        open_artifact_store(site, data),
        data / SPOOL_PATH,
        clock,
        site.settings.stores.spool or DEFAULT_LIMIT,
        find_checksum=ledger.find_artifact_checksum,
    )
    await exit_stack.enter_async_context(spool)
    metrics = (
        await _open_metric_exporter(exit_stack, ledger, settings, data, clock) if settings else None
    )
    return Stores(ledger, telemetry, spool, spool, metrics)


def _get_metric_settings(site: Site) -> InfluxMetricSettings | None:
    if site.settings.stores.metrics.kind != "influxdb":
        return None
    # Not every site has an InfluxDB, and its client is slow to import.
    from catcher.stores.metrics.influxdb import InfluxMetricSettings

    return site.settings.stores.metrics.bind_settings(InfluxMetricSettings)


async def _open_metric_exporter(
    exit_stack: AsyncExitStack, ledger: SqlLedger, settings: InfluxMetricSettings, data: Path,
    clock: Clock,
) -> Exporter:  # fmt: skip
    from catcher.stores.metrics.dead_letter_file import DeadLetterFile
    from catcher.stores.metrics.exporter import Exporter
    from catcher.stores.metrics.influxdb import InfluxMetrics

    dead_letters = DeadLetterFile(data / "dead-letters" / "metrics.lp")
    store = await exit_stack.enter_async_context(InfluxMetrics(settings, clock, dead_letters))
    exporter = Exporter(ledger, store, clock, settings.longest_pause)
    return await exit_stack.enter_async_context(exporter)
