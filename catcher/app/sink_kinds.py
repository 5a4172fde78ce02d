"""Which sinks there are, and how each is made and shown: a new one is a line in `SINKS`.

A sink is imported when a site names it, so that nobody waits for a client library that is not
used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from catcher.model.alert import Alert, Notice
from catcher.model.message import Compose, Fill, Shown
from catcher.model.text import Form
from catcher.model.time import Clock
from catcher.ports import Busy, Callback, Door, ObjectStore, Sink
from catcher.site import Secret, Site

if TYPE_CHECKING:
    from catcher.alerting import Renderer

CUSTOM = "custom"


def _closed(channel: str) -> Door:
    raise Busy("no engine runs here")


@dataclass
class Doorway:
    """By which people reach a running engine through its sinks.

    `door` gives the engine's door for a channel, once it is open; `callbacks` are those who
    answer requests from outside, by path.
    """

    door: Callable[[str], Door] = _closed
    callbacks: dict[str, list[Callback]] = field(default_factory=dict)

    def offer(self, path: str, callback: Callback) -> None:
        """Has requests to a path answered."""
        self.callbacks.setdefault(path, []).append(callback)


@dataclass(frozen=True, slots=True)
class SinkNeeds:
    """What a sink may need beside its settings.

    `lifetimes` ends with the engine; `write` puts a line onto the terminal; `redact` takes the
    site's secrets out of a text. A `trial` is for one test message beside an engine that may
    run: it takes no connection from that.
    """

    name: str
    compose: Compose
    fill: Fill
    active: Callable[[], Iterable[Alert]]
    objects: ObjectStore
    clock: Clock
    lifetimes: AsyncExitStack
    write: Callable[[str], None]
    redact: Callable[[str], str]
    doorway: Doorway
    trial: bool = False


@dataclass(frozen=True, slots=True)
class SinkKind:
    """One kind of sink: its settings' class, how it is made, and what it would show.

    `form` says of its settings what the site's own template for it is written in.
    """

    settings: type
    make: Callable[[Any, SinkNeeds], Awaitable[Sink]]
    show: Callable[[Any, Compose, Fill, Notice], Shown]
    form: Callable[[Any], Form] = lambda settings: "text"


def _console() -> SinkKind:
    from catcher.sinks import console

    async def make(settings: console.Settings, needs: SinkNeeds) -> Sink:
        return console.ConsoleSink(needs.name, settings, needs.compose, needs.write)

    return SinkKind(
        console.Settings, make,
        lambda settings, compose, fill, notice: console.show(settings, compose, notice),
    )  # fmt: skip


def _slack() -> SinkKind:
    from catcher.sinks import slack

    async def make(settings: slack.Settings, needs: SinkNeeds) -> Sink:
        channel = f"slack {needs.name}"
        reach = slack.Reach(lambda: needs.doorway.door(channel), needs.active)
        sink = slack.SlackSink(
            needs.name, settings, needs.compose, needs.clock, needs.objects.get,
            None if needs.trial else reach,
        )  # fmt: skip
        if settings.signing_secret:
            needs.doorway.offer(slack.INTERACTIVE, sink.callback)
        return await needs.lifetimes.enter_async_context(sink)

    return SinkKind(
        slack.Settings, make,
        lambda settings, compose, fill, notice: slack.show(settings, compose, notice),
        lambda settings: "slack",
    )  # fmt: skip


def _love() -> SinkKind:
    from catcher.sinks import love, love_alarm

    async def make(settings: love.Settings, needs: SinkNeeds) -> Sink:
        sink = love.LoveSink(needs.name, settings, needs.compose, needs.active, needs.clock)
        return await needs.lifetimes.enter_async_context(sink)

    return SinkKind(
        love.Settings, make,
        lambda settings, compose, fill, notice: love_alarm.show(compose, notice),
    )  # fmt: skip


def _mqtt() -> SinkKind:
    from catcher.sinks import mqtt
    from catcher.sources import mqtt_publisher

    async def make(settings: mqtt.Settings, needs: SinkNeeds) -> Sink:
        broker = mqtt_publisher.Broker(
            host=settings.host, port=settings.port, username=settings.username,
            password=settings.password, protocol=settings.protocol,
            client_id="" if needs.trial else settings.client_id,
            tls=mqtt_publisher.Tls(ca=settings.ca) if settings.tls else None,
        )  # fmt: skip
        publisher = mqtt_publisher.Publisher(needs.name, broker, needs.clock)
        await needs.lifetimes.enter_async_context(publisher)
        return mqtt.MqttSink(needs.name, settings, publisher, needs.compose)

    return SinkKind(
        mqtt.Settings, make,
        lambda settings, compose, fill, notice: mqtt.show(settings, compose, notice),
    )  # fmt: skip


def _kafka() -> SinkKind:
    from catcher.app.publishing import open_kafka
    from catcher.sinks import kafka

    async def make(settings: kafka.Settings, needs: SinkNeeds) -> Sink:
        publisher = await open_kafka(needs.name, settings, needs.clock, needs.lifetimes)
        return kafka.KafkaSink(needs.name, settings, publisher, needs.compose)

    return SinkKind(
        kafka.Settings, make,
        lambda settings, compose, fill, notice: kafka.show(settings, compose, notice),
    )  # fmt: skip


def _http() -> SinkKind:
    from catcher.sinks import http

    async def make(settings: http.Settings, needs: SinkNeeds) -> Sink:
        sink = http.HttpSink(needs.name, settings, needs.compose, needs.fill, needs.redact)
        return await needs.lifetimes.enter_async_context(sink)

    return SinkKind(http.Settings, make, http.show)


def _apprise() -> SinkKind:
    from catcher.sinks import apprise
    from catcher.sinks.own_thread import OwnThread

    async def make(settings: apprise.Settings, needs: SinkNeeds) -> Sink:
        thread = await needs.lifetimes.enter_async_context(OwnThread(f"sink {needs.name}"))
        return apprise.AppriseSink(
            needs.name, settings, needs.compose, thread, needs.objects.get, needs.redact
        )

    return SinkKind(
        apprise.Settings, make,
        lambda settings, compose, fill, notice: apprise.show(settings, compose, notice),
        lambda settings: settings.form,
    )  # fmt: skip


SINKS: Mapping[str, Callable[[], SinkKind]] = {
    "console": _console,
    "slack": _slack,
    "love": _love,
    "mqtt": _mqtt,
    "kafka": _kafka,
    "http": _http,
    "apprise": _apprise,
}


def composed(site: Site, renderer: Renderer, name: str) -> Compose:
    """How a sink of the site puts notices into words: by its own template, or its kind's."""
    section = site.sinks[name]
    form: Form = "text"
    if section.kind in SINKS:
        kind = SINKS[section.kind]()
        form = kind.form(section.bind(kind.settings))
    from catcher.alerting import composer

    return composer(renderer, name, section.kind, form=form)


async def make_sinks(
    site: Site, renderer: Renderer, needs: Callable[[str, Compose, Fill], SinkNeeds]
) -> dict[str, Sink]:
    """The sinks that a site names, connected in the background."""
    from catcher.alerting import filler

    fill = filler(renderer)
    return {
        name: await make_sink(site, name, needs(name, composed(site, renderer, name), fill))
        for name in site.sinks
    }


async def make_sink(site: Site, name: str, needs: SinkNeeds) -> Sink:
    """One sink of a site, of a kind that is known here or the site's own."""
    section = site.sinks[name]
    if section.kind in SINKS:
        kind = SINKS[section.kind]()
        return await kind.make(section.bind(kind.settings), needs)
    from catcher.sinks.custom import CustomSink
    from catcher.sinks.own_thread import OwnThread

    path, values = site.custom_sinks[section.kind], revealed(section.values())
    thread = await needs.lifetimes.enter_async_context(OwnThread(f"sink {name}"))
    return CustomSink(name, path, values, needs.compose, thread, needs.redact)


def show(site: Site, renderer: Renderer, name: str, notice: Notice) -> Shown:
    """What a sink of the site would make of a notice; nothing is sent."""
    from catcher.alerting import filler

    section, compose = site.sinks[name], composed(site, renderer, name)
    if section.kind in SINKS:
        kind = SINKS[section.kind]()
        return kind.show(section.bind(kind.settings), compose, filler(renderer), notice)
    from catcher.sinks import custom

    return custom.show(compose, notice)


def revealed(value: Any) -> Any:
    """Settings with their secrets in plain text, for whoever needs them."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {name: revealed(one) for name, one in value.items()}
    return [revealed(one) for one in value] if isinstance(value, list) else value
