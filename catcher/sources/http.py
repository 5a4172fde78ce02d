"""Events that others post over HTTP: what the API's `/events` and `/http/NAME` lead to.

In `catcher.yaml` (there is one whether it is named or not):

    sources:
      posts:
        http: {waiting: 256}           # posts that may wait for the engine; one more is refused
        clock: wall

The body of `/events` is an event, `{"topic": ..., "time": ..., "fields": {...}}`, a list of
them, or `{"events": [...]}`; or it is InfluxDB line protocol, whose measurements are topics.
Without a time that of arrival counts. The body of `/http/NAME` is an object of fields, or empty;
it enters as `catcher.http.NAME`. A post is answered when it is kept, and taken whole or not at
all.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from catcher.model.event import HTTP_PREFIX, Event
from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError, Rejected
from catcher.model.time import Clock, Instant
from catcher.ports import Busy, Delivery
from catcher.sources.decoding import Decoder, shown, too_large
from catcher.sources.line_protocol import read_lines, unit_of

_AS_LINES = "nothing was taken; write measurement,tag=text field=1.5,other=3i 1745453113200000000"
_AS_JSON = "if it is JSON, say so (Content-Type: application/json)"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How many posts may wait. The sample is in this module's docstring."""

    waiting: int = 256

    def __post_init__(self) -> None:
        if self.waiting < 1:
            raise CatcherError("an HTTP source lets at least one post wait", "set waiting: 256")


class HttpSource:
    """The events that are posted (`ports.Source`); it ends when its context is left."""

    def __init__(
        self, name: str, settings: HttpSettings, clock: Clock, payload_limit: int = 1_000_000
    ) -> None:
        self._name = name
        self._clock = clock
        self._decoder = Decoder(name, limit=payload_limit)
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue(settings.waiting)
        self._pending: set[asyncio.Future[None]] = set()
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._counts = {"posts": 0, "events": 0, "rejected": 0, "busy": 0}
        self._by: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """The name that the site gives it."""
        return self._name

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Posts are taken for as long as the context lasts."""
        return self._opened()

    def health(self) -> Health:
        """`ok` while posts are taken."""
        by = {f"by {name}": count for name, count in self._by.items()}
        counts = {**self._counts, "waiting": self._waiting.qsize(), **by}
        return Health(self._name, "http", self._state, self._since, self._last, "", counts)

    async def post(self, body: bytes | Sequence[Event], durable: bool = True, by: str = "") -> int:
        """Returns how many events were posted, once they are kept; `by` names who posted them.

        CatcherError where the body is no events, Busy where too many posts wait already.
        """
        if not isinstance(body, bytes | bytearray | memoryview):
            return await self._give(body, durable, by)
        events: list[Event] = []
        rejected: list[str] = []
        self._decoder.decode_recorded(bytes(body), self._clock(), events, rejected)
        self._refuse(rejected, 'post {"topic": "…", "time": "…", "fields": {…}}, or a list of such')
        return await self._give(events, durable, by)

    async def post_lines(self, body: bytes, precision: str = "ns", by: str = "") -> int:
        """The same for line protocol, whose timestamps are of a precision such as `ns` or `s`."""
        events: list[Event] = []
        limit = self._decoder.limit
        if len(body) > limit:
            self._refuse([too_large(len(body), limit)], "post fewer lines at once")
        wrong = read_lines(
            body, self._name, unit_of(precision), self._clock(), self._decoder.samples, events
        )
        self._refuse(
            [f"line {number}: {words}" for number, words in wrong],
            _AS_JSON if body.lstrip()[:1] in (b"{", b"[") else _AS_LINES,
        )
        return await self._give(events, True, by)

    async def post_named(self, name: str, body: bytes = b"", by: str = "") -> int:
        """The same for the trigger `http: NAME`; the body is an object of fields, or a list."""
        if not _NAME.fullmatch(name):
            raise CatcherError(
                f"{shown(name)!r} is no name to post to", "use letters, digits, dots, _ and -"
            )
        events: list[Event] = []
        rejected: list[str] = []
        payload = body if body.strip() else b"{}"
        self._decoder.decode(HTTP_PREFIX + name, payload, self._clock(), events, rejected)
        self._refuse(rejected, "post a JSON object of fields")
        return await self._give(events, True, by)

    def _refuse(self, rejected: Sequence[str], hint: str) -> None:
        if rejected:
            self._counts["rejected"] += len(rejected)
            raise Rejected(rejected, hint)

    async def _give(self, events: Sequence[Event], durable: bool, by: str = "") -> int:
        if not events:
            return 0
        if self._state != "ok":
            raise Busy("the engine takes no posts now")
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def done() -> None:
            if not kept.done():
                kept.set_result(None)

        try:
            self._waiting.put_nowait(Delivery(self._name, events, durable=durable, done=done))
        except asyncio.QueueFull:
            self._counts["busy"] += 1
            raise Busy(f"{self._waiting.qsize()} posts wait already") from None
        self._pending.add(kept)
        try:
            await kept
        finally:
            self._pending.discard(kept)
        self._counts["posts"] += 1
        self._counts["events"] += len(events)
        if by:
            self._by[by] += 1
        self._last = self._clock()
        return len(events)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        deliveries = self._deliveries()
        self._become("ok")
        try:
            yield deliveries
        finally:
            self._become("ended")
            await deliveries.aclose()
            for kept in self._pending:
                if not kept.done():
                    kept.set_exception(Busy("the engine stopped before the post was kept"))

    async def _deliveries(self) -> AsyncGenerator[Delivery, None]:
        while True:
            yield await self._waiting.get()

    def _become(self, state: HealthState) -> None:
        self._state = state
        self._since = self._clock()
