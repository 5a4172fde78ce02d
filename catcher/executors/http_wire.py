"""One request to a service that runs jobs, and its answer. It blocks, and belongs into a thread."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from catcher.executors.http_forms import HINT, Request
from catcher.executors.http_settings import Settings
from catcher.model.problem import CatcherError
from catcher.model.time import to_seconds

MOST_BYTES = 256 * 2**20


class Refused(Exception):
    """The service answered with a status that is no success."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"it answered {status}: {words}" if words else f"it answered {status}")
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same may be asked again."""
        return self.status >= 500 or self.status in (408, 425, 429)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A token must not follow to wherever an answer points."""

    def redirect_request(self, *what: Any) -> None:
        return None


class Wire:
    """The way to one service."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opener = urllib.request.build_opener(_NoRedirects)

    def send(self, request: Request) -> Any:
        """The answer: JSON as what it is, anything else as text.

        Refused where it is no success, OSError where there is none.
        """
        asked = self._made(request)
        try:
            limit = to_seconds(self._settings.timeout)
            with self._opener.open(asked, timeout=limit) as answer:
                text = answer.read(MOST_BYTES).decode("utf-8", "replace")
                kind = answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            with error:
                words = " ".join(error.read(400).decode("utf-8", "replace").split())
            raise Refused(error.code, words) from error
        except HTTPException as error:
            raise OSError(f"its answer broke off: {type(error).__name__}") from error
        if kind != "application/json":
            return text
        try:
            return json.loads(text)
        except ValueError as error:
            raise CatcherError(f"the answer is no JSON: {error}", HINT) from error

    def _made(self, request: Request) -> urllib.request.Request:
        body = None if request.body is None else json.dumps(request.body).encode()
        headers = {"Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._settings.token:
            headers["Authorization"] = f"Bearer {self._settings.token}"
        url = self._settings.url.rstrip("/") + request.path
        return urllib.request.Request(url, body, headers, method=request.method)
