"""What services answer in JSON: one request, its answer as plain values, its errors in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from catcher.model.problem import CatcherError
from catcher.model.text import plain
from catcher.model.time import (
    SECOND,
    Instant,
    Span,
    format_instant,
    parse_instant,
    tai_to_utc,
    utc_to_tai,
)
from catcher.ports import StoreAway
from catcher.stores.web import Answer, Web, retry_after

LARGEST = 256 * 2**20
LATEST = parse_instant("2200-01-01")


class JsonService:
    """A service at an address, with a token where it wants one."""

    def __init__(self, url: str, token: str, timeout: Span, who: str) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.who = f"{who} at {url}"
        self._web = Web(url, {"Accept": "application/json", **headers}, timeout, self.who)

    def get(self, path: str, fields: Mapping[str, str] | None = None) -> Any:
        """What a GET answers."""
        with self._web.ask("GET", path, fields) as answer:
            return self._plain(answer)

    def post(self, path: str, body: Any) -> Any:
        """What a POST of JSON answers."""
        data, headers = msgspec.json.encode(body), {"Content-Type": "application/json"}
        with self._web.ask("POST", path, headers=headers, body=data) as answer:
            return self._plain(answer)

    def close(self) -> None:
        """Ends the connections."""
        self._web.close()

    def nonsense(self) -> StoreAway:
        """The error for an answer of another shape than the service's."""
        return StoreAway(
            f"{self.who} answered in a form that is not its own; nothing of it was used",
            "see whether the address is right",
        )

    def _plain(self, answer: Answer) -> Any:
        if answer.status != 200:
            said = plain(_said(answer.words()), 300)
            if answer.status in (401, 403):
                raise StoreAway(f"{self.who} refused the credentials: {said}", "see to `token`")
            if 400 <= answer.status < 500 and answer.status not in (408, 429):
                raise CatcherError(f"{self.who} answered {answer.status}: {said}", "see its words")
            raise StoreAway(
                f"{self.who} answered {answer.status}: {said}", "see to the service",
                retry_after(answer.headers),
            )  # fmt: skip
        try:
            return msgspec.json.decode(answer.whole(LARGEST))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise self.nonsense() from None


def _said(body: str) -> str:
    try:
        told = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body
    return (
        str(told.get("message") or told.get("detail") or body) if isinstance(told, dict) else body
    )


def as_tai(instant: Instant) -> str:
    """An instant as services write times: ISO in TAI to the microsecond, without a zone."""
    whole, rest = divmod(utc_to_tai(min(max(instant, 0), LATEST)), SECOND)
    return f"{format_instant(whole * SECOND).removesuffix('Z')}.{rest // 1000:06d}"


def from_tai(text: Any) -> Instant | None:
    """The instant of a time in TAI; None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        return tai_to_utc(parse_instant(text))
    except ValueError:
        return None


DEFAULT_TIMEOUT = 30 * SECOND
