"""Where an engine keeps what it makes: its stores, opened in order, closed in the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from catcher.app.places import (
    SPOOL,
    archive_settings,
    ledger_address,
    ledger_is_strict,
    open_objects,
)
from catcher.model.health import Health
from catcher.model.time import SECOND, Clock, Span
from catcher.ports import ObjectStore
from catcher.site import Site
from catcher.stores.history import EmbeddedHistory
from catcher.stores.history_settings import EmbeddedSettings
from catcher.stores.ledger import SqlLedger
from catcher.stores.objects import Objects, ObjectSettings
from catcher.stores.spool import LIMIT, SpooledObjects

if TYPE_CHECKING:
    from catcher.stores.history_joined import JoinedHistory
    from catcher.stores.metrics_exporting import Exporter
    from catcher.stores.metrics_influx import InfluxMetricSettings

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """The stores of one engine. In memory `spool` is None; without a metric store `metrics` is."""

    ledger: SqlLedger
    history: EmbeddedHistory | JoinedHistory
    objects: ObjectStore
    spool: SpooledObjects | None = None
    metrics: Exporter | None = None

    def health(self) -> list[Health]:
        """One for each store."""
        found = [self.ledger.health(), *self._histories()]
        found += [] if self.spool is None else [self.spool.health()]
        return found if self.metrics is None else [*found, self.metrics.health()]

    def _histories(self) -> list[Health]:
        """What the stream brings, and the archive where there is one."""
        if isinstance(self.history, EmbeddedHistory):
            return [self.history.health()]
        return [self.history.live.health(), replace(self.history.health(), name="archive")]

    def hears(self, sources: Callable[[], Iterable[Health]]) -> None:
        """Whose streams the history may trust, as long as they are well."""
        if not isinstance(self.history, EmbeddedHistory):
            self.history.sources = lambda: {one.name: one for one in sources()}


async def open_in_memory(lifetimes: AsyncExitStack, engine: str, clock: Clock) -> Kept:
    """Stores that are gone with the context."""
    return Kept(
        await lifetimes.enter_async_context(SqlLedger("sqlite://", engine, clock)),
        await lifetimes.enter_async_context(EmbeddedHistory(None, clock=clock)),
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
    history = await _history(lifetimes, site, data / "history", clock)
    spool = SpooledObjects(
        open_objects(site, data), data / SPOOL, clock, site.settings.stores.spool or LIMIT,
        listed=ledger.artifact_checksum,
    )  # fmt: skip
    await lifetimes.enter_async_context(spool)
    metrics = await _exporter(lifetimes, ledger, settings, data, clock) if settings else None
    return Kept(ledger, history, spool, spool, metrics)


async def _history(
    lifetimes: AsyncExitStack, site: Site, folder: Path, clock: Clock
) -> EmbeddedHistory | JoinedHistory:
    told = site.settings.stores.history
    own = told.bind(EmbeddedSettings) if told.kind == "embedded" else EmbeddedSettings()
    live = await lifetimes.enter_async_context(
        EmbeddedHistory(folder, own.horizon, own.size, clock, _lateness(site))
    )
    settings = archive_settings(site)
    if settings is None:
        return live
    from catcher.stores.history_influx import InfluxHistory
    from catcher.stores.history_joined import JoinedHistory

    archive = await lifetimes.enter_async_context(InfluxHistory(settings, clock))
    return JoinedHistory(live, archive, clock)


def _lateness(site: Site) -> Span:
    """By how much samples may come behind others, by any of the sources."""
    spans = [spec.clock.lateness for spec in site.settings.sources.values()]
    return max(spans, default=SECOND)


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
