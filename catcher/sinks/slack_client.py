"""Slack's Web API, its refusals as errors of a sink. The only module that knows slack_sdk."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from catcher.model.text import plain
from catcher.model.time import Span, to_seconds
from catcher.ports import SinkError
from catcher.sinks.web import TROUBLE, Session, retry_after, trouble_words

_TOKEN = "check the token and its scopes"
_CHANNEL = "check the channel's name, and invite the app to it"
_FINAL: Mapping[str, str] = {
    "invalid_auth": _TOKEN, "not_authed": _TOKEN, "account_inactive": _TOKEN,
    "token_revoked": _TOKEN, "token_expired": _TOKEN, "missing_scope": _TOKEN,
    "no_permission": _TOKEN, "not_allowed_token_type": _TOKEN, "org_login_required": _TOKEN,
    "team_access_not_granted": _TOKEN, "ekm_access_denied": _TOKEN,
    "channel_not_found": _CHANNEL, "not_in_channel": _CHANNEL, "is_archived": _CHANNEL,
    "restricted_action": _CHANNEL, "invalid_blocks": "", "invalid_blocks_format": "",
    "msg_too_long": "", "no_text": "", "invalid_arguments": "", "metadata_too_large": "",
}  # fmt: skip
_TROUBLE = (SlackClientError, *TROUBLE, AttributeError)
"""What a call may end with. AttributeError is slack_sdk's own answer to a reply in plain text."""


class SlackRefused(SinkError):
    """Slack answered with an error; `code` is its word for it."""

    def __init__(
        self, message: str, code: str = "", pause: Span | None = None, final: bool = False
    ) -> None:
        super().__init__(message, pause, final)
        self.code = code


class SlackClient:
    """Calls of the Web API. Each raises SinkError, with the pause that Slack asks for."""

    def __init__(self, token: str, base_url: str, timeout: Span, session: Session | None) -> None:
        # The courier retries, in order and without end; Slack's own handlers would do so besides.
        self._web = AsyncWebClient(
            token=token, base_url=base_url, timeout=max(1, int(to_seconds(timeout))),
            session=session, retry_handlers=[],
        )  # fmt: skip

    async def post(self, **message: Any) -> dict[str, str]:
        """Posts a message; its channel and `ts`."""
        answer = await _call(
            self._web.chat_postMessage(
                **message, parse="none", link_names=False, unfurl_links=False, unfurl_media=False
            )
        )
        return {"channel": str(answer.get("channel", "")), "ts": str(answer.get("ts", ""))}

    async def update(self, **message: Any) -> None:
        """Edits a message."""
        await _call(self._web.chat_update(**message, parse="none", link_names=False))

    async def upload(self, channel: str, thread: str, name: str, title: str, data: bytes) -> None:
        """Uploads a file into a thread."""
        await _call(
            self._web.files_upload_v2(
                channel=channel, thread_ts=thread, content=data, filename=name, title=title
            )
        )

    async def whisper(self, channel: str, user: str, text: str) -> None:
        """Tells one person in a channel what nobody else sees."""
        await _call(self._web.chat_postEphemeral(channel=channel, user=user, text=text))

    async def name_of(self, user: str) -> str:
        """What a person is called: the display name, or else the account's."""
        found = (await _call(self._web.users_info(user=user))).get("user")
        person = found if isinstance(found, Mapping) else {}
        profile = person.get("profile")
        shown = profile.get("display_name") if isinstance(profile, Mapping) else ""
        return plain(shown or person.get("name") or "", 60)

    async def socket_address(self, app_token: str) -> str:
        """Where Socket Mode is to be entered, once."""
        answer = await _call(self._web.apps_connections_open(app_token=app_token))
        return str(answer.get("url", ""))


async def _call(call: Awaitable[Any]) -> Mapping[str, Any]:
    try:
        answer: Mapping[str, Any] = await call
    except _TROUBLE as error:
        raise _sink_error(error) from error
    return answer


def _sink_error(error: BaseException) -> SinkError:
    """Slack's answer as an error of a sink: when to come again, or that it is of no use."""
    if not isinstance(error, SlackApiError):
        if isinstance(error, TROUBLE):
            return SinkError(f"Slack {trouble_words(error)}")
        return SinkError(f"Slack cannot be reached: {type(error).__name__}")
    code, status = _code(error), _status(error)
    if status == 429 or code == "ratelimited":
        headers = getattr(error.response, "headers", {})
        return SlackRefused("Slack asks for a pause", code, retry_after(headers))
    if code in _FINAL:
        hint = f"; {_FINAL[code]}" if _FINAL[code] else ""
        return SlackRefused(f"Slack refused it: {code}{hint}", code, final=True)
    return SlackRefused(f"Slack failed: {code or f'HTTP {status}'}", code)


def _code(error: SlackApiError) -> str:
    data = getattr(error.response, "data", None)
    return plain(data.get("error", ""), 60) if isinstance(data, Mapping) else ""


def _status(error: SlackApiError) -> int:
    # slack_sdk hands over aiohttp's own response where the body was no JSON.
    response = error.response
    return int(getattr(response, "status_code", 0) or getattr(response, "status", 0))
