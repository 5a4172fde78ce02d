"""The blocks that the JSON Schemas of a site's files are built from."""

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


def ref(name: str, about: str = "") -> Schema:
    """What stands under a name of the document's `$defs`."""
    return {"$ref": f"#/$defs/{name}", **({"description": about} if about else {})}


def word(about: str, *options: str, default: str = "") -> Schema:
    """One of several words."""
    return _described({"enum": list(options)}, about, default)


def flag(about: str, default: bool) -> Schema:
    """`true` or `false`."""
    return {"type": "boolean", "description": about, "default": default}


def number(about: str, low: float, high: float, whole: bool = True) -> Schema:
    """A number within limits."""
    kind = "integer" if whole else "number"
    return {"type": kind, "minimum": low, "maximum": high, "description": about}


def many(items: Schema, about: str = "", least: int = 0) -> Schema:
    """A list."""
    schema: Schema = {"type": "array", "items": items}
    return _described({**schema, "minItems": least} if least else schema, about)


def names(items: Schema, about: str = "", pattern: str = "") -> Schema:
    """A mapping whose keys are names of the user's own."""
    schema: Schema = {"type": "object", "additionalProperties": items}
    if pattern:
        schema["propertyNames"] = {"pattern": pattern}
    return _described(schema, about)


def table(
    properties: Mapping[str, Schema], about: str = "", required: tuple[str, ...] = ()
) -> Schema:
    """A mapping with these keys and no others."""
    schema: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": dict(properties),
    }
    if required:
        schema["required"] = list(required)
    return _described(schema, about)


def either(about: str, *options: Schema) -> Schema:
    """One of several forms."""
    return _described({"anyOf": list(options)}, about)


def document(title: str, root: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A whole schema; the blocks that every one needs are among its definitions."""
    return {"$schema": DIALECT, "title": title, **root, "$defs": {**_COMMON, **definitions}}


def settings(cls: type) -> Schema:
    """The keys of an adapter's settings class, as `site.binding` reads them."""
    hints = get_type_hints(cls)
    missing = dataclasses.MISSING
    properties, required = {}, []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        key = field.metadata.get("key", field.name.rstrip("_"))
        properties[key] = _setting(hints[field.name], str(field.type))
        if field.default is missing and field.default_factory is missing:
            required.append(key)
        elif isinstance(field.default, str | int | float | bool) and "$ref" not in properties[key]:
            properties[key]["default"] = field.default
    about = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
    return table(properties, about, tuple(required))


def _setting(kind: Any, written: str) -> Schema:
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    plain = [option for option in options if option is not type(None)]
    if int in plain and "Span" in written:
        return ref("duration")
    if int in plain and "Size" in written:
        return ref("size")
    forms = [_form(option) for option in plain]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _form(kind: Any) -> Schema:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return settings(kind)
    if origin in (dict, Mapping):
        return names(_form(arguments[1]))
    if origin in (tuple, list, set, frozenset):
        items = _form(arguments[0])
        return {"anyOf": [items, many(items)]} if items.get("type") == "string" else many(items)
    for simple, name in _TYPES:
        if kind is simple:
            # `${NAME}` may stand for a number or a truth value, too.
            return {"type": name} if name == "string" else {"type": [name, "string"]}
    return {}


def _described(schema: Schema, about: str, default: str = "") -> Schema:
    return {
        **schema,
        **({"description": about} if about else {}),
        **({"default": default} if default else {}),
    }


_COMMON: Mapping[str, Schema] = {
    "text": {"type": ["string", "number", "boolean"]},
    "texts": {"anyOf": [ref("text"), many(ref("text"))]},
    "labels": names(ref("text")),
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
