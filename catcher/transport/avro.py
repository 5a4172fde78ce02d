"""Messages in Avro: decodes bytes to fields by a schema. The only module that imports fastavro.

Every message is read with the schema it was written with. Then what a newer version of the schema
adds is filled in: a new field gets its default, an integer that became floating-point is converted.
No written field is dropped.
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

_TIME_UNITS = {
    "timestamp-millis": 1_000_000, "local-timestamp-millis": 1_000_000,
    "timestamp-micros": 1_000, "local-timestamp-micros": 1_000,
    "timestamp-nanos": 1, "local-timestamp-nanos": 1,
}  # fmt: skip
_MAX_DEPTH = 32
_INTEGER_TYPES, _FLOAT_TYPES = ("int", "long"), ("float", "double")
_PRIMITIVE_TYPES = frozenset(
    ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
)
_ANNOTATION_KEYS = ("units", "unit"), ("description", "doc")
VALUE_FIELD = "value"
"""The one field of a message that is not a record."""
_CODEC_ERRORS = (
    EOFError, IndexError, KeyError, ValueError, TypeError, OverflowError, MemoryError,
    StopIteration, ArithmeticError, struct.error,
)  # fmt: skip
"""The exceptions of fastavro for bytes that do not match the schema."""

SCHEMA_ERRORS = (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType)


@dataclass(frozen=True, slots=True)
class AvroCodec:
    """A schema, ready to decode messages.

    `fields` describes its fields, `time_units` gives the nanoseconds per unit of the fields that
    the schema declares as times. `defaults` and `type_names` are for schema evolution.
    """

    fields: tuple[FieldInfo, ...]
    time_units: Mapping[str, int]
    defaults: Mapping[str, Any]
    type_names: Mapping[str, str]
    _schema: Any = field(repr=False)
    _is_record: bool = True

    def decode(self, payload: bytes, start: int = 0) -> dict[str, Any]:
        """Returns the fields of a message. Raises ValueError if it does not match the schema."""
        stream = io.BytesIO(payload)
        stream.seek(start)
        try:
            value: Any = fastavro.schemaless_reader(stream, self._schema, None)
        except _CODEC_ERRORS as error:
            reason = str(error) or type(error).__name__
            raise ValueError(f"it does not fit its schema: {reason[:120]}") from None
        if stream.tell() != len(payload):
            remaining = len(payload) - stream.tell()
            raise ValueError(f"it does not fit its schema: {remaining} bytes are left over")
        return value if self._is_record else {VALUE_FIELD: value}

    def encode(self, fields: Mapping[str, Any]) -> bytes:
        """Encodes a message. Raises ValueError if the fields do not match the schema."""
        stream = io.BytesIO()
        try:
            fastavro.schemaless_writer(stream, self._schema, dict(fields))
        except (*_CODEC_ERRORS, AttributeError) as error:
            raise ValueError(f"it does not fit its schema: {error}") from None
        return stream.getvalue()


@dataclass(frozen=True, slots=True)
class SchemaResolution:
    """What a newer version of a schema adds to messages of an older one."""

    added_defaults: Mapping[str, Any]
    promoted_fields: tuple[str, ...]

    def resolve_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Returns the fields of the newer version, together with those that it has dropped."""
        for name in self.promoted_fields:
            value = fields[name]
            if isinstance(value, int) and not isinstance(value, bool):
                fields[name] = float(value)
        return {**self.added_defaults, **fields} if self.added_defaults else fields


def resolve_schemas(writer: AvroCodec, latest: AvroCodec) -> SchemaResolution | None:
    """Returns the resolution from one schema version to another; None if nothing changes."""
    added_defaults = {
        name: value for name, value in latest.defaults.items() if name not in writer.type_names
    }
    promoted_fields = tuple(
        name
        for name, type_name in writer.type_names.items()
        if type_name in _INTEGER_TYPES and latest.type_names.get(name) in _FLOAT_TYPES
    )
    return (
        SchemaResolution(added_defaults, promoted_fields)
        if added_defaults or promoted_fields
        else None
    )


def avro_to_json_value(value: Any) -> Any:
    """Converts a value of a message to JSON: non-finite numbers become None, bytes become text."""
    value_type = type(value)
    if value_type is float:
        return value if math.isfinite(value) else None
    if value_type is int or value_type is str or value_type is bool or value is None:
        return value
    if value_type is dict:
        return {name: avro_to_json_value(item) for name, item in value.items()}
    if value_type is list:
        return [avro_to_json_value(item) for item in value]
    if isinstance(value, Decimal):
        return float(value)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def compile_schema(text: str, references: Mapping[str, Any] | None = None) -> AvroCodec:
    """Compiles a schema from its JSON text. Raises ValueError if it cannot be used.

    `references` are other schemas by the names of their types.
    """
    try:
        document = json.loads(text)
        named_schemas: dict[str, Any] = {}
        for referenced in (references or {}).values():
            fastavro.parse_schema(_strip_logical_types(referenced, 0), named_schemas=named_schemas)
        schema = fastavro.parse_schema(
            _strip_logical_types(document, 0), named_schemas=named_schemas
        )
        _check_schema_bounds(schema, named_schemas, ())
    except RecursionError:
        raise ValueError("the schema is nested too deep") from None
    except (*SCHEMA_ERRORS, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the schema cannot be used: {str(error)[:200]}") from None
    if not (isinstance(document, dict) and document.get("type") == "record"):
        return AvroCodec((), {}, {}, {}, schema, _is_record=False)
    return _build_record_codec(document, schema)


def _build_record_codec(document: Mapping[str, Any], schema: Any) -> AvroCodec:
    fields = [entry for entry in document["fields"] if isinstance(entry, dict)]
    type_names = {entry["name"]: _get_type_name(entry["type"]) for entry in fields}
    field_infos = tuple(
        FieldInfo(
            entry["name"],
            _type_name_to_field_type(type_names[entry["name"]]),
            *(_get_annotation(entry, keys) for keys in _ANNOTATION_KEYS),
        )
        for entry in fields
    )
    time_units = {
        entry["name"]: _TIME_UNITS[logical_type]
        for entry in fields
        if (logical_type := _get_logical_type(entry["type"])) in _TIME_UNITS
    }
    defaults = {entry["name"]: entry["default"] for entry in fields if "default" in entry}
    return AvroCodec(field_infos, time_units, defaults, type_names, schema)


def _type_name_to_field_type(type_name: str) -> FieldType:
    """Returns the field type of a type name; that of an array is its items'."""
    item_type = type_name.removeprefix("array of ")
    types: dict[str, FieldType] = {
        "boolean": "boolean", "int": "integer", "long": "integer", "float": "float",
        "double": "float",
    }  # fmt: skip
    return types.get(item_type, "string")


def _get_annotation(entry: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """Returns an annotation of a field, given on the field or on its type."""
    candidates = [
        entry,
        *(branch for branch in _list_union_branches(entry["type"]) if isinstance(branch, dict)),
    ]
    texts = (str(candidate[key]) for candidate in candidates for key in keys if candidate.get(key))
    return " ".join(next(texts, "").split())[:500]


def _list_union_branches(schema: Any) -> list[Any]:
    return schema if isinstance(schema, list) else [schema]


def _get_type_name(schema: Any) -> str:
    """Returns the name of a type; for a union that of its non-null branch."""
    branches = [branch for branch in _list_union_branches(schema) if branch != "null"]
    if len(branches) != 1:
        return "union"
    (branch,) = branches
    if isinstance(branch, dict):
        inner_type = branch.get("type")
        return (
            f"array of {_get_type_name(branch.get('items'))}"
            if inner_type == "array"
            else str(_get_type_name(inner_type))
        )
    return branch if isinstance(branch, str) else "union"


def _get_logical_type(schema: Any) -> str:
    logical_types = [
        str(branch.get("logicalType", ""))
        for branch in _list_union_branches(schema)
        if isinstance(branch, dict)
    ]
    return logical_types[0] if logical_types else ""


def _strip_logical_types(schema: Any, depth: int) -> Any:
    """Removes logical types other than decimals from the schema: times remain numbers."""
    if depth > 4 * _MAX_DEPTH:
        raise RecursionError
    if isinstance(schema, list):
        return [_strip_logical_types(value, depth + 1) for value in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value
        if name in ("default", "doc", "description")
        else _strip_logical_types(value, depth + 1)
        for name, value in schema.items()
        if not (name == "logicalType" and value != "decimal")
    }


def _check_schema_bounds(
    schema: Any, named_types: Mapping[str, Any], enclosing: tuple[str, ...]
) -> None:
    """Raises ValueError for types that a few bytes could expand without limit.

    These are types that contain themselves, and arrays whose items take no bytes.
    """
    if len(enclosing) > _MAX_DEPTH:
        raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
    if isinstance(schema, str) and schema not in _PRIMITIVE_TYPES:
        if schema in enclosing:
            raise ValueError(f"its type {schema} contains itself")
        schema = named_types.get(schema, schema)
    if isinstance(schema, list):
        for child in schema:
            _check_schema_bounds(child, named_types, (*enclosing, ""))
    if not isinstance(schema, dict):
        return
    if schema.get("type") in ("array", "map"):
        items = schema.get("items", schema.get("values"))
        if schema["type"] == "array" and _is_zero_size(items, named_types):
            raise ValueError("an array whose items take no bytes has no bound")
        _check_schema_bounds(items, named_types, (*enclosing, ""))
    nested = (*enclosing, str(schema.get("name", "")))
    for child in schema.get("fields", ()):
        _check_schema_bounds(child["type"], named_types, nested)


def _is_zero_size(schema: Any, named_types: Mapping[str, Any]) -> bool:
    """True if a value takes no bytes at all."""
    if isinstance(schema, str):
        return schema == "null" or (
            schema not in _PRIMITIVE_TYPES and _is_zero_size(named_types.get(schema), named_types)
        )
    if not isinstance(schema, dict):
        return False
    if schema.get("type") == "fixed":
        return not schema.get("size")
    fields = schema.get("fields")
    return schema.get("type") in ("null",) or (
        fields is not None
        and all(_is_zero_size(field_schema["type"], named_types) for field_schema in fields)
    )
