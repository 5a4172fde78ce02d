"""The inputs of a run that is over, read again: the same, changed, or gone."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from catcher.model.event import Series
from catcher.model.problem import CatcherError
from catcher.model.run import InputRecord, Run
from catcher.model.telemetry import unpacked
from catcher.ports import (
    Expressions,
    History,
    Ledger,
    MetricPoint,
    ObjectStore,
    Query,
    StoreAway,
)
from catcher.working.forms import decode
from catcher.working.inputs import GIVEN, MOST_POINTS, file_checksum, metric_series, series_record
from catcher.working.keeping import kept_input
from catcher.working.narrowing import narrowed

State = Literal["same", "kept", "changed", "gone"]
_TELEMETRY = re.compile(
    r"history:(?P<topic>[^?]*)(?:\?(?:fields=(?P<fields>[^&]*)&?)?(?:packed=(?P<packed>[^&]*)&?)?"
    r"(?:where=(?P<where>.*))?)?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Again:
    """One input read again. `kept`: no history has it any more, but the run's own copy is whole."""

    record: InputRecord
    state: State
    value: Any = None
    words: str = ""

    @property
    def usable(self) -> bool:
        """Whether it is what the run read."""
        return self.state in ("same", "kept")


@dataclass(frozen=True, slots=True)
class Refetcher:
    """Reads inputs again from where their records say. `parts_of` names a rule's `each`.

    `histories` are tried in their order: an archive, and what the engine itself has on disk.
    """

    histories: Sequence[History]
    ledger: Ledger
    objects: ObjectStore
    expressions: Expressions
    parts_of: Callable[[str], str]

    async def all(self, run: Run) -> list[Again]:
        """Every input of a run, in the order they were read."""
        return [await self._one(record, run) for record in run.inputs]

    async def _one(self, record: InputRecord, run: Run) -> Again:
        if record.address.startswith(GIVEN):
            return Again(record, "same", json.loads(record.address.removeprefix(GIVEN)))
        try:
            if record.address.startswith("file:"):
                return await self._image(record)
            again = await self._series(record, run)
        except StoreAway:
            raise
        except CatcherError as error:
            again = Again(record, "gone", words=error.message)
        return again if again.usable else await self._kept(record, run, again)

    async def _series(self, record: InputRecord, run: Run) -> Again:
        if record.address.startswith("metric:"):
            return await self._metric(record, run)
        asked = _TELEMETRY.fullmatch(record.address)
        if asked is None or record.start is None or record.end is None:
            return Again(record, "gone", words=f"nobody knows how to read {record.address}")
        again, away = Again(record, "gone", words="no history is there"), None
        for history in self.histories:
            try:
                series = await self._telemetry(history, asked, record.start, record.end)
            except StoreAway as error:
                away = error
                continue
            except CatcherError as error:
                found = Again(record, "gone", words=error.message)
                again = again if again.state == "changed" else found
                continue
            found = _compared(record, series)
            if found.usable:
                return found
            again = again if again.state == "changed" else found
        if away is not None:
            # It may have what the run read: nobody can say that it is gone.
            raise away
        return again

    async def _telemetry(
        self, history: History, asked: re.Match[str], start: int, end: int
    ) -> Series:
        where = None
        if asked["where"]:
            where = narrowed(asked["where"], self.expressions.predicate(asked["where"]))
        fields = tuple(asked["fields"].split(",")) if asked["fields"] else ()
        columns = (*fields, asked["packed"]) if asked["packed"] else fields
        series = await history.read(asked["topic"], columns, start, end, where)
        if not asked["packed"]:
            return series
        if not len(series):
            return Series(series.time, dict.fromkeys(fields, series.time))
        return unpacked(series, fields, asked["packed"])

    async def _metric(self, record: InputRecord, run: Run) -> Again:
        rule, _, name = record.address.removeprefix("metric:").partition("/")
        query = Query(
            rule=rule, name=name, start=record.start, end=record.end, limit=MOST_POINTS
        )  # fmt: skip
        part = self.parts_of(rule)
        found = [one for one in await self.ledger.metrics(query) if part not in one.labels]
        again = _compared(record, metric_series(name, _ordered(found)))
        if again.state == "same" or run.started is None:
            return again
        # Runs for the same span may have ended since: what was there then is looked for.
        runs = await self.ledger.runs(replace(query, name="", limit=MOST_POINTS))
        then = {one.id for one in runs if (one.finished or run.started) < run.started}
        earlier = [one for one in found if one.run in then]
        return _compared(record, metric_series(name, _ordered(earlier)))

    async def _image(self, record: InputRecord) -> Again:
        path = Path(unquote(urlsplit(record.address).path))
        try:
            checksum, size = await asyncio.to_thread(file_checksum, path)
        except CatcherError as error:
            return Again(record, "gone", words=error.message)
        if not record.checksum:
            return Again(record, "same", path, "its worker died before it could be checked")
        if checksum != record.checksum:
            words = f"the file has {size} bytes now, {record.samples} then"
            return Again(record, "changed", path, words)
        return Again(record, "same", path)

    async def _kept(self, record: InputRecord, run: Run, again: Again) -> Again:
        """The run's own copy of an input, where it has one."""
        name = kept_input(record.name)
        for artifact in run.artifacts:
            if artifact.name == name:
                value = decode(name, await self.objects.get(artifact.key))
                if _compared(record, value).state == "same":
                    return Again(record, "kept", value, "from the copy that the run kept")
        return again


def _ordered(points: Sequence[MetricPoint]) -> list[MetricPoint]:
    return sorted(points, key=lambda point: point.time)


def _compared(record: InputRecord, series: Series) -> Again:
    now = series_record(record.name, record.address, record.start, record.end or 0, series)
    if now.checksum == record.checksum:
        return Again(record, "same", series)
    if not len(series):
        return Again(record, "gone", words=f"{record.samples} samples then, none now")
    told = f"{record.samples} samples then, {len(series)} now"
    if len(series) == record.samples:
        told = f"{len(series)} samples as then, but other values"
    return Again(record, "changed", series, told)
