"""Line protocol to the `/write` of InfluxDB 1.x, gzipped."""

from __future__ import annotations

import gzip
from urllib.parse import urlencode

import msgspec

from catcher.model.errors import CatcherError
from catcher.model.text import sanitize_single_line
from catcher.model.time import instant_from_seconds
from catcher.ports import StoreUnavailable
from catcher.transport.http import HttpClient, build_basic_auth_header, parse_retry_seconds

WRITTEN_STATUS = 204


class WriteRejected(CatcherError):
    """The server rejected these lines; `status` is its response."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the server answered {status}: {reason}")
        self.status = status


class InfluxV1Writer:
    """One database of a server; the bucket may name a retention policy after a slash."""

    def __init__(self, url: str, bucket: str, credentials: tuple[str, str], timeout: float) -> None:
        database, _, retention = bucket.partition("/")
        self._database = database
        self._path = "/write?" + urlencode(
            {"db": database, "precision": "ns", **({"rp": retention} if retention else {})}
        )
        username, secret = credentials
        headers = {"Authorization": f"Token {secret}"} if secret and not username else {}
        headers = build_basic_auth_header(username, secret) if username else headers
        self._client = HttpClient(url, headers, instant_from_seconds(timeout), "the server")

    def write(self, lines: bytes) -> None:
        """Writes lines. Raises WriteRejected or StoreUnavailable if they are not written."""
        compressed = gzip.compress(lines, 1)
        with self._client.stream_request(
            "POST", self._path, headers={"Content-Encoding": "gzip"}, body=compressed
        ) as response:
            if response.status == WRITTEN_STATUS:
                return
            error_text = _extract_error_message(response.read_error_text())
            if response.status in (401, 403):
                raise StoreUnavailable(
                    f"the server refused the credentials: {error_text}",
                    "see to username and password",
                )
            if response.status == 404:
                raise StoreUnavailable(
                    f"the server answered 404: {error_text}",
                    f'CREATE DATABASE "{self._database}" there, or mend `bucket`',
                )
            if 400 <= response.status < 500 and response.status != 429:
                raise WriteRejected(response.status, error_text)
            retry_delay = parse_retry_seconds(response.headers)
            raise StoreUnavailable(
                f"the server answered {response.status}: {error_text}", retry_after=retry_delay
            )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()


def _extract_error_message(body: str) -> str:
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return sanitize_single_line(body, 200)
    return sanitize_single_line(
        payload.get("error", body) if isinstance(payload, dict) else body, 200
    )
