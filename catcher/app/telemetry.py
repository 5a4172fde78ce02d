"""Where a site's telemetry is: what its streams bring, an archive, and the records of services."""

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
from catcher.site import Section, Site
from catcher.stores.history import EmbeddedHistory
from catcher.stores.history_settings import EmbeddedSettings

if TYPE_CHECKING:
    from catcher.stores.history_influx import InfluxSettings
    from catcher.stores.history_joined import JoinedHistory
    from catcher.stores.records import Records, Tables

STREAMED = SECOND
"""How long inputs wait for what a stream brings, where the site does not say."""


def archive_settings(site: Site) -> InfluxSettings | None:
    """How the archive of a site's telemetry is reached; None where its history is embedded."""
    told = site.settings.stores.history
    if told.kind != "influxdb":
        return None
    from catcher.stores.history_influx import InfluxSettings

    return told.bind(InfluxSettings)


def patience(site: Site) -> Span:
    """How long inputs wait for telemetry: as the site says, else as late as rows may come."""
    told = site.settings.stores.patience
    if told is not None:
        return told
    archive = archive_settings(site)
    return STREAMED if archive is None else archive.lag


async def open_archive(
    site: Site, folder: Path, clock: Clock, lifetimes: AsyncExitStack
) -> History:
    """The telemetry of a site as a reader finds it: its archive, or what an engine has written.

    Of an engine that runs, that is all but the last half minute.
    """
    records = await open_records(site, clock, lifetimes)
    settings = archive_settings(site)
    if settings is not None:
        from catcher.stores.history_influx import InfluxHistory

        archive = await lifetimes.enter_async_context(InfluxHistory(settings, clock))
        return _routed(archive, records)
    is_there = await asyncio.to_thread(folder.is_dir)
    history = EmbeddedHistory(folder if is_there else None, clock=clock)
    return _routed(await lifetimes.enter_async_context(history), records)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The telemetry of an engine: `history` is all of it, the others what it consists of."""

    history: History
    live: EmbeddedHistory
    joined: JoinedHistory | None = None
    records: Mapping[str, Records] = field(default_factory=dict)

    def health(self) -> list[Health]:
        """Of what the streams bring, of the archive and of each of the records."""
        found = [self.live.health()]
        if self.joined is not None:
            found.append(replace(self.joined.health(), name="archive"))
        return [*found, *(one.health() for one in self.records.values())]

    def hears(self, sources: Callable[[], Iterable[Health]]) -> None:
        """Whose streams may be trusted, as long as they are well."""
        if self.joined is not None:
            self.joined.sources = lambda: {one.name: one for one in sources()}


async def open_telemetry(
    lifetimes: AsyncExitStack, site: Site, folder: Path, clock: Clock
) -> Telemetry:
    """The telemetry of an engine that keeps what its streams bring in a folder."""
    told = site.settings.stores.history
    own = told.bind(EmbeddedSettings) if told.kind == "embedded" else EmbeddedSettings()
    live = await lifetimes.enter_async_context(
        EmbeddedHistory(folder, own.horizon, own.size, clock, _lateness(site))
    )
    joined, settings = None, archive_settings(site)
    if settings is not None:
        from catcher.stores.history_influx import InfluxHistory
        from catcher.stores.history_joined import JoinedHistory

        archive = await lifetimes.enter_async_context(InfluxHistory(settings, clock))
        joined = JoinedHistory(live, archive, clock)
    records = await open_records(site, clock, lifetimes)
    return Telemetry(_routed(joined or live, records), live, joined, records)


def _lateness(site: Site) -> Span:
    """By how much samples may come behind others, by any of the sources."""
    spans = [spec.clock.lateness for spec in site.settings.sources.values()]
    return max(spans, default=SECOND)


async def open_records(site: Site, clock: Clock, lifetimes: AsyncExitStack) -> dict[str, Records]:
    """The records that a site names, each asked when it is first needed."""
    told = site.settings.stores.records
    if not told:
        return {}
    from catcher.stores.records import Records

    return {
        name: await lifetimes.enter_async_context(Records(name, _tables(section), clock))
        for name, section in told.items()
    }


def _tables(section: Section) -> Tables:
    if section.kind == "consdb":
        from catcher.stores.records_consdb import ConsDb, ConsDbSettings

        return ConsDb(section.bind(ConsDbSettings))
    if section.kind == "database":
        from catcher.stores.records_database import Database, DatabaseSettings

        return Database(section.bind(DatabaseSettings))
    from catcher.stores.records_log import Log, LogSettings

    kind = "exposurelog" if section.kind == "exposurelog" else "narrativelog"
    return Log(section.bind(LogSettings), kind)  # type: ignore[arg-type]


def _routed(telemetry: History, records: Mapping[str, Records]) -> History:
    if not records:
        return telemetry
    from catcher.stores.records import RoutedHistory

    return RoutedHistory(telemetry, records)
