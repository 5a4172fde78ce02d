"""Alerts to about a hundred services through Apprise: mail, Teams, PagerDuty, Telegram, and so on.

    # alerts/routes.yaml
    sinks:
      night-mail: {apprise: {urls: ["mailtos://catcher:${MAIL_PASSWORD}@mail.example/?to=night@obs.example"]}}
      on-call:
        apprise:
          urls:
            - "pagerduty://${PAGERDUTY_KEY}@${PAGERDUTY_TOKEN}"
            - "ntfys://ntfy.example/${NTFY_TOPIC}"
          tell: [opened, raised]

Each address is Apprise's (github.com/caronc/apprise/wiki says how each service is written). Mail
and others that show HTML get HTML, those of Markdown Markdown, the others plain lines; a plot goes
along where the service takes files. Nothing of an address is ever in a log or an error.
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

from catcher.model.alert import Notice, NoticeKind, Severity
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose, Message, Shown
from catcher.model.problem import CatcherError
from catcher.model.text import Form, plain
from catcher.model.time import Instant
from catcher.ports import Row, SinkError
from catcher.sinks.layouts import as_html, as_markdown, lines
from catcher.sinks.own_thread import OwnThread

Fetch = Callable[[str], Awaitable[bytes]]
_LOG = logging.getLogger("apprise")
# Nobody has to hear of it there: what they say has addresses in it, with whatever is in those.
_LOG.propagate = False
_LOG.setLevel(logging.WARNING)
logging.getLogger("urllib3").setLevel(logging.INFO)
_NEWS: tuple[NoticeKind, ...] = ("opened", "raised", "reminder", "resolved")
_FORMS: dict[NotifyFormat, Form] = {
    NotifyFormat.HTML: "html",
    NotifyFormat.MARKDOWN: "markdown",
    NotifyFormat.TEXT: "text",
}
_FORMATS = {form: format for format, form in _FORMS.items()}
_LARGEST_PLOT = 10_000_000
_REMEMBERED = 1_000
_PIECES = re.compile(r"[/:@?&=#,+ ]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`urls` of the services; `tell` names the changes that they hear of.

    `plots`: whether the plot goes along where a service takes files. `form`: what the site's own
    template for them is written in.
    """

    urls: tuple[str, ...] = field(repr=False)
    tell: tuple[str, ...] = _NEWS
    plots: bool = True
    form: Literal["text", "html", "markdown"] = "text"

    def __post_init__(self) -> None:
        if not self.urls:
            raise CatcherError("`urls` is empty", 'write urls: ["mailtos://…"]')
        for one in self.tell:
            if one not in get_args(NoticeKind):
                known = ", ".join(get_args(NoticeKind))
                raise CatcherError(f"nothing is called {one!r}", f"tell: takes {known}")
        services(self.urls)


class AppriseSink:
    """Tells every service of each notice. `fetch` gives the bytes of an artifact, for plots.

    After a failure only those that have not heard of the notice yet are told again.
    """

    def __init__(
        self, name: str, settings: Settings, compose: Compose, thread: OwnThread,
        fetch: Fetch | None = None, redact: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        self.name = name
        self._redact = redact
        self._settings, self._compose, self._thread, self._fetch = settings, compose, thread, fetch
        self._services = services(settings.urls)
        self._done: OrderedDict[str, set[int]] = OrderedDict()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"sent": 0, "passed_over": 0}

    async def deliver(self, notice: Notice) -> Row:
        """SinkError names the services that did not take it."""
        if not told(self._settings, notice):
            self._counts["passed_over"] += 1
            return {}
        message = self._compose(notice)
        plot = await self._plot(notice)
        failed = []
        for number, service in enumerate(self._services):
            if number not in self._done.get(notice.id, ()):
                words = await self._tell(number, service, notice, message, plot)
                failed += [words] if words else []
        if failed:
            self._problem = self._redact("; ".join(failed))
            raise SinkError(self._problem)
        self._done.pop(notice.id, None)
        self._last, self._problem = notice.time, ""
        return {}

    def health(self) -> Health:
        """`away` after a notice that one of the services did not take."""
        state: HealthState = "away" if self._problem else "ok"
        return Health(
            self.name, "apprise", state, last=self._last, problem=self._problem,
            counts=dict(self._counts),
        )  # fmt: skip

    async def _tell(
        self, number: int, service: NotifyBase, notice: Notice, message: Message,
        plot: tuple[str, bytes] | None,
    ) -> str:  # fmt: skip
        """Tells one service; what went wrong, or nothing."""
        url = self._settings.urls[number]
        what = f"service {number + 1} ({url.partition(':')[0]})"
        heard = await self._thread.run(lambda: _notify(service, notice, message, plot))
        if heard is None:
            self._counts["sent"] += 1
            self._remember(notice.id, number)
            return ""
        return f"{what} did not take it{_clean(heard, url)}"

    def _remember(self, id: str, number: int) -> None:
        self._done.setdefault(id, set()).add(number)
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)

    async def _plot(self, notice: Notice) -> tuple[str, bytes] | None:
        """The alert's plot; without one, or where it is gone, the words go alone."""
        key = notice.alert.attachment
        if not key or self._fetch is None or not self._settings.plots:
            return None
        try:
            data = await self._fetch(key)
        except (TimeoutError, CatcherError, OSError):
            return None
        return (key.rpartition("/")[2], data) if len(data) <= _LARGEST_PLOT else None


def services(urls: tuple[str, ...]) -> list[NotifyBase]:
    """The services of these addresses; CatcherError says which is none, and shows none of it."""
    asset = AppriseAsset(app_id="Catcher", app_desc="Catcher", image_url_mask="", async_mode=False)
    made = []
    for number, url in enumerate(urls):
        with warnings.catch_warnings():
            # Its plugins are read with the first address, and speak of Python's modules then.
            warnings.simplefilter("ignore", DeprecationWarning)
            service = Apprise.instantiate(url, asset=asset)
        if not isinstance(service, NotifyBase):
            scheme = plain(url.partition("://")[0], 20) if "://" in url else "no scheme"
            raise CatcherError(
                f"urls[{number}] ({scheme}) is no address that Apprise knows",
                "github.com/caronc/apprise/wiki says how each service is written",
            )
        if url.startswith("mailto"):
            # The site's own server needs no pause of seconds after each mail.
            service.request_rate_per_sec = 0
        made.append(service)
    return made


def told(settings: Settings, notice: Notice) -> bool:
    """Whether the services hear of such a change; a test always."""
    return notice.kind in settings.tell or notice.kind == "test"


def form_of(service: NotifyBase) -> Form:
    """What a service shows best."""
    return _FORMS.get(service.resolve_format(), "text")


def text_of(form: Form, notice: Notice, message: Message) -> str:
    """A message in the form of a service."""
    if form == "html":
        return as_html(notice, message)
    return as_markdown(message) if form == "markdown" else lines(message)


def show(settings: Settings, compose: Compose, notice: Notice) -> Shown:
    """What each service would get, for a preview."""
    if not told(settings, notice):
        return Shown(f"(nothing: they are not told what is {notice.kind})", None)
    message = compose(notice)
    sent = [
        {"service": str(one.service_name), "format": form_of(one), "title": message.headline,
         "body": text_of(form_of(one), notice, message)}
        for one in services(settings.urls)
    ]  # fmt: skip
    names = ", ".join(f"{one['service']} ({one['format']})" for one in sent)
    return Shown(f"{message.headline}\n{lines(message)}\n\nto {names}", sent)


def _notify(
    service: NotifyBase, notice: Notice, message: Message, plot: tuple[str, bytes] | None
) -> str | None:
    """In the thread: None once the service has it, else what Apprise says of the failure."""
    # What the site wrote itself stays in its form; Apprise makes the service's of it.
    form = message.form if message.custom else form_of(service)
    attach = None
    if plot is not None and service.attachment_support:
        memory = AttachMemory(content=plot[1], name=plot[0])  # type: ignore[no-untyped-call]
        attach = AppriseAttachment(memory)
    with _listening() as heard:
        done = service.notify(
            body=text_of(form, notice, message),
            title=message.headline,
            notify_type=_type(notice),
            attach=attach,
            body_format=_FORMATS[form],
        )
    return None if done else (heard[-1] if heard else "")


def _type(notice: Notice) -> NotifyType:
    alert = notice.alert
    if notice.kind == "test":
        return NotifyType.INFO
    if alert.state == "resolved" or alert.shown_severity == Severity.NONE:
        return NotifyType.SUCCESS
    return NotifyType.WARNING if alert.shown_severity == Severity.WARNING else NotifyType.FAILURE


@contextmanager
def _listening() -> Iterator[list[str]]:
    """What Apprise says in this thread, which is how it tells why something failed."""
    heard: list[str] = []
    own = threading.get_ident()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == own and len(heard) < 20:
                heard.append(record.getMessage())

    ear = Ear(logging.WARNING)
    _LOG.addHandler(ear)
    try:
        yield heard
    finally:
        _LOG.removeHandler(ear)


def _clean(heard: str, url: str) -> str:
    """Apprise's words without anything that stands in the address, as it is or decoded."""
    words = plain(heard, 200)
    whole = url.partition("://")[2]
    pieces: set[Any] = {piece for text in (whole, unquote(whole)) for piece in _PIECES.split(text)}
    for piece in sorted(pieces, key=len, reverse=True):
        if len(piece) >= 3:
            words = words.replace(piece, "***")
    return f": {words}" if words else ""
