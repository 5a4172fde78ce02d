"""Messages to Kafka through Confluent's REST proxy, version 2: `POST /topics/NAME`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from catcher.transport.http import (
    REQUEST_ERRORS,
    HttpSession,
    WebResponse,
    describe_request_error,
    open_session,
    send_request,
)

_FINAL_STATUSES = frozenset({400, 413, 422})
_STATUS_HINTS = {
    401: "; see to its username and password, or token",
    403: "; this user may not write there",
    404: "; see to its url and the topic",
    422: "; the topic's schema does not allow ours",
}


class RestProxyError(ConnectionError):
    """The proxy did not accept a message; `final` if it never will."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class RestProxy:
    """Publishes one message per request. Used as an async context manager."""

    def __init__(
        self, url: str, message_format: Literal["json", "avro"], timeout: int,
        user: tuple[str, str] = ("", ""), token: str = "",
    ) -> None:  # fmt: skip
        self._base, self._message_format, self._timeout = url.rstrip("/"), message_format, timeout
        self._host = urlsplit(url).hostname or ""
        self._session: HttpSession | None = None
        self._headers = {
            "Content-Type": f"application/vnd.kafka.{message_format}.v2+json",
            "Accept": "application/vnd.kafka.v2+json",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        elif user[0]:
            credentials = base64.b64encode(":".join(user).encode()).decode()
            self._headers["Authorization"] = f"Basic {credentials}"

    async def __aenter__(self) -> Self:
        self._session = open_session(self._timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def publish(
        self, topic: str, key: str, row: Mapping[str, Any], schema: Mapping[str, Any]
    ) -> None:
        """Returns once the proxy has written the message; raises RestProxyError if it has not."""
        body: dict[str, Any] = {"records": [{"value": dict(row)}]}
        if self._message_format == "avro":
            text = json.dumps(schema)
            body = {"key_schema": '"string"', "value_schema": text, **body}
        body["records"][0]["key"] = key
        text = json.dumps(body, allow_nan=False, default=str)
        assert self._session is not None
        try:
            response = await send_request(
                self._session, "POST", f"{self._base}/topics/{topic}", self._headers, text.encode()
            )
        except REQUEST_ERRORS as error:
            raise RestProxyError(
                f"the REST proxy {self._host} {describe_request_error(error)}"
            ) from None
        self._check_response(response)

    def _check_response(self, response: WebResponse) -> None:
        """Raises RestProxyError for a failed response, or a failed record in a successful one."""
        status = response.status
        if not 200 <= status < 300:
            error_text = (
                f"the REST proxy {self._host} answers {status}{_STATUS_HINTS.get(status, '')}"
            )
            raise RestProxyError(error_text, status in _FINAL_STATUSES)
        try:
            offsets = json.loads(response.body)["offsets"]
            problems = [str(offset["error"]) for offset in offsets if offset.get("error")]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise RestProxyError(
                f"what answers at {self._host} is no REST proxy of Kafka"
            ) from None
        if problems:
            raise RestProxyError(
                f"the REST proxy {self._host} could not write: {problems[0][:200]}"
            )
