"""Services that answer in JSON: requests, responses as plain values, and readable errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from catcher.model.errors import CatcherError
from catcher.model.text import sanitize_single_line
from catcher.model.time import (
    SECOND,
    Instant,
    Span,
    format_instant,
    parse_instant,
    tai_to_utc,
    utc_to_tai,
)
from catcher.ports import StoreUnavailable
from catcher.transport.http import HttpClient, HttpResponse, parse_retry_seconds

MAX_BODY_BYTES = 256 * 2**20
LATEST_TIME = parse_instant("2200-01-01")


class JsonService:
    """A service at a URL, with an optional token."""

    def __init__(self, url: str, token: str, timeout: Span, name: str) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.display_name = f"{name} at {url}"
        self._client = HttpClient(
            url, {"Accept": "application/json", **headers}, timeout, self.display_name
        )

    def get_json(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """Returns the response to a GET."""
        with self._client.stream_request("GET", path, parameters) as response:
            return self._parse_response(response)

    def post_json(self, path: str, body: Any) -> Any:
        """Returns the response to a POST of JSON."""
        data, headers = msgspec.json.encode(body), {"Content-Type": "application/json"}
        with self._client.stream_request("POST", path, headers=headers, body=data) as response:
            return self._parse_response(response)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def invalid_response_error(self) -> StoreUnavailable:
        """Returns the error for a response of an unexpected shape."""
        return StoreUnavailable(
            f"{self.display_name} answered in a form that is not its own; nothing of it was used",
            "see whether the address is right",
        )

    def _parse_response(self, response: HttpResponse) -> Any:
        if response.status != 200:
            error_text = sanitize_single_line(
                _extract_error_message(response.read_error_text()), 300
            )
            if response.status in (401, 403):
                raise StoreUnavailable(
                    f"{self.display_name} refused the credentials: {error_text}", "see to `token`"
                )
            if 400 <= response.status < 500 and response.status not in (408, 429):
                raise CatcherError(
                    f"{self.display_name} answered {response.status}: {error_text}", "see its words"
                )
            raise StoreUnavailable(
                f"{self.display_name} answered {response.status}: {error_text}",
                "see to the service",
                parse_retry_seconds(response.headers),
            )
        try:
            return msgspec.json.decode(response.read_body(MAX_BODY_BYTES))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise self.invalid_response_error() from None


def _extract_error_message(body: str) -> str:
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body
    return (
        str(payload.get("message") or payload.get("detail") or body)
        if isinstance(payload, dict)
        else body
    )


def format_tai(instant: Instant) -> str:
    """Formats an instant as ISO in TAI to the microsecond, without a zone, as the services do."""
    whole_seconds, remainder = divmod(utc_to_tai(min(max(instant, 0), LATEST_TIME)), SECOND)
    return f"{format_instant(whole_seconds * SECOND).removesuffix('Z')}.{remainder // 1000:06d}"


def parse_tai(text: Any) -> Instant | None:
    """Returns the instant of a time in TAI; None if it is not one."""
    if not isinstance(text, str):
        return None
    try:
        return tai_to_utc(parse_instant(text))
    except ValueError:
        return None


DEFAULT_TIMEOUT = 30 * SECOND
