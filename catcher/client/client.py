"""One door to telemetry, metrics, artifacts, runs and alerts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from catcher.client import found, telemetry
from catcher.client.reading import Reading
from catcher.client.telemetry import Asking, Fields, encodable
from catcher.client.times import Length, When, maybe_instant, span_of
from catcher.model.alert import Alert, AuditEntry
from catcher.model.desk import Shift, Silence
from catcher.model.event import Series
from catcher.model.problem import CatcherError, Unknown
from catcher.model.result import Field
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.table import Table
from catcher.model.telemetry import PACKED_CLOCK, FieldInfo
from catcher.model.time import Clock, parse_duration, wall_clock
from catcher.ports import DeadLetter, Query

Opening = Callable[[], AbstractAsyncContextManager[Reading]]
Labels = Mapping[str, str] | None
FIRST = 1000
MOST = 1_000_000


class Client:
    """Reads what Catcher kept, whether an engine runs or not.

    It opens itself with the first question; `async with`, or `close`, closes it. Lists come
    newest first, hold at most `limit` entries, and say with `cut` whether there were more.
    """

    def __init__(self, opening: Opening, clock: Clock = wall_clock) -> None:
        self._opening = opening
        self._clock = clock
        self._lifetime = AsyncExitStack()
        self._turn = asyncio.Lock()
        self._reading: Reading | None = None

    async def opened(self) -> Reading:
        """What it reads from, opened."""
        async with self._turn:
            if self._reading is None:
                self._reading = await self._lifetime.enter_async_context(self._opening())
            return self._reading

    async def close(self) -> None:
        """Closes what is open; the next question opens it again."""
        async with self._turn:
            self._reading = None
            await self._lifetime.aclose()
            self._lifetime = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.opened()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # -- telemetry --------------------------------------------------------------------------

    async def topics(self) -> list[str]:
        """The topics of which telemetry is held."""
        return list(await (await self.opened()).telemetry.topics())

    async def fields(self, topic: str) -> Table[FieldInfo]:
        """The fields of a topic: name, type, unit, description."""
        return found.fields(await (await self.opened()).telemetry.fields(topic))

    async def select_time_series(
        self, topic_name: str, fields: Fields, start: When, end: When | Length = None,
        is_window: bool = False, index: int | None = None, convert_influx_index: bool = False,
        use_old_csc_indexing: bool = False,
    ) -> Series:  # fmt: skip
        """The samples of a topic with start <= time <= end, in time order.

        `fields` is a name, several, or `*`; an array is all of its places. `end` may be a length
        of time from the start, around it with `is_window`; without it, now. `index` is the
        salIndex. With `convert_influx_index` the store's own times are TAI.
        """
        first, last = span_of(start, end, is_window, self._clock())
        asking = await self._about(topic_name)
        asked = asking.asked(fields, index, use_old_csc_indexing)
        if not convert_influx_index:
            return await asking.whole(asked, first, last)
        return telemetry.from_tai(await asking.whole(asked, *telemetry.as_tai(first, last)))

    async def stream_time_series(
        self, topic_name: str, fields: Fields, start: When, end: When | Length = None,
        index: int | None = None,
    ) -> AsyncIterator[Series]:  # fmt: skip
        """The same, stretch after stretch: a month of 100 Hz need not fit into memory."""
        first, last = span_of(start, end, False, self._clock())
        asking = await self._about(topic_name)
        async for series in asking.stretches(asking.asked(fields, index, False), first, last):
            yield series

    async def select_top_n(
        self, topic_name: str, fields: Fields, num: int, time_cut: When = None,
        index: int | None = None, convert_influx_index: bool = False,
        use_old_csc_indexing: bool = False,
    ) -> Series:  # fmt: skip
        """The last `num` samples of a topic, in time order: before `time_cut`, of this `index`."""
        cut = maybe_instant(time_cut, self._clock())
        asking = await self._about(topic_name)
        asked = asking.asked(fields, index, use_old_csc_indexing)
        if convert_influx_index and cut is not None:
            cut, _ = telemetry.as_tai(cut, cut)
        series = await asking.newest(asked, num, None if cut is None else cut - 1)
        return telemetry.from_tai(series) if convert_influx_index else series

    async def select_packed_time_series(
        self, topic_name: str, base_fields: Fields, start: When, end: When | Length = None,
        is_window: bool = False, index: int | None = None,
        ref_timestamp_col: str = PACKED_CLOCK, ref_timestamp_fmt: str = "unix_tai",
        ref_timestamp_scale: str = "tai", convert_influx_index: bool = False,
        use_old_csc_indexing: bool = False,
    ) -> Series:  # fmt: skip
        """The samples of fields that are packed, many to a row, with a clock of their own.

        The row's clock, `ref_timestamp_col`, counts seconds of TAI. The span is that of the
        rows, so that the last of them reaches beyond it.
        """
        first, last = span_of(start, end, is_window, self._clock())
        asking = await self._about(topic_name)
        bases, columns = asking.packed(base_fields, ref_timestamp_col)
        asked = asking.asked(columns, index, use_old_csc_indexing)
        if convert_influx_index:
            first, last = telemetry.as_tai(first, last)
        rows = await asking.whole(asked, first, last)
        return telemetry.unpack(
            rows, bases, ref_timestamp_col, ref_timestamp_fmt, ref_timestamp_scale
        )

    async def _about(self, topic: str) -> Asking:
        return await Asking.about((await self.opened()).telemetry, topic)

    # -- results ----------------------------------------------------------------------------

    async def metrics(
        self, name: str = "", labels: Labels = None, start: When = None, end: When = None, *,
        rule: str = "", obs: str = "", run: str = "", limit: int = FIRST,
    ) -> found.Points:  # fmt: skip
        """Values of metrics, by name, labels, time, rule, observation or run.

        `series()` of the answer has a column for each metric.
        """
        query = self._query(limit, start, end, rule=rule, id=run, name=name, observation=obs)
        query = replace(query, labels=_labels(labels))
        records = (await self.opened()).records
        return found.points(await records.metrics(query), limit)

    async def field(self, name: str, obs: str, *, rule: str = "") -> Field:
        """A scalar for each amp, detector or pixel of an observation, by its latest run."""
        made = await self.runs(obs=obs, rule=rule)
        for run in made:
            if name in run.fields:
                return run.fields[name]
        known = sorted({one for run in made for one in run.fields})
        hint = f"it has {', '.join(known)}" if known else "`catcher query runs` tells what there is"
        raise Unknown(f"no field {name!r} of {obs or 'no observation'} is known", hint)

    async def artifacts(
        self, *, rule: str = "", obs: str = "", kind: str = "", name: str = "", run: str = "",
        start: When = None, end: When = None, limit: int = FIRST,
    ) -> Table[ArtifactRecord]:  # fmt: skip
        """The index of what was kept, by rule, observation, kind (`png`), name, run or time."""
        query = self._query(limit, start, end, rule=rule, id=run, name=name, observation=obs)
        records = (await self.opened()).records
        return found.artifacts(await records.artifacts(replace(query, kind=encodable(kind))), limit)

    async def open(self, artifact: ArtifactRecord | str) -> Any:
        """An artifact as it went in, by its entry or its key: a document, arrays, a table …"""
        key = artifact if isinstance(artifact, str) else artifact.key
        reading = await self.opened()
        data = await reading.objects.get(key)
        return await asyncio.to_thread(reading.decode, key.rpartition("/")[2], data)

    async def read(self, artifact: ArtifactRecord | str) -> bytes:
        """The bytes of an artifact, by its entry or its key."""
        key = artifact if isinstance(artifact, str) else artifact.key
        return await (await self.opened()).objects.get(key)

    async def runs(
        self, *, rule: str = "", obs: str = "", state: str = "", job: str = "", id: str = "",
        labels: Labels = None, start: When = None, end: When = None, limit: int = FIRST,
    ) -> Table[Run]:  # fmt: skip
        """Executions of jobs, with their metrics, fields, artifacts and inputs."""
        query = self._query(
            limit, start, end, rule=rule, id=id, name=job, state=state, observation=obs
        )
        records = (await self.opened()).records
        return found.runs(await records.runs(replace(query, labels=_labels(labels))), limit)

    async def run(self, identity: str) -> Run:
        """One run by its id; Unknown where there is none."""
        for run in await self.runs(id=identity, limit=1) if identity else ():
            return run
        raise Unknown(f"no run {identity!r} is known", "`catcher runs` lists the latest")

    async def firings(
        self, *, rule: str = "", obs: str = "", id: str = "", start: When = None,
        end: When = None, limit: int = FIRST,
    ) -> Table[Firing]:  # fmt: skip
        """Decisions of triggers, with their reasons."""
        query = self._query(limit, start, end, rule=rule, id=id, observation=obs)
        return found.firings(await (await self.opened()).records.firings(query), limit)

    # -- alerts -----------------------------------------------------------------------------

    async def alerts(
        self, *, rule: str = "", state: str = "", obs: str = "", name: str = "", id: str = "",
        labels: Labels = None, start: When = None, end: When = None, limit: int = FIRST,
    ) -> Table[Alert]:  # fmt: skip
        """Alerts as they stand, or stood at their end; `active` and `open` are states, too."""
        query = self._query(
            limit, start, end, rule=rule, state=state, observation=obs, name=name, id=id
        )
        records = (await self.opened()).records
        return found.alerts(await records.alerts(replace(query, labels=_labels(labels))), limit)

    async def alert(self, identity: str) -> Alert:
        """The latest episode of one alert by its id; Unknown where there is none."""
        for alert in await self.alerts(id=identity, limit=1) if identity else ():
            return alert
        raise Unknown(f"no alert {identity!r} is known", "`catcher alerts --all` lists them")

    async def audit(
        self, *, subject: str = "", who: str = "", what: str = "", start: When = None,
        end: When = None, limit: int = FIRST,
    ) -> Table[AuditEntry]:  # fmt: skip
        """Who did what when."""
        query = self._query(limit, start, end, id=subject, name=who, state=what)
        return found.audit(await (await self.opened()).records.audit(query), limit)

    async def silences(
        self, *, state: str = "", start: When = None, end: When = None, limit: int = FIRST
    ) -> Sequence[Silence]:
        """Silences; those in force are `active`."""
        query = self._query(limit, start, end, state=state)
        return (await (await self.opened()).records.silences(query))[:limit]

    async def shifts(self, *, end: When = None, limit: int = FIRST) -> Sequence[Shift]:
        """Who was on shift, the latest first."""
        query = self._query(limit, None, end)
        return (await (await self.opened()).records.shifts(query))[:limit]

    async def dead_letters(
        self, *, alert: str = "", sink: str = "", limit: int = FIRST
    ) -> Sequence[DeadLetter]:
        """Notices that were given up."""
        query = self._query(limit, None, None, id=alert, name=sink)
        return (await (await self.opened()).records.dead_letters(query))[:limit]

    # -- SQL --------------------------------------------------------------------------------

    async def sql(
        self, query: str, *, limit: int = 10_000, timeout: str = "10s"
    ) -> Table[dict[str, Any]]:
        """The rows of a SELECT over the views that docs/client.md lists; nothing else is done."""
        _checked(limit)
        try:
            patience = parse_duration(timeout)
        except ValueError as error:
            raise CatcherError(str(error)) from error
        return found.answer(await (await self.opened()).sql.ask(query, limit, patience))

    def _query(self, limit: int, start: When, end: When, **what: Any) -> Query:
        """One more than `limit`, so that it is known whether there are more."""
        for name, value in what.items():
            if not isinstance(value, str):
                raise CatcherError(f"{name} is {value!r}, not text", "give a name")
        what = {name: encodable(value) for name, value in what.items()}
        now = self._clock()
        first, last = maybe_instant(start, now), maybe_instant(end, now)
        if first is not None and last is not None and last < first:
            raise CatcherError("the span ends before it begins", "give an earlier start")
        return Query(**what, start=first, end=last, limit=_checked(limit) + 1)


def _checked(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= MOST:
        raise CatcherError(f"the limit {limit!r} cannot be", f"say 1 to {MOST:,}")
    return limit


def _labels(labels: Labels) -> dict[str, str]:
    if labels is not None and not isinstance(labels, Mapping):
        raise CatcherError(f"labels are {labels!r}", 'write them like {"band": "r"}')
    return {encodable(str(name)): encodable(str(one)) for name, one in (labels or {}).items()}
