"""Events posted over HTTP to the API's `/events` and `/http/NAME`.

In `catcher.yaml` (there is one whether it is named or not):

    sources:
      posts:
        http: {waiting: 256}           # posts that may wait for the engine; one more is refused
        clock: wall

The body of `/events` is an event, `{"topic": ..., "time": ..., "fields": {...}}`, a list of them,
or `{"events": [...]}`; or it is InfluxDB line protocol, whose measurements are topics. Without a
time the time of arrival counts. The body of `/http/NAME` is an object of fields, or empty; its
topic is `catcher.http.NAME`. A post is answered once it is stored, and accepted completely or not
at all.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from catcher.model.errors import BatchRejected, CatcherError
from catcher.model.event import HTTP_PREFIX, Event
from catcher.model.health import Health, HealthState
from catcher.model.time import Clock, Instant
from catcher.ports import EngineBusy, EventBatch
from catcher.sources.line_protocol import decode_lines, parse_precision
from catcher.transport.event_decoder import EventDecoder, format_size_error, to_printable

_LINES_HINT = "nothing was taken; write measurement,tag=text field=1.5,other=3i 1745453113200000000"
_JSON_HINT = "if it is JSON, say so (Content-Type: application/json)"
_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSourceSettings:
    """How many posts may wait. The sample is in this module's docstring."""

    waiting: int = 256

    def __post_init__(self) -> None:
        if self.waiting < 1:
            raise CatcherError("an HTTP source lets at least one post wait", "set waiting: 256")


class HttpSource:
    """The posted events (`ports.Source`); it ends when its context is left."""

    def __init__(
        self, name: str, settings: HttpSourceSettings, clock: Clock, payload_limit: int = 1_000_000
    ) -> None:
        self._name = name
        self._clock = clock
        self._decoder = EventDecoder(name, max_bytes=payload_limit)
        self._queue: asyncio.Queue[EventBatch] = asyncio.Queue(settings.waiting)
        self._pending_acks: set[asyncio.Future[None]] = set()
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._counts = {"posts": 0, "events": 0, "rejected": 0, "busy": 0}
        self._posts_by_sender: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """The name in the site's configuration."""
        return self._name

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[EventBatch]]:
        """Accepts posts for as long as the context lasts."""
        return self._open_batches()

    def health(self) -> Health:
        """Returns the health: `ok` while posts are accepted."""
        sender_counts = {f"by {name}": count for name, count in self._posts_by_sender.items()}
        counts = {**self._counts, "waiting": self._queue.qsize(), **sender_counts}
        return Health(self._name, "http", self._state, self._since, self._last, "", counts)

    async def ingest_json_events(
        self, body: bytes | Sequence[Event], durable: bool = True, by: str = ""
    ) -> int:
        """Returns the number of posted events, once they are stored; `by` names the sender.

        Raises CatcherError if the body holds no valid events, EngineBusy if too many posts are
        waiting.
        """
        if not isinstance(body, bytes | bytearray | memoryview):
            return await self._enqueue_and_wait(body, durable, by)
        events: list[Event] = []
        rejected: list[str] = []
        self._decoder.decode_recorded_lines(bytes(body), self._clock(), events, rejected)
        self._raise_if_rejected(
            rejected, 'post {"topic": "…", "time": "…", "fields": {…}}, or a list of such'
        )
        return await self._enqueue_and_wait(events, durable, by)

    async def ingest_line_protocol(self, body: bytes, precision: str = "ns", by: str = "") -> int:
        """Posts line protocol, with timestamps in a precision such as `ns` or `s`; like
        `ingest_json_events`.
        """
        events: list[Event] = []
        limit = self._decoder.max_bytes
        if len(body) > limit:
            self._raise_if_rejected(
                [format_size_error(len(body), limit)], "post fewer lines at once"
            )
        line_errors = decode_lines(
            body,
            self._name,
            parse_precision(precision),
            self._clock(),
            self._decoder.max_samples,
            events,
        )
        self._raise_if_rejected(
            [f"line {number}: {message}" for number, message in line_errors],
            _JSON_HINT if body.lstrip()[:1] in (b"{", b"[") else _LINES_HINT,
        )
        return await self._enqueue_and_wait(events, True, by)

    async def ingest_webhook(self, name: str, body: bytes = b"", by: str = "") -> int:
        """Posts to the trigger `http: NAME`; the body is an object of fields, or a list of them."""
        if not _NAME_PATTERN.fullmatch(name):
            raise CatcherError(
                f"{to_printable(name)!r} is no name to post to",
                "use letters, digits, dots, _ and -",
            )
        events: list[Event] = []
        rejected: list[str] = []
        payload = body if body.strip() else b"{}"
        self._decoder.decode(HTTP_PREFIX + name, payload, self._clock(), events, rejected)
        self._raise_if_rejected(rejected, "post a JSON object of fields")
        return await self._enqueue_and_wait(events, True, by)

    def _raise_if_rejected(self, rejected: Sequence[str], hint: str) -> None:
        if rejected:
            self._counts["rejected"] += len(rejected)
            raise BatchRejected(rejected, hint)

    async def _enqueue_and_wait(
        self, events: Sequence[Event], durable: bool, sender: str = ""
    ) -> int:
        if not events:
            return 0
        if self._state != "ok":
            raise EngineBusy("the engine takes no posts now")
        ack: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def acknowledge() -> None:
            if not ack.done():
                ack.set_result(None)

        try:
            self._queue.put_nowait(
                EventBatch(self._name, events, durable=durable, acknowledge=acknowledge)
            )
        except asyncio.QueueFull:
            self._counts["busy"] += 1
            raise EngineBusy(f"{self._queue.qsize()} posts wait already") from None
        self._pending_acks.add(ack)
        try:
            await ack
        finally:
            self._pending_acks.discard(ack)
        self._counts["posts"] += 1
        self._counts["events"] += len(events)
        if sender:
            self._posts_by_sender[sender] += 1
        self._last = self._clock()
        return len(events)

    @asynccontextmanager
    async def _open_batches(self) -> AsyncIterator[AsyncIterator[EventBatch]]:
        batches = self._iter_batches()
        self._set_state("ok")
        try:
            yield batches
        finally:
            self._set_state("ended")
            await batches.aclose()
            for ack in self._pending_acks:
                if not ack.done():
                    ack.set_exception(EngineBusy("the engine stopped before the post was kept"))

    async def _iter_batches(self) -> AsyncGenerator[EventBatch, None]:
        while True:
            yield await self._queue.get()

    def _set_state(self, state: HealthState) -> None:
        self._state = state
        self._since = self._clock()
