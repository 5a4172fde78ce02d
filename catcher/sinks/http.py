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

`json` is a structure whose texts are templates; a text that is one `{{ … }}` and nothing else
keeps the value's type. `template` is one text instead, in which values are escaped as
`content_type` asks for. Both are sandboxed. Redirects are not followed, an answer is read up to
64 KiB, and each request brings an `Idempotency-Key`: a repeat has the same one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

from catcher.model.alert import Notice, NoticeKind
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose, Fill, Shown
from catcher.model.problem import CatcherError
from catcher.model.text import Form, plain
from catcher.model.time import SECOND, Instant, Span
from catcher.ports import Row, SinkError
from catcher.sinks.layouts import state
from catcher.sinks.web import (
    TROUBLE,
    Answer,
    Session,
    open_session,
    retry_after,
    send,
    trouble_words,
)

_AGAIN = frozenset({408, 423, 425, 429})
_LARGEST = 1_000_000
_HINTS = {
    401: "check its token",
    403: "check its token and what that may do",
    404: "check the url",
    405: "check the method",
    413: "make the message shorter",
    415: "check content_type",
    422: "check json: or template: against what it expects",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
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
        if not _is_web(self.url):
            raise CatcherError("the url is no web address", "write it like https://host/path")
        if self.json is not None and self.template:
            raise CatcherError("`json` and `template` say two things", "give one of them")
        kinds = get_args(NoticeKind)
        for one in self.tell:
            if one not in kinds:
                raise CatcherError(f"nothing is called {one!r}", f"tell: takes {', '.join(kinds)}")
        for name, value in self.headers.items():
            if set(f"{name}{value}") & set("\r\n\0"):
                raise CatcherError("a header has a line break in it", "write it on one line")


class HttpSink:
    """Sends each notice as one request. `redact` takes secrets out of what is told of errors."""

    def __init__(
        self, name: str, settings: Settings, compose: Compose, fill: Fill,
        redact: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        self.name = name
        self._settings, self._compose, self._fill = settings, compose, fill
        self._redact = redact
        self._session: Session | None = None
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

    async def deliver(self, notice: Notice) -> Row:
        """SinkError where the service did not take it."""
        if not told(self._settings, notice):
            self._counts["passed_over"] += 1
            return dict(notice.receipt)
        try:
            answer = await self._send(notice)
            _judge(answer)
        except SinkError as error:
            # A service may say back what it was sent.
            self._problem = self._redact(str(error))
            raise SinkError(self._problem, error.retry_after, error.final) from None
        self._counts["sent"] += 1
        self._last, self._problem = notice.time, ""
        return {"status": answer.status}

    def health(self) -> Health:
        """`away` after a request that failed."""
        state: HealthState = "away" if self._problem else "ok"
        return Health(
            self.name, "http", state, last=self._last, problem=self._problem,
            counts=dict(self._counts),
        )  # fmt: skip

    async def _send(self, notice: Notice) -> Answer:
        if self._session is None:
            raise SinkError("the sink is not open")
        settings, given = self._settings, {name.lower() for name in self._settings.headers}
        own = {
            "Content-Type": settings.content_type,
            "Idempotency-Key": notice.id,
            "User-Agent": "Catcher",
        }
        headers = {name: value for name, value in own.items() if name.lower() not in given}
        payload = encoded(body(settings, self._compose, self._fill, notice))
        if len(payload) > _LARGEST:
            raise SinkError(f"the message has {len(payload)} bytes", final=True)
        try:
            return await send(
                self._session, settings.method, settings.url, {**headers, **settings.headers},
                payload,
            )  # fmt: skip
        except (*TROUBLE, ValueError) as error:
            raise SinkError(f"the service {trouble_words(error)}") from None


def told(settings: Settings, notice: Notice) -> bool:
    """Whether the service hears of such a change; a test always."""
    return not settings.tell or notice.kind in settings.tell or notice.kind == "test"


def body(settings: Settings, compose: Compose, fill: Fill, notice: Notice) -> Any:
    """What is sent: JSON values, or a text; SinkError where a template fails."""
    try:
        if settings.json is not None:
            return fill(settings.json, notice)
        if not settings.template:
            return state(notice, compose(notice))
        text = str(fill(settings.template, notice, _form(settings.content_type)))
        if _form(settings.content_type) == "json":
            json.loads(text)
        return text
    except ValueError as error:
        raise SinkError(f"its template failed: {plain(error)}", final=True) from error


def show(settings: Settings, compose: Compose, fill: Fill, notice: Notice) -> Shown:
    """What would be sent, for a preview."""
    if not told(settings, notice):
        return Shown(f"(nothing: it is not told what is {notice.kind})", None)
    made = body(settings, compose, fill, notice)
    text = made if isinstance(made, str) else json.dumps(made, indent=2, ensure_ascii=False)
    place = urlsplit(settings.url)
    where = place.netloc.rpartition("@")[2]  # without a name and password, and without the query
    return Shown(f"{settings.method} {place.scheme}://{where}{place.path}\n{text}", made)


def encoded(made: Any) -> bytes:
    """The bytes of a body."""
    text = made if isinstance(made, str) else json.dumps(made, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace")


def _judge(answer: Answer) -> None:
    """SinkError unless the service took it."""
    status = answer.status
    if 200 <= status < 300:
        return
    said = plain(answer.body.decode("utf-8", "replace"), 200)
    words = f"the service answered {status}" + (f": {said}" if said else "")
    if 300 <= status < 400:
        raise SinkError(
            f"{words}; redirects are not followed, write the address itself", final=True
        )
    if status in _AGAIN or status >= 500:
        asked = any(name.lower() == "retry-after" for name in answer.headers)
        raise SinkError(words, retry_after=retry_after(answer.headers) if asked else None)
    hint = f"; {_HINTS[status]}" if status in _HINTS else ""
    raise SinkError(words + hint, final=True)


def _form(content_type: str) -> Form:
    kind = content_type.partition(";")[0].strip().lower()
    if kind.endswith("json"):
        return "json"
    return "html" if kind in ("text/html", "application/xhtml+xml") else "text"


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
