"""The live stream's history, joined with an archive for everything else.

The stream has priority: the archive is not queried for a range that the stream covers completely.
For earlier times, the archive answers up to the instant from which the stream is trusted, and the
stream after that, so that no sample is read twice and none is missing. The stream is trusted from a
moment after the first sample of a topic that this engine saw; this starts over after its source was
unavailable or samples were dropped, and never reaches before the oldest stored sample.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import numpy as np

from catcher.model.errors import NotFound
from catcher.model.event import Event, Series
from catcher.model.health import Health
from catcher.model.suggestions import sort_naturally
from catcher.model.telemetry import FieldInfo
from catcher.model.time import MICROSECOND, SECOND, Clock, Instant
from catcher.ports import Archive, Predicate, StoreUnavailable
from catcher.stores.history.embedded import EmbeddedHistory
from catcher.stores.history.queries import select_last_samples, validate_sample_count

TRUST_DELAY = SECOND
"""Delay after its first sample, or an interruption, before a stream is trusted."""
TIME_TOLERANCE = 2 * MICROSECOND
"""Precision of times in an archive that were once seconds in float64."""
SourceHealths = Callable[[], Mapping[str, Health]]


class HybridHistory:
    """`ports.Archive` over the engine's live history and an archive that others write.

    `sources` returns the health of each source by name.
    """

    def __init__(
        self, live: EmbeddedHistory, archive: Archive, clock: Clock, sources: SourceHealths = dict
    ) -> None:
        self.live = live
        self.archive = archive
        self.sources = sources
        self._clock = clock
        self._first_samples: dict[str, tuple[Instant, str]] = {}
        self._dropped = 0
        self._complete_since: dict[str, Instant] = {}

    async def append(self, events: Sequence[Event]) -> None:
        """Stores the stream's events."""
        for event in events:
            if event.topic not in self._first_samples:
                self._first_samples[event.topic] = (event.time, event.source)
        await self.live.append(events)
        dropped = self.live.health().counts["dropped"]
        if dropped != self._dropped:
            self._dropped = dropped
            self._first_samples.clear()

    async def find_trusted_start(self, topic: str) -> Instant | None:
        """Returns the time from which the stream has all of a topic; None if it does not."""
        if topic not in self._first_samples:
            return None
        first_time, source = self._first_samples[topic]
        oldest = self.live.earliest_time(topic)
        if oldest is None:
            return None
        since = max(first_time + TRUST_DELAY, oldest)
        health = self.sources().get(source)
        if health is not None and health.state in ("starting", "away"):
            return None
        if health is not None and health.since > since:
            since = health.since + TRUST_DELAY
        return since

    async def read(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series:
        """Returns samples with start <= time <= end in time order; all numeric fields if none is
        named.
        """
        since = await self.find_trusted_start(topic)
        if since is not None and since <= start:
            return await self.live.read(topic, fields, start, end, where)
        if since is None or since > end:
            return await self.archive.read(topic, fields, start, end, where)
        newer = await self.live.read(topic, fields, since, end, where)
        try:
            older = await self.archive.read(topic, fields, start, since - TIME_TOLERANCE, where)
        except NotFound:
            # The archive does not know yet what the stream has just begun to deliver.
            older = await self.live.read(topic, fields, start, since - 1, where)
        return concatenate_series(older, newer)

    async def read_latest(
        self,
        topic: str,
        fields: Sequence[str],
        count: int,
        end: Instant | None = None,
        where: Predicate | None = None,
    ) -> Series:
        """Returns the last `count` matching samples (with time <= end), in time order."""
        validate_sample_count(count)
        since = await self.find_trusted_start(topic)
        if since is None or (end is not None and end < since):
            return await self.archive.read_latest(topic, fields, count, end, where)
        recent = await self.live.read_latest(topic, fields, count, end, where)
        newer = select_last_samples(recent, int(np.count_nonzero(recent.time >= since / SECOND)))
        if len(newer) == count:
            return newer
        missing = count - len(newer)
        older = await self.archive.read_latest(
            topic, fields, missing, since - TIME_TOLERANCE, where
        )
        return concatenate_series(older, newer)

    async def read_events(
        self, topic: str, start: Instant, end: Instant
    ) -> AsyncIterator[Sequence[Event]]:
        """Yields the archive's events: the stream's are not stored completely."""
        async for batch in self.archive.read_events(topic, start, end):
            yield batch

    async def list_topics(self) -> Sequence[str]:
        """Returns the topics of both, sorted."""
        return sorted({*await self.archive.list_topics(), *await self.live.list_topics()})

    async def list_fields(self, topic: str) -> Sequence[FieldInfo]:
        """Returns the fields of a topic, preferring the archive, which knows more about it."""
        try:
            archive_fields = await self.archive.list_fields(topic)
        except (NotFound, StoreUnavailable):
            if topic not in self._first_samples:
                raise
            return await self.live.list_fields(topic)
        fields_by_name = {field.name: field for field in archive_fields}
        if topic in self._first_samples:
            fields_by_name = {
                **{field.name: field for field in await self.live.list_fields(topic)},
                **fields_by_name,
            }
        return [fields_by_name[name] for name in sort_naturally(fields_by_name)]

    async def find_latest_time(self, topic: str) -> Instant | None:
        """Returns the time of the last sample of either."""
        live_time = await self.live.find_latest_time(topic)
        if topic in self._first_samples:
            return live_time
        times = (live_time, await self.archive.find_latest_time(topic))
        return max((time for time in times if time is not None), default=None)

    async def get_watermark(self, topic: str) -> Instant | None:
        """Returns the stream's watermark once the archive reaches its start; until then the
        archive's.
        """
        since = await self.find_trusted_start(topic)
        if since is None:
            return await self.archive.get_watermark(topic)
        if self._complete_since.get(topic) != since:
            archive_watermark = await self.archive.get_watermark(topic)
            if archive_watermark is None or archive_watermark < since:
                return archive_watermark
            self._complete_since[topic] = since
        return await self.live.get_watermark(topic)

    def health(self) -> Health:
        """Returns the archive's health; the stream's is reported separately."""
        return self.archive.health()


def concatenate_series(older: Series, newer: Series) -> Series:
    """Concatenates two series; a column that one of them lacks is NaN there."""
    if not len(older):
        return newer if newer.columns or not older.columns else older
    if not len(newer):
        return older
    columns = {}
    for name in sort_naturally({*older.columns, *newer.columns}):
        arrays = [
            series[name] if name in series else np.full(len(series), np.nan)
            for series in (older, newer)
        ]
        columns[name] = np.concatenate(arrays)
    time = np.concatenate([older.time, newer.time])
    return Series(time, columns, {**older.units, **newer.units}, newer.topic)
