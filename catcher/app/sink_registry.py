"""Which sinks exist, and how each is created and previewed: a new one is a line in `SINK_KINDS`.
A sink is imported when a site names it, so that nobody waits for a client library that is not used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from catcher.model.alert import Alert, Notification
from catcher.model.message import MessageComposer, SinkPreview, TemplateFiller
from catcher.model.text import TextFormat
from catcher.model.time import Clock
from catcher.ports import EngineApi, EngineBusy, ObjectStore, SignedCallback, Sink
from catcher.site import Secret, Site

if TYPE_CHECKING:
    from catcher.alerting import TemplateRenderer

CUSTOM = "custom"


def _raise_no_engine(channel: str) -> EngineApi:
    raise EngineBusy("no engine runs here")


@dataclass
class CallbackRegistry:
    """How people reach a running engine through its sinks.
    `get_api` returns the engine's API for a channel, once it is open; `callbacks` are the handlers
    of requests from outside, by path.
    """

    get_api: Callable[[str], EngineApi] = _raise_no_engine
    callbacks: dict[str, list[SignedCallback]] = field(default_factory=dict)

    def add_callback(self, path: str, callback: SignedCallback) -> None:
        """Registers a callback for requests to a path."""
        self.callbacks.setdefault(path, []).append(callback)


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink may need beside its settings.
    `exit_stack` closes with the engine; `write_line` writes a line to the terminal; `redact`
    removes the site's secrets from a text. With `is_trial` the sink is for one test message beside
    an engine that may run: it must not take over that engine's connection.
    """

    name: str
    compose: MessageComposer
    fill_template: TemplateFiller
    list_active_alerts: Callable[[], Iterable[Alert]]
    objects: ObjectStore
    clock: Clock
    exit_stack: AsyncExitStack
    write_line: Callable[[str], None]
    redact: Callable[[str], str]
    callback_registry: CallbackRegistry
    is_trial: bool = False


@dataclass(frozen=True, slots=True)
class SinkKind:
    """One kind of sink: its settings class, how it is created, and how it is previewed.
    `get_text_format` returns the format of the site's template for it, from its settings.
    """

    settings: type
    create: Callable[[Any, SinkContext], Awaitable[Sink]]
    preview: Callable[[Any, MessageComposer, TemplateFiller, Notification], SinkPreview]
    get_text_format: Callable[[Any], TextFormat] = lambda settings: "text"


def _build_console_sink_kind() -> SinkKind:
    from catcher.sinks import console

    async def create(settings: console.ConsoleSinkSettings, context: SinkContext) -> Sink:
        return console.ConsoleSink(context.name, settings, context.compose, context.write_line)

    return SinkKind(
        console.ConsoleSinkSettings,
        create,
        lambda settings, compose, fill_template, notification: console.build_preview(
            settings, compose, notification
        ),
    )


def _build_slack_sink_kind() -> SinkKind:
    from catcher.sinks import slack

    async def create(settings: slack.SlackSinkSettings, context: SinkContext) -> Sink:
        channel = f"slack {context.name}"
        slack_context = slack.SlackContext(
            lambda: context.callback_registry.get_api(channel), context.list_active_alerts
        )
        sink = slack.SlackSink(
            context.name, settings, context.compose, context.clock, context.objects.get,
            None if context.is_trial else slack_context,
        )  # fmt: skip
        if settings.signing_secret:
            context.callback_registry.add_callback(slack.INTERACTIVE_PATH, sink.handle_interaction)
        return await context.exit_stack.enter_async_context(sink)

    return SinkKind(
        slack.SlackSinkSettings,
        create,
        lambda settings, compose, fill_template, notification: slack.build_preview(
            settings, compose, notification
        ),
        lambda settings: "slack",
    )


def _build_love_sink_kind() -> SinkKind:
    from catcher.sinks import love, love_alarm

    async def create(settings: love.LoveSinkSettings, context: SinkContext) -> Sink:
        sink = love.LoveSink(
            context.name, settings, context.compose, context.list_active_alerts, context.clock
        )
        return await context.exit_stack.enter_async_context(sink)

    return SinkKind(
        love.LoveSinkSettings,
        create,
        lambda settings, compose, fill_template, notification: love_alarm.build_preview(
            compose, notification
        ),
    )


def _build_mqtt_sink_kind() -> SinkKind:
    from catcher.sinks import mqtt
    from catcher.transport.mqtt import publisher as mqtt_publisher

    async def create(settings: mqtt.MqttSinkSettings, context: SinkContext) -> Sink:
        broker = mqtt_publisher.MqttBrokerSettings(
            host=settings.host, port=settings.port, username=settings.username,
            password=settings.password, protocol=settings.protocol,
            client_id="" if context.is_trial else settings.client_id,
            tls=mqtt_publisher.TlsSettings(ca=settings.ca) if settings.tls else None,
        )  # fmt: skip
        publisher = mqtt_publisher.MqttPublisher(context.name, broker, context.clock)
        await context.exit_stack.enter_async_context(publisher)
        return mqtt.MqttSink(context.name, settings, publisher, context.compose)

    return SinkKind(
        mqtt.MqttSinkSettings,
        create,
        lambda settings, compose, fill_template, notification: mqtt.build_preview(
            settings, compose, notification
        ),
    )


def _build_kafka_sink_kind() -> SinkKind:
    from catcher.app.result_publishers import open_kafka_publisher
    from catcher.sinks import kafka

    async def create(settings: kafka.KafkaSinkSettings, context: SinkContext) -> Sink:
        publisher = await open_kafka_publisher(
            context.name, settings, context.clock, context.exit_stack
        )
        return kafka.KafkaSink(context.name, settings, publisher, context.compose)

    return SinkKind(
        kafka.KafkaSinkSettings,
        create,
        lambda settings, compose, fill_template, notification: kafka.build_preview(
            settings, compose, notification
        ),
    )


def _build_http_sink_kind() -> SinkKind:
    from catcher.sinks import http

    async def create(settings: http.HttpSinkSettings, context: SinkContext) -> Sink:
        sink = http.HttpSink(
            context.name, settings, context.compose, context.fill_template, context.redact
        )
        return await context.exit_stack.enter_async_context(sink)

    return SinkKind(http.HttpSinkSettings, create, http.build_preview)


def _build_apprise_sink_kind() -> SinkKind:
    from catcher.sinks import apprise
    from catcher.transport.serial_thread import SerialThread

    async def create(settings: apprise.AppriseSinkSettings, context: SinkContext) -> Sink:
        thread = await context.exit_stack.enter_async_context(SerialThread(f"sink {context.name}"))
        return apprise.AppriseSink(
            context.name,
            settings,
            context.compose,
            thread,
            context.objects.get,
            context.redact,
        )

    return SinkKind(
        apprise.AppriseSinkSettings,
        create,
        lambda settings, compose, fill_template, notification: apprise.build_preview(
            settings, compose, notification
        ),
        lambda settings: settings.form,
    )


SINK_KINDS: Mapping[str, Callable[[], SinkKind]] = {
    "console": _build_console_sink_kind,
    "slack": _build_slack_sink_kind,
    "love": _build_love_sink_kind,
    "mqtt": _build_mqtt_sink_kind,
    "kafka": _build_kafka_sink_kind,
    "http": _build_http_sink_kind,
    "apprise": _build_apprise_sink_kind,
}


def build_message_composer(site: Site, renderer: TemplateRenderer, name: str) -> MessageComposer:
    """Returns how a site's sink renders notifications: with its own template, or its kind's."""
    section = site.sinks[name]
    text_format: TextFormat = "text"
    if section.kind in SINK_KINDS:
        kind = SINK_KINDS[section.kind]()
        text_format = kind.get_text_format(section.bind_settings(kind.settings))
    from catcher.alerting import create_message_composer

    return create_message_composer(renderer, name, section.kind, text_format=text_format)


async def create_sinks(
    site: Site,
    renderer: TemplateRenderer,
    build_context: Callable[[str, MessageComposer, TemplateFiller], SinkContext],
) -> dict[str, Sink]:
    """Creates the sinks that a site names; they connect in the background."""
    from catcher.alerting import create_template_filler

    fill_template = create_template_filler(renderer)
    return {
        name: await create_sink(
            site,
            name,
            build_context(name, build_message_composer(site, renderer, name), fill_template),
        )
        for name in site.sinks
    }


async def create_sink(site: Site, name: str, context: SinkContext) -> Sink:
    """Creates one sink of a site, of a built-in kind or a custom one."""
    section = site.sinks[name]
    if section.kind in SINK_KINDS:
        kind = SINK_KINDS[section.kind]()
        return await kind.create(section.bind_settings(kind.settings), context)
    from catcher.sinks.custom import CustomSink
    from catcher.transport.serial_thread import SerialThread

    path, values = site.custom_sinks[section.kind], reveal_secrets(section.to_dict())
    thread = await context.exit_stack.enter_async_context(SerialThread(f"sink {name}"))
    return CustomSink(name, path, values, context.compose, thread, context.redact)


def preview_notification(
    site: Site, renderer: TemplateRenderer, name: str, notification: Notification
) -> SinkPreview:
    """Returns what a sink of the site would send for a notification; nothing is sent."""
    from catcher.alerting import create_template_filler

    section, compose = site.sinks[name], build_message_composer(site, renderer, name)
    if section.kind in SINK_KINDS:
        kind = SINK_KINDS[section.kind]()
        return kind.preview(
            section.bind_settings(kind.settings),
            compose,
            create_template_filler(renderer),
            notification,
        )
    from catcher.sinks import custom

    return custom.build_preview(compose, notification)


def reveal_secrets(value: Any) -> Any:
    """Returns settings with their secrets in plain text."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {name: reveal_secrets(item) for name, item in value.items()}
    return [reveal_secrets(item) for item in value] if isinstance(value, list) else value
