"""Avro messages as fields, schemas that grow, and bytes that lie."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.transport.avro import avro_to_json_value, compile_schema, resolve_schemas
from tests.kafka_servers import avro_schema, encode_message

WIND = avro_schema(
    "airFlow",
    ("private_sndStamp", "double", {"units": "second", "description": "Time of sending. TAI."}),
    ("salIndex", "int"),
    ("speed", ["null", "double"], {"units": "m/s", "description": "Mean wind\n speed."}),
    ("name", {"type": "string", "units": "unitless"}, {"doc": "Who."}),
    ("values", {"type": "array", "items": "float"}),
)
FIELDS = {"private_sndStamp": 1.5, "salIndex": 3, "speed": 7.5, "name": "x", "values": [1.0, 2.0]}


def test_a_message_is_read_with_its_schema_units_and_descriptions() -> None:
    codec = compile_schema(json.dumps(WIND))
    assert codec.decode(encode_message(1, WIND, FIELDS), 5) == FIELDS
    descriptions = {field.name: (field.type, field.unit, field.about) for field in codec.fields}
    assert descriptions["speed"] == ("float", "m/s", "Mean wind speed.")
    assert descriptions["name"] == ("string", "unitless", "Who.")
    assert descriptions["values"] == ("float", "", "")


@pytest.mark.parametrize(
    ("kind", "value", "nanoseconds"),
    [("timestamp-millis", 1_700_000_000_123, 10**6), ("timestamp-micros", 17, 1000)],
)
def test_a_logical_time_stays_a_number_whose_unit_is_known(
    kind: str, value: int, nanoseconds: int
) -> None:
    schema = avro_schema("a", ("when", {"type": "long", "logicalType": kind}))
    codec = compile_schema(json.dumps(schema))
    plain_schema = avro_schema("a", ("when", "long"))
    assert codec.decode(encode_message(1, plain_schema, {"when": value}), 5) == {"when": value}
    assert codec.time_units == {"when": nanoseconds}


def test_what_json_does_not_have_becomes_what_it_has() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}
    counts = {"type": "map", "values": "int"}
    other_fields = (("b", "bytes"), ("n", "double"), ("m", counts))
    schema, written = (
        avro_schema("a", ("d", decimal), *other_fields),
        avro_schema("a", ("d", "bytes"), *other_fields),
    )
    fields = {"d": (1234).to_bytes(2, "big"), "b": b"\xffz", "n": math.nan, "m": {"k": 1}}
    read = compile_schema(json.dumps(schema)).decode(encode_message(1, written, fields), 5)
    assert {name: avro_to_json_value(value) for name, value in read.items()} == {
        "d": 12.34, "b": "\N{REPLACEMENT CHARACTER}z", "n": None, "m": {"k": 1},
    }  # fmt: skip


def test_an_older_message_gains_added_fields_and_keeps_dropped_ones() -> None:
    old = avro_schema("a", ("gone", "int"), ("whole", "int"))
    new = avro_schema("a", ("whole", "double"), ("more", "string", {"default": "none"}))
    writer, newest = compile_schema(json.dumps(old)), compile_schema(json.dumps(new))
    change = resolve_schemas(writer, newest)
    assert change is not None
    read = change.resolve_fields(writer.decode(encode_message(1, old, {"gone": 1, "whole": 2}), 5))
    assert read == {"gone": 1, "whole": 2.0, "more": "none"}
    assert isinstance(read["whole"], float)
    assert resolve_schemas(newest, newest) is None


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{", "cannot be used"),
        ('{"type": "record"}', "cannot be used"),
        (json.dumps(avro_schema("a", ("x", "no.such.type"))), "no.such.type"),
        (json.dumps(avro_schema("a", ("x", ["null", "lsst.sal.a"]))), "contains itself"),
        (json.dumps(avro_schema("a", ("x", {"type": "array", "items": "null"}))), "no bound"),
        ("[" * 300 + '"int"' + "]" * 300, "deep"),
        ('{"type": "array", "items": {"type": "fixed", "name": "f", "size": 0}}', "no bound"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_schema(schema)


@pytest.mark.parametrize("cut", [1, 7, -1])
def test_a_message_that_does_not_fit_its_schema_is_refused(cut: int) -> None:
    codec = compile_schema(json.dumps(WIND))
    message = encode_message(1, WIND, FIELDS)[5:]
    with pytest.raises(ValueError, match="does not fit its schema"):
        codec.decode(message[:cut])
    with pytest.raises(ValueError, match="3 bytes are left over"):
        codec.decode(message + b"abc")


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_an_error(payload: bytes) -> None:
    nested: dict[str, Any] = avro_schema("b", ("s", ["null", "string", "bytes"]))
    schema = avro_schema(
        "a", ("e", {"type": "enum", "name": "e", "symbols": ["A", "B"]}), ("n", nested),
        ("l", {"type": "array", "items": {"type": "map", "values": "long"}}),
    )  # fmt: skip
    try:
        read = compile_schema(json.dumps(schema)).decode(payload)
    except ValueError as error:
        assert "does not fit its schema" in str(error)
    else:
        json.dumps(
            {name: avro_to_json_value(value) for name, value in read.items()}, allow_nan=False
        )
