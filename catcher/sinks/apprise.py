"""Alerts to about a hundred services through Apprise: mail, Teams, PagerDuty, Telegram and others.

    # alerts/routes.yaml
    sinks:
      night-mail: {apprise: {urls: ["mailtos://catcher:${MAIL_PASSWORD}@mail.example/?to=night@obs.example"]}}
      on-call:
        apprise:
          urls:
            - "pagerduty://${PAGERDUTY_KEY}@${PAGERDUTY_TOKEN}"
            - "ntfys://ntfy.example/${NTFY_TOPIC}"
          tell: [opened, raised]

Each URL is Apprise's (github.com/caronc/apprise/wiki says how each service is written). Mail and
other services that show HTML get HTML, those that show Markdown get Markdown, the others plain
lines; a plot is attached if the service takes files. No part of a URL ever appears in a log or an
error.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from urllib.parse import unquote

from apprise import Apprise, AppriseAsset, AppriseAttachment, NotifyBase, NotifyFormat, NotifyType
from apprise.attachment.memory import AttachMemory

from catcher.model.alert import Notification, NotificationKind, Severity
from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.message import Message, MessageComposer, SinkPreview
from catcher.model.text import TextFormat, sanitize_single_line
from catcher.model.time import Instant
from catcher.ports import Row, SinkError
from catcher.sinks.message_formats import format_plain_body, render_html, render_markdown
from catcher.transport.serial_thread import SerialThread

ArtifactFetcher = Callable[[str], Awaitable[bytes]]
_LOG = logging.getLogger("apprise")
# Not propagated: Apprise's messages contain URLs with their secrets.
_LOG.propagate = False
_LOG.setLevel(logging.WARNING)
logging.getLogger("urllib3").setLevel(logging.INFO)
_DEFAULT_KINDS: tuple[NotificationKind, ...] = ("opened", "raised", "reminder", "resolved")
_FORM_BY_FORMAT: dict[NotifyFormat, TextFormat] = {
    NotifyFormat.HTML: "html",
    NotifyFormat.MARKDOWN: "markdown",
    NotifyFormat.TEXT: "text",
}
_FORMAT_BY_FORM = {form: format for format, form in _FORM_BY_FORMAT.items()}
_MAX_PLOT_SIZE = 10_000_000
_MAX_TRACKED = 1_000
_URL_SEPARATORS = re.compile(r"[/:@?&=#,+ ]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseSinkSettings:
    """`urls` of the services; `tell` names the changes that they hear of.

    `plots`: whether the plot goes along where a service takes files. `form`: what the site's own
    template for them is written in.
    """

    urls: tuple[str, ...] = field(repr=False)
    tell: tuple[str, ...] = _DEFAULT_KINDS
    plots: bool = True
    form: Literal["text", "html", "markdown"] = "text"

    def __post_init__(self) -> None:
        if not self.urls:
            raise CatcherError("`urls` is empty", 'write urls: ["mailtos://…"]')
        for kind in self.tell:
            if kind not in get_args(NotificationKind):
                kinds = ", ".join(get_args(NotificationKind))
                raise CatcherError(f"nothing is called {kind!r}", f"tell: takes {kinds}")
        create_services(self.urls)


class AppriseSink:
    """Sends each notification to every service. `fetch` returns the bytes of a plot.

    After a failure only the services without that notification are tried again.
    """

    def __init__(
        self,
        name: str,
        settings: AppriseSinkSettings,
        compose: MessageComposer,
        thread: SerialThread,
        fetch: ArtifactFetcher | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.name = name
        self._redact = redact
        self._settings, self._compose, self._thread, self._fetch = settings, compose, thread, fetch
        self._services = create_services(settings.urls)
        self._delivered: OrderedDict[str, set[int]] = OrderedDict()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"sent": 0, "passed_over": 0}

    async def deliver(self, notification: Notification) -> Row:
        """Sends a notification; SinkError names the services that did not take it."""
        if not should_notify(self._settings, notification):
            self._counts["passed_over"] += 1
            return {}
        message = self._compose(notification)
        plot = await self._fetch_plot(notification)
        failed = []
        for index, service in enumerate(self._services):
            if index not in self._delivered.get(notification.id, ()):
                error_text = await self._notify_service(index, service, notification, message, plot)
                failed += [error_text] if error_text else []
        if failed:
            self._problem = self._redact("; ".join(failed))
            raise SinkError(self._problem)
        self._delivered.pop(notification.id, None)
        self._last, self._problem = notification.time, ""
        return {}

    def health(self) -> Health:
        """Returns the health, `away` after a notification that one of the services did not take."""
        state: HealthState = "away" if self._problem else "ok"
        return Health(
            self.name, "apprise", state, last=self._last, problem=self._problem,
            counts=dict(self._counts),
        )  # fmt: skip

    async def _notify_service(
        self, index: int, service: NotifyBase, notification: Notification, message: Message,
        plot: tuple[str, bytes] | None,
    ) -> str:  # fmt: skip
        """Notifies one service; returns the error, or an empty text."""
        url = self._settings.urls[index]
        label = f"service {index + 1} ({url.partition(':')[0]})"
        error_text = await self._thread.run(
            lambda: _notify_blocking(service, notification, message, plot)
        )
        if error_text is None:
            self._counts["sent"] += 1
            self._mark_delivered(notification.id, index)
            return ""
        return f"{label} did not take it{_redact_message(error_text, url)}"

    def _mark_delivered(self, notification_id: str, index: int) -> None:
        self._delivered.setdefault(notification_id, set()).add(index)
        if len(self._delivered) > _MAX_TRACKED:
            self._delivered.popitem(last=False)

    async def _fetch_plot(self, notification: Notification) -> tuple[str, bytes] | None:
        """Returns the alert's plot; None if it is missing, too large or not wanted."""
        key = notification.alert.attachment
        if not key or self._fetch is None or not self._settings.plots:
            return None
        try:
            data = await self._fetch(key)
        except (TimeoutError, CatcherError, OSError):
            return None
        return (key.rpartition("/")[2], data) if len(data) <= _MAX_PLOT_SIZE else None


def create_services(urls: tuple[str, ...]) -> list[NotifyBase]:
    """Creates the services of these URLs; CatcherError names an invalid one by its index."""
    asset = AppriseAsset(app_id="Catcher", app_desc="Catcher", image_url_mask="", async_mode=False)
    created = []
    for index, url in enumerate(urls):
        with warnings.catch_warnings():
            # Apprise imports its plugins at the first URL, with warnings about Python's modules.
            warnings.simplefilter("ignore", DeprecationWarning)
            service = Apprise.instantiate(url, asset=asset)
        if not isinstance(service, NotifyBase):
            scheme = (
                sanitize_single_line(url.partition("://")[0], 20) if "://" in url else "no scheme"
            )
            raise CatcherError(
                f"urls[{index}] ({scheme}) is no address that Apprise knows",
                "github.com/caronc/apprise/wiki says how each service is written",
            )
        if url.startswith("mailto"):
            # The site's own server needs no pause of seconds after each mail.
            service.request_rate_per_sec = 0
        created.append(service)
    return created


def should_notify(settings: AppriseSinkSettings, notification: Notification) -> bool:
    """Whether the services are notified of this kind of change; of a test always."""
    return notification.kind in settings.tell or notification.kind == "test"


def get_service_format(service: NotifyBase) -> TextFormat:
    """Returns the format that a service shows best."""
    return _FORM_BY_FORMAT.get(service.resolve_format(), "text")


def render_message(text_format: TextFormat, notification: Notification, message: Message) -> str:
    """Renders a message in the format of a service."""
    if text_format == "html":
        return render_html(notification, message)
    return render_markdown(message) if text_format == "markdown" else format_plain_body(message)


def build_preview(
    settings: AppriseSinkSettings, compose: MessageComposer, notification: Notification
) -> SinkPreview:
    """Returns a preview of what each service would get."""
    if not should_notify(settings, notification):
        return SinkPreview(f"(nothing: they are not told what is {notification.kind})", None)
    message = compose(notification)
    payloads = [
        {
            "service": str(service.service_name),
            "format": get_service_format(service),
            "title": message.headline,
            "body": render_message(get_service_format(service), notification, message),
        }
        for service in create_services(settings.urls)
    ]
    names = ", ".join(f"{payload['service']} ({payload['format']})" for payload in payloads)
    return SinkPreview(f"{message.headline}\n{format_plain_body(message)}\n\nto {names}", payloads)


def _notify_blocking(
    service: NotifyBase,
    notification: Notification,
    message: Message,
    plot: tuple[str, bytes] | None,
) -> str | None:
    """Returns None once the service has it, else Apprise's error; runs in the thread."""
    # The output of the site's template keeps its format; Apprise converts it for the service.
    text_format = message.text_format if message.custom else get_service_format(service)
    attach = None
    if plot is not None and service.attachment_support:
        attachment = AttachMemory(content=plot[1], name=plot[0])  # type: ignore[no-untyped-call]
        attach = AppriseAttachment(attachment)
    with _capture_log() as messages:
        is_sent = service.notify(
            body=render_message(text_format, notification, message),
            title=message.headline,
            notify_type=_get_notify_type(notification),
            attach=attach,
            body_format=_FORMAT_BY_FORM[text_format],
        )
    return None if is_sent else (messages[-1] if messages else "")


def _get_notify_type(notification: Notification) -> NotifyType:
    alert = notification.alert
    if notification.kind == "test":
        return NotifyType.INFO
    if alert.state == "resolved" or alert.display_severity == Severity.NONE:
        return NotifyType.SUCCESS
    return NotifyType.WARNING if alert.display_severity == Severity.WARNING else NotifyType.FAILURE


@contextmanager
def _capture_log() -> Iterator[list[str]]:
    """Captures Apprise's log messages in this thread, its only way to report a failure's reason."""
    messages: list[str] = []
    thread_id = threading.get_ident()

    class CaptureHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread_id and len(messages) < 20:
                messages.append(record.getMessage())

    handler = CaptureHandler(logging.WARNING)
    _LOG.addHandler(handler)
    try:
        yield messages
    finally:
        _LOG.removeHandler(handler)


def _redact_message(message: str, url: str) -> str:
    """Returns Apprise's message without any part of the URL, as it is or decoded."""
    cleaned = sanitize_single_line(message, 200)
    address = url.partition("://")[2]
    fragments: set[Any] = {
        fragment for text in (address, unquote(address)) for fragment in _URL_SEPARATORS.split(text)
    }
    for fragment in sorted(fragments, key=len, reverse=True):
        if len(fragment) >= 3:
            cleaned = cleaned.replace(fragment, "***")
    return f": {cleaned}" if cleaned else ""
