"""Requests to stores that answer over HTTP, streamed. The only module that knows urllib3.

It blocks, and belongs into a thread: what comes is unpacked there too, away from the event loop.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError as HTTPError
from urllib3.exceptions import IncompleteRead, ProtocolError, SSLError

from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Span, to_seconds
from catcher.ports import StoreAway

PIECE = 2**18
LONGEST_WORDS = 4096
CONNECT = 10.0
"""Seconds that a server has to take a connection."""


@dataclass(slots=True)
class Answer:
    """What a server answers, as it comes. `pieces` raises StoreAway where it breaks off."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]

    @property
    def kind(self) -> str:
        """Its content type, without parameters."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    def words(self) -> str:
        """The beginning of its body, for an error."""
        body = b""
        for piece in self.pieces:
            body += piece
            if len(body) >= LONGEST_WORDS:
                break
        return body[:LONGEST_WORDS].decode("utf-8", "replace")

    def whole(self, most: int) -> bytes:
        """The body; CatcherError where it is longer than it may be."""
        pieces, size = [], 0
        for piece in self.pieces:
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise CatcherError(
                    f"the answer is longer than {most:,} bytes", "ask for less, or a shorter span"
                )
        return b"".join(pieces)


class Web:
    """A server's address with its credentials; connections are kept and used again."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout: Span, name: str) -> None:
        self.url = checked_url(url)
        self.name = name
        self._headers = {"User-Agent": "catcher", **headers}
        self._pool = urllib3.PoolManager(
            num_pools=2, maxsize=8, retries=False,
            timeout=urllib3.Timeout(connect=CONNECT, read=to_seconds(timeout)),
        )  # fmt: skip

    @contextmanager
    def ask(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Iterator[Answer]:
        """One request. StoreAway where no answer comes; whatever does come is an answer."""
        sent = {**self._headers, **(headers or {})}
        url = f"{self.url}{path}"
        if fields and method == "POST":
            body = urlencode(fields).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        elif fields:
            url += f"?{urlencode(fields)}"
        try:
            answer = self._pool.urlopen(
                method, url, body=body, headers=sent, preload_content=False, redirect=False
            )
        except (HTTPError, OSError) as error:
            raise StoreAway(f"{self.name} {_unreached(error)}", "see to the server") from None
        whole = False
        try:
            known = {name.lower(): value for name, value in answer.headers.items()}
            yield Answer(answer.status, known, self._pieces(answer))
            whole = True
        finally:
            if whole:
                answer.release_conn()
            else:
                answer.close()

    def _pieces(self, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            yield from answer.stream(PIECE, decode_content=True)
        except (IncompleteRead, ProtocolError):
            raise StoreAway(
                f"{self.name} broke off in the middle of its answer; nothing of it was used",
                "see to the server, and ask again",
            ) from None
        except (HTTPError, OSError) as error:
            raise StoreAway(f"{self.name} {_unreached(error)}", "see to the server") from None

    def close(self) -> None:
        """Ends the connections that nobody uses."""
        self._pool.clear()


def checked_url(url: str) -> str:
    """The address without a slash at its end; CatcherError where it is none of the web."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or "?" in url or "#" in url:
        raise CatcherError(f"{url[:80]!r} is no address of a server", "write it like https://HOST")
    return url.rstrip("/")


def basic(username: str, password: str) -> dict[str, str]:
    """The header that proves who asks, by name and password."""
    told = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {told}"}


def retry_after(headers: Mapping[str, str]) -> Span | None:
    """What a server that is asked too much asks for, in seconds."""
    said = headers.get("retry-after", "")
    return int(said) * SECOND if said.isascii() and said.isdigit() and len(said) < 6 else None


def _unreached(error: Exception) -> str:
    """Why there is no answer, without the address, which may hold a secret."""
    kind = type(error).__name__
    if isinstance(error, SSLError):
        return "cannot be trusted: its certificate does not fit"
    if "Timeout" in kind:
        return "did not answer in time"
    if isinstance(error, ProtocolError):
        return "broke the connection off"
    return f"cannot be reached ({kind})"
