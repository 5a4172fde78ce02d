"""What the live stream has brought, joined with an archive that has the rest.

The stream is used first: of a span that it has seen whole nothing is asked of the archive. For
what came before, the archive answers up to the instant from which the stream is trusted, and the
stream from there on, so that no sample is read twice and none is missing. The stream is trusted
from a moment after the first sample of a topic that this engine saw; anew after its source was
away, after samples were dropped, and from the oldest sample that is still held.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import numpy as np

from catcher.model.event import Event, Series
from catcher.model.health import Health
from catcher.model.naming import in_order
from catcher.model.problem import Unknown
from catcher.model.telemetry import FieldInfo
from catcher.model.time import MICROSECOND, SECOND, Clock, Instant
from catcher.ports import Archive, Predicate, StoreAway
from catcher.stores.history import EmbeddedHistory
from catcher.stores.history_looking import counted, ending

SETTLING = SECOND
"""After its first sample, or an interruption, a stream is trusted when so long has passed."""
APART = 2 * MICROSECOND
"""Times in an archive that were seconds in float64 once are as exact as this."""
Sources = Callable[[], Mapping[str, Health]]


class JoinedHistory:
    """`ports.Archive` over what an engine sees and an archive that others fill.

    `sources` gives the health of each source by its name.
    """

    def __init__(
        self, live: EmbeddedHistory, archive: Archive, clock: Clock, sources: Sources = dict
    ) -> None:
        self.live = live
        self.archive = archive
        self.sources = sources
        self._clock = clock
        self._first: dict[str, tuple[Instant, str]] = {}
        self._dropped = 0
        self._whole: dict[str, Instant] = {}

    async def append(self, events: Sequence[Event]) -> None:
        """Keeps what the stream brings."""
        for event in events:
            if event.topic not in self._first:
                self._first[event.topic] = (event.time, event.source)
        await self.live.append(events)
        dropped = self.live.health().counts["dropped"]
        if dropped != self._dropped:
            self._dropped = dropped
            self._first.clear()

    async def trusted_from(self, topic: str) -> Instant | None:
        """From when on the stream has everything of a topic; None: not at all."""
        if topic not in self._first:
            return None
        first, source = self._first[topic]
        oldest = self.live.earliest(topic)
        if oldest is None:
            return None
        since = max(first + SETTLING, oldest)
        health = self.sources().get(source)
        if health is not None and health.state in ("starting", "away"):
            return None
        if health is not None and health.since > since:
            since = health.since + SETTLING
        return since

    async def read(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series:
        """The samples with start <= time <= end in time order; all numeric fields if none named."""
        since = await self.trusted_from(topic)
        if since is not None and since <= start:
            return await self.live.read(topic, fields, start, end, where)
        if since is None or since > end:
            return await self.archive.read(topic, fields, start, end, where)
        newer = await self.live.read(topic, fields, since, end, where)
        try:
            older = await self.archive.read(topic, fields, start, since - APART, where)
        except Unknown:
            # The archive has not yet heard of what the stream has just begun to bring.
            older = await self.live.read(topic, fields, start, since - 1, where)
        return joined(older, newer)

    async def newest(
        self,
        topic: str,
        fields: Sequence[str],
        count: int,
        end: Instant | None = None,
        where: Predicate | None = None,
    ) -> Series:
        """The last `count` samples (with time <= end) that pass, in time order."""
        counted(count)
        since = await self.trusted_from(topic)
        if since is None or (end is not None and end < since):
            return await self.archive.newest(topic, fields, count, end, where)
        found = await self.live.newest(topic, fields, count, end, where)
        newer = ending(found, int(np.count_nonzero(found.time >= since / SECOND)))
        if len(newer) == count:
            return newer
        left = count - len(newer)
        older = await self.archive.newest(topic, fields, left, since - APART, where)
        return joined(older, newer)

    async def events(
        self, topic: str, start: Instant, end: Instant
    ) -> AsyncIterator[Sequence[Event]]:
        """What the archive has: the events of a stream are not kept whole."""
        async for batch in self.archive.events(topic, start, end):
            yield batch

    async def topics(self) -> Sequence[str]:
        """The topics of both, sorted."""
        return sorted({*await self.archive.topics(), *await self.live.topics()})

    async def fields(self, topic: str) -> Sequence[FieldInfo]:
        """What can be asked of a topic; the archive knows more of it."""
        try:
            told = await self.archive.fields(topic)
        except (Unknown, StoreAway):
            if topic not in self._first:
                raise
            return await self.live.fields(topic)
        known = {one.name: one for one in told}
        if topic in self._first:
            known = {**{one.name: one for one in await self.live.fields(topic)}, **known}
        return [known[name] for name in in_order(known)]

    async def latest(self, topic: str) -> Instant | None:
        """The time of the last sample of either."""
        live = await self.live.latest(topic)
        if topic in self._first:
            return live
        times = (live, await self.archive.latest(topic))
        return max((one for one in times if one is not None), default=None)

    async def watermark(self, topic: str) -> Instant | None:
        """The stream's, where it goes on from what the archive has; else the archive's."""
        since = await self.trusted_from(topic)
        if since is None:
            return await self.archive.watermark(topic)
        if self._whole.get(topic) != since:
            archived = await self.archive.watermark(topic)
            if archived is None or archived < since:
                return archived
            self._whole[topic] = since
        return await self.live.watermark(topic)

    def health(self) -> Health:
        """The archive's; what the stream brings has its own."""
        return self.archive.health()


def joined(older: Series, newer: Series) -> Series:
    """Two stretches, one after the other; a column that one of them lacks is unknown there."""
    if not len(older):
        return newer if newer.columns or not older.columns else older
    if not len(newer):
        return older
    columns = {}
    for name in in_order({*older.columns, *newer.columns}):
        pieces = [
            part[name] if name in part else np.full(len(part), np.nan) for part in (older, newer)
        ]
        columns[name] = np.concatenate(pieces)
    time = np.concatenate([older.time, newer.time])
    return Series(time, columns, {**older.units, **newer.units}, newer.topic)
