"""Slack's Web API, its errors as SinkError. The only module that uses slack_sdk."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from catcher.model.text import sanitize_single_line
from catcher.model.time import Span, nanoseconds_to_seconds
from catcher.ports import SinkError
from catcher.transport.http import (
    REQUEST_ERRORS,
    HttpSession,
    describe_request_error,
    parse_retry_after,
)

_TOKEN_HINT = "check the token and its scopes"
_CHANNEL_HINT = "check the channel's name, and invite the app to it"
_FINAL_ERRORS: Mapping[str, str] = {
    "invalid_auth": _TOKEN_HINT,
    "not_authed": _TOKEN_HINT,
    "account_inactive": _TOKEN_HINT,
    "token_revoked": _TOKEN_HINT,
    "token_expired": _TOKEN_HINT,
    "missing_scope": _TOKEN_HINT,
    "no_permission": _TOKEN_HINT,
    "not_allowed_token_type": _TOKEN_HINT,
    "org_login_required": _TOKEN_HINT,
    "team_access_not_granted": _TOKEN_HINT,
    "ekm_access_denied": _TOKEN_HINT,
    "channel_not_found": _CHANNEL_HINT,
    "not_in_channel": _CHANNEL_HINT,
    "is_archived": _CHANNEL_HINT,
    "restricted_action": _CHANNEL_HINT,
    "invalid_blocks": "",
    "invalid_blocks_format": "",
    "msg_too_long": "",
    "no_text": "",
    "invalid_arguments": "",
    "metadata_too_large": "",
}
_CALL_ERRORS = (SlackClientError, *REQUEST_ERRORS, AttributeError)
"""The errors of a call. slack_sdk raises AttributeError for a plain-text response."""


class SlackResponseError(SinkError):
    """Slack answered with an error; `code` is Slack's."""

    def __init__(
        self, message: str, code: str = "", retry_after: Span | None = None, final: bool = False
    ) -> None:
        super().__init__(message, retry_after, final)
        self.code = code


class SlackClient:
    """Calls of the Web API. Each raises SinkError, with the retry delay that Slack requests."""

    def __init__(
        self, token: str, base_url: str, timeout: Span, session: HttpSession | None
    ) -> None:
        # The sink worker retries, in order; slack_sdk's own handlers would retry as well.
        self._web = AsyncWebClient(
            token=token, base_url=base_url, timeout=max(1, int(nanoseconds_to_seconds(timeout))),
            session=session, retry_handlers=[],
        )  # fmt: skip

    async def post_message(self, **message: Any) -> dict[str, str]:
        """Posts a message; returns its channel and `ts`."""
        response = await _call_api(
            self._web.chat_postMessage(
                **message, parse="none", link_names=False, unfurl_links=False, unfurl_media=False
            )
        )
        return {"channel": str(response.get("channel", "")), "ts": str(response.get("ts", ""))}

    async def update_message(self, **message: Any) -> None:
        """Edits a message."""
        await _call_api(self._web.chat_update(**message, parse="none", link_names=False))

    async def upload_file(
        self, channel: str, thread: str, name: str, title: str, data: bytes
    ) -> None:
        """Uploads a file into a thread."""
        await _call_api(
            self._web.files_upload_v2(
                channel=channel, thread_ts=thread, content=data, filename=name, title=title
            )
        )

    async def post_ephemeral(self, channel: str, user: str, text: str) -> None:
        """Posts a message in a channel that only one person sees."""
        await _call_api(self._web.chat_postEphemeral(channel=channel, user=user, text=text))

    async def fetch_user_name(self, user: str) -> str:
        """Returns the name of a person: the display name, or else the account's."""
        user_info = (await _call_api(self._web.users_info(user=user))).get("user")
        user_fields = user_info if isinstance(user_info, Mapping) else {}
        profile = user_fields.get("profile")
        display_name = profile.get("display_name") if isinstance(profile, Mapping) else ""
        return sanitize_single_line(display_name or user_fields.get("name") or "", 60)

    async def fetch_socket_url(self, app_token: str) -> str:
        """Returns the URL for one Socket Mode connection."""
        response = await _call_api(self._web.apps_connections_open(app_token=app_token))
        return str(response.get("url", ""))


async def _call_api(request: Awaitable[Any]) -> Mapping[str, Any]:
    try:
        response: Mapping[str, Any] = await request
    except _CALL_ERRORS as error:
        raise _to_sink_error(error) from error
    return response


def _to_sink_error(error: BaseException) -> SinkError:
    """Converts an error to SinkError: when to retry, or that it is final."""
    if not isinstance(error, SlackApiError):
        if isinstance(error, REQUEST_ERRORS):
            return SinkError(f"Slack {describe_request_error(error)}")
        return SinkError(f"Slack cannot be reached: {type(error).__name__}")
    code, status = _get_error_code(error), _get_status(error)
    if status == 429 or code == "ratelimited":
        headers = getattr(error.response, "headers", {})
        return SlackResponseError("Slack asks for a pause", code, parse_retry_after(headers))
    if code in _FINAL_ERRORS:
        hint = f"; {_FINAL_ERRORS[code]}" if _FINAL_ERRORS[code] else ""
        return SlackResponseError(f"Slack refused it: {code}{hint}", code, final=True)
    return SlackResponseError(f"Slack failed: {code or f'HTTP {status}'}", code)


def _get_error_code(error: SlackApiError) -> str:
    data = getattr(error.response, "data", None)
    return sanitize_single_line(data.get("error", ""), 60) if isinstance(data, Mapping) else ""


def _get_status(error: SlackApiError) -> int:
    # slack_sdk passes on aiohttp's own response if the body was not JSON.
    response = error.response
    return int(getattr(response, "status_code", 0) or getattr(response, "status", 0))
