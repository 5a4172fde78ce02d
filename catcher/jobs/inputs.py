"""Fetches the arguments of a run when it runs, with a record of what was read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from catcher.jobs.late_data import LateDataPolicy
from catcher.jobs.observations import Observations
from catcher.jobs.predicate_pushdown import add_pushdown
from catcher.model.errors import CatcherError
from catcher.model.event import Series
from catcher.model.observation import Observation
from catcher.model.rule import Expression, InputSpec, Rule
from catcher.model.run import Firing, InputRecord
from catcher.model.telemetry import unpack_series
from catcher.model.time import Instant, parse_instant
from catcher.ports import Expressions, History, Images, Ledger, MetricPoint, Predicate, Query

MAX_POINTS = 100_000


class InputError(CatcherError):
    """A missing or invalid input that a retry would not fix."""


@dataclass(frozen=True, slots=True)
class FetchedInputs:
    """Arguments by name, and the records of what was read for them."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    records: tuple[InputRecord, ...] = ()

    def __add__(self, other: FetchedInputs) -> FetchedInputs:
        return FetchedInputs({**self.arguments, **other.arguments}, self.records + other.records)


@dataclass(frozen=True, slots=True)
class InputRequest:
    """The run to fetch inputs for: its rule and firing, and the part, if any.

    `observation` is that of the part, if each part has its own.
    """

    rule: Rule
    firing: Firing
    part: str = ""
    observation: Observation | None = None


class InputFetcher:
    """Fetches inputs from the stores. Raises CatcherError with a message for the run's reader."""

    def __init__(
        self,
        history: History,
        images: Images | None,
        ledger: Ledger,
        expressions: Expressions,
        observations: Observations,
        rules: Mapping[str, Rule],
        late_data: LateDataPolicy,
    ) -> None:
        self._late_data = late_data
        self._history = history
        self._images = images
        self._ledger = ledger
        self._expressions = expressions
        self._observations = observations
        self._rules = rules

    def with_rules(self, rules: Mapping[str, Rule]) -> InputFetcher:
        """Returns a fetcher with the same stores for other rules."""
        return InputFetcher(
            self._history, self._images, self._ledger, self._expressions, self._observations,
            rules, self._late_data,
        )  # fmt: skip

    async def fetch(self, request: InputRequest, names: Sequence[str]) -> FetchedInputs:
        """Fetches the inputs of these names, one after the other."""
        specs = request.rule.job.inputs if request.rule.job is not None else {}
        fetched = FetchedInputs()
        for name in names:
            value, record = await self._fetch_input(name, specs[name], request)
            fetched += FetchedInputs({name: value}, (record,))
        return fetched

    async def _fetch_input(
        self, name: str, spec: InputSpec, request: InputRequest
    ) -> tuple[Any, InputRecord]:
        if spec.image:
            return await self._fetch_image(name, spec, request)
        if spec.metric:
            return await self._fetch_metric(name, spec, request)
        return await self._fetch_telemetry(name, spec, request)

    async def require_observation(self, request: InputRequest, kind: str) -> Observation:
        """Returns the run's observation of a kind; InputError says why there is none."""
        if request.observation is not None and request.observation.kind == kind:
            return request.observation
        observation = await self._observations.find_for_firing(request.firing, kind)
        if observation is None:
            raise InputError(*self._observations.explain_missing(request.firing, kind))
        return observation

    # -- telemetry --------------------------------------------------------------------------

    async def _fetch_telemetry(
        self, name: str, spec: InputSpec, request: InputRequest
    ) -> tuple[Any, InputRecord]:
        start, end = await self._resolve_time_range(name, spec, request)
        where: Predicate | None = None
        if spec.where is not None:
            predicate = self._expressions.compile_predicate(spec.where.text)
            where = add_pushdown(spec.where.text, predicate)
        completeness, waited = await self._late_data.wait_until_complete(
            self._history, spec.topic, end, spec.max_wait
        )
        columns = (*spec.fields, spec.packed) if spec.packed else spec.fields
        series = await self._history.read(spec.topic, columns, start, end, where)
        if spec.packed:
            series = _unpack_series(name, series, spec)
        address = _format_telemetry_address(spec)
        record = build_series_record(name, address, start, end, series)
        return series, replace(record, whole=completeness, waited=waited)

    async def _resolve_time_range(
        self, name: str, spec: InputSpec, request: InputRequest
    ) -> tuple[Instant, Instant]:
        """Returns the first and last instant of the requested range, both inclusive."""
        now = request.firing.time
        if spec.last is not None:
            return now - spec.last + 1, now
        if spec.during:
            observation = await self.require_observation(request, spec.during)
            return observation.start, observation.end
        row = await self._collect_variables(request)
        start = self._evaluate_instant(name, "from", spec.start, row)
        end = now if spec.end is None else self._evaluate_instant(name, "to", spec.end, row)
        if end < start:
            raise InputError(f"the input {name!r} ends before it starts", "look at `from` and `to`")
        return start, end

    async def _collect_variables(self, request: InputRequest) -> dict[str, Any]:
        """Returns what `from` and `to` may use: event fields, observation columns, `with`."""
        firing = request.firing
        observation = request.observation or await self._observations.find_for_firing(firing)
        return {
            **(observation.columns if observation else {}),
            **(firing.event.fields if firing.event else {}),
            **request.rule.constants,
            **firing.values,
        }

    def _evaluate_instant(
        self, name: str, bound: str, expr: Expression | None, row: Mapping[str, Any]
    ) -> Instant:
        if expr is None:
            raise InputError(
                f"the input {name!r} has no {bound!r}", "say `last`, `during` or `from`"
            )
        value = self._expressions.compile_value(expr.text)(row)
        is_unknown = value is None or (isinstance(value, float) and math.isnan(value))
        if is_unknown or not isinstance(value, str | int | float):
            raise InputError(f"{bound!r} of the input {name!r} is unknown here: {expr.text}")
        try:
            return parse_instant(value)
        except ValueError as error:
            raise InputError(f"{bound!r} of the input {name!r}: {error}") from error

    # -- metrics of earlier runs ------------------------------------------------------------

    async def _fetch_metric(
        self, name: str, spec: InputSpec, request: InputRequest
    ) -> tuple[Any, InputRecord]:
        now = request.firing.time
        start = None if spec.last is None else now - spec.last + 1
        query = Query(rule=spec.of, name=spec.metric, start=start, end=now, limit=MAX_POINTS)
        source_rule = self._rules.get(spec.of)
        part_label = (
            source_rule.job.each if source_rule is not None and source_rule.job is not None else ""
        )
        points = [
            point
            for point in await self._ledger.list_metrics(query)
            if part_label not in point.labels
        ]
        series = build_metric_series(spec.metric, sorted(points, key=lambda point: point.time))
        address = f"metric:{spec.of}/{spec.metric}"
        return series, build_series_record(name, address, start, now, series)

    # -- images -----------------------------------------------------------------------------

    async def _fetch_image(
        self, name: str, spec: InputSpec, request: InputRequest
    ) -> tuple[Any, InputRecord]:
        observation = await self.require_observation(request, spec.image)
        if self._images is None:
            hint = f"say where it is: observations: {{{spec.image}: {{image: ...}}}}"
            raise InputError(f"no images of the {spec.image} are declared", hint)
        path = Path(await self._images.find_image_path(observation, request.part))
        # The worker computes the checksum, so that the engine does not read every pixel.
        return path, InputRecord(name, path.as_uri(), observation.start, observation.end)


CONSTANT_PREFIX = "with:"
"""Marks an input that the rule itself gave, as JSON."""


def build_constant_records(arguments: Mapping[str, Any]) -> tuple[InputRecord, ...]:
    """Records the values of `with`, since the rule may be edited later."""
    return tuple(
        InputRecord(name, CONSTANT_PREFIX + json.dumps(value, default=str))
        for name, value in arguments.items()
    )


def _format_telemetry_address(spec: InputSpec) -> str:
    """Returns the address of telemetry, from which it can be read again."""
    parameters = {
        "fields": ",".join(spec.fields),
        "packed": spec.packed,
        "where": spec.where.text if spec.where is not None else "",
    }
    query_text = "&".join(f"{key}={text}" for key, text in parameters.items() if text)
    return f"history:{spec.topic}" + (f"?{query_text}" if query_text else "")


def _unpack_series(name: str, series: Series, spec: InputSpec) -> Series:
    """Unpacks a packed series into single samples; an empty one stays empty."""
    if not len(series):
        return Series(series.time, dict.fromkeys(spec.fields, series.time))
    try:
        return unpack_series(series, spec.fields, spec.packed)
    except CatcherError as error:
        raise InputError(f"the input {name!r}: {error.message}", error.hint) from None


def build_metric_series(column: str, points: Sequence[MetricPoint]) -> Series:
    """Returns the values of one metric, in the order given; NaN where unknown."""
    values = [math.nan if point.value is None else point.value for point in points]
    units = {column: points[-1].unit} if points and points[-1].unit else {}
    return Series(
        np.array([point.time for point in points], dtype=np.float64) / 1e9,
        {column: np.array(values, dtype=np.float64)},
        units,
    )


def build_series_record(
    name: str, address: str, start: Instant | None, end: Instant, series: Series
) -> InputRecord:
    """Records a series that was read, with a checksum over the times and columns."""
    digest = hashlib.sha256(np.ascontiguousarray(series.time).tobytes())
    for column in sorted(series.columns):
        digest.update(column.encode() + b"\0")
        digest.update(np.ascontiguousarray(series.columns[column]).tobytes())
    checksum = f"sha256:{digest.hexdigest()}"
    return InputRecord(name, address, start, end, len(series), checksum)


def compute_checksum_and_size(path: Path) -> tuple[str, int]:
    """Returns the checksum of a file, and its size in bytes."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
            return f"sha256:{digest.hexdigest()}", stream.tell()
    except OSError as error:
        raise CatcherError(f"the image {path} cannot be read: {error.strerror}") from error
