"""One door to telemetry, metrics, artifacts, runs and alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from catcher.model.alert import Alert, AuditEntry
from catcher.model.desk import Shift, Silence
from catcher.model.event import Series
from catcher.model.problem import Unknown
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import Instant, format_instant
from catcher.ports import DeadLetter, History, Ledger, MetricPoint, ObjectStore, Query


def point_row(point: MetricPoint) -> dict[str, Any]:
    """A value of a metric as commands and the API show it."""
    return {**asdict(point), "time": format_instant(point.time)}


class Client:
    """Reads what Catcher kept. Opened by `catcher.app.open_client(site)`.

    Every list comes newest first and holds at most `query.limit` entries.
    """

    def __init__(self, ledger: Ledger, history: History, objects: ObjectStore) -> None:
        self._ledger = ledger
        self._history = history
        self._objects = objects

    async def topics(self) -> Sequence[str]:
        """The topics of which telemetry is held."""
        return await self._history.topics()

    async def series(
        self, topic: str, start: Instant, end: Instant, fields: Sequence[str] = ()
    ) -> Series:
        """Telemetry with start <= time <= end; all numeric fields where none is named."""
        return await self._history.read(topic, fields, start, end)

    async def firings(self, query: Query) -> Sequence[Firing]:
        """Decisions of triggers, with their reasons."""
        return await self._ledger.firings(query)

    async def runs(self, query: Query) -> Sequence[Run]:
        """Executions of jobs."""
        return await self._ledger.runs(query)

    async def run(self, identity: str) -> Run:
        """One run by its id; Unknown where there is none."""
        found = await self._ledger.runs(Query(id=identity, limit=1))
        if not found:
            raise Unknown(f"no run {identity!r} is known", "`catcher runs` lists the latest")
        return found[0]

    async def metrics(self, query: Query) -> Sequence[MetricPoint]:
        """Values of metrics, by name, rule, observation, labels or time."""
        return await self._ledger.metrics(query)

    async def artifacts(self, query: Query) -> Sequence[ArtifactRecord]:
        """The index of what was kept."""
        return await self._ledger.artifacts(query)

    async def open(self, artifact: ArtifactRecord | str) -> bytes:
        """The bytes of an artifact, by its entry or its key."""
        key = artifact if isinstance(artifact, str) else artifact.key
        return await self._objects.get(key)

    async def alerts(self, query: Query) -> Sequence[Alert]:
        """Alerts as they stand, or stood at their end."""
        return await self._ledger.alerts(query)

    async def alert(self, identity: str) -> Alert:
        """The latest episode of one alert by its id; Unknown where there is none."""
        found = await self._ledger.alerts(Query(id=identity, limit=1))
        if not found:
            raise Unknown(f"no alert {identity!r} is known", "`catcher alerts --all` lists them")
        return found[0]

    async def audit(self, query: Query) -> Sequence[AuditEntry]:
        """Who did what when."""
        return await self._ledger.audit(query)

    async def silences(self, query: Query) -> Sequence[Silence]:
        """Silences by id, who (`name`), state (`active`: in force), and a span."""
        return await self._ledger.silences(query)

    async def shifts(self, query: Query) -> Sequence[Shift]:
        """Who was on shift, the latest first."""
        return await self._ledger.shifts(query)

    async def dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Notices that were given up; `id` an alert, `name` a sink."""
        return await self._ledger.dead_letters(query)
