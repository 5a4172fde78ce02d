"""Kafka messages as events: JSON, or Confluent's wire format with a schema from a registry.

In that format a message begins with a zero byte and the id of its schema (4 bytes, big-endian); the
rest is Avro, or JSON if the schema is a JSON one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catcher.model.event import Event
from catcher.model.telemetry import FieldInfo
from catcher.model.time import Instant
from catcher.transport.avro import AvroCodec, SchemaResolution, avro_to_json_value, resolve_schemas
from catcher.transport.event_decoder import (
    EventDecoder,
    TimeScale,
    format_size_error,
    normalize_time,
    parse_time,
    to_printable,
)
from catcher.transport.kafka.topic_patterns import TOPIC_FROM_PAYLOAD
from catcher.transport.schema_registry import SchemaRegistry

_HEADER_BYTES = 5
_NO_REGISTRY_MESSAGE = "it is in Confluent's wire format; name its schema registry with `registry:`"
_MAX_TOPICS = 20_000


class KafkaDecoder:
    """Decodes the messages of one source.

    `fetch_schema` requests from the registry whatever a message needs; `decode` never waits, and
    gives events or problem texts for any input.
    """

    def __init__(
        self,
        source: str,
        registry: SchemaRegistry | None,
        time_field: str,
        scale: TimeScale,
        max_bytes: int,
    ) -> None:
        self._source = source
        self._registry = registry
        self._json_decoder = EventDecoder(source, time_field, scale, max_bytes)
        self._time_field, self._is_tai = time_field, scale == "tai"
        self._latest_codecs: dict[str, AvroCodec | None] = {}
        self._seen_schemas: dict[str, set[int]] = {}
        self._resolutions: dict[tuple[str, int], SchemaResolution | None] = {}
        self._field_schemas: dict[str, tuple[FieldInfo, ...]] = {}

    @property
    def non_finite_count(self) -> int:
        """Non-finite numbers in JSON messages."""
        return self._json_decoder.non_finite_count

    @property
    def field_schemas(self) -> Mapping[str, Sequence[FieldInfo]]:
        """The fields of the streams that came with a schema, by stream name."""
        return self._field_schemas

    def needs_schema(self, kafka_topic: str, value: bytes) -> bool:
        """True if a message needs a schema that is not cached."""
        if self._registry is None or value[:1] != b"\0" or len(value) < _HEADER_BYTES:
            return False
        schema_id = int.from_bytes(value[1:_HEADER_BYTES], "big")
        return schema_id not in self._seen_schemas.get(kafka_topic, ()) and not (
            (schema := self._registry.get_cached_schema(schema_id)) and schema.problem
        )

    async def fetch_schema(self, kafka_topic: str, value: bytes) -> None:
        """Caches the schema of a message. Raises SchemaRegistryUnavailable if that is not possible
        now.
        """
        if self._registry is None or not self.needs_schema(kafka_topic, value):
            return
        schema_id = int.from_bytes(value[1:_HEADER_BYTES], "big")
        schema = await self._registry.fetch_schema(schema_id)
        if schema.problem:
            return
        # A schema that is new here may be the newest; what it adds affects older messages, too.
        latest = await self._registry.fetch_latest_codec(f"{kafka_topic}-value")
        if len(self._seen_schemas) >= _MAX_TOPICS:
            self._clear_caches()
        self._latest_codecs[kafka_topic] = latest
        self._resolutions = {
            key: resolution
            for key, resolution in self._resolutions.items()
            if key[0] != kafka_topic
        }
        self._seen_schemas.setdefault(kafka_topic, set()).add(schema_id)

    def _clear_caches(self) -> None:
        for cache in (
            self._latest_codecs,
            self._seen_schemas,
            self._resolutions,
            self._field_schemas,
        ):
            cache.clear()

    def decode(
        self,
        names: tuple[str, str],
        value: bytes,
        arrival: Instant,
        events: list[Event],
        rejected: list[str],
    ) -> None:
        """Appends a message's events to `events`, its problems to `rejected`.

        `names` are those of the stream and of the Kafka topic.
        """
        topic = names[0]
        if value[:1] != b"\0":
            self._decode_json(topic, value, arrival, events, rejected)
            return
        try:
            if len(value) > self._json_decoder.max_bytes:
                raise ValueError(format_size_error(len(value), self._json_decoder.max_bytes))
            codec, schema_id = self._get_cached_codec(value)
            if codec is None:
                self._decode_json(topic, value[_HEADER_BYTES:], arrival, events, rejected)
                return
            fields = codec.decode(value, _HEADER_BYTES)
            resolution = self._get_resolution(names, schema_id, codec)
            if resolution is not None:
                fields = resolution.resolve_fields(fields)
            time = self._parse_event_time(fields, codec, arrival)
            json_fields = {
                name: avro_to_json_value(field_value) for name, field_value in fields.items()
            }
            if topic == TOPIC_FROM_PAYLOAD:
                raise ValueError("recorded lines are JSON")
            events.append(Event(topic, time, json_fields, self._source))
        except ValueError as error:
            rejected.append(f"{to_printable(topic)}: {error}")

    def _decode_json(
        self, topic: str, text: bytes, arrival: Instant, events: list[Event], rejected: list[str]
    ) -> None:
        if topic == TOPIC_FROM_PAYLOAD:
            self._json_decoder.decode_recorded_lines(text, arrival, events, rejected)
        else:
            self._json_decoder.decode(topic, text, arrival, events, rejected)

    def _get_cached_codec(self, value: bytes) -> tuple[AvroCodec | None, int]:
        if self._registry is None:
            raise ValueError(_NO_REGISTRY_MESSAGE)
        if len(value) < _HEADER_BYTES:
            raise ValueError(f"it ends after {len(value)} bytes, before the number of its schema")
        schema_id = int.from_bytes(value[1:_HEADER_BYTES], "big")
        schema = self._registry.get_cached_schema(schema_id)
        if schema is None or schema.problem:
            reason = schema.problem if schema else "its schema is not at hand"
            raise ValueError(f"schema {schema_id}: {reason}")
        return schema.codec, schema_id

    def _get_resolution(
        self, names: tuple[str, str], schema_id: int, codec: AvroCodec
    ) -> SchemaResolution | None:
        """Returns what to fill in; also records the fields at the first message of a schema."""
        topic, kafka_topic = names
        key = kafka_topic, schema_id
        if key not in self._resolutions:
            latest = self._latest_codecs.get(kafka_topic)
            self._resolutions[key] = resolve_schemas(codec, latest) if latest is not None else None
            self._field_schemas[topic] = (latest or codec).fields
        return self._resolutions[key]

    def _parse_event_time(
        self, fields: Mapping[str, Any], codec: AvroCodec, arrival: Instant
    ) -> Instant:
        name = self._time_field
        if not name:
            return arrival
        if name not in fields:
            raise ValueError(f"it has no field {name!r}, which is to hold the time")
        timestamp = fields[name]
        unit = codec.time_units.get(name)
        if unit is not None and isinstance(timestamp, int):
            return normalize_time(timestamp * unit, timestamp, name, self._is_tai)
        return parse_time(timestamp, name, self._is_tai)
