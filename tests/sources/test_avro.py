"""Avro messages as fields, schemas that grow, and bytes that lie."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.sources.avro import compile_schema, plain, projection
from tests.kafka_servers import encoded, record

WIND = record(
    "airFlow",
    ("private_sndStamp", "double", {"units": "second", "description": "Time of sending. TAI."}),
    ("salIndex", "int"),
    ("speed", ["null", "double"], {"units": "m/s", "description": "Mean wind\n speed."}),
    ("name", {"type": "string", "units": "unitless"}, {"doc": "Who."}),
    ("values", {"type": "array", "items": "float"}),
)
FIELDS = {"private_sndStamp": 1.5, "salIndex": 3, "speed": 7.5, "name": "x", "values": [1.0, 2.0]}


def test_a_message_is_read_with_its_schema_which_tells_units_and_meaning() -> None:
    codec = compile_schema(json.dumps(WIND))
    assert codec.read(encoded(1, WIND, FIELDS), 5) == FIELDS
    told = {one.name: (one.type, one.unit, one.about) for one in codec.fields}
    assert told["speed"] == ("float", "m/s", "Mean wind speed.")
    assert told["name"] == ("string", "unitless", "Who.")
    assert told["values"] == ("float", "", "")


@pytest.mark.parametrize(
    ("kind", "value", "nanoseconds"),
    [("timestamp-millis", 1_700_000_000_123, 10**6), ("timestamp-micros", 17, 1000)],
)
def test_a_logical_time_stays_a_number_whose_unit_is_known(
    kind: str, value: int, nanoseconds: int
) -> None:
    schema = record("a", ("when", {"type": "long", "logicalType": kind}))
    codec = compile_schema(json.dumps(schema))
    plain_schema = record("a", ("when", "long"))
    assert codec.read(encoded(1, plain_schema, {"when": value}), 5) == {"when": value}
    assert codec.times == {"when": nanoseconds}


def test_what_json_does_not_have_becomes_what_it_has() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}
    counts = {"type": "map", "values": "int"}
    others = (("b", "bytes"), ("n", "double"), ("m", counts))
    schema, written = record("a", ("d", decimal), *others), record("a", ("d", "bytes"), *others)
    fields = {"d": (1234).to_bytes(2, "big"), "b": b"\xffz", "n": math.nan, "m": {"k": 1}}
    read = compile_schema(json.dumps(schema)).read(encoded(1, written, fields), 5)
    assert {name: plain(one) for name, one in read.items()} == {
        "d": 12.34, "b": "\N{REPLACEMENT CHARACTER}z", "n": None, "m": {"k": 1},
    }  # fmt: skip


def test_an_older_message_has_what_a_newer_schema_added_and_keeps_what_it_dropped() -> None:
    old = record("a", ("gone", "int"), ("whole", "int"))
    new = record("a", ("whole", "double"), ("more", "string", {"default": "none"}))
    writer, newest = compile_schema(json.dumps(old)), compile_schema(json.dumps(new))
    change = projection(writer, newest)
    assert change is not None
    read = change.apply(writer.read(encoded(1, old, {"gone": 1, "whole": 2}), 5))
    assert read == {"gone": 1, "whole": 2.0, "more": "none"}
    assert isinstance(read["whole"], float)
    assert projection(newest, newest) is None


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("{", "cannot be used"),
        ('{"type": "record"}', "cannot be used"),
        (json.dumps(record("a", ("x", "no.such.type"))), "no.such.type"),
        (json.dumps(record("a", ("x", ["null", "lsst.sal.a"]))), "contains itself"),
        (json.dumps(record("a", ("x", {"type": "array", "items": "null"}))), "no bound"),
        ("[" * 300 + '"int"' + "]" * 300, "deep"),
        ('{"type": "array", "items": {"type": "fixed", "name": "f", "size": 0}}', "no bound"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compile_schema(schema)


@pytest.mark.parametrize("cut", [1, 7, -1])
def test_a_message_that_does_not_fit_its_schema_says_so(cut: int) -> None:
    codec = compile_schema(json.dumps(WIND))
    message = encoded(1, WIND, FIELDS)[5:]
    with pytest.raises(ValueError, match="does not fit its schema"):
        codec.read(message[:cut])
    with pytest.raises(ValueError, match="3 bytes are left over"):
        codec.read(message + b"abc")


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_words(payload: bytes) -> None:
    nested: dict[str, Any] = record("b", ("s", ["null", "string", "bytes"]))
    schema = record(
        "a", ("e", {"type": "enum", "name": "e", "symbols": ["A", "B"]}), ("n", nested),
        ("l", {"type": "array", "items": {"type": "map", "values": "long"}}),
    )  # fmt: skip
    try:
        read = compile_schema(json.dumps(schema)).read(payload)
    except ValueError as error:
        assert "does not fit its schema" in str(error)
    else:
        json.dumps({name: plain(one) for name, one in read.items()}, allow_nan=False)
