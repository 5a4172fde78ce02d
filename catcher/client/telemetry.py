"""Telemetry as the client asks for it: names checked, stretches joined, packed rows unpacked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from catcher.client.reading import Asked, Telemetry
from catcher.model.event import Series
from catcher.model.naming import meant, unknown_field
from catcher.model.problem import CatcherError, Unknown
from catcher.model.telemetry import FieldInfo, numbered, unpacked
from catcher.model.time import SECOND, Instant, from_seconds, tai_to_utc, utc_to_tai

MOST_CELLS = 100_000_000
"""Samples times fields of one answer (800 MB); beyond, they come stretch by stretch."""
MOST_TOP = 1_000_000
Fields = str | bytes | Sequence[str] | None
Scale = Literal["tai", "utc"]
_SCALES: Mapping[str, Scale] = {"unix_tai": "tai", "unix": "utc"}


def named(fields: Fields) -> list[str]:
    """Names from a name or several; none, or `*`, are all numeric ones."""
    if fields is None:
        return []
    if isinstance(fields, bytes):
        fields = fields.decode()
    if isinstance(fields, str):
        fields = [fields]
    if not all(isinstance(one, str) for one in fields):
        raise CatcherError("a field's name is text", 'name them like ["speed", "direction"]')
    return [] if list(fields) == ["*"] else list(fields)


def encodable(text: str) -> str:
    """Text that can be sent: a lone surrogate is no letter of any name."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def index_field(topic: str, old: bool) -> str:
    """The field that tells the instances of a component apart; `old` as it once was called."""
    parts = topic.split(".")
    return f"{parts[-2]}ID" if old and len(parts) > 1 else "salIndex"


class Asking:
    """One question about one topic, its names checked against what there is."""

    def __init__(self, telemetry: Telemetry, topic: str, known: Sequence[FieldInfo]) -> None:
        self._telemetry = telemetry
        self.topic = topic
        self.units = {one.name: one.unit for one in known if one.unit}
        self._names = [one.name for one in known]
        self._numeric = [one.name for one in known if one.type != "string"]

    @classmethod
    async def about(cls, telemetry: Telemetry, topic: str) -> Asking:
        """Of a topic; Unknown, with the nearest name, where there is none."""
        if not isinstance(topic, str) or not topic:
            raise CatcherError(f"{topic!r} is no topic", "name it like lsst.sal.ESS.airFlow")
        return cls(telemetry, topic, await telemetry.fields(encodable(topic)))

    def columns(self, fields: Fields) -> list[str]:
        """The columns that these fields stand for: an array is all of its places."""
        found: dict[str, None] = {}
        for name in named(fields) or self._numeric:
            places = [name] if name in self._names else numbered(name, self._names)
            if not places:
                raise self._unknown(name)
            found.update(dict.fromkeys(places))
        return list(found)

    def asked(self, fields: Fields, index: int | None, old: bool) -> Asked:
        """The question for the store."""
        asked = Asked(self.topic, self.columns(fields), index, index_field(self.topic, old))
        if index is not None and asked.index_field not in self._names:
            hint = f"ask without index; it has {', '.join(self._names[:8])}"
            raise CatcherError(f"{self.topic} has no field {asked.index_field!r}", hint)
        return asked

    def packed(self, fields: Fields, clock: str) -> tuple[list[str], list[str]]:
        """The packed fields, and the columns that are needed to unpack them."""
        bases = named(fields)
        if not bases:
            raise CatcherError("no packed field is named", "name it without its number")
        missing = [name for name in bases if not numbered(name, self._names)]
        if missing:
            arrays = sorted({one.rstrip("0123456789") for one in self._names} - set(self._names))
            near = meant(missing[0], arrays, 1)
            hint = f"did you mean {near[0]!r}?" if near else "it stands as name0, name1, …"
            raise Unknown(f"{self.topic} has no packed field {missing[0]!r}", hint)
        if clock not in self._names:
            raise self._unknown(clock)
        return bases, [*(place for base in bases for place in numbered(base, self._names)), clock]

    async def stretches(self, asked: Asked, start: Instant, end: Instant) -> AsyncIterator[Series]:
        """The samples of a span, stretch after stretch, with their units."""
        async for series in self._telemetry.stretches(asked, start, end):
            yield self.with_units(series)

    async def whole(self, asked: Asked, start: Instant, end: Instant) -> Series:
        """The samples of a span at once; CatcherError where they are too many."""
        pieces, cells = [], 0
        async for series in self.stretches(asked, start, end):
            cells += len(series) * (1 + len(series.columns))
            if cells > MOST_CELLS:
                raise CatcherError(
                    f"{self.topic} has more than {MOST_CELLS:,} values in this span",
                    "ask for fewer fields or a shorter span, or take it in stretches: "
                    "stream_time_series",
                )
            pieces.append(series)
        return joined(pieces, asked)

    async def newest(self, asked: Asked, count: int, end: Instant | None) -> Series:
        """The last samples up to an instant."""
        if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= MOST_TOP:
            raise CatcherError(f"{count!r} is no number of samples", f"say 1 to {MOST_TOP:,}")
        return self.with_units(await self._telemetry.newest(asked, count, end))

    def with_units(self, series: Series) -> Series:
        """The series with the units that the topic's fields have."""
        units = {name: self.units[name] for name in series.columns if name in self.units}
        return replace(series, units={**units, **series.units}, topic=self.topic)

    def _unknown(self, name: str) -> Unknown:
        return unknown_field(name, self.topic, self._names)


def joined(pieces: Sequence[Series], asked: Asked) -> Series:
    """Stretches as one series; a column that one of them lacks is NaN there."""
    if len(pieces) == 1:
        return pieces[0]
    names = dict.fromkeys(name for one in pieces for name in one.columns) or asked.fields
    time = np.concatenate([one.time for one in pieces]) if pieces else np.empty(0)
    columns = {
        name: np.concatenate([one.columns.get(name, np.full(len(one), np.nan)) for one in pieces])
        if pieces
        else np.empty(0)
        for name in names
    }
    units = {name: unit for one in pieces for name, unit in one.units.items()}
    return Series(time, columns, units, asked.topic)


def unpack(series: Series, bases: Sequence[str], clock: str, form: str, scale: str) -> Series:
    """Packed rows as samples. `form` and `scale` say what the clock counts."""
    told = _SCALES.get(form)
    if told is None or scale not in ("tai", "utc"):
        raise CatcherError(
            f"a clock of the form {form!r} and the scale {scale!r} is not known",
            'say ref_timestamp_fmt="unix_tai", or "unix" with ref_timestamp_scale="utc"',
        )
    return unpacked(series, bases, clock, "utc" if told == "utc" and scale == "utc" else "tai")


def as_tai(start: Instant, end: Instant) -> tuple[Instant, Instant]:
    """A span as a store names it whose times are TAI."""
    return utc_to_tai(start), utc_to_tai(end)


def from_tai(series: Series) -> Series:
    """A series of such a store with times of UTC."""
    time = [tai_to_utc(from_seconds(one)) / SECOND for one in series.time.tolist()]
    return replace(series, time=np.array(time, dtype=np.float64))
