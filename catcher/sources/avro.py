"""Messages in Avro: bytes and a schema become fields. The only module that knows fastavro.

Every message is read with the schema it was written with. What a newer version of the schema
has beside is then filled in: a new field with its default, a whole number as the floating one
that it has become. Nothing that was written is left out.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import fastavro

from catcher.model.telemetry import FieldInfo, FieldType

_UNITS = {
    "timestamp-millis": 1_000_000, "local-timestamp-millis": 1_000_000,
    "timestamp-micros": 1_000, "local-timestamp-micros": 1_000,
    "timestamp-nanos": 1, "local-timestamp-nanos": 1,
}  # fmt: skip
_DEEPEST = 32
_WHOLE, _FLOATING = ("int", "long"), ("float", "double")
_PLAIN = frozenset(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
_SAID = ("units", "unit"), ("description", "doc")
VALUE = "value"
"""The one field of a message that is no record."""
_BROKEN = (
    EOFError, IndexError, KeyError, ValueError, TypeError, OverflowError, MemoryError,
    StopIteration, ArithmeticError, struct.error,
)  # fmt: skip
"""What fastavro raises for bytes that are not what the schema says."""

SchemaError = (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType)


@dataclass(frozen=True, slots=True)
class Codec:
    """A schema, ready to read messages.

    `fields` describes its fields, `times` how many nanoseconds one of a field's unit lasts
    where the schema says that it is a time. `defaults` and `kinds` are for evolution.
    """

    fields: tuple[FieldInfo, ...]
    times: Mapping[str, int]
    defaults: Mapping[str, Any]
    kinds: Mapping[str, str]
    _schema: Any = field(repr=False)
    _record: bool = True

    def read(self, payload: bytes, start: int = 0) -> dict[str, Any]:
        """The fields of a message; ValueError where it is not what the schema says."""
        stream = io.BytesIO(payload)
        stream.seek(start)
        try:
            value: Any = fastavro.schemaless_reader(stream, self._schema, None)
        except _BROKEN as error:
            why = str(error) or type(error).__name__
            raise ValueError(f"it does not fit its schema: {why[:120]}") from None
        if stream.tell() != len(payload):
            left = len(payload) - stream.tell()
            raise ValueError(f"it does not fit its schema: {left} bytes are left over")
        return value if self._record else {VALUE: value}

    def write(self, fields: Mapping[str, Any]) -> bytes:
        """A message; ValueError where the fields are not what the schema says."""
        stream = io.BytesIO()
        try:
            fastavro.schemaless_writer(stream, self._schema, dict(fields))
        except (*_BROKEN, AttributeError) as error:
            raise ValueError(f"it does not fit its schema: {error}") from None
        return stream.getvalue()


@dataclass(frozen=True, slots=True)
class Projection:
    """What a newer version of a schema adds to messages of an older one."""

    added: Mapping[str, Any]
    floating: tuple[str, ...]

    def apply(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields as the newer version has them, beside those that it has dropped."""
        for name in self.floating:
            value = fields[name]
            if isinstance(value, int) and not isinstance(value, bool):
                fields[name] = float(value)
        return {**self.added, **fields} if self.added else fields


def projection(writer: Codec, newest: Codec) -> Projection | None:
    """From one version of a schema to another; None where nothing has to be done."""
    added = {name: value for name, value in newest.defaults.items() if name not in writer.kinds}
    floating = tuple(
        name
        for name, kind in writer.kinds.items()
        if kind in _WHOLE and newest.kinds.get(name) in _FLOATING
    )
    return Projection(added, floating) if added or floating else None


def plain(value: Any) -> Any:
    """A value of a message as JSON has it: what is not finite is None, bytes are text."""
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is int or kind is str or kind is bool or value is None:
        return value
    if kind is dict:
        return {name: plain(one) for name, one in value.items()}
    if kind is list:
        return [plain(one) for one in value]
    if isinstance(value, Decimal):
        return float(value)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def compile_schema(text: str, references: Mapping[str, Any] | None = None) -> Codec:
    """A schema from its JSON text; ValueError where it cannot be used.

    `references` are other schemas by the names of their types.
    """
    try:
        given = json.loads(text)
        named: dict[str, Any] = {}
        for other in (references or {}).values():
            fastavro.parse_schema(_stripped(other, 0), named_schemas=named)
        schema = fastavro.parse_schema(_stripped(given, 0), named_schemas=named)
        _check(schema, named, ())
    except RecursionError:
        raise ValueError("the schema is nested too deep") from None
    except (*SchemaError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the schema cannot be used: {str(error)[:200]}") from None
    if not (isinstance(given, dict) and given.get("type") == "record"):
        return Codec((), {}, {}, {}, schema, _record=False)
    return _record_codec(given, schema)


def _record_codec(given: Mapping[str, Any], schema: Any) -> Codec:
    fields = [one for one in given["fields"] if isinstance(one, dict)]
    kinds = {one["name"]: _kind(one["type"]) for one in fields}
    described = tuple(
        FieldInfo(one["name"], _type(kinds[one["name"]]), *(_said(one, names) for names in _SAID))
        for one in fields
    )  # fmt: skip
    times = {
        one["name"]: _UNITS[logical]
        for one in fields
        if (logical := _logical(one["type"])) in _UNITS
    }
    defaults = {one["name"]: one["default"] for one in fields if "default" in one}
    return Codec(described, times, defaults, kinds, schema)


def _type(kind: str) -> FieldType:
    """What a field counts as; an array as its items do."""
    item = kind.removeprefix("array of ")
    types: dict[str, FieldType] = {
        "boolean": "boolean", "int": "integer", "long": "integer", "float": "float",
        "double": "float",
    }  # fmt: skip
    return types.get(item, "string")


def _said(one: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """What a field says of itself, on the field or on its type."""
    places = [one, *(kind for kind in _options(one["type"]) if isinstance(kind, dict))]
    found = (str(place[name]) for place in places for name in names if place.get(name))
    return " ".join(next(found, "").split())[:500]


def _options(kind: Any) -> list[Any]:
    return kind if isinstance(kind, list) else [kind]


def _kind(kind: Any) -> str:
    """The name of a type; of a union that of what is not null."""
    options = [one for one in _options(kind) if one != "null"]
    if len(options) != 1:
        return "union"
    (one,) = options
    if isinstance(one, dict):
        inner = one.get("type")
        return f"array of {_kind(one.get('items'))}" if inner == "array" else str(_kind(inner))
    return one if isinstance(one, str) else "union"


def _logical(kind: Any) -> str:
    found = [str(one.get("logicalType", "")) for one in _options(kind) if isinstance(one, dict)]
    return found[0] if found else ""


def _stripped(schema: Any, depth: int) -> Any:
    """The schema without logical types but decimals: times stay the numbers that they are."""
    if depth > 4 * _DEEPEST:
        raise RecursionError
    if isinstance(schema, list):
        return [_stripped(one, depth + 1) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: one if name in ("default", "doc", "description") else _stripped(one, depth + 1)
        for name, one in schema.items()
        if not (name == "logicalType" and one != "decimal")
    }


def _check(schema: Any, named: Mapping[str, Any], inside: tuple[str, ...]) -> None:
    """Refuses what a few bytes could blow up: types that contain themselves, weightless items."""
    if len(inside) > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
    if isinstance(schema, str) and schema not in _PLAIN:
        if schema in inside:
            raise ValueError(f"its type {schema} contains itself")
        schema = named.get(schema, schema)
    if isinstance(schema, list):
        for one in schema:
            _check(one, named, (*inside, ""))
    if not isinstance(schema, dict):
        return
    if schema.get("type") in ("array", "map"):
        items = schema.get("items", schema.get("values"))
        if schema["type"] == "array" and _weightless(items, named):
            raise ValueError("an array whose items take no bytes has no bound")
        _check(items, named, (*inside, ""))
    below = (*inside, str(schema.get("name", "")))
    for one in schema.get("fields", ()):
        _check(one["type"], named, below)


def _weightless(schema: Any, named: Mapping[str, Any]) -> bool:
    """Whether a value takes no bytes at all."""
    if isinstance(schema, str):
        return schema == "null" or (schema not in _PLAIN and _weightless(named.get(schema), named))
    if not isinstance(schema, dict):
        return False
    if schema.get("type") == "fixed":
        return not schema.get("size")
    fields = schema.get("fields")
    return schema.get("type") in ("null",) or (
        fields is not None and all(_weightless(one["type"], named) for one in fields)
    )
