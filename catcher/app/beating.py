"""The ways out of a heartbeat, as a site names them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from catcher.model.problem import CatcherError
from catcher.model.time import Clock
from catcher.ports import Sink
from catcher.site import Heartbeat, Section, Site
from catcher.vitals import Outlet
from catcher.vitals.outlets import (
    HttpOutlet,
    HttpSettings,
    LoveOutlet,
    LoveSettings,
    MqttOutlet,
    MqttSettings,
    will,
)


async def make_outlets(
    site: Site, engine: str, sinks: Mapping[str, Sink], clock: Clock, lifetimes: AsyncExitStack
) -> list[Outlet]:
    """One for each way that the site names, connected in the background."""
    heartbeat, named = site.settings.heartbeat, site.settings.site
    made: list[Outlet] = []
    for way in heartbeat.ways:
        match way.kind:
            case "mqtt":
                made.append(await _mqtt(way, heartbeat, named, engine, clock, lifetimes))
            case "http":
                made.append(HttpOutlet(way.bind(HttpSettings), clock))
            case "love":
                made.append(_love(way.bind(LoveSettings), sinks, clock))
    return made


async def _mqtt(
    way: Section, heartbeat: Heartbeat, site: str, engine: str, clock: Clock,
    lifetimes: AsyncExitStack,
) -> MqttOutlet:  # fmt: skip
    """A connection of its own: the will belongs to the whole of one."""
    from catcher.sources import mqtt_publisher as mqtt

    said = way.bind(MqttSettings)
    topic = said.topic or f"catcher/{_level(site)}/heartbeat"
    broker = mqtt.Broker(
        host=said.host, port=said.port, username=said.username, password=said.password,
        client_id=said.client_id, protocol=said.protocol, keepalive=heartbeat.every,
        tls=mqtt.Tls(ca=said.ca) if said.tls else None,
        will=mqtt.Will(topic=topic, payload=will(site, engine)),
    )  # fmt: skip
    publisher = mqtt.Publisher(f"{_level(site)}-heartbeat-{engine}", broker, clock)
    await lifetimes.enter_async_context(publisher)
    return MqttOutlet(publisher, topic, heartbeat.every, clock)


def _level(site: str) -> str:
    """A site's name as one level of a topic."""
    return "".join("_" if one in "+#/\0" else one for one in site) or "site"


def _love(said: LoveSettings, sinks: Mapping[str, Sink], clock: Clock) -> LoveOutlet:
    from catcher.sinks.love import LoveSink

    sink = sinks.get(said.sink)
    if not isinstance(sink, LoveSink):
        raise CatcherError(
            f"the heartbeat goes through {said.sink!r}, which is no sink to LOVE",
            "name one of alerts/routes.yaml",
        )
    return LoveOutlet(said, sink.say, clock)
