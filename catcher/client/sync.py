"""The door for notebooks and scripts: the same calls, each of which waits for its answer.

The questions are asked on a loop in a thread of their own, so that a notebook, whose own loop
already runs, can use it too.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from catcher.client import found
from catcher.client.client import FIRST, Client, Labels, Opening
from catcher.client.telemetry import Fields
from catcher.client.times import Length, When
from catcher.model.alert import Alert, AuditEntry
from catcher.model.desk import Shift, Silence
from catcher.model.event import Series
from catcher.model.problem import CatcherError
from catcher.model.result import Field
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.table import Table
from catcher.model.telemetry import PACKED_CLOCK, FieldInfo
from catcher.model.time import Clock, wall_clock
from catcher.ports import DeadLetter

T = TypeVar("T")
CLOSING = 10.0
"""Seconds that an end of the program waits for the stores to close."""


class LoopThread:
    """An event loop in a thread of its own, until it is stopped."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="catcher-client", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def ask(self, question: Coroutine[Any, Any, T], limit: float | None = None) -> T:
        """What a coroutine answers; whoever gives up waiting (Ctrl-C) cancels it."""
        if not self._thread.is_alive() or threading.current_thread() is self._thread:
            question.close()
            raise CatcherError("this client is closed", "open another one")
        asked = asyncio.run_coroutine_threadsafe(question, self._loop)
        try:
            return asked.result(limit)
        except BaseException:
            asked.cancel()
            raise

    def stop(self) -> None:
        """Ends the loop and its thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSING)


def _end(client: Client, thread: LoopThread) -> None:
    try:
        thread.ask(client.close(), CLOSING)
    finally:
        thread.stop()


class SyncClient:
    """`Client` for code without an event loop, and for notebooks."""

    def __init__(self, opening: Opening, clock: Clock = wall_clock) -> None:
        self._client = Client(opening, clock)
        self._thread = LoopThread()
        # Also at the end of the program, or when nobody holds it any more.
        self._finish = weakref.finalize(self, _end, self._client, self._thread)

    def close(self) -> None:
        """Closes what is open, for good."""
        self._finish()

    def __enter__(self) -> Self:
        self._thread.ask(self._client.opened())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def stream_time_series(
        self, topic_name: str, fields: Fields, start: When, end: When | Length = None,
        index: int | None = None,
    ) -> Iterator[Series]:  # fmt: skip
        """The samples of a topic, stretch after stretch: they need not fit into memory."""
        stretches = self._client.stream_time_series(topic_name, fields, start, end, index)
        while (series := self._thread.ask(_next(stretches))) is not None:
            yield series

    # -- telemetry -----------------------------------------------------------------------------

    def topics(self) -> list[str]:
        """The topics of which telemetry is held."""
        return self._thread.ask(self._client.topics())

    def fields(self, topic: str) -> Table[FieldInfo]:
        """The fields of a topic: name, type, unit, description."""
        return self._thread.ask(self._client.fields(topic))

    def select_time_series(
        self, topic_name: str, fields: Fields, start: When, end: When | Length = None,
        is_window: bool = False, index: int | None = None, convert_influx_index: bool = False,
        use_old_csc_indexing: bool = False,
    ) -> Series:  # fmt: skip
        """The samples of a topic with start <= time <= end, in time order."""
        return self._thread.ask(
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
        self, topic_name: str, fields: Fields, num: int, time_cut: When = None,
        index: int | None = None, convert_influx_index: bool = False,
        use_old_csc_indexing: bool = False,
    ) -> Series:  # fmt: skip
        """The last `num` samples of a topic, in time order: before `time_cut`, of this `index`."""
        return self._thread.ask(
            self._client.select_top_n(
                topic_name, fields, num, time_cut, index, convert_influx_index, use_old_csc_indexing
            )
        )

    def select_packed_time_series(
        self, topic_name: str, base_fields: Fields, start: When, end: When | Length = None,
        is_window: bool = False, index: int | None = None,
        ref_timestamp_col: str = PACKED_CLOCK, ref_timestamp_fmt: str = "unix_tai",
        ref_timestamp_scale: str = "tai", convert_influx_index: bool = False,
        use_old_csc_indexing: bool = False,
    ) -> Series:  # fmt: skip
        """The samples of fields that are packed, many to a row, with a clock of their own."""
        return self._thread.ask(
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
        self, name: str = "", labels: Labels = None, start: When = None, end: When = None, *,
        rule: str = "", obs: str = "", run: str = "", limit: int = FIRST,
    ) -> found.Points:  # fmt: skip
        """Values of metrics, by name, labels, time, rule, observation or run."""
        return self._thread.ask(
            self._client.metrics(name, labels, start, end, rule=rule, obs=obs, run=run, limit=limit)
        )

    def field(self, name: str, obs: str, *, rule: str = "") -> Field:
        """A scalar for each amp, detector or pixel of an observation, by its latest run."""
        return self._thread.ask(self._client.field(name, obs, rule=rule))

    def artifacts(
        self, *, rule: str = "", obs: str = "", kind: str = "", name: str = "", run: str = "",
        start: When = None, end: When = None, limit: int = FIRST,
    ) -> Table[ArtifactRecord]:  # fmt: skip
        """The index of what was kept, by rule, observation, kind (`png`), name, run or time."""
        return self._thread.ask(
            self._client.artifacts(
                rule=rule, obs=obs, kind=kind, name=name, run=run, start=start, end=end, limit=limit
            )
        )

    def open(self, artifact: ArtifactRecord | str) -> Any:
        """An artifact as it went in, by its entry or its key: a document, arrays, a table …"""
        return self._thread.ask(self._client.open(artifact))

    def read(self, artifact: ArtifactRecord | str) -> bytes:
        """The bytes of an artifact, by its entry or its key."""
        return self._thread.ask(self._client.read(artifact))

    def runs(
        self, *, rule: str = "", obs: str = "", state: str = "", job: str = "", id: str = "",
        labels: Labels = None, start: When = None, end: When = None, limit: int = FIRST,
    ) -> Table[Run]:  # fmt: skip
        """Executions of jobs, with their metrics, fields, artifacts and inputs."""
        return self._thread.ask(
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
        """One run by its id; Unknown where there is none."""
        return self._thread.ask(self._client.run(identity))

    def firings(
        self, *, rule: str = "", obs: str = "", id: str = "", start: When = None,
        end: When = None, limit: int = FIRST,
    ) -> Table[Firing]:  # fmt: skip
        """Decisions of triggers, with their reasons."""
        return self._thread.ask(
            self._client.firings(rule=rule, obs=obs, id=id, start=start, end=end, limit=limit)
        )

    # -- alerts --------------------------------------------------------------------------------

    def alerts(
        self, *, rule: str = "", state: str = "", obs: str = "", name: str = "", id: str = "",
        labels: Labels = None, start: When = None, end: When = None, limit: int = FIRST,
    ) -> Table[Alert]:  # fmt: skip
        """Alerts as they stand, or stood at their end; `active` and `open` are states, too."""
        return self._thread.ask(
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
        """The latest episode of one alert by its id; Unknown where there is none."""
        return self._thread.ask(self._client.alert(identity))

    def audit(
        self, *, subject: str = "", who: str = "", what: str = "", start: When = None,
        end: When = None, limit: int = FIRST,
    ) -> Table[AuditEntry]:  # fmt: skip
        """Who did what when."""
        return self._thread.ask(
            self._client.audit(
                subject=subject, who=who, what=what, start=start, end=end, limit=limit
            )
        )

    def silences(
        self, *, state: str = "", start: When = None, end: When = None, limit: int = FIRST
    ) -> Sequence[Silence]:
        """Silences; those in force are `active`."""
        return self._thread.ask(
            self._client.silences(state=state, start=start, end=end, limit=limit)
        )

    def shifts(self, *, end: When = None, limit: int = FIRST) -> Sequence[Shift]:
        """Who was on shift, the latest first."""
        return self._thread.ask(self._client.shifts(end=end, limit=limit))

    def dead_letters(
        self, *, alert: str = "", sink: str = "", limit: int = FIRST
    ) -> Sequence[DeadLetter]:
        """Notices that were given up."""
        return self._thread.ask(self._client.dead_letters(alert=alert, sink=sink, limit=limit))

    # -- SQL -----------------------------------------------------------------------------------

    def sql(
        self, query: str, *, limit: int = 10_000, timeout: str = "10s"
    ) -> Table[dict[str, Any]]:
        """The rows of a SELECT over the views that docs/client.md lists; nothing else is done."""
        return self._thread.ask(self._client.sql(query, limit=limit, timeout=timeout))


async def _next(stretches: AsyncIterator[Series]) -> Series | None:
    return await anext(stretches, None)
