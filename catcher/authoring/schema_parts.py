"""The building blocks of the JSON Schemas of a site's files."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (Path, "string"),
)


def ref(name: str, description: str = "") -> Schema:
    """A reference to a name of the document's `$defs`."""
    return {"$ref": f"#/$defs/{name}", **({"description": description} if description else {})}


def enum_of(description: str, *options: str, default: str = "") -> Schema:
    """One of several words."""
    return _add_description({"enum": list(options)}, description, default)


def flag(description: str, default: bool) -> Schema:
    """`true` or `false`."""
    return {"type": "boolean", "description": description, "default": default}


def number_in(description: str, minimum: float, maximum: float, is_integer: bool = True) -> Schema:
    """A number within limits."""
    type_name = "integer" if is_integer else "number"
    return {"type": type_name, "minimum": minimum, "maximum": maximum, "description": description}


def list_of(items: Schema, description: str = "", min_items: int = 0) -> Schema:
    """A list."""
    schema: Schema = {"type": "array", "items": items}
    return _add_description({**schema, "minItems": min_items} if min_items else schema, description)


def map_of(items: Schema, description: str = "", pattern: str = "") -> Schema:
    """A mapping whose keys are user-defined names."""
    schema: Schema = {"type": "object", "additionalProperties": items}
    if pattern:
        schema["propertyNames"] = {"pattern": pattern}
    return _add_description(schema, description)


def object_of(
    properties: Mapping[str, Schema], description: str = "", required: tuple[str, ...] = ()
) -> Schema:
    """A mapping with these keys and no others."""
    schema: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": dict(properties),
    }
    if required:
        schema["required"] = list(required)
    return _add_description(schema, description)


def any_of(description: str, *options: Schema) -> Schema:
    """One of several forms."""
    return _add_description({"anyOf": list(options)}, description)


def build_schema_document(title: str, root: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Builds a complete schema, with the common definitions."""
    return {
        "$schema": DIALECT,
        "title": title,
        **root,
        "$defs": {**_COMMON_DEFINITIONS, **definitions},
    }


def build_settings_schema(cls: type) -> Schema:
    """Builds the schema of an adapter's settings class, as `site.settings_binding` reads it."""
    hints = get_type_hints(cls)
    missing = dataclasses.MISSING
    properties, required = {}, []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        key = field.metadata.get("key", field.name.rstrip("_"))
        properties[key] = _build_setting_schema(hints[field.name], str(field.type))
        if field.default is missing and field.default_factory is missing:
            required.append(key)
        elif isinstance(field.default, str | int | float | bool) and "$ref" not in properties[key]:
            properties[key]["default"] = field.default
    description = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
    return object_of(properties, description, tuple(required))


def _build_setting_schema(annotation: Any, annotation_text: str) -> Schema:
    options = (
        get_args(annotation)
        if get_origin(annotation) in (Union, types.UnionType)
        else (annotation,)
    )
    members = [option for option in options if option is not type(None)]
    if int in members and "Span" in annotation_text:
        return ref("duration")
    if int in members and "Size" in annotation_text:
        return ref("size")
    schemas = [_build_type_schema(option) for option in members]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _build_type_schema(annotation: Any) -> Schema:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return {"enum": list(arguments)}
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return build_settings_schema(annotation)
    if origin in (dict, Mapping):
        return map_of(_build_type_schema(arguments[1]))
    if origin in (tuple, list, set, frozenset):
        items = _build_type_schema(arguments[0])
        return (
            {"anyOf": [items, list_of(items)]} if items.get("type") == "string" else list_of(items)
        )
    for simple_type, type_name in _TYPES:
        if annotation is simple_type:
            # `${NAME}` may give a number or a truth value, too.
            return {"type": type_name} if type_name == "string" else {"type": [type_name, "string"]}
    return {}


def _add_description(schema: Schema, description: str, default: str = "") -> Schema:
    return {
        **schema,
        **({"description": description} if description else {}),
        **({"default": default} if default else {}),
    }


_COMMON_DEFINITIONS: Mapping[str, Schema] = {
    "text": {"type": ["string", "number", "boolean"]},
    "texts": {"anyOf": [ref("text"), list_of(ref("text"))]},
    "labels": map_of(ref("text")),
    "duration": {
        "type": "string",
        "pattern": r"^(\d{1,15}(\.\d{1,9})?(ns|us|ms|s|m|h|d|w))+$",
        "description": "A span of time, such as 500ms, 30s, 5m, 1h30m or 2d.",
    },
    "size": {
        "type": ["string", "integer"],
        "pattern": r"^\d{1,12}(\.\d{1,3})? ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$",
        "description": "A number of bytes, such as 512MB or 2GiB.",
    },
    "expression": {
        "type": ["string", "number"],
        "description": (
            "An expression over the event's fields and the names of `reads`, `let` and `with`: "
            "arithmetic, comparison, and, or, not, and functions such as mean(speed, '5m'), "
            "rate, slope, previous, streak, age. docs/functions.md lists them. One with a comma "
            "stands on a line of its own, or in quotes."
        ),
    },
}
