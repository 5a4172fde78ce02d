"""From payload bytes to events. Total: whatever comes, it is events or words, never an error."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

from catcher.model.event import HTTP_PREFIX, RESULT_PREFIX, Event
from catcher.model.time import SECOND, Instant, parse_instant, tai_to_utc

Scale = Literal["utc", "tai"]

DEPTH = 32
_SHOWN = 80
_TOPIC_LENGTH = 512
_EARLIEST = parse_instant("1971-01-01")
_LATEST = parse_instant("2261-01-01")
_EARLIEST_SECONDS = _EARLIEST / SECOND
_LATEST_SECONDS = _LATEST / SECOND
_LAST_LEAP = parse_instant("2017-01-02")
_TAI_NOW = _LATEST - tai_to_utc(_LATEST)
_LARGE = 2**63
_FOREIGN = (b"NaN", b"Infinity")
_decode = msgspec.json.Decoder().decode

# Nearly every payload is an object of numbers, texts and arrays of them. This decoder takes no
# other, and checks on the way what would else be checked value by value.
_Scalar = Annotated[int, msgspec.Meta(ge=-_LARGE, le=_LARGE - 1)] | float | str | bool | None
_decode_plain = msgspec.json.Decoder(dict[str, _Scalar | list[_Scalar]]).decode
_NOT_PLAIN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def shown(text: object, length: int = _SHOWN) -> str:
    """Text from outside as it may stand in a message: printable, on one line, shortened."""
    raw = str(text)[: length + 1]
    clean = "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in raw)
    return clean if len(clean) <= length else clean[: length - 1] + "…"


class Decoder:
    """Reads payloads of one source: one sample, a list of samples, or `{"samples": [...]}`.

    In the last form what stands beside `samples` is common to all of them. `time` names the
    field that holds each sample's time, in seconds since the epoch or as ISO 8601 text, on the
    `scale` of UTC or TAI; without a name the time of arrival counts. A payload may have
    `limit` bytes and `samples` samples. Numbers that are not finite become None, as do those
    beyond what a float holds, and are counted in `non_finite`. Events come from `source`; with
    none, recorded lines keep their own.
    """

    def __init__(
        self,
        source: str,
        time: str = "",
        scale: Scale = "utc",
        limit: int = 1_000_000,
        samples: int = 10_000,
    ) -> None:
        self._source = source
        self._time = time
        self._tai = scale == "tai"
        self.limit = limit
        self.samples = samples
        self.non_finite = 0

    def decode(
        self,
        topic: str,
        payload: bytes,
        arrival: Instant,
        events: list[Event],
        rejected: list[str],
    ) -> None:
        """Appends to `events` what the payload holds, to `rejected` what is wrong with it."""
        try:
            fields = _decode_plain(payload) if len(payload) <= self.limit else None
        except _NOT_PLAIN:
            fields = None
        try:
            if fields is not None:
                events.append(Event(topic, self._time_of(fields, arrival), fields, self._source))
            else:
                self._many(topic, self._json(payload), arrival, events, rejected)
        except ValueError as error:
            rejected.append(f"{shown(topic)}: {error}")

    def decode_recorded(
        self, payload: bytes, arrival: Instant | None, events: list[Event], rejected: list[str]
    ) -> None:
        """The same for recorded lines, `{"topic", "time", "fields"}`, one or a list of them.

        Without `arrival` a line has to bring its own time.
        """
        try:
            value = self._json(payload)
            if type(value) is dict and type(value.get("events")) is list:
                value = value["events"]
            lines = value if type(value) is list else [value]
            self._check_count(len(lines))
        except ValueError as error:
            rejected.append(str(error))
            return
        for number, line in enumerate(lines, 1):
            try:
                events.append(self.recorded_event(line, arrival))
            except ValueError as error:
                where = f"event {number} of {len(lines)}: " if len(lines) > 1 else ""
                rejected.append(f"{where}{error}")

    def read_line(self, payload: bytes) -> Event | str:
        """The event of one recorded line, which brings its own time, or what is wrong with it."""
        try:
            return self.recorded_event(self._json(payload), None)
        except ValueError as error:
            return str(error)

    def recorded_event(self, line: object, arrival: Instant | None) -> Event:
        """The event of one recorded line; ValueError with words where it is none."""
        if not isinstance(line, dict):
            raise ValueError(
                f'{_kind(line)} is no event; write {{"topic": ..., "time": ..., "fields": {{...}}}}'
            )
        topic, fields = line.get("topic"), line.get("fields", {})
        if not isinstance(topic, str):
            raise ValueError("the event has no topic" if topic is None else "the topic is no text")
        check_topic(topic)
        if not isinstance(fields, dict):
            raise ValueError(f"{shown(topic)}: its fields are {_kind(fields)}, not an object")
        stamp = line.get("time")
        if stamp is None and arrival is None:
            raise ValueError(f"{shown(topic)}: the event has no time")
        time = arrival if stamp is None else read_time(stamp, "time")
        assert time is not None
        source = line.get("source")
        name = self._source or (source if isinstance(source, str) else "")
        return Event(topic, time, self._mended(fields, 0), name)

    def _time_of(self, fields: Mapping[str, Any], arrival: Instant) -> Instant:
        if not self._time:
            return arrival
        try:
            stamp = fields[self._time]
        except KeyError:
            raise ValueError(f"it has no field {self._time!r}, which is to hold the time") from None
        return read_time(stamp, self._time, self._tai)

    def _many(
        self,
        topic: str,
        value: Any,
        arrival: Instant,
        events: list[Event],
        rejected: list[str],
    ) -> None:
        for where, fields in self._samples_of(value):
            try:
                if not isinstance(fields, dict):
                    raise ValueError(f"{_kind(fields)} is no sample; it is to be a JSON object")
                time = self._time_of(fields, arrival)
                events.append(Event(topic, time, self._mended(fields, 0), self._source))
            except ValueError as error:
                rejected.append(f"{shown(topic)}: {where}{error}")

    def _samples_of(self, value: Any) -> Iterator[tuple[str, Any]]:
        """Each sample with words for its place among several."""
        common: Mapping[str, Any] = {}
        samples = value
        if isinstance(value, dict):
            samples = value.get("samples")
            # A field may be called so as well: an array of numbers, say.
            if not isinstance(samples, list) or not isinstance((samples or [0])[0], dict):
                samples = None
            common = {name: entry for name, entry in value.items() if name != "samples"}
        if not isinstance(samples, list):
            yield "", value
            return
        self._check_count(len(samples))
        for number, sample in enumerate(samples, 1):
            whole = {**common, **sample} if isinstance(sample, dict) else sample
            yield f"sample {number} of {len(samples)}: ", whole

    def _json(self, payload: bytes) -> Any:
        if len(payload) > self.limit:
            raise ValueError(too_large(len(payload), self.limit))
        try:
            return _decode(payload)
        except UnicodeDecodeError:
            raise ValueError("it is not JSON: the text is not UTF-8") from None
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
        except msgspec.DecodeError as error:
            if isinstance(error, msgspec.ValidationError) or any(
                word in payload for word in _FOREIGN
            ):
                return self._lenient(payload)
            reason = str(error).removeprefix("JSON is malformed: ")
            raise ValueError(
                f"it is not JSON: {shown(reason) if payload.strip() else 'it is empty'}"
            ) from None

    def _lenient(self, payload: bytes) -> Any:
        """JSON with NaN and Infinity, as Python and InfluxDB write them, and with 1e999."""
        try:
            value = json.loads(payload.decode("utf-8"), parse_int=_integer)
        except UnicodeDecodeError:
            raise ValueError("it is not JSON: the text is not UTF-8") from None
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
        except json.JSONDecodeError as error:
            raise ValueError(f"it is not JSON: {shown(error)}") from None
        return self._mended(value, 0)

    def _mended(self, value: Any, depth: int) -> Any:
        if depth > DEPTH:
            raise ValueError(_TOO_DEEP)
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            self.non_finite += 1
            return None
        if isinstance(value, dict):
            return {_text(name): self._mended(entry, depth + 1) for name, entry in value.items()}
        if isinstance(value, list):
            return [self._mended(entry, depth + 1) for entry in value]
        if isinstance(value, int) and not -_LARGE <= value < _LARGE:
            return self._mended(_as_float(value), depth)
        return _text(value) if isinstance(value, str) else value

    def _check_count(self, count: int) -> None:
        if count > self.samples:
            raise ValueError(
                f"it holds {count} samples, more than the {self.samples} that one message may"
            )


_TOO_DEEP = f"it is nested more than {DEPTH} levels deep"


def too_large(size: int, limit: int) -> str:
    """The words for a payload of `size` bytes."""
    return f"a payload of {size} bytes is larger than the {limit} that are allowed"


def check_topic(topic: str) -> None:
    """ValueError for a topic that is no name, or that is Catcher's own to give."""
    if not topic or len(topic) > _TOPIC_LENGTH or not topic.isprintable():
        raise ValueError(f"{shown(topic)!r} is no topic; a name of printable characters is wanted")
    if topic.startswith(RESULT_PREFIX) and not topic.startswith(HTTP_PREFIX):
        raise ValueError(f"{shown(topic)}: topics that begin with {RESULT_PREFIX} are results")


def read_time(value: object, name: str, tai: bool = False) -> Instant:
    """An instant from seconds or ISO text; ValueError names the field and what it held."""
    try:
        if isinstance(value, float) and _EARLIEST_SECONDS <= value < _LATEST_SECONDS:
            whole = int(value)
            time: Instant = whole * SECOND + round((value - whole) * 1e6) * 1_000
        elif isinstance(value, str | float | int) and not isinstance(value, bool):
            time = parse_instant(value)
        else:
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(_no_time(value, name)) from None
    return checked_time(time, value, name, tai)


def checked_time(time: Instant, value: object, name: str, tai: bool = False) -> Instant:
    """A time of a field as UTC; ValueError where it is none that a stream could have."""
    if tai and _EARLIEST <= time < _LATEST:
        # No leap second has come since 2017; the table is for what is older.
        time = time - _TAI_NOW if time > _LAST_LEAP else tai_to_utc(time)
    if not plausible(time):
        raise ValueError(_no_time(value, name))
    return time


def plausible(time: Instant) -> bool:
    """Whether an event can be of that time: what lies beyond is a mistake of its unit."""
    return _EARLIEST <= time < _LATEST


def _no_time(value: object, name: str) -> str:
    what = shown(value if isinstance(value, str | int | float) else _kind(value), 40)
    return f"{name} {what} is no time; seconds since the epoch or ISO 8601, of 1971 to 2260"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a truth value"
    names = {str: "a text", list: "a list", dict: "an object", int: "a number", float: "a number"}
    return names.get(type(value), "that")


def _integer(text: str) -> int | float:
    return int(text) if len(text) < 20 else float(text)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _text(value: str) -> str:
    """Text that can be written as UTF-8: JSON lets half a surrogate pair through."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
