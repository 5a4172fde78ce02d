"""One client for telemetry, metrics, artifacts, runs and alerts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from catcher.client import result_tables, telemetry
from catcher.client.backend import Backend
from catcher.client.telemetry import Fields, TopicQuery, replace_surrogates
from catcher.client.time_parsing import (
    DurationLike,
    TimeLike,
    parse_optional_time,
    parse_time_range,
)
from catcher.model.alert import Alert, AuditEntry
from catcher.model.alert_operations import Shift, Silence
from catcher.model.errors import CatcherError, NotFound
from catcher.model.event import Series
from catcher.model.result import Field
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.table import Table
from catcher.model.telemetry import PACKED_CLOCK, FieldInfo
from catcher.model.time import Clock, parse_duration, wall_clock
from catcher.ports import DeadLetter, Query

BackendFactory = Callable[[], AbstractAsyncContextManager[Backend]]
Labels = Mapping[str, str] | None
DEFAULT_LIMIT = 1000
MAX_LIMIT = 1_000_000


class Client:
    """Reads what Catcher has stored, whether an engine runs or not.
    It opens itself on the first query; `async with`, or `close`, closes it. Lists come newest
    first, hold at most `limit` entries, and their `cut` says whether there were more.
    """

    def __init__(self, backend_factory: BackendFactory, clock: Clock = wall_clock) -> None:
        self._backend_factory = backend_factory
        self._clock = clock
        self._exit_stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._backend: Backend | None = None

    async def open_backend(self) -> Backend:
        """Opens the backend on first use, and returns it."""
        async with self._lock:
            if self._backend is None:
                self._backend = await self._exit_stack.enter_async_context(self._backend_factory())
            return self._backend

    async def close(self) -> None:
        """Closes what is open; the next query opens it again."""
        async with self._lock:
            self._backend = None
            await self._exit_stack.aclose()
            self._exit_stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.open_backend()
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
        """Returns the topics that have telemetry."""
        return list(await (await self.open_backend()).telemetry.list_topics())

    async def fields(self, topic: str) -> Table[FieldInfo]:
        """Returns the fields of a topic: name, type, unit, description."""
        return result_tables.build_field_info_table(
            await (await self.open_backend()).telemetry.list_fields(topic)
        )

    async def select_time_series(
        self, topic_name: str, fields: Fields, start: TimeLike, end: TimeLike | DurationLike = None,
        is_window: bool = False, index: int | None = None, convert_influx_index: bool = False,
        use_old_csc_indexing: bool = False,
    ) -> Series:  # fmt: skip
        """Returns the samples of a topic with start <= time <= end, in time order.
        `fields` is a name, several, or `*`; an array stands for all of its elements. `end` may be a
        length of time from the start, around it with `is_window`; without it, now. `index` is the
        salIndex. With `convert_influx_index` the store's own times are TAI.
        """
        first, last = parse_time_range(start, end, is_window, self._clock())
        topic_query = await self._build_topic_query(topic_name)
        query = topic_query.build_sample_query(fields, index, use_old_csc_indexing)
        if not convert_influx_index:
            return await topic_query.read_time_range(query, first, last)
        return telemetry.series_tai_to_utc(
            await topic_query.read_time_range(query, *telemetry.utc_range_to_tai(first, last))
        )

    async def stream_time_series(
        self, topic_name: str, fields: Fields, start: TimeLike, end: TimeLike | DurationLike = None,
        index: int | None = None,
    ) -> AsyncIterator[Series]:  # fmt: skip
        """Yields the samples like `select_time_series`, in chunks: a month of 100 Hz is large."""
        first, last = parse_time_range(start, end, False, self._clock())
        topic_query = await self._build_topic_query(topic_name)
        async for series in topic_query.iter_chunks(
            topic_query.build_sample_query(fields, index, False), first, last
        ):
            yield series

    async def select_top_n(
        self, topic_name: str, fields: Fields, num: int, time_cut: TimeLike = None,
        index: int | None = None, convert_influx_index: bool = False,
        use_old_csc_indexing: bool = False,
    ) -> Series:  # fmt: skip
        """Returns the last `num` samples of a topic in time order, before `time_cut`."""
        end = parse_optional_time(time_cut, self._clock())
        topic_query = await self._build_topic_query(topic_name)
        query = topic_query.build_sample_query(fields, index, use_old_csc_indexing)
        if convert_influx_index and end is not None:
            end, _ = telemetry.utc_range_to_tai(end, end)
        series = await topic_query.read_latest(query, num, None if end is None else end - 1)
        return telemetry.series_tai_to_utc(series) if convert_influx_index else series

    async def select_packed_time_series(
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
        """Returns the samples of packed fields, many per row, with a clock of their own.
        The row's clock, `ref_timestamp_col`, counts seconds of TAI. The time range is that of the
        rows, so that the last of them reaches beyond it.
        """
        first, last = parse_time_range(start, end, is_window, self._clock())
        topic_query = await self._build_topic_query(topic_name)
        base_names, columns = topic_query.resolve_packed_columns(base_fields, ref_timestamp_col)
        query = topic_query.build_sample_query(columns, index, use_old_csc_indexing)
        if convert_influx_index:
            first, last = telemetry.utc_range_to_tai(first, last)
        rows = await topic_query.read_time_range(query, first, last)
        return telemetry.unpack_packed_rows(
            rows, base_names, ref_timestamp_col, ref_timestamp_fmt, ref_timestamp_scale
        )

    async def _build_topic_query(self, topic: str) -> TopicQuery:
        return await TopicQuery.for_topic((await self.open_backend()).telemetry, topic)

    # -- results ----------------------------------------------------------------------------

    async def metrics(
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
        """Returns values of metrics, by name, labels, time, rule, observation or run.
        `series()` of the result has a column for each metric.
        """
        query = self._build_query(limit, start, end, rule=rule, id=run, name=name, observation=obs)
        query = replace(query, labels=_normalize_labels(labels))
        records = (await self.open_backend()).records
        return result_tables.build_metric_table(await records.list_metrics(query), limit)

    async def field(self, name: str, obs: str, *, rule: str = "") -> Field:
        """Returns an observation's scalar for each amp, detector or pixel, from its latest run."""
        runs = await self.runs(obs=obs, rule=rule)
        for run in runs:
            if name in run.fields:
                return run.fields[name]
        field_names = sorted({field_name for run in runs for field_name in run.fields})
        hint = (
            f"it has {', '.join(field_names)}"
            if field_names
            else "`catcher query runs` tells what there is"
        )
        raise NotFound(f"no field {name!r} of {obs or 'no observation'} is known", hint)

    async def artifacts(
        self, *, rule: str = "", obs: str = "", kind: str = "", name: str = "", run: str = "",
        start: TimeLike = None, end: TimeLike = None, limit: int = DEFAULT_LIMIT,
    ) -> Table[ArtifactRecord]:  # fmt: skip
        """Returns the artifact index, by rule, observation, kind (`png`), name, run or time."""
        query = self._build_query(limit, start, end, rule=rule, id=run, name=name, observation=obs)
        records = (await self.open_backend()).records
        return result_tables.build_artifact_table(
            await records.list_artifacts(replace(query, kind=replace_surrogates(kind))), limit
        )

    async def open(self, artifact: ArtifactRecord | str) -> Any:
        """Returns the value of an artifact, by its entry or key: a document, arrays, a table …"""
        key = artifact if isinstance(artifact, str) else artifact.key
        backend = await self.open_backend()
        data = await backend.objects.get(key)
        return await asyncio.to_thread(backend.decode, key.rpartition("/")[2], data)

    async def read(self, artifact: ArtifactRecord | str) -> bytes:
        """Returns the bytes of an artifact, by its entry or its key."""
        key = artifact if isinstance(artifact, str) else artifact.key
        return await (await self.open_backend()).objects.get(key)

    async def runs(
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
        query = self._build_query(
            limit, start, end, rule=rule, id=id, name=job, state=state, observation=obs
        )
        records = (await self.open_backend()).records
        return result_tables.build_run_table(
            await records.list_runs(replace(query, labels=_normalize_labels(labels))), limit
        )

    async def run(self, identity: str) -> Run:
        """Returns one run by its id. Raises NotFound if there is none."""
        for run in await self.runs(id=identity, limit=1) if identity else ():
            return run
        raise NotFound(f"no run {identity!r} is known", "`catcher runs` lists the latest")

    async def firings(
        self, *, rule: str = "", obs: str = "", id: str = "", start: TimeLike = None,
        end: TimeLike = None, limit: int = DEFAULT_LIMIT,
    ) -> Table[Firing]:  # fmt: skip
        """Returns firings of triggers, with their reasons."""
        query = self._build_query(limit, start, end, rule=rule, id=id, observation=obs)
        return result_tables.build_firing_table(
            await (await self.open_backend()).records.list_firings(query), limit
        )

    # -- alerts -----------------------------------------------------------------------------

    async def alerts(
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
        query = self._build_query(
            limit, start, end, rule=rule, state=state, observation=obs, name=name, id=id
        )
        records = (await self.open_backend()).records
        return result_tables.build_alert_table(
            await records.list_alerts(replace(query, labels=_normalize_labels(labels))), limit
        )

    async def alert(self, identity: str) -> Alert:
        """Returns the latest episode of one alert by its id. Raises NotFound if there is none."""
        for alert in await self.alerts(id=identity, limit=1) if identity else ():
            return alert
        raise NotFound(f"no alert {identity!r} is known", "`catcher alerts --all` lists them")

    async def audit(
        self, *, subject: str = "", who: str = "", what: str = "", start: TimeLike = None,
        end: TimeLike = None, limit: int = DEFAULT_LIMIT,
    ) -> Table[AuditEntry]:  # fmt: skip
        """Returns the audit log: who did what when."""
        query = self._build_query(limit, start, end, id=subject, name=who, state=what)
        return result_tables.build_audit_table(
            await (await self.open_backend()).records.list_audit_entries(query), limit
        )

    async def silences(
        self,
        *,
        state: str = "",
        start: TimeLike = None,
        end: TimeLike = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Sequence[Silence]:
        """Returns silences; those in force are `active`."""
        query = self._build_query(limit, start, end, state=state)
        return (await (await self.open_backend()).records.list_silences(query))[:limit]

    async def shifts(self, *, end: TimeLike = None, limit: int = DEFAULT_LIMIT) -> Sequence[Shift]:
        """Returns who was on shift, the latest first."""
        query = self._build_query(limit, None, end)
        return (await (await self.open_backend()).records.list_shifts(query))[:limit]

    async def dead_letters(
        self, *, alert: str = "", sink: str = "", limit: int = DEFAULT_LIMIT
    ) -> Sequence[DeadLetter]:
        """Returns notifications that were given up."""
        query = self._build_query(limit, None, None, id=alert, name=sink)
        return (await (await self.open_backend()).records.list_dead_letters(query))[:limit]

    # -- SQL --------------------------------------------------------------------------------

    async def sql(
        self, query: str, *, limit: int = 10_000, timeout: str = "10s"
    ) -> Table[dict[str, Any]]:
        """Returns the rows of a SELECT over the views in docs/client.md; allows nothing else."""
        _check_limit(limit)
        try:
            max_wait = parse_duration(timeout)
        except ValueError as error:
            raise CatcherError(str(error)) from error
        return result_tables.build_sql_table(
            await (await self.open_backend()).sql.query(query, limit, max_wait)
        )

    def _build_query(self, limit: int, start: TimeLike, end: TimeLike, **filters: Any) -> Query:
        """Builds a query for one more than `limit`, which shows whether there are more."""
        for name, value in filters.items():
            if not isinstance(value, str):
                raise CatcherError(f"{name} is {value!r}, not text", "give a name")
        filters = {name: replace_surrogates(value) for name, value in filters.items()}
        now = self._clock()
        first, last = parse_optional_time(start, now), parse_optional_time(end, now)
        if first is not None and last is not None and last < first:
            raise CatcherError("the span ends before it begins", "give an earlier start")
        return Query(**filters, start=first, end=last, limit=_check_limit(limit) + 1)


def _check_limit(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= MAX_LIMIT:
        raise CatcherError(f"the limit {limit!r} cannot be", f"say 1 to {MAX_LIMIT:,}")
    return limit


def _normalize_labels(labels: Labels) -> dict[str, str]:
    if labels is not None and not isinstance(labels, Mapping):
        raise CatcherError(f"labels are {labels!r}", 'write them like {"band": "r"}')
    return {
        replace_surrogates(str(name)): replace_surrogates(str(value))
        for name, value in (labels or {}).items()
    }
