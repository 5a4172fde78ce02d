"""Which adapters exist, and how each is created: a new one is a line in one of these tables.
An adapter is imported when a site names it, so that nobody waits for a client library that is not
used.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catcher.app.sink_registry import SINK_KINDS
from catcher.model.rule_subset import ALL_RULES, RuleSubset
from catcher.model.time import Clock
from catcher.ports import Source
from catcher.site import Site


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source may need beside its settings.
    `position` is where it was in its input when it last ended.
    """

    name: str
    clock: Clock
    payload_limit: int
    site_root: Path
    data_folder: Path
    position: str = ""
    subset: RuleSubset = ALL_RULES

    def append_subset_label(self, name: str) -> str:
        """Makes a name at a broker unique per rule subset.
        Each rule subset receives all events; the engines that share one receive them together.
        """
        return f"{name}.{self.subset.broker_name}" if self.subset.name else name


SourceAdapter = tuple[type, Callable[[Any, SourceContext], Source]]


def _build_mqtt_source_adapter() -> SourceAdapter:
    from catcher.sources import mqtt

    def create(settings: mqtt.MqttSourceSettings, context: SourceContext) -> Source:
        if context.subset.name:
            qualified_id = context.append_subset_label(settings.build_client_id(context.name))
            settings = replace(settings, client_id=qualified_id)
        if context.subset.shared:
            # Engines that share a subset need their own client ids: a session is not shared.
            client_id = f"{settings.client_id}.{platform.node()}-{os.getpid()}"
            settings = replace(settings, client_id=client_id, session=0)
        return mqtt.MqttSource(context.name, settings, context.clock, context.payload_limit)

    return mqtt.MqttSourceSettings, create


def _build_kafka_source_adapter() -> SourceAdapter:
    from catcher.sources import kafka

    def create(settings: kafka.KafkaSourceSettings, context: SourceContext) -> Source:
        settings = replace(settings, group=context.append_subset_label(settings.group))
        return kafka.KafkaSource(context.name, settings, context.clock, context.payload_limit)

    return kafka.KafkaSourceSettings, create


def _build_influx_source_adapter() -> SourceAdapter:
    from catcher.sources import influxdb

    def create(settings: influxdb.PollingSettings, context: SourceContext) -> Source:
        from catcher.stores.history.influxdb import InfluxHistory, InfluxSettings

        influx_settings = InfluxSettings(
            url=settings.url, database=settings.database, username=settings.username,
            password=settings.password, token=settings.token, retention=settings.retention,
            timeout=settings.timeout,
        )  # fmt: skip
        store = InfluxHistory(influx_settings, context.clock)
        return influxdb.PollingSource(
            context.name, settings, context.clock, store, context.position
        )

    return influxdb.PollingSettings, create


def _build_http_source_adapter() -> SourceAdapter:
    from catcher.sources import http

    return http.HttpSourceSettings, lambda settings, context: http.HttpSource(
        context.name, settings, context.clock, context.payload_limit
    )


def _build_replay_source_adapter() -> SourceAdapter:
    from catcher.recordings import source

    return source.ReplaySettings, lambda settings, context: source.ReplaySource(
        context.name, settings, context.clock, context.site_root, context.position
    )


def _build_simulator_source_adapter() -> SourceAdapter:
    from catcher.simulation import source

    return source.SimulatorSettings, lambda settings, context: source.SimulatorSource(
        context.name, settings, context.clock, context.data_folder, context.position
    )


def _import_sqlite_settings() -> type:
    from catcher.stores.ledger.settings import SqliteSettings

    return SqliteSettings


def _import_postgres_settings() -> type:
    from catcher.stores.ledger.settings import PostgresSettings

    return PostgresSettings


def _import_embedded_history_settings() -> type:
    from catcher.stores.history.embedded import EmbeddedSettings

    return EmbeddedSettings


def _import_influx_history_settings() -> type:
    from catcher.stores.history.influxdb import InfluxSettings

    return InfluxSettings


def _import_influx_metric_settings() -> type:
    from catcher.stores.metrics.influxdb import InfluxMetricSettings

    return InfluxMetricSettings


def _import_consdb_settings() -> type:
    from catcher.stores.external.consdb import ConsDbSettings

    return ConsDbSettings


def _import_rubin_log_settings() -> type:
    from catcher.stores.external.rubin_logs import LogSettings

    return LogSettings


def _import_sql_database_settings() -> type:
    from catcher.stores.external.sql_database import DatabaseSettings

    return DatabaseSettings


def _import_gcs_settings() -> type:
    from catcher.stores.artifacts.settings import GcsSettings

    return GcsSettings


def _import_azure_settings() -> type:
    from catcher.stores.artifacts.settings import AzureSettings

    return AzureSettings


def _import_file_image_settings() -> type:
    from catcher.stores.images.settings import FileImageSettings

    return FileImageSettings


def _import_remote_image_settings() -> type:
    from catcher.stores.images.settings import RemoteImageSettings

    return RemoteImageSettings


def _import_butler_settings() -> type:
    from catcher.stores.images.settings import ButlerImageSettings

    return ButlerImageSettings


def _import_object_store_settings() -> type:
    from catcher.stores.artifacts.object_store import ObjectSettings

    return ObjectSettings


def _import_local_executor_settings() -> type:
    from catcher.executors.local import LocalExecutorSettings

    return LocalExecutorSettings


def _import_dask_executor_settings() -> type:
    from catcher.executors.dask_settings import DaskExecutorSettings

    return DaskExecutorSettings


def _import_http_executor_settings() -> type:
    from catcher.executors.http_settings import HttpExecutorSettings

    return HttpExecutorSettings


def _import_mqtt_heartbeat_settings() -> type:
    from catcher.monitoring import heartbeat_targets

    return heartbeat_targets.MqttHeartbeatSettings


def _import_http_heartbeat_settings() -> type:
    from catcher.monitoring import heartbeat_targets

    return heartbeat_targets.HttpHeartbeatSettings


def _import_love_heartbeat_settings() -> type:
    from catcher.monitoring import heartbeat_targets

    return heartbeat_targets.LoveHeartbeatSettings


def _import_mqtt_result_settings() -> type:
    from catcher.sinks import result_publisher

    return result_publisher.MqttResultSettings


def _import_kafka_result_settings() -> type:
    from catcher.sinks import kafka_settings

    return kafka_settings.KafkaPublisherSettings


SOURCES: Mapping[str, Callable[[], SourceAdapter]] = {
    "mqtt": _build_mqtt_source_adapter,
    "kafka": _build_kafka_source_adapter,
    "influxdb": _build_influx_source_adapter,
    "http": _build_http_source_adapter,
    "replay": _build_replay_source_adapter,
    "simulator": _build_simulator_source_adapter,
}
OTHER_SETTINGS: Mapping[tuple[str, str], Callable[[], type]] = {
    ("announce", "mqtt"): _import_mqtt_result_settings,
    ("announce", "kafka"): _import_kafka_result_settings,
    ("heartbeat", "mqtt"): _import_mqtt_heartbeat_settings,
    ("heartbeat", "http"): _import_http_heartbeat_settings,
    ("heartbeat", "love"): _import_love_heartbeat_settings,
    ("ledger", "sqlite"): _import_sqlite_settings,
    ("ledger", "postgresql"): _import_postgres_settings,
    ("history", "embedded"): _import_embedded_history_settings,
    ("history", "influxdb"): _import_influx_history_settings,
    ("metrics", "influxdb"): _import_influx_metric_settings,
    ("records", "consdb"): _import_consdb_settings,
    ("records", "exposurelog"): _import_rubin_log_settings,
    ("records", "narrativelog"): _import_rubin_log_settings,
    ("records", "database"): _import_sql_database_settings,
    ("objects", "s3"): _import_object_store_settings,
    ("objects", "gcs"): _import_gcs_settings,
    ("objects", "azure"): _import_azure_settings,
    ("images", "file"): _import_file_image_settings,
    ("images", "s3"): _import_remote_image_settings,
    ("images", "butler"): _import_butler_settings,
    ("executor", "local"): _import_local_executor_settings,
    ("executor", "dask"): _import_dask_executor_settings,
    ("executor", "http"): _import_http_executor_settings,
}


class _SettingsRegistry(Mapping[tuple[str, str], type]):
    """The settings class of each adapter, imported on first use."""

    def __getitem__(self, key: tuple[str, str]) -> type:
        port, kind = key
        if port == "source":
            return SOURCES[kind]()[0]
        if port == "sink":
            return SINK_KINDS[kind]().settings
        return OTHER_SETTINGS[key]()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        yield from (("source", kind) for kind in SOURCES)
        yield from (("sink", kind) for kind in SINK_KINDS)
        yield from OTHER_SETTINGS

    def __len__(self) -> int:
        return len(SOURCES) + len(SINK_KINDS) + len(OTHER_SETTINGS)


SETTINGS_CLASSES: Mapping[tuple[str, str], type] = _SettingsRegistry()
"""The adapters that the YAML may name, by port and kind, for the site's check."""


def create_sources(site: Site, build_context: Callable[[str], SourceContext]) -> list[Source]:
    """Creates the sources that a site names, without opening them."""
    sources = []
    for name, spec in site.settings.sources.items():
        settings, create = SOURCES[spec.adapter.kind]()
        sources.append(create(spec.adapter.bind_settings(settings), build_context(name)))
    return sources
