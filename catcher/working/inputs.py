"""The arguments of a run, fetched when it runs, with a record of what was read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from catcher.model.event import Series
from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.model.rule import Expr, Input, Rule
from catcher.model.run import Firing, InputRecord
from catcher.model.telemetry import unpacked
from catcher.model.time import Instant, parse_instant
from catcher.ports import Expressions, History, Images, Ledger, MetricPoint, Predicate, Query
from catcher.working.narrowing import narrowed
from catcher.working.observations import Observations
from catcher.working.waiting import Patience

MOST_POINTS = 100_000


class InputError(CatcherError):
    """An input that another attempt would not find either."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Arguments by name, and what was read for them."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    records: tuple[InputRecord, ...] = ()

    def __add__(self, other: Fetched) -> Fetched:
        return Fetched({**self.arguments, **other.arguments}, self.records + other.records)


@dataclass(frozen=True, slots=True)
class Request:
    """For which run inputs are fetched: its rule and firing, and the part of a visit, if any.

    `about` is the observation of a part where each part has its own.
    """

    rule: Rule
    firing: Firing
    part: str = ""
    about: Observation | None = None


class Inputs:
    """Fetches inputs from the stores. Raises CatcherError in words for the run's reader."""

    def __init__(
        self,
        history: History,
        images: Images | None,
        ledger: Ledger,
        expressions: Expressions,
        observations: Observations,
        rules: Mapping[str, Rule],
        patience: Patience,
    ) -> None:
        self._patience = patience
        self._history = history
        self._images = images
        self._ledger = ledger
        self._expressions = expressions
        self._observations = observations
        self._rules = rules

    def swapped(self, rules: Mapping[str, Rule]) -> Inputs:
        """The same stores for other rules."""
        return Inputs(
            self._history, self._images, self._ledger, self._expressions, self._observations,
            rules, self._patience,
        )  # fmt: skip

    async def fetch(self, request: Request, names: Sequence[str]) -> Fetched:
        """The inputs of these names, one after the other."""
        asked = request.rule.job.inputs if request.rule.job is not None else {}
        fetched = Fetched()
        for name in names:
            one, record = await self._one(name, asked[name], request)
            fetched += Fetched({name: one}, (record,))
        return fetched

    async def _one(self, name: str, asked: Input, request: Request) -> tuple[Any, InputRecord]:
        if asked.image:
            return await self._image(name, asked, request)
        if asked.metric:
            return await self._metric(name, asked, request)
        return await self._telemetry(name, asked, request)

    async def observation(self, request: Request, kind: str) -> Observation:
        """The observation of a kind that a run is about; InputError says why there is none."""
        if request.about is not None and request.about.kind == kind:
            return request.about
        found = await self._observations.of(request.firing, kind)
        if found is None:
            raise InputError(*self._observations.unknown(request.firing, kind))
        return found

    # -- telemetry --------------------------------------------------------------------------

    async def _telemetry(
        self, name: str, asked: Input, request: Request
    ) -> tuple[Any, InputRecord]:
        start, end = await self._span(name, asked, request)
        where: Predicate | None = None
        if asked.where is not None:
            test = self._expressions.predicate(asked.where.text)
            where = narrowed(asked.where.text, test)
        whole, waited = await self._patience.until_whole(
            self._history, asked.topic, end, asked.patience
        )
        columns = (*asked.fields, asked.packed) if asked.packed else asked.fields
        series = await self._history.read(asked.topic, columns, start, end, where)
        if asked.packed:
            series = _unpacked(name, series, asked)
        address = _address(asked)
        record = series_record(name, address, start, end, series)
        return series, replace(record, whole=whole, waited=waited)

    async def _span(self, name: str, asked: Input, request: Request) -> tuple[Instant, Instant]:
        """The first and last instant that are asked for, both included."""
        now = request.firing.time
        if asked.last is not None:
            return now - asked.last + 1, now
        if asked.during:
            observation = await self.observation(request, asked.during)
            return observation.start, observation.end
        row = await self._names(request)
        start = self._instant(name, "from", asked.start, row)
        end = now if asked.end is None else self._instant(name, "to", asked.end, row)
        if end < start:
            raise InputError(f"the input {name!r} ends before it starts", "look at `from` and `to`")
        return start, end

    async def _names(self, request: Request) -> dict[str, Any]:
        """What `from` and `to` may use: the event's fields, the observation's columns, `with`."""
        firing = request.firing
        observation = request.about or await self._observations.of(firing)
        return {
            **(observation.columns if observation else {}),
            **(firing.event.fields if firing.event else {}),
            **request.rule.constants,
            **firing.values,
        }

    def _instant(self, name: str, word: str, expr: Expr | None, row: Mapping[str, Any]) -> Instant:
        if expr is None:
            raise InputError(
                f"the input {name!r} has no {word!r}", "say `last`, `during` or `from`"
            )
        value = self._expressions.value(expr.text)(row)
        unknown = value is None or (isinstance(value, float) and math.isnan(value))
        if unknown or not isinstance(value, str | int | float):
            raise InputError(f"{word!r} of the input {name!r} is unknown here: {expr.text}")
        try:
            return parse_instant(value)
        except ValueError as error:
            raise InputError(f"{word!r} of the input {name!r}: {error}") from error

    # -- metrics of earlier runs ------------------------------------------------------------

    async def _metric(self, name: str, asked: Input, request: Request) -> tuple[Any, InputRecord]:
        now = request.firing.time
        start = None if asked.last is None else now - asked.last + 1
        query = Query(rule=asked.of, name=asked.metric, start=start, end=now, limit=MOST_POINTS)
        of = self._rules.get(asked.of)
        part = of.job.each if of is not None and of.job is not None else ""
        found = [point for point in await self._ledger.metrics(query) if part not in point.labels]
        series = metric_series(asked.metric, sorted(found, key=lambda point: point.time))
        address = f"metric:{asked.of}/{asked.metric}"
        return series, series_record(name, address, start, now, series)

    # -- images -----------------------------------------------------------------------------

    async def _image(self, name: str, asked: Input, request: Request) -> tuple[Any, InputRecord]:
        observation = await self.observation(request, asked.image)
        if self._images is None:
            hint = f"say where it is: observations: {{{asked.image}: {{image: ...}}}}"
            raise InputError(f"no images of the {asked.image} are declared", hint)
        path = Path(await self._images.find(observation, request.part))
        # Its checksum is taken where the job runs: the engine does not read every pixel.
        return path, InputRecord(name, path.as_uri(), observation.start, observation.end)


GIVEN = "with:"
"""An input that the rule itself gave, as JSON."""


def given_records(arguments: Mapping[str, Any]) -> tuple[InputRecord, ...]:
    """What `with` gave to a run: the rule may say something else tomorrow."""
    return tuple(
        InputRecord(name, GIVEN + json.dumps(value, default=str))
        for name, value in arguments.items()
    )


def _address(asked: Input) -> str:
    """Where telemetry was read, as a reader can ask for it again."""
    said = {
        "fields": ",".join(asked.fields),
        "packed": asked.packed,
        "where": asked.where.text if asked.where is not None else "",
    }
    questions = "&".join(f"{key}={text}" for key, text in said.items() if text)
    return f"history:{asked.topic}" + (f"?{questions}" if questions else "")


def _unpacked(name: str, series: Series, asked: Input) -> Series:
    """A packed series sample by sample; an empty one stays so."""
    if not len(series):
        return Series(series.time, dict.fromkeys(asked.fields, series.time))
    try:
        return unpacked(series, asked.fields, asked.packed)
    except CatcherError as error:
        raise InputError(f"the input {name!r}: {error.message}", error.hint) from None


def metric_series(column: str, points: Sequence[MetricPoint]) -> Series:
    """Values of one metric, in the order given; NaN where unknown."""
    values = [math.nan if point.value is None else point.value for point in points]
    units = {column: points[-1].unit} if points and points[-1].unit else {}
    return Series(
        np.array([point.time for point in points], dtype=np.float64) / 1e9,
        {column: np.array(values, dtype=np.float64)},
        units,
    )


def series_record(
    name: str, address: str, start: Instant | None, end: Instant, series: Series
) -> InputRecord:
    """What was read, with a checksum over the times and columns."""
    total = hashlib.sha256(np.ascontiguousarray(series.time).tobytes())
    for column in sorted(series.columns):
        total.update(column.encode() + b"\0")
        total.update(np.ascontiguousarray(series.columns[column]).tobytes())
    checksum = f"sha256:{total.hexdigest()}"
    return InputRecord(name, address, start, end, len(series), checksum)


def file_checksum(path: Path) -> tuple[str, int]:
    """The checksum and size of a file, in bytes."""
    try:
        with path.open("rb") as stream:
            total = hashlib.file_digest(stream, "sha256")
            return f"sha256:{total.hexdigest()}", stream.tell()
    except OSError as error:
        raise CatcherError(f"the image {path} cannot be read: {error.strerror}") from error
