"""Decodes payload bytes to events. Total: any input gives events or problem texts, no error."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

from catcher.model.event import HTTP_PREFIX, RESULT_PREFIX, Event
from catcher.model.time import SECOND, Instant, parse_instant, tai_to_utc

TimeScale = Literal["utc", "tai"]

MAX_DEPTH = 32
_MAX_PRINTABLE = 80
_MAX_TOPIC_LENGTH = 512
_EARLIEST = parse_instant("1971-01-01")
_LATEST = parse_instant("2261-01-01")
_EARLIEST_SECONDS = _EARLIEST / SECOND
_LATEST_SECONDS = _LATEST / SECOND
_LAST_LEAP_SECOND = parse_instant("2017-01-02")
_TAI_OFFSET = _LATEST - tai_to_utc(_LATEST)
_INT64_LIMIT = 2**63
_NON_JSON_LITERALS = (b"NaN", b"Infinity")
_decode_json = msgspec.json.Decoder().decode

# Nearly every payload is an object of numbers, texts and arrays of them. This decoder accepts
# nothing else, and validates on the way what would otherwise be checked value by value.
_Scalar = (
    Annotated[int, msgspec.Meta(ge=-_INT64_LIMIT, le=_INT64_LIMIT - 1)] | float | str | bool | None
)
_decode_flat_json = msgspec.json.Decoder(dict[str, _Scalar | list[_Scalar]]).decode
_NOT_FLAT_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def to_printable(text: object, max_length: int = _MAX_PRINTABLE) -> str:
    """Returns external text as it may be part of a message: printable, on one line, shortened."""
    raw = str(text)[: max_length + 1]
    printable = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in raw)
    return printable if len(printable) <= max_length else printable[: max_length - 1] + "…"


class EventDecoder:
    """Decodes payloads of one source: one sample, a list of samples, or `{"samples": [...]}`.

    In the last form the fields beside `samples` are common to all of them. `time_field` names the
    field that holds each sample's time, in seconds since the epoch or as ISO 8601 text, on the
    `scale` of UTC or TAI; without a name the time of arrival counts. A payload may have `max_bytes`
    bytes and `max_samples` samples. Numbers that are not finite or exceed the range of a float
    become None and are counted in `non_finite_count`. Events come from `source`; if that is empty,
    recorded lines keep their own.
    """

    def __init__(
        self,
        source: str,
        time_field: str = "",
        scale: TimeScale = "utc",
        max_bytes: int = 1_000_000,
        max_samples: int = 10_000,
    ) -> None:
        self._source = source
        self._time_field = time_field
        self._is_tai = scale == "tai"
        self.max_bytes = max_bytes
        self.max_samples = max_samples
        self.non_finite_count = 0

    def decode(
        self,
        topic: str,
        payload: bytes,
        arrival: Instant,
        events: list[Event],
        rejected: list[str],
    ) -> None:
        """Appends the payload's events to `events` and its problems to `rejected`."""
        try:
            fields = _decode_flat_json(payload) if len(payload) <= self.max_bytes else None
        except _NOT_FLAT_ERRORS:
            fields = None
        try:
            if fields is not None:
                events.append(
                    Event(topic, self._parse_event_time(fields, arrival), fields, self._source)
                )
            else:
                self._decode_samples(topic, self._parse_json(payload), arrival, events, rejected)
        except ValueError as error:
            rejected.append(f"{to_printable(topic)}: {error}")

    def decode_recorded_lines(
        self, payload: bytes, arrival: Instant | None, events: list[Event], rejected: list[str]
    ) -> None:
        """Decodes recorded lines, `{"topic", "time", "fields"}`, one or a list of them.

        Without `arrival` a line must have its own time.
        """
        try:
            value = self._parse_json(payload)
            if type(value) is dict and type(value.get("events")) is list:
                value = value["events"]
            lines = value if type(value) is list else [value]
            self._check_sample_count(len(lines))
        except ValueError as error:
            rejected.append(str(error))
            return
        for number, line in enumerate(lines, 1):
            try:
                events.append(self.parse_recorded_event(line, arrival))
            except ValueError as error:
                prefix = f"event {number} of {len(lines)}: " if len(lines) > 1 else ""
                rejected.append(f"{prefix}{error}")

    def decode_recorded_line(self, payload: bytes) -> Event | str:
        """Returns the event of one recorded line, which must have a time, or the problem."""
        try:
            return self.parse_recorded_event(self._parse_json(payload), None)
        except ValueError as error:
            return str(error)

    def parse_recorded_event(self, line: object, arrival: Instant | None) -> Event:
        """Returns the event of one recorded line. Raises ValueError with the reason if it is
        invalid.
        """
        if not isinstance(line, dict):
            raise ValueError(
                f"{_describe_type(line)} is no event; write "
                f'{{"topic": ..., "time": ..., "fields": {{...}}}}'
            )
        topic, fields = line.get("topic"), line.get("fields", {})
        if not isinstance(topic, str):
            raise ValueError("the event has no topic" if topic is None else "the topic is no text")
        check_topic(topic)
        if not isinstance(fields, dict):
            raise ValueError(
                f"{to_printable(topic)}: its fields are {_describe_type(fields)}, not an object"
            )
        timestamp = line.get("time")
        if timestamp is None and arrival is None:
            raise ValueError(f"{to_printable(topic)}: the event has no time")
        time = arrival if timestamp is None else parse_time(timestamp, "time")
        assert time is not None
        source = line.get("source")
        source_name = self._source or (source if isinstance(source, str) else "")
        return Event(topic, time, self._sanitize_value(fields, 0), source_name)

    def _parse_event_time(self, fields: Mapping[str, Any], arrival: Instant) -> Instant:
        if not self._time_field:
            return arrival
        try:
            timestamp = fields[self._time_field]
        except KeyError:
            raise ValueError(
                f"it has no field {self._time_field!r}, which is to hold the time"
            ) from None
        return parse_time(timestamp, self._time_field, self._is_tai)

    def _decode_samples(
        self,
        topic: str,
        value: Any,
        arrival: Instant,
        events: list[Event],
        rejected: list[str],
    ) -> None:
        for prefix, fields in self._iter_samples(value):
            try:
                if not isinstance(fields, dict):
                    raise ValueError(
                        f"{_describe_type(fields)} is no sample; it is to be a JSON object"
                    )
                time = self._parse_event_time(fields, arrival)
                events.append(Event(topic, time, self._sanitize_value(fields, 0), self._source))
            except ValueError as error:
                rejected.append(f"{to_printable(topic)}: {prefix}{error}")

    def _iter_samples(self, value: Any) -> Iterator[tuple[str, Any]]:
        """Yields each sample with a text for its position among several."""
        common: Mapping[str, Any] = {}
        samples = value
        if isinstance(value, dict):
            samples = value.get("samples")
            # A field may have this name as well: an array of numbers, for example.
            if not isinstance(samples, list) or not isinstance((samples or [0])[0], dict):
                samples = None
            common = {name: entry for name, entry in value.items() if name != "samples"}
        if not isinstance(samples, list):
            yield "", value
            return
        self._check_sample_count(len(samples))
        for number, sample in enumerate(samples, 1):
            merged = {**common, **sample} if isinstance(sample, dict) else sample
            yield f"sample {number} of {len(samples)}: ", merged

    def _parse_json(self, payload: bytes) -> Any:
        if len(payload) > self.max_bytes:
            raise ValueError(format_size_error(len(payload), self.max_bytes))
        try:
            return _decode_json(payload)
        except UnicodeDecodeError:
            raise ValueError("it is not JSON: the text is not UTF-8") from None
        except RecursionError:
            raise ValueError(_TOO_DEEP_MESSAGE) from None
        except msgspec.DecodeError as error:
            if isinstance(error, msgspec.ValidationError) or any(
                literal in payload for literal in _NON_JSON_LITERALS
            ):
                return self._parse_lenient_json(payload)
            reason = str(error).removeprefix("JSON is malformed: ")
            raise ValueError(
                f"it is not JSON: {to_printable(reason) if payload.strip() else 'it is empty'}"
            ) from None

    def _parse_lenient_json(self, payload: bytes) -> Any:
        """Parses JSON with NaN and Infinity, as Python and InfluxDB write them, and with 1e999."""
        try:
            value = json.loads(payload.decode("utf-8"), parse_int=_parse_integer)
        except UnicodeDecodeError:
            raise ValueError("it is not JSON: the text is not UTF-8") from None
        except RecursionError:
            raise ValueError(_TOO_DEEP_MESSAGE) from None
        except json.JSONDecodeError as error:
            raise ValueError(f"it is not JSON: {to_printable(error)}") from None
        return self._sanitize_value(value, 0)

    def _sanitize_value(self, value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(_TOO_DEEP_MESSAGE)
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            self.non_finite_count += 1
            return None
        if isinstance(value, dict):
            return {
                _replace_surrogates(name): self._sanitize_value(entry, depth + 1)
                for name, entry in value.items()
            }
        if isinstance(value, list):
            return [self._sanitize_value(entry, depth + 1) for entry in value]
        if isinstance(value, int) and not -_INT64_LIMIT <= value < _INT64_LIMIT:
            return self._sanitize_value(_int_to_float(value), depth)
        return _replace_surrogates(value) if isinstance(value, str) else value

    def _check_sample_count(self, count: int) -> None:
        if count > self.max_samples:
            raise ValueError(
                f"it holds {count} samples, more than the {self.max_samples} that one message may"
            )


_TOO_DEEP_MESSAGE = f"it is nested more than {MAX_DEPTH} levels deep"


def format_size_error(size: int, limit: int) -> str:
    """Returns the error text for a payload of `size` bytes."""
    return f"a payload of {size} bytes is larger than the {limit} that are allowed"


def check_topic(topic: str) -> None:
    """Raises ValueError for a topic that is invalid, or reserved for Catcher's results."""
    if not topic or len(topic) > _MAX_TOPIC_LENGTH or not topic.isprintable():
        raise ValueError(
            f"{to_printable(topic)!r} is no topic; a name of printable characters is wanted"
        )
    if topic.startswith(RESULT_PREFIX) and not topic.startswith(HTTP_PREFIX):
        raise ValueError(
            f"{to_printable(topic)}: topics that begin with {RESULT_PREFIX} are results"
        )


def parse_time(value: object, name: str, is_tai: bool = False) -> Instant:
    """Parses an instant from seconds or ISO text. Raises ValueError naming field and value."""
    try:
        if isinstance(value, float) and _EARLIEST_SECONDS <= value < _LATEST_SECONDS:
            seconds = int(value)
            time: Instant = seconds * SECOND + round((value - seconds) * 1e6) * 1_000
        elif isinstance(value, str | float | int) and not isinstance(value, bool):
            time = parse_instant(value)
        else:
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(_format_time_error(value, name)) from None
    return normalize_time(time, value, name, is_tai)


def normalize_time(time: Instant, value: object, name: str, is_tai: bool = False) -> Instant:
    """Converts a field's time to UTC. Raises ValueError if it is implausible for a stream."""
    if is_tai and _EARLIEST <= time < _LATEST:
        # There has been no leap second since 2017; the table is for earlier times.
        time = time - _TAI_OFFSET if time > _LAST_LEAP_SECOND else tai_to_utc(time)
    if not is_plausible_time(time):
        raise ValueError(_format_time_error(value, name))
    return time


def is_plausible_time(time: Instant) -> bool:
    """True if an event can have that time: anything beyond is a mistake in its unit."""
    return _EARLIEST <= time < _LATEST


def _format_time_error(value: object, name: str) -> str:
    value_text = to_printable(
        value if isinstance(value, str | int | float) else _describe_type(value), 40
    )
    return f"{name} {value_text} is no time; seconds since the epoch or ISO 8601, of 1971 to 2260"


def _describe_type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a truth value"
    type_names = {
        str: "a text",
        list: "a list",
        dict: "an object",
        int: "a number",
        float: "a number",
    }
    return type_names.get(type(value), "that")


def _parse_integer(text: str) -> int | float:
    return int(text) if len(text) < 20 else float(text)


def _int_to_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _replace_surrogates(value: str) -> str:
    """Returns text that can be written as UTF-8: JSON allows half a surrogate pair."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
