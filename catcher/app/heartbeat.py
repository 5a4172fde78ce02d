"""Creates the heartbeat targets that a site names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from catcher.model.errors import CatcherError
from catcher.model.time import Clock
from catcher.monitoring import HeartbeatTarget
from catcher.monitoring.heartbeat_targets import (
    HttpHeartbeatSettings,
    HttpHeartbeatTarget,
    LoveHeartbeatSettings,
    LoveHeartbeatTarget,
    MqttHeartbeatSettings,
    MqttHeartbeatTarget,
    build_last_will,
)
from catcher.ports import Sink
from catcher.site import AdapterSection, HeartbeatSettings, Site


async def create_heartbeat_targets(
    site: Site,
    engine_name: str,
    sinks: Mapping[str, Sink],
    clock: Clock,
    exit_stack: AsyncExitStack,
) -> list[HeartbeatTarget]:
    """Creates the site's heartbeat targets; they connect in the background."""
    heartbeat, site_name = site.settings.heartbeat, site.settings.site
    targets: list[HeartbeatTarget] = []
    for section in heartbeat.targets:
        match section.kind:
            case "mqtt":
                targets.append(
                    await _create_mqtt_target(
                        section, heartbeat, site_name, engine_name, clock, exit_stack
                    )
                )
            case "http":
                targets.append(
                    HttpHeartbeatTarget(section.bind_settings(HttpHeartbeatSettings), clock)
                )
            case "love":
                targets.append(
                    _create_love_target(section.bind_settings(LoveHeartbeatSettings), sinks, clock)
                )
    return targets


async def _create_mqtt_target(
    section: AdapterSection,
    heartbeat: HeartbeatSettings,
    site_name: str,
    engine_name: str,
    clock: Clock,
    exit_stack: AsyncExitStack,
) -> MqttHeartbeatTarget:
    """Creates a target with its own connection: the last will belongs to a whole connection."""
    from catcher.transport.mqtt import publisher as mqtt

    settings = section.bind_settings(MqttHeartbeatSettings)
    topic = settings.topic or f"catcher/{_sanitize_topic_level(site_name)}/heartbeat"
    broker = mqtt.MqttBrokerSettings(
        host=settings.host,
        port=settings.port,
        username=settings.username,
        password=settings.password,
        client_id=settings.client_id,
        protocol=settings.protocol,
        keepalive=heartbeat.every,
        tls=mqtt.TlsSettings(ca=settings.ca) if settings.tls else None,
        will=mqtt.LastWill(topic=topic, payload=build_last_will(site_name, engine_name)),
    )
    publisher = mqtt.MqttPublisher(
        f"{_sanitize_topic_level(site_name)}-heartbeat-{engine_name}", broker, clock
    )
    await exit_stack.enter_async_context(publisher)
    return MqttHeartbeatTarget(publisher, topic, heartbeat.every, clock)


def _sanitize_topic_level(site_name: str) -> str:
    """Converts a site's name to one level of a topic."""
    return "".join("_" if char in "+#/\0" else char for char in site_name) or "site"


def _create_love_target(
    settings: LoveHeartbeatSettings, sinks: Mapping[str, Sink], clock: Clock
) -> LoveHeartbeatTarget:
    from catcher.sinks.love import LoveSink

    sink = sinks.get(settings.sink)
    if not isinstance(sink, LoveSink):
        raise CatcherError(
            f"the heartbeat goes through {settings.sink!r}, which is no sink to LOVE",
            "name one of alerts/routes.yaml",
        )
    return LoveHeartbeatTarget(settings, sink.send_message, clock)
