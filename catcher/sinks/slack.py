"""Alerts in a Slack channel: one live message for each, edited as it changes.

    # alerts/routes.yaml
    sinks:
      tma-slack: {slack: {channel: "#tma-alerts", token: "${SLACK_TOKEN}",
                          mention: "<!subteam^S123>"}}

The app needs the bot scopes `chat:write` and `files:write`, and to be in the channel. An edit
pings nobody, so a worsening is also posted, in the message's thread and into the channel, with
the mention. The plot goes into the thread. What comes from events is escaped: `<!here>` in a name
stays text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from catcher.model.alert import Notice, Severity
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose, Message
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Instant, Span, to_seconds
from catcher.ports import Row, SinkError
from catcher.sinks.slack_blocks import MENTION, blocks, fallback

_TOKEN = "check the token and its scopes"
_CHANNEL = "check the channel's name, and invite the app to it"
_FINAL: dict[str, str] = {
    "invalid_auth": _TOKEN, "not_authed": _TOKEN, "account_inactive": _TOKEN,
    "token_revoked": _TOKEN, "token_expired": _TOKEN, "missing_scope": _TOKEN,
    "no_permission": _TOKEN, "not_allowed_token_type": _TOKEN, "org_login_required": _TOKEN,
    "team_access_not_granted": _TOKEN, "ekm_access_denied": _TOKEN,
    "channel_not_found": _CHANNEL, "not_in_channel": _CHANNEL, "is_archived": _CHANNEL,
    "restricted_action": _CHANNEL, "invalid_blocks": "", "invalid_blocks_format": "",
    "msg_too_long": "", "no_text": "", "invalid_arguments": "", "metadata_too_large": "",
}  # fmt: skip
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_LARGEST_PLOT = 20_000_000
_TROUBLE = (SlackClientError, aiohttp.ClientError, OSError, TimeoutError, AttributeError)
"""What a call may end with. AttributeError is slack_sdk's own answer to a reply in plain text."""

Fetch = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`mention` (`<!subteam^S…>`, `<@U…>`, `<!here>`) is added from `mention_from` on.

    `base_url` is Slack's API, or what stands for it; `timeout` bounds one request.
    """

    channel: str
    token: str = field(repr=False)
    mention: str = ""
    mention_from: Literal["warning", "serious", "critical"] = "serious"
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


class SlackSink:
    """Speaks to one channel. `fetch` gives the bytes of an artifact by its key, for plots."""

    def __init__(
        self, name: str, settings: Settings, compose: Compose, fetch: Fetch | None = None
    ) -> None:
        self.name = name
        self._settings, self._compose, self._fetch = settings, compose, fetch
        self._mention_from = Severity.parse(settings.mention_from)
        self._session: aiohttp.ClientSession | None = None
        self._client = self._new_client()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"posted": 0, "edited": 0, "plots": 0, "plots_failed": 0}

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=to_seconds(self._settings.timeout))
        self._session = aiohttp.ClientSession(timeout=timeout)
        self._client = self._new_client()
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
        """Posts or edits the alert's message; the receipt says where it is."""
        try:
            receipt = await self._tell(notice, self._compose(notice))
        except _TROUBLE as error:
            trouble = _sink_error(error)
            self._problem = str(trouble)
            raise trouble from error
        self._last, self._problem = notice.time, ""
        return await self._with_plot(notice, receipt)

    def health(self) -> Health:
        """`away` after a request that failed."""
        state: HealthState = "away" if self._problem else "ok"
        return Health(
            self.name, "slack", state, last=self._last, problem=self._problem,
            counts=dict(self._counts),
        )  # fmt: skip

    # -- messages --------------------------------------------------------------------------------

    async def _tell(self, notice: Notice, message: Message) -> dict[str, Any]:
        receipt = dict(notice.receipt)
        if not receipt.get("ts"):
            return await self._post(notice, message)
        try:
            await self._client.chat_update(
                channel=str(receipt["channel"]),
                ts=str(receipt["ts"]),
                text=fallback(message),
                blocks=blocks(notice, message),
                parse="none",
                link_names=False,
            )
        except SlackApiError as error:
            if _code(error) in _GONE:
                return await self._post(notice, message)
            raise
        self._counts["edited"] += 1
        if notice.kind in ("raised", "reminder"):
            await self._post(notice, message, thread=str(receipt["ts"]))
        return receipt

    async def _post(self, notice: Notice, message: Message, thread: str = "") -> dict[str, Any]:
        """A new message; in a thread it is shown in the channel as well."""
        worse = notice.kind == "raised" or notice.alert.shown_severity >= self._mention_from
        mention = self._settings.mention if worse and notice.alert.state != "resolved" else ""
        answer = await self._client.chat_postMessage(
            channel=str(notice.receipt.get("channel") or self._settings.channel),
            text=fallback(message, mention),
            blocks=blocks(notice, message, mention),
            thread_ts=thread or None,
            reply_broadcast=True if thread else None,
            parse="none",
            link_names=False,
            unfurl_links=False,
            unfurl_media=False,
            metadata={"event_type": "catcher_notice", "event_payload": {"id": notice.id}},
        )
        self._counts["posted"] += 1
        return {"channel": str(answer.get("channel", "")), "ts": str(answer.get("ts", ""))}

    async def _with_plot(self, notice: Notice, receipt: dict[str, Any]) -> dict[str, Any]:
        """Uploads a plot that is new. One that fails is counted: the words are out already."""
        key = notice.alert.attachment
        old = notice.receipt.get("plot", "")
        if not key or key == old or not self._settings.plots or self._fetch is None:
            return {**receipt, "plot": old} if old else receipt
        try:
            data = await self._fetch(key)
            if len(data) > _LARGEST_PLOT:
                raise CatcherError(f"the plot has {len(data)} bytes", "make a smaller one")
            await self._client.files_upload_v2(
                channel=receipt["channel"],
                thread_ts=receipt["ts"],
                content=data,
                filename=key.rpartition("/")[2],
                title=self._compose(notice).headline,
            )
        except (*_TROUBLE, CatcherError) as error:
            self._counts["plots_failed"] += 1
            self._problem = f"the plot was not uploaded: {_plot_error(error)}"
            return receipt
        self._counts["plots"] += 1
        return {**receipt, "plot": key}

    def _new_client(self) -> AsyncWebClient:
        # The courier retries, in order and without end; Slack's own handlers would do so besides.
        return AsyncWebClient(
            token=self._settings.token,
            base_url=self._settings.base_url,
            timeout=max(1, int(to_seconds(self._settings.timeout))),
            session=self._session,
            retry_handlers=[],
        )


def _sink_error(error: BaseException) -> SinkError:
    """Slack's answer as an error of a sink: when to come again, or that it is of no use."""
    if not isinstance(error, SlackApiError):
        if isinstance(error, TimeoutError | asyncio.TimeoutError):
            return SinkError("Slack did not answer in time")
        return SinkError(f"Slack cannot be reached: {type(error).__name__}")
    code, status = _code(error), _status(error)
    if status == 429 or code == "ratelimited":
        return SinkError("Slack asks for a pause", retry_after=_retry_after(error))
    if code in _FINAL:
        hint = f"; {_FINAL[code]}" if _FINAL[code] else ""
        return SinkError(f"Slack refused it: {code}{hint}", final=True)
    return SinkError(f"Slack failed: {code or f'HTTP {status}'}")


def _plot_error(error: BaseException) -> str:
    return error.message if isinstance(error, CatcherError) else str(_sink_error(error))


def _code(error: SlackApiError) -> str:
    data = getattr(error.response, "data", None)
    return str(data.get("error", "")) if isinstance(data, Mapping) else ""


def _status(error: SlackApiError) -> int:
    # slack_sdk hands over aiohttp's own response where the body was no JSON.
    response = error.response
    return int(getattr(response, "status_code", 0) or getattr(response, "status", 0))


def _retry_after(error: SlackApiError) -> Span:
    headers = getattr(error.response, "headers", {})
    try:
        seconds = float(headers.get("Retry-After", 1))
    except ValueError:
        seconds = 1.0
    return int(min(max(seconds, 0.0), 3_600.0) * SECOND)
