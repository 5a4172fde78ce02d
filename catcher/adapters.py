"""Which adapters there are, and how each is made: a new one is a line in one of these tables."""

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catcher.alerting import Renderer, composer
from catcher.executors import local
from catcher.model.alert import Alert, Notice
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose, Message
from catcher.model.problem import CatcherError
from catcher.model.time import Clock
from catcher.ports import ObjectStore, Row, Sink, SinkError, Source
from catcher.sinks import console, love, slack
from catcher.sinks import mqtt as mqtt_sink
from catcher.site import Site
from catcher.sources import http, mqtt, mqtt_publisher, replay, simulator
from catcher.stores import metrics_influx, objects


@dataclass(frozen=True, slots=True)
class SourceNeeds:
    """What a source may need beside its settings."""

    name: str
    clock: Clock
    payload: int
    root: Path
    data: Path


@dataclass(frozen=True, slots=True)
class SinkNeeds:
    """What a sink may need beside its settings.

    `lifetimes` ends with the engine; `write` puts a line onto the terminal.
    """

    name: str
    compose: Compose
    active: Callable[[], Iterable[Alert]]
    objects: ObjectStore
    clock: Clock
    lifetimes: AsyncExitStack
    write: Callable[[str], None]


SOURCES: dict[str, tuple[type, Callable[[Any, SourceNeeds], Source]]] = {
    "mqtt": (mqtt.MqttSettings, lambda settings, needs: mqtt.MqttSource(
        needs.name, settings, needs.clock, needs.payload)),
    "http": (http.HttpSettings, lambda settings, needs: http.HttpSource(
        needs.name, settings, needs.clock, needs.payload)),
    "replay": (replay.ReplaySettings, lambda settings, needs: replay.ReplaySource(
        needs.name, settings, needs.clock, needs.root)),
    "simulator": (simulator.SimulatorSettings, lambda settings, needs: simulator.SimulatorSource(
        needs.name, settings, needs.clock, needs.data)),
}  # fmt: skip


async def _console(settings: console.Settings, needs: SinkNeeds) -> Sink:
    return console.ConsoleSink(needs.name, settings, needs.compose, needs.write)


async def _slack(settings: slack.Settings, needs: SinkNeeds) -> Sink:
    sink = slack.SlackSink(needs.name, settings, needs.compose, needs.objects.get)
    return await needs.lifetimes.enter_async_context(sink)


async def _love(settings: love.Settings, needs: SinkNeeds) -> Sink:
    sink = love.LoveSink(needs.name, settings, needs.compose, needs.active, needs.clock)
    return await needs.lifetimes.enter_async_context(sink)


async def _mqtt(settings: mqtt_sink.Settings, needs: SinkNeeds) -> Sink:
    broker = mqtt_publisher.Broker(
        host=settings.host, port=settings.port, username=settings.username,
        password=settings.password, client_id=settings.client_id, protocol=settings.protocol,
        tls=mqtt_publisher.Tls(ca=settings.ca) if settings.tls else None,
    )  # fmt: skip
    publisher = mqtt_publisher.Publisher(needs.name, broker, needs.clock)
    await needs.lifetimes.enter_async_context(publisher)
    return mqtt_sink.MqttSink(needs.name, settings, publisher, needs.compose)


SINKS: dict[str, tuple[type, Callable[[Any, SinkNeeds], Awaitable[Sink]]]] = {
    "console": (console.Settings, _console),
    "slack": (slack.Settings, _slack),
    "love": (love.Settings, _love),
    "mqtt": (mqtt_sink.Settings, _mqtt),
}

SETTINGS: dict[tuple[str, str], type] = {
    **{("source", kind): settings for kind, (settings, _) in SOURCES.items()},
    **{("sink", kind): settings for kind, (settings, _) in SINKS.items()},
    ("metrics", "influxdb"): metrics_influx.InfluxMetricSettings,
    ("objects", "s3"): objects.ObjectSettings,
    ("executor", "local"): local.Settings,
}
"""What may stand in the YAML, by port and kind, for the site's check."""


def make_sources(site: Site, needs: Callable[[str], SourceNeeds]) -> list[Source]:
    """The sources that a site names, not yet open."""
    made = []
    for name, spec in site.settings.sources.items():
        settings, make = SOURCES[spec.adapter.kind]
        made.append(make(spec.adapter.bind(settings), needs(name)))
    return made


async def make_sinks(
    site: Site, renderer: Renderer, needs: Callable[[str, Compose], SinkNeeds]
) -> dict[str, Sink]:
    """The sinks that a site names, connected in the background."""
    made: dict[str, Sink] = {}
    for name, section in site.sinks.items():
        compose = composer(renderer, name, section.kind)
        if section.kind in SINKS:
            settings, make = SINKS[section.kind]
            made[name] = await make(section.bind(settings), needs(name, compose))
        else:
            path = site.custom_sinks[section.kind]
            made[name] = CustomSink(name, path, section.values(), compose)
    return made


Deliver = Callable[[Notice, Message, Mapping[str, Any]], Awaitable[Row | None]]


class CustomSink:
    """A site's own sink: `async def deliver(notice, message, settings)` in `alerts/sinks/NAME.py`.

    What it returns comes back with the next notice of the same alert (`notice.receipt`);
    whatever it raises is a delivery that failed and is tried again.
    """

    def __init__(
        self, name: str, path: Path, settings: Mapping[str, Any], compose: Compose
    ) -> None:
        self.name = name
        self._deliver = _load_deliver(path)
        self._settings = settings
        self._compose = compose
        self._problem = ""

    async def deliver(self, notice: Notice) -> Row:
        """Calls the site's function."""
        try:
            receipt = await self._deliver(notice, self._compose(notice), self._settings)
        # What a site's own code raises is not ours to know.
        except Exception as error:
            self._problem = f"{type(error).__name__}: {error}"
            raise SinkError(self._problem) from error
        self._problem = ""
        return receipt or {}

    def health(self) -> Health:
        """`away` after a delivery that failed."""
        state: HealthState = "away" if self._problem else "ok"
        return Health(self.name, "custom", state, problem=self._problem)


def _load_deliver(path: Path) -> Deliver:
    spec = importlib.util.spec_from_file_location(f"catcher_site_sink_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CatcherError(f"{path} is no Python file", "write async def deliver(...) into it")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        deliver: Deliver = module.deliver
    # A site's own file may raise anything while it loads.
    except Exception as error:
        raise CatcherError(
            f"the sink {path} cannot be loaded ({type(error).__name__}: {error})",
            "it needs async def deliver(notice, message, settings)",
        ) from error
    return deliver
