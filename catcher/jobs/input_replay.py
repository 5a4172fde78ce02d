"""Reads the inputs of a finished run again: the same, changed, or gone."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from catcher.jobs.artifact_codecs import decode_artifact
from catcher.jobs.artifacts import format_input_artifact_name
from catcher.jobs.inputs import (
    CONSTANT_PREFIX,
    MAX_POINTS,
    build_metric_series,
    build_series_record,
    compute_checksum_and_size,
)
from catcher.jobs.predicate_pushdown import add_pushdown
from catcher.model.errors import CatcherError
from catcher.model.event import Series
from catcher.model.run import InputRecord, Run
from catcher.model.telemetry import unpack_series
from catcher.ports import (
    Expressions,
    History,
    Ledger,
    MetricPoint,
    ObjectStore,
    Query,
    StoreUnavailable,
)

ReplayState = Literal["same", "kept", "changed", "gone"]
_TELEMETRY_ADDRESS = re.compile(
    r"history:(?P<topic>[^?]*)(?:\?(?:fields=(?P<fields>[^&]*)&?)?(?:packed=(?P<packed>[^&]*)&?)?"
    r"(?:where=(?P<where>.*))?)?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class ReplayedInput:
    """One input read again. `kept`: no history has it any more, but the run's stored copy is
    intact."""

    record: InputRecord
    state: ReplayState
    value: Any = None
    message: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether it equals what the run read."""
        return self.state in ("same", "kept")


@dataclass(frozen=True, slots=True)
class InputReplayer:
    """Reads inputs again from the addresses in their records.

    `histories` are tried in order: an archive, and the engine's own on disk. `get_part_label`
    returns the `each` of a rule.
    """

    histories: Sequence[History]
    ledger: Ledger
    objects: ObjectStore
    expressions: Expressions
    get_part_label: Callable[[str], str]

    async def replay_inputs(self, run: Run) -> list[ReplayedInput]:
        """Returns every input of a run, in the order they were read."""
        return [await self._replay_input(record, run) for record in run.inputs]

    async def _replay_input(self, record: InputRecord, run: Run) -> ReplayedInput:
        if record.address.startswith(CONSTANT_PREFIX):
            return ReplayedInput(
                record, "same", json.loads(record.address.removeprefix(CONSTANT_PREFIX))
            )
        try:
            if record.address.startswith("file:"):
                return await self._replay_image(record)
            replayed = await self._replay_series(record, run)
        except StoreUnavailable:
            raise
        except CatcherError as error:
            replayed = ReplayedInput(record, "gone", message=error.message)
        return (
            replayed
            if replayed.is_usable
            else await self._fall_back_to_stored_copy(record, run, replayed)
        )

    async def _replay_series(self, record: InputRecord, run: Run) -> ReplayedInput:
        if record.address.startswith("metric:"):
            return await self._replay_metric(record, run)
        match = _TELEMETRY_ADDRESS.fullmatch(record.address)
        if match is None or record.start is None or record.end is None:
            return ReplayedInput(
                record, "gone", message=f"nobody knows how to read {record.address}"
            )
        best, unavailable = ReplayedInput(record, "gone", message="no history is there"), None
        for history in self.histories:
            try:
                series = await self._read_telemetry(history, match, record.start, record.end)
            except StoreUnavailable as error:
                unavailable = error
                continue
            except CatcherError as error:
                replayed = ReplayedInput(record, "gone", message=error.message)
                best = best if best.state == "changed" else replayed
                continue
            replayed = _compare_with_record(record, series)
            if replayed.is_usable:
                return replayed
            best = best if best.state == "changed" else replayed
        if unavailable is not None:
            # The unavailable history may have what the run read, so it is not known to be gone.
            raise unavailable
        return best

    async def _read_telemetry(
        self, history: History, match: re.Match[str], start: int, end: int
    ) -> Series:
        where = None
        if match["where"]:
            where = add_pushdown(match["where"], self.expressions.compile_predicate(match["where"]))
        fields = tuple(match["fields"].split(",")) if match["fields"] else ()
        columns = (*fields, match["packed"]) if match["packed"] else fields
        series = await history.read(match["topic"], columns, start, end, where)
        if not match["packed"]:
            return series
        if not len(series):
            return Series(series.time, dict.fromkeys(fields, series.time))
        return unpack_series(series, fields, match["packed"])

    async def _replay_metric(self, record: InputRecord, run: Run) -> ReplayedInput:
        rule, _, name = record.address.removeprefix("metric:").partition("/")
        query = Query(
            rule=rule, name=name, start=record.start, end=record.end, limit=MAX_POINTS
        )  # fmt: skip
        part_label = self.get_part_label(rule)
        points = [
            point
            for point in await self.ledger.list_metrics(query)
            if part_label not in point.labels
        ]
        replayed = _compare_with_record(record, build_metric_series(name, _sort_by_time(points)))
        if replayed.state == "same" or run.started is None:
            return replayed
        # Runs for the same span may have ended since: compare only those that had ended then.
        runs = await self.ledger.list_runs(replace(query, name="", limit=MAX_POINTS))
        earlier_ids = {
            earlier_run.id
            for earlier_run in runs
            if (earlier_run.finished or run.started) < run.started
        }
        earlier_points = [point for point in points if point.run in earlier_ids]
        return _compare_with_record(
            record, build_metric_series(name, _sort_by_time(earlier_points))
        )

    async def _replay_image(self, record: InputRecord) -> ReplayedInput:
        path = Path(unquote(urlsplit(record.address).path))
        try:
            checksum, size = await asyncio.to_thread(compute_checksum_and_size, path)
        except CatcherError as error:
            return ReplayedInput(record, "gone", message=error.message)
        if not record.checksum:
            return ReplayedInput(record, "same", path, "its worker died before it could be checked")
        if checksum != record.checksum:
            message = f"the file has {size} bytes now, {record.samples} then"
            return ReplayedInput(record, "changed", path, message)
        return ReplayedInput(record, "same", path)

    async def _fall_back_to_stored_copy(
        self, record: InputRecord, run: Run, replayed: ReplayedInput
    ) -> ReplayedInput:
        """Returns the run's own copy of an input, if it has one."""
        name = format_input_artifact_name(record.name)
        for artifact in run.artifacts:
            if artifact.name == name:
                value = decode_artifact(name, await self.objects.get(artifact.key))
                if _compare_with_record(record, value).state == "same":
                    return ReplayedInput(record, "kept", value, "from the copy that the run kept")
        return replayed


def _sort_by_time(points: Sequence[MetricPoint]) -> list[MetricPoint]:
    return sorted(points, key=lambda point: point.time)


def _compare_with_record(record: InputRecord, series: Series) -> ReplayedInput:
    current = build_series_record(
        record.name, record.address, record.start, record.end or 0, series
    )
    if current.checksum == record.checksum:
        return ReplayedInput(record, "same", series)
    if not len(series):
        return ReplayedInput(record, "gone", message=f"{record.samples} samples then, none now")
    message = f"{record.samples} samples then, {len(series)} now"
    if len(series) == record.samples:
        message = f"{len(series)} samples as then, but other values"
    return ReplayedInput(record, "changed", series, message)
