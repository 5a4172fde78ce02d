"""Which adapters there are, and how each is made: a new one is a line in one of these tables.

An adapter is imported when a site names it, so that nobody waits for a client library that is
not used.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catcher.alerting import Renderer, composer
from catcher.model.alert import Alert, Notice
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose, Message
from catcher.model.problem import CatcherError
from catcher.model.time import Clock
from catcher.ports import ObjectStore, Row, Sink, SinkError, Source
from catcher.site import Secret, Site


@dataclass(frozen=True, slots=True)
class SourceNeeds:
    """What a source may need beside its settings; `position` is where it was when it ended."""

    name: str
    clock: Clock
    payload: int
    root: Path
    data: Path
    position: str = ""


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


SourceKind = tuple[type, Callable[[Any, SourceNeeds], Source]]
SinkKind = tuple[type, Callable[[Any, SinkNeeds], Awaitable[Sink]]]


def _mqtt_source() -> SourceKind:
    from catcher.sources import mqtt

    return mqtt.MqttSettings, lambda settings, needs: mqtt.MqttSource(
        needs.name, settings, needs.clock, needs.payload
    )


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


def _console_sink() -> SinkKind:
    from catcher.sinks import console

    async def make(settings: console.Settings, needs: SinkNeeds) -> Sink:
        return console.ConsoleSink(needs.name, settings, needs.compose, needs.write)

    return console.Settings, make


def _slack_sink() -> SinkKind:
    from catcher.sinks import slack

    async def make(settings: slack.Settings, needs: SinkNeeds) -> Sink:
        sink = slack.SlackSink(needs.name, settings, needs.compose, needs.objects.get)
        return await needs.lifetimes.enter_async_context(sink)

    return slack.Settings, make


def _love_sink() -> SinkKind:
    from catcher.sinks import love

    async def make(settings: love.Settings, needs: SinkNeeds) -> Sink:
        sink = love.LoveSink(needs.name, settings, needs.compose, needs.active, needs.clock)
        return await needs.lifetimes.enter_async_context(sink)

    return love.Settings, make


def _mqtt_sink() -> SinkKind:
    from catcher.sinks import mqtt as mqtt_sink
    from catcher.sources import mqtt_publisher

    async def make(settings: mqtt_sink.Settings, needs: SinkNeeds) -> Sink:
        broker = mqtt_publisher.Broker(
            host=settings.host, port=settings.port, username=settings.username,
            password=settings.password, client_id=settings.client_id, protocol=settings.protocol,
            tls=mqtt_publisher.Tls(ca=settings.ca) if settings.tls else None,
        )  # fmt: skip
        publisher = mqtt_publisher.Publisher(needs.name, broker, needs.clock)
        await needs.lifetimes.enter_async_context(publisher)
        return mqtt_sink.MqttSink(needs.name, settings, publisher, needs.compose)

    return mqtt_sink.Settings, make


def _influx_metrics() -> type:
    from catcher.stores.metrics_influx import InfluxMetricSettings

    return InfluxMetricSettings


def _objects() -> type:
    from catcher.stores.objects import ObjectSettings

    return ObjectSettings


def _local() -> type:
    from catcher.executors.local import Settings

    return Settings


SOURCES: Mapping[str, Callable[[], SourceKind]] = {
    "mqtt": _mqtt_source,
    "http": _http_source,
    "replay": _replay_source,
    "simulator": _simulator_source,
}
SINKS: Mapping[str, Callable[[], SinkKind]] = {
    "console": _console_sink,
    "slack": _slack_sink,
    "love": _love_sink,
    "mqtt": _mqtt_sink,
}
OTHERS: Mapping[tuple[str, str], Callable[[], type]] = {
    ("metrics", "influxdb"): _influx_metrics,
    ("objects", "s3"): _objects,
    ("executor", "local"): _local,
}


class _Settings(Mapping[tuple[str, str], type]):
    """The settings class of each adapter, imported when it is asked for."""

    def __getitem__(self, key: tuple[str, str]) -> type:
        port, kind = key
        if port == "source":
            return SOURCES[kind]()[0]
        if port == "sink":
            return SINKS[kind]()[0]
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


async def make_sinks(
    site: Site, renderer: Renderer, needs: Callable[[str, Compose], SinkNeeds]
) -> dict[str, Sink]:
    """The sinks that a site names, connected in the background."""
    made: dict[str, Sink] = {}
    for name, section in site.sinks.items():
        compose = composer(renderer, name, section.kind)
        if section.kind in SINKS:
            settings, make = SINKS[section.kind]()
            made[name] = await make(section.bind(settings), needs(name, compose))
        else:
            path = site.custom_sinks[section.kind]
            values = _revealed(section.values())
            made[name] = CustomSink(name, path, values, compose, site.redact)
    return made


Deliver = Callable[[Notice, Message, Mapping[str, Any]], Awaitable[Row | None]]


class CustomSink:
    """A site's own sink: `async def deliver(notice, message, settings)` in `alerts/sinks/NAME.py`.

    `settings` is what stands under its name in the routes, its secrets in plain text.
    What it returns comes back with the next notice of the same alert (`notice.receipt`);
    whatever it raises is a delivery that failed and is tried again.
    """

    def __init__(
        self, name: str, path: Path, settings: Mapping[str, Any], compose: Compose,
        redact: Callable[[str], str],
    ) -> None:  # fmt: skip
        self.name = name
        self._deliver = _load_deliver(path)
        self._settings = settings
        self._compose = compose
        self._redact = redact
        self._problem = ""

    async def deliver(self, notice: Notice) -> Row:
        """Calls the site's function."""
        try:
            receipt = await self._deliver(notice, self._compose(notice), self._settings)
        # What a site's own code raises is not ours to know.
        except Exception as error:
            self._problem = self._redact(f"{type(error).__name__}: {error}")
            raise SinkError(self._problem) from error
        self._problem = ""
        return receipt or {}

    def health(self) -> Health:
        """`away` after a delivery that failed."""
        state: HealthState = "away" if self._problem else "ok"
        return Health(self.name, "custom", state, problem=self._problem)


def _revealed(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {name: _revealed(one) for name, one in value.items()}
    return [_revealed(one) for one in value] if isinstance(value, list) else value


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
