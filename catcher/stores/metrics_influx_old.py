"""Line protocol to the `/write` of InfluxDB 1.x, gzipped."""

from __future__ import annotations

import gzip
from urllib.parse import urlencode

import msgspec

from catcher.model.problem import CatcherError
from catcher.model.text import plain
from catcher.model.time import from_seconds
from catcher.ports import StoreAway
from catcher.stores.web import Web, basic, retry_after

TAKEN = 204


class Rejected(CatcherError):
    """The server will not take these lines; `status` is its answer."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"the server answered {status}: {said}")
        self.status = status


class OldInflux:
    """One database of a server; the bucket may name a retention policy after a slash."""

    def __init__(self, url: str, bucket: str, login: tuple[str, str], timeout: float) -> None:
        database, _, retention = bucket.partition("/")
        self._database = database
        self._path = "/write?" + urlencode(
            {"db": database, "precision": "ns", **({"rp": retention} if retention else {})}
        )
        name, word = login
        headers = {"Authorization": f"Token {word}"} if word and not name else {}
        headers = basic(name, word) if name else headers
        self._web = Web(url, headers, from_seconds(timeout), "the server")

    def write(self, lines: bytes) -> None:
        """Returns once they are written; Rejected or StoreAway where they are not."""
        packed = gzip.compress(lines, 1)
        with self._web.ask(
            "POST", self._path, headers={"Content-Encoding": "gzip"}, body=packed
        ) as answer:
            if answer.status == TAKEN:
                return
            said = _said(answer.words())
            if answer.status in (401, 403):
                raise StoreAway(
                    f"the server refused the credentials: {said}", "see to username and password"
                )
            if answer.status == 404:
                raise StoreAway(
                    f"the server answered 404: {said}",
                    f'CREATE DATABASE "{self._database}" there, or mend `bucket`',
                )
            if 400 <= answer.status < 500 and answer.status != 429:
                raise Rejected(answer.status, said)
            wait = retry_after(answer.headers)
            raise StoreAway(f"the server answered {answer.status}: {said}", retry_after=wait)

    def close(self) -> None:
        """Ends the connections."""
        self._web.close()


def _said(body: str) -> str:
    try:
        told = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return plain(body, 200)
    return plain(told.get("error", body) if isinstance(told, dict) else body, 200)
