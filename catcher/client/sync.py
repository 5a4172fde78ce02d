"""The client for notebooks and scripts: the same calls, each of which blocks until its answer.
The queries run on a loop in a thread of their own, so that a notebook, whose own loop already runs,
can use it too.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from catcher.client import result_tables
from catcher.client.client import DEFAULT_LIMIT, BackendFactory, Client, Labels
from catcher.client.telemetry import Fields
from catcher.client.time_parsing import DurationLike, TimeLike
from catcher.model.alert import Alert, AuditEntry
from catcher.model.alert_operations import Shift, Silence
from catcher.model.errors import CatcherError
from catcher.model.event import Series
from catcher.model.result import Field
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.table import Table
from catcher.model.telemetry import PACKED_CLOCK, FieldInfo
from catcher.model.time import Clock, wall_clock
from catcher.ports import DeadLetter

T = TypeVar("T")
CLOSE_TIMEOUT = 10.0
"""Seconds that the end of the program waits for the stores to close."""


class EventLoopThread:
    """An event loop in a thread of its own, until it is stopped."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="catcher-client", daemon=True)
        self._thread.start()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def run_coroutine(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Returns the result of a coroutine; a caller that stops waiting (Ctrl-C) cancels it."""
        if not self._thread.is_alive() or threading.current_thread() is self._thread:
            coroutine.close()
            raise CatcherError("this client is closed", "open another one")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Stops the loop and its thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_TIMEOUT)


def _close_client_and_thread(client: Client, thread: EventLoopThread) -> None:
    try:
        thread.run_coroutine(client.close(), CLOSE_TIMEOUT)
    finally:
        thread.stop()


class SyncClient:
    """`Client` for code without an event loop, and for notebooks."""

    def __init__(self, backend_factory: BackendFactory, clock: Clock = wall_clock) -> None:
        self._client = Client(backend_factory, clock)
        self._thread = EventLoopThread()
        # Also at the end of the program, or when the client is garbage-collected.
        self._finalizer = weakref.finalize(
            self, _close_client_and_thread, self._client, self._thread
        )

    def close(self) -> None:
        """Closes what is open, for good."""
        self._finalizer()

    def __enter__(self) -> Self:
        self._thread.run_coroutine(self._client.open_backend())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def stream_time_series(
        self, topic_name: str, fields: Fields, start: TimeLike, end: TimeLike | DurationLike = None,
        index: int | None = None,
    ) -> Iterator[Series]:  # fmt: skip
        """Yields the samples of a topic in chunks: they need not fit into memory."""
        chunks = self._client.stream_time_series(topic_name, fields, start, end, index)
        while (series := self._thread.run_coroutine(_next_chunk(chunks))) is not None:
            yield series

    # -- telemetry -----------------------------------------------------------------------------

    def topics(self) -> list[str]:
        """Returns the topics that have telemetry."""
        return self._thread.run_coroutine(self._client.topics())

    def fields(self, topic: str) -> Table[FieldInfo]:
        """Returns the fields of a topic: name, type, unit, description."""
        return self._thread.run_coroutine(self._client.fields(topic))

    def select_time_series(
        self, topic_name: str, fields: Fields, start: TimeLike, end: TimeLike | DurationLike = None,
        is_window: bool = False, index: int | None = None, convert_influx_index: bool = False,
        use_old_csc_indexing: bool = False,
    ) -> Series:  # fmt: skip
        """Returns the samples of a topic with start <= time <= end, in time order."""
        return self._thread.run_coroutine(
            self._client.select_time_series(
                topic_name,
                fields,
                start,
                end,
                is_window,
                index,
                convert_influx_index,
                use_old_csc_indexing,
            )
        )

    def select_top_n(
        self, topic_name: str, fields: Fields, num: int, time_cut: TimeLike = None,
        index: int | None = None, convert_influx_index: bool = False,
        use_old_csc_indexing: bool = False,
    ) -> Series:  # fmt: skip
        """Returns the last `num` samples of a topic in time order, before `time_cut`."""
        return self._thread.run_coroutine(
            self._client.select_top_n(
                topic_name, fields, num, time_cut, index, convert_influx_index, use_old_csc_indexing
            )
        )

    def select_packed_time_series(
        self,
        topic_name: str,
        base_fields: Fields,
        start: TimeLike,
        end: TimeLike | DurationLike = None,
        is_window: bool = False,
        index: int | None = None,
        ref_timestamp_col: str = PACKED_CLOCK,
        ref_timestamp_fmt: str = "unix_tai",
        ref_timestamp_scale: str = "tai",
        convert_influx_index: bool = False,
        use_old_csc_indexing: bool = False,
    ) -> Series:
        """Returns the samples of packed fields, many per row, with a clock of their own."""
        return self._thread.run_coroutine(
            self._client.select_packed_time_series(
                topic_name,
                base_fields,
                start,
                end,
                is_window,
                index,
                ref_timestamp_col,
                ref_timestamp_fmt,
                ref_timestamp_scale,
                convert_influx_index,
                use_old_csc_indexing,
            )
        )

    # -- results -------------------------------------------------------------------------------

    def metrics(
        self,
        name: str = "",
        labels: Labels = None,
        start: TimeLike = None,
        end: TimeLike = None,
        *,
        rule: str = "",
        obs: str = "",
        run: str = "",
        limit: int = DEFAULT_LIMIT,
    ) -> result_tables.MetricTable:
        """Returns values of metrics, by name, labels, time, rule, observation or run."""
        return self._thread.run_coroutine(
            self._client.metrics(name, labels, start, end, rule=rule, obs=obs, run=run, limit=limit)
        )

    def field(self, name: str, obs: str, *, rule: str = "") -> Field:
        """Returns an observation's scalar for each amp, detector or pixel, from its latest run."""
        return self._thread.run_coroutine(self._client.field(name, obs, rule=rule))

    def artifacts(
        self, *, rule: str = "", obs: str = "", kind: str = "", name: str = "", run: str = "",
        start: TimeLike = None, end: TimeLike = None, limit: int = DEFAULT_LIMIT,
    ) -> Table[ArtifactRecord]:  # fmt: skip
        """Returns the artifact index, by rule, observation, kind (`png`), name, run or time."""
        return self._thread.run_coroutine(
            self._client.artifacts(
                rule=rule, obs=obs, kind=kind, name=name, run=run, start=start, end=end, limit=limit
            )
        )

    def open(self, artifact: ArtifactRecord | str) -> Any:
        """Returns the value of an artifact, by its entry or key: a document, arrays, a table …"""
        return self._thread.run_coroutine(self._client.open(artifact))

    def read(self, artifact: ArtifactRecord | str) -> bytes:
        """Returns the bytes of an artifact, by its entry or its key."""
        return self._thread.run_coroutine(self._client.read(artifact))

    def runs(
        self,
        *,
        rule: str = "",
        obs: str = "",
        state: str = "",
        job: str = "",
        id: str = "",
        labels: Labels = None,
        start: TimeLike = None,
        end: TimeLike = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Table[Run]:
        """Returns runs of jobs, with their metrics, fields, artifacts and inputs."""
        return self._thread.run_coroutine(
            self._client.runs(
                rule=rule,
                obs=obs,
                state=state,
                job=job,
                id=id,
                labels=labels,
                start=start,
                end=end,
                limit=limit,
            )
        )

    def run(self, identity: str) -> Run:
        """Returns one run by its id. Raises NotFound if there is none."""
        return self._thread.run_coroutine(self._client.run(identity))

    def firings(
        self, *, rule: str = "", obs: str = "", id: str = "", start: TimeLike = None,
        end: TimeLike = None, limit: int = DEFAULT_LIMIT,
    ) -> Table[Firing]:  # fmt: skip
        """Returns firings of triggers, with their reasons."""
        return self._thread.run_coroutine(
            self._client.firings(rule=rule, obs=obs, id=id, start=start, end=end, limit=limit)
        )

    # -- alerts --------------------------------------------------------------------------------

    def alerts(
        self,
        *,
        rule: str = "",
        state: str = "",
        obs: str = "",
        name: str = "",
        id: str = "",
        labels: Labels = None,
        start: TimeLike = None,
        end: TimeLike = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Table[Alert]:
        """Returns alerts in their current or final state; `active` and `open` are states, too."""
        return self._thread.run_coroutine(
            self._client.alerts(
                rule=rule,
                state=state,
                obs=obs,
                name=name,
                id=id,
                labels=labels,
                start=start,
                end=end,
                limit=limit,
            )
        )

    def alert(self, identity: str) -> Alert:
        """Returns the latest episode of one alert by its id. Raises NotFound if there is none."""
        return self._thread.run_coroutine(self._client.alert(identity))

    def audit(
        self, *, subject: str = "", who: str = "", what: str = "", start: TimeLike = None,
        end: TimeLike = None, limit: int = DEFAULT_LIMIT,
    ) -> Table[AuditEntry]:  # fmt: skip
        """Returns the audit log: who did what when."""
        return self._thread.run_coroutine(
            self._client.audit(
                subject=subject, who=who, what=what, start=start, end=end, limit=limit
            )
        )

    def silences(
        self,
        *,
        state: str = "",
        start: TimeLike = None,
        end: TimeLike = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Sequence[Silence]:
        """Returns silences; those in force are `active`."""
        return self._thread.run_coroutine(
            self._client.silences(state=state, start=start, end=end, limit=limit)
        )

    def shifts(self, *, end: TimeLike = None, limit: int = DEFAULT_LIMIT) -> Sequence[Shift]:
        """Returns who was on shift, the latest first."""
        return self._thread.run_coroutine(self._client.shifts(end=end, limit=limit))

    def dead_letters(
        self, *, alert: str = "", sink: str = "", limit: int = DEFAULT_LIMIT
    ) -> Sequence[DeadLetter]:
        """Returns notifications that were given up."""
        return self._thread.run_coroutine(
            self._client.dead_letters(alert=alert, sink=sink, limit=limit)
        )

    # -- SQL -----------------------------------------------------------------------------------

    def sql(
        self, query: str, *, limit: int = 10_000, timeout: str = "10s"
    ) -> Table[dict[str, Any]]:
        """Returns the rows of a SELECT over the views in docs/client.md; allows nothing else."""
        return self._thread.run_coroutine(self._client.sql(query, limit=limit, timeout=timeout))


async def _next_chunk(chunks: AsyncIterator[Series]) -> Series | None:
    return await anext(chunks, None)
