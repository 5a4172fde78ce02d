"""Alerts to any service that takes HTTP requests.

    # alerts/routes.yaml
    sinks:
      hook: {http: {url: "https://hooks.example/alerts"}}       # the alert's state as JSON
      narrative-log:                                            # Rubin's, POST /messages
        http:
          url: https://summit-lsp.example/narrativelog/messages
          headers: {Authorization: "Bearer ${NARRATIVE_LOG_TOKEN}"}
          tell: [opened, raised, resolved]
          json:
            message_text: "{{ headline }}: {{ message }}"
            level: "{{ 50 if severity == 'CRITICAL' else 40 if severity == 'SERIOUS' else 30 }}"
            tags: [catcher, alert]
            urls: []
            date_begin: "{{ since | tai }}"                     # TAI, without a zone
            user_id: catcher
            user_agent: catcher
            is_human: false

`json` is a structure whose texts are templates; a text that is a single `{{ … }}` keeps the value's
type. `template` is one text instead, in which values are escaped for `content_type`. Both are
sandboxed. Redirects are not followed, a response is read up to 64 KiB, and each request has an
`Idempotency-Key`: a repeat has the same one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

from catcher.model.alert import Notification, NotificationKind
from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.message import MessageComposer, SinkPreview, TemplateFiller
from catcher.model.text import TextFormat, sanitize_single_line
from catcher.model.time import SECOND, Instant, Span
from catcher.ports import Row, SinkError
from catcher.sinks.message_formats import build_state_payload
from catcher.transport.http import (
    REQUEST_ERRORS,
    HttpSession,
    WebResponse,
    describe_request_error,
    open_session,
    parse_retry_after,
    send_request,
)

_RETRYABLE_STATUSES = frozenset({408, 423, 425, 429})
_MAX_PAYLOAD_SIZE = 1_000_000
_STATUS_HINTS = {
    401: "check its token",
    403: "check its token and what that may do",
    404: "check the url",
    405: "check the method",
    413: "make the message shorter",
    415: "check content_type",
    422: "check json: or template: against what it expects",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSinkSettings:
    """`url` and how to ask it; `tell` names the changes that it hears of, all without it.

    `json` is a structure of templates, `template` one text instead; without both the alert's
    state is sent. `timeout` bounds one request.
    """

    url: str = field(repr=False)
    method: Literal["POST", "PUT", "PATCH", "GET"] = "POST"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Any = None
    template: str = ""
    content_type: str = "application/json"
    tell: tuple[str, ...] = ()
    timeout: Span = 10 * SECOND

    def __post_init__(self) -> None:
        if not _is_web_url(self.url):
            raise CatcherError("the url is no web address", "write it like https://host/path")
        if self.json is not None and self.template:
            raise CatcherError("`json` and `template` say two things", "give one of them")
        kinds = get_args(NotificationKind)
        for kind in self.tell:
            if kind not in kinds:
                raise CatcherError(f"nothing is called {kind!r}", f"tell: takes {', '.join(kinds)}")
        for name, value in self.headers.items():
            if set(f"{name}{value}") & set("\r\n\0"):
                raise CatcherError("a header has a line break in it", "write it on one line")


class HttpSink:
    """Sends each notification as one request. `redact` removes secrets from errors."""

    def __init__(
        self,
        name: str,
        settings: HttpSinkSettings,
        compose: MessageComposer,
        fill_template: TemplateFiller,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.name = name
        self._settings, self._compose, self._fill_template = settings, compose, fill_template
        self._redact = redact
        self._session: HttpSession | None = None
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"sent": 0, "passed_over": 0}

    async def __aenter__(self) -> Self:
        self._session = open_session(self._settings.timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def deliver(self, notification: Notification) -> Row:
        """Sends the request; SinkError if the service did not take it."""
        if not should_notify(self._settings, notification):
            self._counts["passed_over"] += 1
            return dict(notification.receipt)
        try:
            response = await self._send_notification(notification)
            _raise_for_status(response)
        except SinkError as error:
            # A service may echo what it was sent.
            self._problem = self._redact(str(error))
            raise SinkError(self._problem, error.retry_after, error.final) from None
        self._counts["sent"] += 1
        self._last, self._problem = notification.time, ""
        return {"status": response.status}

    def health(self) -> Health:
        """Returns the health, `away` after a request that failed."""
        state: HealthState = "away" if self._problem else "ok"
        return Health(
            self.name, "http", state, last=self._last, problem=self._problem,
            counts=dict(self._counts),
        )  # fmt: skip

    async def _send_notification(self, notification: Notification) -> WebResponse:
        if self._session is None:
            raise SinkError("the sink is not open")
        settings, configured_names = (
            self._settings,
            {name.lower() for name in self._settings.headers},
        )
        default_headers = {
            "Content-Type": settings.content_type,
            "Idempotency-Key": notification.id,
            "User-Agent": "Catcher",
        }
        headers = {
            name: value
            for name, value in default_headers.items()
            if name.lower() not in configured_names
        }
        payload = encode_body(
            build_body(settings, self._compose, self._fill_template, notification)
        )
        if len(payload) > _MAX_PAYLOAD_SIZE:
            raise SinkError(f"the message has {len(payload)} bytes", final=True)
        try:
            return await send_request(
                self._session, settings.method, settings.url, {**headers, **settings.headers},
                payload,
            )  # fmt: skip
        except (*REQUEST_ERRORS, ValueError) as error:
            raise SinkError(f"the service {describe_request_error(error)}") from None


def should_notify(settings: HttpSinkSettings, notification: Notification) -> bool:
    """Whether the service is notified of this kind of change; of a test always."""
    return not settings.tell or notification.kind in settings.tell or notification.kind == "test"


def build_body(
    settings: HttpSinkSettings,
    compose: MessageComposer,
    fill_template: TemplateFiller,
    notification: Notification,
) -> Any:
    """Builds the body: JSON values, or a text; SinkError if a template fails."""
    try:
        if settings.json is not None:
            return fill_template(settings.json, notification)
        if not settings.template:
            return build_state_payload(notification, compose(notification))
        text = str(
            fill_template(
                settings.template, notification, _content_type_to_format(settings.content_type)
            )
        )
        if _content_type_to_format(settings.content_type) == "json":
            json.loads(text)
        return text
    except ValueError as error:
        raise SinkError(
            f"its template failed: {sanitize_single_line(error)}", final=True
        ) from error


def build_preview(
    settings: HttpSinkSettings,
    compose: MessageComposer,
    fill_template: TemplateFiller,
    notification: Notification,
) -> SinkPreview:
    """Returns a preview of the request."""
    if not should_notify(settings, notification):
        return SinkPreview(f"(nothing: it is not told what is {notification.kind})", None)
    payload = build_body(settings, compose, fill_template, notification)
    text = (
        payload if isinstance(payload, str) else json.dumps(payload, indent=2, ensure_ascii=False)
    )
    url_parts = urlsplit(settings.url)
    host = url_parts.netloc.rpartition("@")[2]  # without user and password
    return SinkPreview(
        f"{settings.method} {url_parts.scheme}://{host}{url_parts.path}\n{text}", payload
    )


def encode_body(payload: Any) -> bytes:
    """Encodes a body as bytes."""
    text = (
        payload
        if isinstance(payload, str)
        else json.dumps(payload, ensure_ascii=False, default=str)
    )
    return text.encode("utf-8", "replace")


def _raise_for_status(response: WebResponse) -> None:
    """Raises SinkError unless the service took the request."""
    status = response.status
    if 200 <= status < 300:
        return
    response_text = sanitize_single_line(response.body.decode("utf-8", "replace"), 200)
    error_text = f"the service answered {status}" + (f": {response_text}" if response_text else "")
    if 300 <= status < 400:
        raise SinkError(
            f"{error_text}; redirects are not followed, write the address itself", final=True
        )
    if status in _RETRYABLE_STATUSES or status >= 500:
        has_retry_after = any(name.lower() == "retry-after" for name in response.headers)
        raise SinkError(
            error_text, retry_after=parse_retry_after(response.headers) if has_retry_after else None
        )
    hint = f"; {_STATUS_HINTS[status]}" if status in _STATUS_HINTS else ""
    raise SinkError(error_text + hint, final=True)


def _content_type_to_format(content_type: str) -> TextFormat:
    kind = content_type.partition(";")[0].strip().lower()
    if kind.endswith("json"):
        return "json"
    return "html" if kind in ("text/html", "application/xhtml+xml") else "text"


def _is_web_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
