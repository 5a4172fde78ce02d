"""As much of JSON Schema as Catcher's own schemas use; anything else in them is an error here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "number": (int, float),
    "integer": (int,), "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
ANNOTATION_KEYWORDS = {"$schema", "$defs", "title", "description", "default"}
SUPPORTED_KEYWORDS = {
    "$ref", "type", "enum", "const", "properties", "required", "additionalProperties",
    "propertyNames", "minProperties", "maxProperties", "items", "minItems", "pattern", "minimum",
    "maximum", "anyOf", "oneOf", "not",
}  # fmt: skip


class JsonSchemaValidator:
    """Checks documents against one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = schema

    def find_errors(self, value: Any) -> list[str]:
        """Where a document does not fit, in words; empty where it does."""
        return list(self._check(value, self._root, "$"))

    def resolve_reference(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema that a reference names; itself where it is none."""
        while "$ref" in schema:
            head, _, name = str(schema["$ref"]).rpartition("/")
            assert head == "#/$defs"
            schema = self._root["$defs"][name]
        return schema

    def _check(self, value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
        assert set(schema) <= ANNOTATION_KEYWORDS | SUPPORTED_KEYWORDS, (
            set(schema) - ANNOTATION_KEYWORDS - SUPPORTED_KEYWORDS
        )
        if "$ref" in schema:
            yield from self._check(value, self.resolve_reference(schema), path)
        if "type" in schema and not _has_type(value, schema["type"]):
            yield f"{path} is no {schema['type']}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{path} is none of {schema['enum']}"
        if "const" in schema and value != schema["const"]:
            yield f"{path} is not {schema['const']}"
        if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
            yield f"{path} does not look like {schema['pattern']}"
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if _has_type(value, "number") and not low <= value <= high:
            yield f"{path} is out of bounds"
        yield from self._check_choices(value, schema, path)
        if isinstance(value, list):
            if len(value) < schema.get("minItems", 0):
                yield f"{path} is too short"
            for index, item in enumerate(value):
                yield from self._check(item, schema.get("items", {}), f"{path}[{index}]")
        if isinstance(value, dict):
            yield from self._check_mapping(value, schema, path)

    def _check_choices(self, value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
        for keyword, max_matches in (("anyOf", len(schema.get("anyOf", ()))), ("oneOf", 1)):
            if keyword in schema:
                alternatives = [
                    list(self._check(value, subschema, path)) for subschema in schema[keyword]
                ]
                matches = sum(not errors for errors in alternatives)
                if not 1 <= matches <= max_matches:
                    yield f"{path} fits {matches} of {keyword}: {min(alternatives, key=len)}"
        if "not" in schema and not list(self._check(value, schema["not"], path)):
            yield f"{path} is what it must not be"

    def _check_mapping(
        self, value: dict[str, Any], schema: Mapping[str, Any], path: str
    ) -> Iterator[str]:
        count = len(value)
        if not schema.get("minProperties", 0) <= count <= schema.get("maxProperties", count):
            yield f"{path} has {count} keys"
        yield from (f"{path} lacks {key}" for key in schema.get("required", ()) if key not in value)
        for key, item in value.items():
            yield from self._check(key, schema.get("propertyNames", {}), f"{path}.{key}")
            subschema = schema.get("properties", {}).get(
                key, schema.get("additionalProperties", {})
            )
            if subschema is False:
                yield f"{path} has {key}"
            else:
                yield from self._check(item, subschema or {}, f"{path}.{key}")


def _has_type(value: Any, types: str | list[str]) -> bool:
    for type_name in [types] if isinstance(types, str) else types:
        if isinstance(value, TYPES[type_name]) and (
            type_name == "boolean" or not isinstance(value, bool)
        ):
            return True
    return False
