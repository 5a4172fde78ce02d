"""Messages to Kafka through Confluent's REST proxy, version 2: `POST /topics/NAME`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from catcher.sinks.web import TROUBLE, Answer, Session, open_session, send, trouble_words

_FINAL = frozenset({400, 413, 422})
_HINTS = {
    401: "; see to its username and password, or token",
    403: "; this user may not write there",
    404: "; see to its url and the topic",
    422: "; the topic's schema does not allow ours",
}


class NotTaken(ConnectionError):
    """The proxy did not take a message; `final` where it never will."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class RestProxy:
    """Publishes a message a request. Used as an async context manager."""

    def __init__(
        self, url: str, form: Literal["json", "avro"], timeout: int,
        user: tuple[str, str] = ("", ""), token: str = "",
    ) -> None:  # fmt: skip
        self._base, self._form, self._timeout = url.rstrip("/"), form, timeout
        self._host = urlsplit(url).hostname or ""
        self._session: Session | None = None
        self._headers = {
            "Content-Type": f"application/vnd.kafka.{form}.v2+json",
            "Accept": "application/vnd.kafka.v2+json",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        elif user[0]:
            pair = base64.b64encode(":".join(user).encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"

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
        """Returns when the proxy has written the message; NotTaken where it has not."""
        body: dict[str, Any] = {"records": [{"value": dict(row)}]}
        if self._form == "avro":
            text = json.dumps(schema)
            body = {"key_schema": '"string"', "value_schema": text, **body}
        body["records"][0]["key"] = key
        text = json.dumps(body, allow_nan=False, default=str)
        assert self._session is not None
        try:
            answer = await send(
                self._session, "POST", f"{self._base}/topics/{topic}", self._headers, text.encode()
            )
        except TROUBLE as error:
            raise NotTaken(f"the REST proxy {self._host} {trouble_words(error)}") from None
        self._judge(answer)

    def _judge(self, answer: Answer) -> None:
        """Each record has an answer of its own, also where the whole is well."""
        status = answer.status
        if not 200 <= status < 300:
            words = f"the REST proxy {self._host} answers {status}{_HINTS.get(status, '')}"
            raise NotTaken(words, status in _FINAL)
        try:
            offsets = json.loads(answer.body)["offsets"]
            problems = [str(one["error"]) for one in offsets if one.get("error")]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise NotTaken(f"what answers at {self._host} is no REST proxy of Kafka") from None
        if problems:
            raise NotTaken(f"the REST proxy {self._host} could not write: {problems[0][:200]}")
