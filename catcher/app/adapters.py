"""Which adapters there are, and how each is made: a new one is a line in one of these tables.

An adapter is imported when a site names it, so that nobody waits for a client library that is
not used.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catcher.app.sink_kinds import SINKS
from catcher.model.portion import WHOLE, Portion
from catcher.model.time import Clock
from catcher.ports import Source
from catcher.site import Site


@dataclass(frozen=True, slots=True)
class SourceNeeds:
    """What a source may need beside its settings; `position` is where it was when it ended."""

    name: str
    clock: Clock
    payload: int
    root: Path
    data: Path
    position: str = ""
    portion: Portion = WHOLE

    def named(self, name: str) -> str:
        """A name at a broker: each portion hears all by itself, those who share one together."""
        return f"{name}.{self.portion.label}" if self.portion.name else name


SourceKind = tuple[type, Callable[[Any, SourceNeeds], Source]]


def _mqtt_source() -> SourceKind:
    from catcher.sources import mqtt

    def make(settings: mqtt.MqttSettings, needs: SourceNeeds) -> Source:
        if needs.portion.name:
            identity = needs.named(settings.identity(needs.name))
            settings = replace(settings, client_id=identity)
        if needs.portion.shared:
            # What a broker keeps for one of several is kept from the others.
            one = f"{settings.client_id}.{platform.node()}-{os.getpid()}"
            settings = replace(settings, client_id=one, session=0)
        return mqtt.MqttSource(needs.name, settings, needs.clock, needs.payload)

    return mqtt.MqttSettings, make


def _kafka_source() -> SourceKind:
    from catcher.sources import kafka

    def make(settings: kafka.KafkaSettings, needs: SourceNeeds) -> Source:
        settings = replace(settings, group=needs.named(settings.group))
        return kafka.KafkaSource(needs.name, settings, needs.clock, needs.payload)

    return kafka.KafkaSettings, make


def _influx_source() -> SourceKind:
    from catcher.sources import polling

    def make(settings: polling.PollingSettings, needs: SourceNeeds) -> Source:
        from catcher.stores.history_influx import InfluxHistory, InfluxSettings

        said = InfluxSettings(
            url=settings.url, database=settings.database, username=settings.username,
            password=settings.password, token=settings.token, retention=settings.retention,
            timeout=settings.timeout,
        )  # fmt: skip
        store = InfluxHistory(said, needs.clock)
        return polling.PollingSource(needs.name, settings, needs.clock, store, needs.position)

    return polling.PollingSettings, make


def _http_source() -> SourceKind:
    from catcher.sources import http

    return http.HttpSettings, lambda settings, needs: http.HttpSource(
        needs.name, settings, needs.clock, needs.payload
    )


def _replay_source() -> SourceKind:
    from catcher.sources import replay

    return replay.ReplaySettings, lambda settings, needs: replay.ReplaySource(
        needs.name, settings, needs.clock, needs.root, needs.position
    )


def _simulator_source() -> SourceKind:
    from catcher.sources import simulator

    return simulator.SimulatorSettings, lambda settings, needs: simulator.SimulatorSource(
        needs.name, settings, needs.clock, needs.data, needs.position
    )


def _sqlite() -> type:
    from catcher.stores.ledger_settings import SqliteSettings

    return SqliteSettings


def _postgresql() -> type:
    from catcher.stores.ledger_settings import PostgresSettings

    return PostgresSettings


def _embedded_history() -> type:
    from catcher.stores.history_settings import EmbeddedSettings

    return EmbeddedSettings


def _influx_history() -> type:
    from catcher.stores.history_influx import InfluxSettings

    return InfluxSettings


def _influx_metrics() -> type:
    from catcher.stores.metrics_influx import InfluxMetricSettings

    return InfluxMetricSettings


def _consdb() -> type:
    from catcher.stores.records_consdb import ConsDbSettings

    return ConsDbSettings


def _log() -> type:
    from catcher.stores.records_log import LogSettings

    return LogSettings


def _database() -> type:
    from catcher.stores.records_database import DatabaseSettings

    return DatabaseSettings


def _gcs() -> type:
    from catcher.stores.objects_settings import GcsSettings

    return GcsSettings


def _azure() -> type:
    from catcher.stores.objects_settings import AzureSettings

    return AzureSettings


def _file_images() -> type:
    from catcher.stores.images_settings import FileImages

    return FileImages


def _far_images() -> type:
    from catcher.stores.images_settings import FarImages

    return FarImages


def _butler_images() -> type:
    from catcher.stores.images_settings import ButlerImages

    return ButlerImages


def _objects() -> type:
    from catcher.stores.objects import ObjectSettings

    return ObjectSettings


def _local() -> type:
    from catcher.executors.local import Settings

    return Settings


def _dask() -> type:
    from catcher.executors.dask_settings import Settings

    return Settings


def _http() -> type:
    from catcher.executors.http_settings import Settings

    return Settings


def _beat_to_mqtt() -> type:
    from catcher.vitals import outlets

    return outlets.MqttSettings


def _beat_to_http() -> type:
    from catcher.vitals import outlets

    return outlets.HttpSettings


def _beat_to_love() -> type:
    from catcher.vitals import outlets

    return outlets.LoveSettings


def _announce_to_mqtt() -> type:
    from catcher.sinks import announcer

    return announcer.MqttAnnouncement


def _announce_to_kafka() -> type:
    from catcher.sinks import kafka_settings

    return kafka_settings.KafkaSettings


SOURCES: Mapping[str, Callable[[], SourceKind]] = {
    "mqtt": _mqtt_source,
    "kafka": _kafka_source,
    "influxdb": _influx_source,
    "http": _http_source,
    "replay": _replay_source,
    "simulator": _simulator_source,
}
OTHERS: Mapping[tuple[str, str], Callable[[], type]] = {
    ("announce", "mqtt"): _announce_to_mqtt,
    ("announce", "kafka"): _announce_to_kafka,
    ("heartbeat", "mqtt"): _beat_to_mqtt,
    ("heartbeat", "http"): _beat_to_http,
    ("heartbeat", "love"): _beat_to_love,
    ("ledger", "sqlite"): _sqlite,
    ("ledger", "postgresql"): _postgresql,
    ("history", "embedded"): _embedded_history,
    ("history", "influxdb"): _influx_history,
    ("metrics", "influxdb"): _influx_metrics,
    ("records", "consdb"): _consdb,
    ("records", "exposurelog"): _log,
    ("records", "narrativelog"): _log,
    ("records", "database"): _database,
    ("objects", "s3"): _objects,
    ("objects", "gcs"): _gcs,
    ("objects", "azure"): _azure,
    ("images", "file"): _file_images,
    ("images", "s3"): _far_images,
    ("images", "butler"): _butler_images,
    ("executor", "local"): _local,
    ("executor", "dask"): _dask,
    ("executor", "http"): _http,
}


class _Settings(Mapping[tuple[str, str], type]):
    """The settings class of each adapter, imported when it is asked for."""

    def __getitem__(self, key: tuple[str, str]) -> type:
        port, kind = key
        if port == "source":
            return SOURCES[kind]()[0]
        if port == "sink":
            return SINKS[kind]().settings
        return OTHERS[key]()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        yield from (("source", kind) for kind in SOURCES)
        yield from (("sink", kind) for kind in SINKS)
        yield from OTHERS

    def __len__(self) -> int:
        return len(SOURCES) + len(SINKS) + len(OTHERS)


SETTINGS: Mapping[tuple[str, str], type] = _Settings()
"""What may stand in the YAML, by port and kind, for the site's check."""


def make_sources(site: Site, needs: Callable[[str], SourceNeeds]) -> list[Source]:
    """The sources that a site names, not yet open."""
    made = []
    for name, spec in site.settings.sources.items():
        settings, make = SOURCES[spec.adapter.kind]()
        made.append(make(spec.adapter.bind(settings), needs(name)))
    return made
