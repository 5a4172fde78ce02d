"""Alerts in a Slack channel: one live message for each, edited as it changes.

    # alerts/routes.yaml
    sinks:
      tma-slack:
        slack:
          channel: "#tma-alerts"
          token: "${SLACK_TOKEN}"           # xoxb-…; chat:write, files:write, users:read
          mention: "<!subteam^S123>"        # whom a worsening pings
          app_token: "${SLACK_APP_TOKEN}"   # xapp-…; connections:write: buttons by Socket Mode
          # signing_secret: "${SLACK_SIGNING_SECRET}"     or by POST /slack/interactive
          users: {U012AB3CD: ana}           # Slack's ids and Catcher's names

The app must be in the channel. An edit pings nobody, so a worsening is also posted, in the
message's thread and into the channel, with the mention; that post is edited, too, when somebody
acknowledges the alert. Other changes are a line in the thread, where the plot goes too. Text from
events is shown as plain text: `<!here>` in a name mentions nobody. With an `app_token` (an outgoing
connection, as a closed network needs) or a `signing_secret` the message has buttons: Acknowledge,
Shelve 30 m, Open.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs

from catcher.model.alert import Alert, Notification, Severity
from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.message import Message, MessageComposer, SinkPreview
from catcher.model.time import SECOND, Clock, Instant, Span
from catcher.ports import EngineApi, EngineBusy, Row, SinkError
from catcher.sinks.message_formats import format_plain_body
from catcher.sinks.slack_actions import ButtonHandler
from catcher.sinks.slack_blocks import (
    MENTION_PATTERN,
    build_blocks,
    build_thread_blocks,
    format_fallback_text,
)
from catcher.sinks.slack_client import SlackClient, SlackResponseError
from catcher.sinks.slack_signature import SignatureVerifier
from catcher.sinks.slack_socket_mode import SocketModeClient
from catcher.transport.http import open_session

INTERACTIVE_PATH = "/slack/interactive"
_MESSAGE_GONE_CODES = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_MAX_PLOT_SIZE = 20_000_000
_BROADCAST_KINDS = ("raised", "reminder")
_NO_THREAD_KINDS = ("opened", "test", *_BROADCAST_KINDS)
"""Kinds without a line in the thread: the message itself shows them."""

ArtifactFetcher = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackSinkSettings:
    """`mention` (`<!subteam^S…>`, `<@U…>`, `<!here>`) is added from `mention_from` on.

    `app_token` opens Socket Mode, `signing_secret` lets `POST /slack/interactive` in; either gives
    the message buttons. `users` maps Slack's user ids to names. `base_url` is Slack's API, or
    what stands for it; `timeout` bounds one request.
    """

    channel: str
    token: str = field(repr=False)
    mention: str = ""
    mention_from: Literal["warning", "serious", "critical"] = "serious"
    app_token: str = field(default="", repr=False)
    signing_secret: str = field(default="", repr=False)
    users: Mapping[str, str] = field(default_factory=dict)
    base_url: str = "https://slack.com/api/"
    timeout: Span = 10 * SECOND
    plots: bool = True

    def __post_init__(self) -> None:
        if not self.channel.strip() or not self.token.strip():
            raise CatcherError(
                "the slack sink needs a channel and a token",
                'write channel: "#alerts" and token: "${SLACK_TOKEN}"',
            )
        if self.mention and not MENTION_PATTERN.fullmatch(self.mention):
            raise CatcherError(
                f"{self.mention!r} mentions nobody in Slack",
                'write it like "<!subteam^S123>", "<@U123>" or "<!here>"',
            )

    @property
    def is_interactive(self) -> bool:
        """Whether button presses are received."""
        return bool(self.app_token or self.signing_secret)


@dataclass(frozen=True, slots=True)
class SlackContext:
    """What buttons act on: the engine's API, and the open alerts."""

    get_engine_api: Callable[[], EngineApi]
    list_active: Callable[[], Iterable[Alert]]


class SlackSink:
    """Posts to one channel. `fetch` returns the bytes of an artifact by its key, for plots.

    Without a `context` buttons are shown, but have no effect.
    """

    def __init__(
        self,
        name: str,
        settings: SlackSinkSettings,
        compose: MessageComposer,
        clock: Clock,
        fetch: ArtifactFetcher | None = None,
        context: SlackContext | None = None,
    ) -> None:
        self.name = name
        self._settings, self._compose, self._fetch = settings, compose, fetch
        self._clock, self._context = clock, context
        self._mention_from = Severity.parse(settings.mention_from)
        self._signature_verifier = SignatureVerifier(settings.signing_secret)
        self._exit_stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._client = SlackClient(settings.token, settings.base_url, settings.timeout, None)
        self._button_handler: ButtonHandler | None = None
        self._socket_mode: SocketModeClient | None = None
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"posted": 0, "edited": 0, "plots": 0, "plots_failed": 0}

    async def __aenter__(self) -> Self:
        settings = self._settings
        session = await self._exit_stack.enter_async_context(open_session(settings.timeout))
        self._client = SlackClient(settings.token, settings.base_url, settings.timeout, session)
        if self._context is not None and settings.is_interactive:
            self._button_handler = ButtonHandler(
                self._context.get_engine_api,
                self._context.list_active,
                self._client,
                settings.users,
            )
            self._start_task(self._button_handler.run(), f"actions of {self.name}")
            if settings.app_token:
                self._socket_mode = SocketModeClient(
                    session, self._fetch_socket_url, self._button_handler.enqueue
                )
                self._start_task(self._socket_mode.run(), f"Socket Mode of {self.name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exit_stack.__aexit__(kind, error, trace)

    def _start_task(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(coroutine, name=name))

    async def deliver(self, notification: Notification) -> Row:
        """Posts or edits the alert's message; the receipt has its location."""
        message = self._compose(notification)
        try:
            receipt = await self._post_or_edit_message(notification, message)
        except SinkError as error:
            self._problem = str(error)
            raise
        self._last, self._problem = notification.time, ""
        return await self._upload_plot(notification, message, receipt)

    async def handle_interaction(self, headers: Mapping[str, str], body: bytes) -> Row:
        """Handles `POST /slack/interactive`.

        Raises CatcherError unless the request is signed by Slack, new and well-formed.
        """
        self._signature_verifier.verify_request(headers, body, self._clock())
        try:
            payload = json.loads(parse_qs(body.decode())["payload"][0])
        except (ValueError, KeyError, RecursionError):
            payload = None
        if not isinstance(payload, Mapping) or self._button_handler is None:
            raise CatcherError("the request has no payload", "Slack sends it as payload=JSON")
        if not self._button_handler.enqueue(payload):
            raise EngineBusy
        return {}

    def health(self) -> Health:
        """Returns the health, `away` after a failed request or while Socket Mode is unavailable."""
        problem = self._problem
        if not problem and (socket_problem := self._find_socket_problem()):
            problem = f"buttons are not heard: {socket_problem}"
        state: HealthState = "away" if problem else "ok"
        counts = {**self._counts, **(self._button_handler.counts if self._button_handler else {})}
        return Health(self.name, "slack", state, last=self._last, problem=problem, counts=counts)

    def _find_socket_problem(self) -> str:
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                return f"{type(error).__name__}: {error}"
        return self._socket_mode.problem if self._socket_mode is not None else ""

    # -- messages --------------------------------------------------------------------------------

    async def _post_or_edit_message(
        self, notification: Notification, message: Message
    ) -> dict[str, Any]:
        receipt = dict(notification.receipt)
        if not receipt.get("ts"):
            return await self._post_message(notification, message)
        channel, ts = str(receipt["channel"]), str(receipt["ts"])
        # Before anything is posted: a retry must not post twice.
        await self._edit_worsening_post(notification, message, receipt)
        try:
            await self._client.update_message(
                channel=channel,
                ts=ts,
                text=format_fallback_text(message),
                blocks=build_blocks(
                    notification, message, interactive=self._settings.is_interactive
                ),
            )
        except SlackResponseError as error:
            if error.code in _MESSAGE_GONE_CODES:
                return await self._post_message(notification, message)
            raise
        self._counts["edited"] += 1
        if notification.kind in _BROADCAST_KINDS:
            posted = await self._post_message(notification, message, thread=ts)
            receipt["worsening"] = posted["ts"]
        elif notification.kind not in _NO_THREAD_KINDS:
            await self._client.post_message(
                channel=channel,
                thread_ts=ts,
                text=format_fallback_text(message),
                blocks=build_thread_blocks(notification, message),
                metadata=_build_metadata(notification),
            )
        return receipt

    async def _edit_worsening_post(
        self, notification: Notification, message: Message, receipt: Mapping[str, Any]
    ) -> None:
        """Edits the last post of a worsening, once the alert is acknowledged, over or posted again.

        It then shows the alert's state, without buttons: those of the live message apply.
        """
        ts = receipt.get("worsening")
        if not ts or (
            notification.alert.state == "firing" and notification.kind not in _BROADCAST_KINDS
        ):
            return
        try:
            await self._client.update_message(
                channel=str(receipt["channel"]), ts=str(ts), text=format_fallback_text(message),
                blocks=build_blocks(notification, message),
            )  # fmt: skip
        except SlackResponseError as error:
            if error.code not in _MESSAGE_GONE_CODES:
                raise
        self._counts["edited"] += 1

    async def _post_message(
        self, notification: Notification, message: Message, thread: str = ""
    ) -> dict[str, Any]:
        """Posts a new message; one in a thread is shown in the channel as well."""
        mention = self._get_mention(notification)
        receipt: dict[str, Any] = await self._client.post_message(
            channel=str(notification.receipt.get("channel") or self._settings.channel),
            text=format_fallback_text(message, mention),
            blocks=build_blocks(notification, message, mention, self._settings.is_interactive),
            thread_ts=thread or None,
            reply_broadcast=True if thread else None,
            metadata=_build_metadata(notification),
        )
        self._counts["posted"] += 1
        return receipt

    def _get_mention(self, notification: Notification) -> str:
        alert = notification.alert
        is_severe = notification.kind == "raised" or alert.display_severity >= self._mention_from
        is_quiet = notification.kind == "test" or alert.state in (
            "resolved",
            "shelved",
            "acknowledged",
        )
        return self._settings.mention if is_severe and not is_quiet else ""

    async def _upload_plot(
        self, notification: Notification, message: Message, receipt: dict[str, Any]
    ) -> dict[str, Any]:
        """Uploads a new plot. A failure is only counted: the text has already been posted."""
        key = notification.alert.attachment
        previous_key = notification.receipt.get("plot", "")
        if not key or key == previous_key or not self._settings.plots or self._fetch is None:
            return {**receipt, "plot": previous_key} if previous_key else receipt
        name = key.rpartition("/")[2]
        try:
            data = await self._fetch(key)
            if len(data) > _MAX_PLOT_SIZE:
                raise CatcherError(f"the plot has {len(data)} bytes", "make a smaller one")
            await self._client.upload_file(
                receipt["channel"], receipt["ts"], name, message.headline, data
            )
        except (SinkError, CatcherError) as error:
            error_text = error.message if isinstance(error, CatcherError) else str(error)
            self._counts["plots_failed"] += 1
            self._problem = f"the plot was not uploaded: {error_text}"
            return receipt
        self._counts["plots"] += 1
        return {**receipt, "plot": key}

    async def _fetch_socket_url(self) -> str:
        return await self._client.fetch_socket_url(self._settings.app_token)


def build_preview(
    settings: SlackSinkSettings, compose: MessageComposer, notification: Notification
) -> SinkPreview:
    """Returns a preview of the message."""
    message = compose(notification)
    message_blocks = build_blocks(notification, message, interactive=settings.is_interactive)
    buttons = [element["text"]["text"] for block in message_blocks if block["type"] == "actions"
               for element in block["elements"]]  # fmt: skip
    button_line = "".join(f"[ {label} ] " for label in buttons).rstrip()
    text = (
        f"{settings.channel}\n{message_blocks[0]['text']['text']}"
        f"\n{format_plain_body(message)}\n{button_line}"
    ).rstrip()
    return SinkPreview(text, {"text": format_fallback_text(message), "blocks": message_blocks})


def _build_metadata(notification: Notification) -> dict[str, Any]:
    """Returns the metadata by which a repeat can be recognized."""
    return {"event_type": "catcher_notice", "event_payload": {"id": notification.id}}
