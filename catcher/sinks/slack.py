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

The app has to be in the channel. An edit pings nobody, so a worsening is also posted, in the
message's thread and into the channel, with the mention; that post is edited, too, when somebody
takes the alert. What else happens is a line in the
thread, where the plot goes too. What comes from events is shown as text: `<!here>` in a name
mentions nobody. With an `app_token` (a connection outwards, as a closed network needs) or a
`signing_secret` the message has buttons: Acknowledge, Shelve 30 m, Open.
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

from catcher.model.alert import Alert, Notice, Severity
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose, Message, Shown
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Clock, Instant, Span
from catcher.ports import Busy, Door, Row, SinkError
from catcher.sinks.layouts import lines
from catcher.sinks.slack_actions import Actions
from catcher.sinks.slack_blocks import MENTION, blocks, fallback, history
from catcher.sinks.slack_client import SlackClient, SlackRefused
from catcher.sinks.slack_signature import Signatures
from catcher.sinks.slack_socket import SocketMode
from catcher.sinks.web import open_session

INTERACTIVE = "/slack/interactive"
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_LARGEST_PLOT = 20_000_000
_LOUD = ("raised", "reminder")
_SILENT = ("opened", "test", *_LOUD)
"""Changes that are no line of the thread: the message itself tells them."""

Fetch = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
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
        if self.mention and not MENTION.fullmatch(self.mention):
            raise CatcherError(
                f"{self.mention!r} mentions nobody in Slack",
                'write it like "<!subteam^S123>", "<@U123>" or "<!here>"',
            )

    @property
    def interactive(self) -> bool:
        """Whether somebody hears when a button is pressed."""
        return bool(self.app_token or self.signing_secret)


@dataclass(frozen=True, slots=True)
class Reach:
    """What buttons act on: the engine's door, and the alerts that are open."""

    door: Callable[[], Door]
    active: Callable[[], Iterable[Alert]]


class SlackSink:
    """Speaks to one channel. `fetch` gives the bytes of an artifact by its key, for plots.

    Without a `reach` buttons are shown, and nobody hears them.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        compose: Compose,
        clock: Clock,
        fetch: Fetch | None = None,
        reach: Reach | None = None,
    ) -> None:
        self.name = name
        self._settings, self._compose, self._fetch = settings, compose, fetch
        self._clock, self._reach = clock, reach
        self._mention_from = Severity.parse(settings.mention_from)
        self._signatures = Signatures(settings.signing_secret)
        self._open = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._client = SlackClient(settings.token, settings.base_url, settings.timeout, None)
        self._actions: Actions | None = None
        self._socket: SocketMode | None = None
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"posted": 0, "edited": 0, "plots": 0, "plots_failed": 0}

    async def __aenter__(self) -> Self:
        settings = self._settings
        session = await self._open.enter_async_context(open_session(settings.timeout))
        self._client = SlackClient(settings.token, settings.base_url, settings.timeout, session)
        if self._reach is not None and settings.interactive:
            self._actions = Actions(
                self._reach.door, self._reach.active, self._client, settings.users
            )
            self._start(self._actions.run(), f"actions of {self.name}")
            if settings.app_token:
                self._socket = SocketMode(session, self._address, self._actions.take)
                self._start(self._socket.run(), f"Socket Mode of {self.name}")
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
        await self._open.__aexit__(kind, error, trace)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def deliver(self, notice: Notice) -> Row:
        """Posts or edits the alert's message; the receipt says where it is."""
        message = self._compose(notice)
        try:
            receipt = await self._tell(notice, message)
        except SinkError as error:
            self._problem = str(error)
            raise
        self._last, self._problem = notice.time, ""
        return await self._with_plot(notice, message, receipt)

    async def callback(self, headers: Mapping[str, str], body: bytes) -> Row:
        """`POST /slack/interactive`; CatcherError unless it is signed by Slack, new and in form."""
        self._signatures.check(headers, body, self._clock())
        try:
            payload = json.loads(parse_qs(body.decode())["payload"][0])
        except (ValueError, KeyError, RecursionError):
            payload = None
        if not isinstance(payload, Mapping) or self._actions is None:
            raise CatcherError("the request has no payload", "Slack sends it as payload=JSON")
        if not self._actions.take(payload):
            raise Busy
        return {}

    def health(self) -> Health:
        """`away` after a request that failed, or while Socket Mode cannot be had."""
        problem = self._problem
        if not problem and (deaf := self._deaf()):
            problem = f"buttons are not heard: {deaf}"
        state: HealthState = "away" if problem else "ok"
        counts = {**self._counts, **(self._actions.counts if self._actions else {})}
        return Health(self.name, "slack", state, last=self._last, problem=problem, counts=counts)

    def _deaf(self) -> str:
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                return f"{type(error).__name__}: {error}"
        return self._socket.problem if self._socket is not None else ""

    # -- messages --------------------------------------------------------------------------------

    async def _tell(self, notice: Notice, message: Message) -> dict[str, Any]:
        receipt = dict(notice.receipt)
        if not receipt.get("ts"):
            return await self._post(notice, message)
        channel, ts = str(receipt["channel"]), str(receipt["ts"])
        # Before anything is posted: what is tried again must not be posted twice.
        await self._edit_worsening(notice, message, receipt)
        try:
            await self._client.update(
                channel=channel,
                ts=ts,
                text=fallback(message),
                blocks=blocks(notice, message, buttons=self._settings.interactive),
            )
        except SlackRefused as error:
            if error.code in _GONE:
                return await self._post(notice, message)
            raise
        self._counts["edited"] += 1
        if notice.kind in _LOUD:
            posted = await self._post(notice, message, thread=ts)
            receipt["worsening"] = posted["ts"]
        elif notice.kind not in _SILENT:
            await self._client.post(
                channel=channel,
                thread_ts=ts,
                text=fallback(message),
                blocks=history(notice, message),
                metadata=_mark(notice),
            )
        return receipt

    async def _edit_worsening(
        self, notice: Notice, message: Message, receipt: Mapping[str, Any]
    ) -> None:
        """The last post of a worsening, once the alert is taken or over or posted anew.

        It says how the alert stands, without buttons: those of the live message are in force.
        """
        ts = receipt.get("worsening")
        if not ts or (notice.alert.state == "firing" and notice.kind not in _LOUD):
            return
        try:
            await self._client.update(
                channel=str(receipt["channel"]), ts=str(ts), text=fallback(message),
                blocks=blocks(notice, message),
            )  # fmt: skip
        except SlackRefused as error:
            if error.code not in _GONE:
                raise
        self._counts["edited"] += 1

    async def _post(self, notice: Notice, message: Message, thread: str = "") -> dict[str, Any]:
        """A new message; in a thread it is shown in the channel as well."""
        mention = self._mention(notice)
        receipt: dict[str, Any] = await self._client.post(
            channel=str(notice.receipt.get("channel") or self._settings.channel),
            text=fallback(message, mention),
            blocks=blocks(notice, message, mention, self._settings.interactive),
            thread_ts=thread or None,
            reply_broadcast=True if thread else None,
            metadata=_mark(notice),
        )
        self._counts["posted"] += 1
        return receipt

    def _mention(self, notice: Notice) -> str:
        alert = notice.alert
        worse = notice.kind == "raised" or alert.shown_severity >= self._mention_from
        quiet = notice.kind == "test" or alert.state in ("resolved", "shelved", "acknowledged")
        return self._settings.mention if worse and not quiet else ""

    async def _with_plot(
        self, notice: Notice, message: Message, receipt: dict[str, Any]
    ) -> dict[str, Any]:
        """Uploads a plot that is new. One that fails is counted: the words are out already."""
        key = notice.alert.attachment
        old = notice.receipt.get("plot", "")
        if not key or key == old or not self._settings.plots or self._fetch is None:
            return {**receipt, "plot": old} if old else receipt
        name = key.rpartition("/")[2]
        try:
            data = await self._fetch(key)
            if len(data) > _LARGEST_PLOT:
                raise CatcherError(f"the plot has {len(data)} bytes", "make a smaller one")
            await self._client.upload(
                receipt["channel"], receipt["ts"], name, message.headline, data
            )
        except (SinkError, CatcherError) as error:
            words = error.message if isinstance(error, CatcherError) else str(error)
            self._counts["plots_failed"] += 1
            self._problem = f"the plot was not uploaded: {words}"
            return receipt
        self._counts["plots"] += 1
        return {**receipt, "plot": key}

    async def _address(self) -> str:
        return await self._client.socket_address(self._settings.app_token)


def show(settings: Settings, compose: Compose, notice: Notice) -> Shown:
    """The message as Slack would show it, for a preview."""
    message = compose(notice)
    sent = blocks(notice, message, buttons=settings.interactive)
    buttons = [one["text"]["text"] for part in sent if part["type"] == "actions"
               for one in part["elements"]]  # fmt: skip
    shown = "".join(f"[ {one} ] " for one in buttons).rstrip()
    text = f"{settings.channel}\n{sent[0]['text']['text']}\n{lines(message)}\n{shown}".rstrip()
    return Shown(text, {"text": fallback(message), "blocks": sent})


def _mark(notice: Notice) -> dict[str, Any]:
    """By which a repeat can be told from news."""
    return {"event_type": "catcher_notice", "event_payload": {"id": notice.id}}
