"""Sends one request to a service that runs jobs. It blocks, so it belongs in a thread."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from catcher.executors.http_protocols import RESPONSE_HINT, ServiceRequest
from catcher.executors.http_settings import HttpExecutorSettings
from catcher.model.errors import CatcherError
from catcher.model.time import nanoseconds_to_seconds

MAX_RESPONSE_BYTES = 256 * 2**20


class RequestRefused(Exception):
    """The service answered with a status that is no success."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"it answered {status}: {detail}" if detail else f"it answered {status}")
        self.status = status

    @property
    def is_retryable(self) -> bool:
        """True if the same request may be repeated."""
        return self.status >= 500 or self.status in (408, 425, 429)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirects: a token must not be sent to wherever an answer points."""

    def redirect_request(self, *args: Any) -> None:
        return None


class JobServiceClient:
    """The client of one service."""

    def __init__(self, settings: HttpExecutorSettings) -> None:
        self._settings = settings
        self._opener = urllib.request.build_opener(_NoRedirects)

    def send_request(self, request: ServiceRequest) -> Any:
        """Returns the answer: JSON as its value, anything else as text.
        Raises RequestRefused if it is no success, OSError if there is none.
        """
        http_request = self._build_http_request(request)
        try:
            timeout = nanoseconds_to_seconds(self._settings.timeout)
            with self._opener.open(http_request, timeout=timeout) as response:
                text = response.read(MAX_RESPONSE_BYTES).decode("utf-8", "replace")
                content_type = response.headers.get_content_type()
        except urllib.error.HTTPError as error:
            with error:
                error_text = " ".join(error.read(400).decode("utf-8", "replace").split())
            raise RequestRefused(error.code, error_text) from error
        except HTTPException as error:
            raise OSError(f"its answer broke off: {type(error).__name__}") from error
        if content_type != "application/json":
            return text
        try:
            return json.loads(text)
        except ValueError as error:
            raise CatcherError(f"the answer is no JSON: {error}", RESPONSE_HINT) from error

    def _build_http_request(self, request: ServiceRequest) -> urllib.request.Request:
        body = None if request.body is None else json.dumps(request.body).encode()
        headers = {"Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._settings.token:
            headers["Authorization"] = f"Bearer {self._settings.token}"
        url = self._settings.url.rstrip("/") + request.path
        return urllib.request.Request(url, body, headers, method=request.method)
