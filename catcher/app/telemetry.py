"""Where a site's telemetry is: live from its streams, in an archive, and in external records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from catcher.model.health import Health
from catcher.model.time import SECOND, Clock, Span
from catcher.ports import History
from catcher.site import AdapterSection, Site
from catcher.stores.history.embedded import EmbeddedHistory, EmbeddedSettings

if TYPE_CHECKING:
    from catcher.stores.external.tables import ExternalTableClient, ExternalTableHistory
    from catcher.stores.history.hybrid import HybridHistory
    from catcher.stores.history.influxdb import InfluxSettings

STREAM_MAX_WAIT = SECOND
"""How long inputs wait for stream data, if the site does not say."""


def get_archive_settings(site: Site) -> InfluxSettings | None:
    """Returns the settings of the site's telemetry archive; None if its history is embedded."""
    section = site.settings.stores.history
    if section.kind != "influxdb":
        return None
    from catcher.stores.history.influxdb import InfluxSettings

    return section.bind_settings(InfluxSettings)


def get_max_input_wait(site: Site) -> Span:
    """Returns how long inputs wait for telemetry: as configured, else the archive's lag."""
    configured = site.settings.stores.patience
    if configured is not None:
        return configured
    archive = get_archive_settings(site)
    return STREAM_MAX_WAIT if archive is None else archive.lag


async def open_telemetry_reader(
    site: Site, folder: Path, clock: Clock, exit_stack: AsyncExitStack
) -> History:
    """Opens the telemetry of a site for reading: its archive, or what an engine has written.
    For a running engine, that is all but the last half minute.
    """
    records = await open_external_records(site, clock, exit_stack)
    settings = get_archive_settings(site)
    if settings is not None:
        from catcher.stores.history.influxdb import InfluxHistory

        archive = await exit_stack.enter_async_context(InfluxHistory(settings, clock))
        return _combine_with_records(archive, records)
    exists = await asyncio.to_thread(folder.is_dir)
    history = EmbeddedHistory(folder if exists else None, clock=clock)
    return _combine_with_records(await exit_stack.enter_async_context(history), records)


@dataclass(frozen=True, slots=True)
class EngineTelemetry:
    """The telemetry of an engine: `history` is all of it, the others its components."""

    history: History
    live: EmbeddedHistory
    hybrid: HybridHistory | None = None
    records: Mapping[str, ExternalTableHistory] = field(default_factory=dict)

    def health(self) -> list[Health]:
        """Returns the health of the live history, the archive and each of the records."""
        healths = [self.live.health()]
        if self.hybrid is not None:
            healths.append(replace(self.hybrid.health(), name="archive"))
        return [*healths, *(source.health() for source in self.records.values())]

    def set_source_health_lister(self, list_health: Callable[[], Iterable[Health]]) -> None:
        """Sets the sources whose streams are trusted as long as they are healthy."""
        if self.hybrid is not None:
            self.hybrid.sources = lambda: {health.name: health for health in list_health()}


async def open_engine_telemetry(
    exit_stack: AsyncExitStack, site: Site, folder: Path, clock: Clock
) -> EngineTelemetry:
    """Opens the telemetry of an engine that stores its streams in a folder."""
    section = site.settings.stores.history
    embedded_settings = (
        section.bind_settings(EmbeddedSettings)
        if section.kind == "embedded"
        else EmbeddedSettings()
    )
    live = await exit_stack.enter_async_context(
        EmbeddedHistory(
            folder,
            embedded_settings.horizon,
            embedded_settings.size,
            clock,
            _compute_max_lateness(site),
        )
    )
    hybrid, settings = None, get_archive_settings(site)
    if settings is not None:
        from catcher.stores.history.hybrid import HybridHistory
        from catcher.stores.history.influxdb import InfluxHistory

        archive = await exit_stack.enter_async_context(InfluxHistory(settings, clock))
        hybrid = HybridHistory(live, archive, clock)
    records = await open_external_records(site, clock, exit_stack)
    return EngineTelemetry(_combine_with_records(hybrid or live, records), live, hybrid, records)


def _compute_max_lateness(site: Site) -> Span:
    """Returns the largest lateness of samples over all sources."""
    spans = [spec.clock.lateness for spec in site.settings.sources.values()]
    return max(spans, default=SECOND)


async def open_external_records(
    site: Site, clock: Clock, exit_stack: AsyncExitStack
) -> dict[str, ExternalTableHistory]:
    """Opens the records that a site names; each is queried on first use."""
    sections = site.settings.stores.records
    if not sections:
        return {}
    from catcher.stores.external.tables import ExternalTableHistory

    return {
        name: await exit_stack.enter_async_context(
            ExternalTableHistory(name, _create_table_client(section), clock)
        )
        for name, section in sections.items()
    }


def _create_table_client(section: AdapterSection) -> ExternalTableClient:
    if section.kind == "consdb":
        from catcher.stores.external.consdb import ConsDb, ConsDbSettings

        return ConsDb(section.bind_settings(ConsDbSettings))
    if section.kind == "database":
        from catcher.stores.external.sql_database import DatabaseSettings, SqlDatabaseTables

        return SqlDatabaseTables(section.bind_settings(DatabaseSettings))
    from catcher.stores.external.rubin_logs import LogSettings, RubinLogTable

    kind = "exposurelog" if section.kind == "exposurelog" else "narrativelog"
    return RubinLogTable(section.bind_settings(LogSettings), kind)  # type: ignore[arg-type]


def _combine_with_records(
    telemetry: History, records: Mapping[str, ExternalTableHistory]
) -> History:
    if not records:
        return telemetry
    from catcher.stores.external.tables import NamespacedHistory

    return NamespacedHistory(telemetry, records)
