"""Kafka messages as events: JSON, or Confluent's wire format with a schema from a registry.

In that format a message begins with a zero byte and the number of its schema (4 bytes, the
greatest first); what follows is Avro, or JSON where the schema is one of JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catcher.model.event import Event
from catcher.model.telemetry import FieldInfo
from catcher.model.time import Instant
from catcher.sources.avro import Codec, Projection, plain, projection
from catcher.sources.decoding import Decoder, Scale, checked_time, read_time, shown, too_large
from catcher.sources.registry import Registry
from catcher.sources.topic_patterns import RECORDED

_HEAD = 5
_NO_REGISTRY = "it is in Confluent's wire format; name its schema registry with `registry:`"
_MOST_TOPICS = 20_000


class WireDecoder:
    """Reads the messages of one source.

    `prepare` asks the registry for whatever a message needs that is not known yet; `decode`
    does not wait for anybody, and whatever comes is events or words.
    """

    def __init__(
        self, source: str, registry: Registry | None, time: str, scale: Scale, limit: int
    ) -> None:
        self._source = source
        self._registry = registry
        self._json = Decoder(source, time, scale, limit)
        self._time, self._tai = time, scale == "tai"
        self._newest: dict[str, Codec | None] = {}
        self._seen: dict[str, set[int]] = {}
        self._projections: dict[tuple[str, int], Projection | None] = {}
        self._described: dict[str, tuple[FieldInfo, ...]] = {}

    @property
    def non_finite(self) -> int:
        """Numbers of JSON messages that were none."""
        return self._json.non_finite

    @property
    def described(self) -> Mapping[str, Sequence[FieldInfo]]:
        """The fields of the streams that came with a schema, by the streams' names."""
        return self._described

    def lacks(self, kafka_topic: str, value: bytes) -> bool:
        """Whether a message needs a schema that is not at hand."""
        if self._registry is None or value[:1] != b"\0" or len(value) < _HEAD:
            return False
        number = int.from_bytes(value[1:_HEAD], "big")
        return number not in self._seen.get(kafka_topic, ()) and not (
            (found := self._registry.known(number)) and found.problem
        )

    async def prepare(self, kafka_topic: str, value: bytes) -> None:
        """Has the schema of a message at hand; RegistryAway where that is not possible now."""
        if self._registry is None or not self.lacks(kafka_topic, value):
            return
        number = int.from_bytes(value[1:_HEAD], "big")
        found = await self._registry.schema(number)
        if found.problem:
            return
        # A schema that is new here may be the newest; what it adds concerns older messages, too.
        newest = await self._registry.newest(f"{kafka_topic}-value")
        if len(self._seen) >= _MOST_TOPICS:
            self._forget()
        self._newest[kafka_topic] = newest
        self._projections = {
            key: one for key, one in self._projections.items() if key[0] != kafka_topic
        }
        self._seen.setdefault(kafka_topic, set()).add(number)

    def _forget(self) -> None:
        for known in (self._newest, self._seen, self._projections, self._described):
            known.clear()

    def decode(
        self,
        names: tuple[str, str],
        value: bytes,
        arrival: Instant,
        events: list[Event],
        rejected: list[str],
    ) -> None:
        """Appends to `events` what a message holds, to `rejected` what is wrong with it.

        `names` are those of the stream and of the Kafka topic.
        """
        topic = names[0]
        if value[:1] != b"\0":
            self._as_json(topic, value, arrival, events, rejected)
            return
        try:
            if len(value) > self._json.limit:
                raise ValueError(too_large(len(value), self._json.limit))
            codec, number = self._codec(value)
            if codec is None:
                self._as_json(topic, value[_HEAD:], arrival, events, rejected)
                return
            fields = codec.read(value, _HEAD)
            change = self._projection(names, number, codec)
            if change is not None:
                fields = change.apply(fields)
            time = self._time_of(fields, codec, arrival)
            clean = {name: plain(one) for name, one in fields.items()}
            if topic == RECORDED:
                raise ValueError("recorded lines are JSON")
            events.append(Event(topic, time, clean, self._source))
        except ValueError as error:
            rejected.append(f"{shown(topic)}: {error}")

    def _as_json(
        self, topic: str, text: bytes, arrival: Instant, events: list[Event], rejected: list[str]
    ) -> None:
        if topic == RECORDED:
            self._json.decode_recorded(text, arrival, events, rejected)
        else:
            self._json.decode(topic, text, arrival, events, rejected)

    def _codec(self, value: bytes) -> tuple[Codec | None, int]:
        if self._registry is None:
            raise ValueError(_NO_REGISTRY)
        if len(value) < _HEAD:
            raise ValueError(f"it ends after {len(value)} bytes, before the number of its schema")
        number = int.from_bytes(value[1:_HEAD], "big")
        found = self._registry.known(number)
        if found is None or found.problem:
            why = found.problem if found else "its schema is not at hand"
            raise ValueError(f"schema {number}: {why}")
        return found.codec, number

    def _projection(self, names: tuple[str, str], number: int, codec: Codec) -> Projection | None:
        """What is to be filled in; the first message of a schema also tells of its fields."""
        topic, kafka_topic = names
        key = kafka_topic, number
        if key not in self._projections:
            newest = self._newest.get(kafka_topic)
            self._projections[key] = projection(codec, newest) if newest is not None else None
            self._described[topic] = (newest or codec).fields
        return self._projections[key]

    def _time_of(self, fields: Mapping[str, Any], codec: Codec, arrival: Instant) -> Instant:
        name = self._time
        if not name:
            return arrival
        if name not in fields:
            raise ValueError(f"it has no field {name!r}, which is to hold the time")
        stamp = fields[name]
        unit = codec.times.get(name)
        if unit is not None and isinstance(stamp, int):
            return checked_time(stamp * unit, stamp, name, self._tai)
        return read_time(stamp, name, self._tai)
