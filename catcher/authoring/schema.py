"""JSON Schemas (draft 2020-12) of what a site's authors write, for their editors."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

from catcher.authoring.field_checks import TopicFields
from catcher.authoring.schema_parts import Schema
from catcher.authoring.schema_rule import build_rule_schema
from catcher.authoring.schema_site import build_routes_schema, build_site_schema
from catcher.model.telemetry import FieldInfo
from catcher.site import Adapters

SchemaFile = Literal["rule", "site", "routes"]


def build_schema(
    file: SchemaFile, adapters: Adapters, topic_fields: TopicFields | None = None
) -> Schema:
    """Builds the schema of a rule document, of `catcher.yaml` or of `alerts/routes.yaml`.
    It is as strict as the loader about keys and words, and leaves to `catcher check` what needs
    more than the text of one document: expressions, templates, names of jobs and sinks. The topics
    in `topic_fields` are offered wherever a rule names one, and show their fields.
    """
    if file == "rule":
        return _add_topics(build_rule_schema(), topic_fields or {})
    return build_site_schema(adapters) if file == "site" else build_routes_schema(adapters)


def _add_topics(schema: Schema, topic_fields: TopicFields) -> Schema:
    """Returns the schema with the known topics wherever a topic is named."""
    if not topic_fields:
        return schema
    schema = deepcopy(schema)
    topic_schemas: list[Schema] = [
        {"const": topic, "description": "\n".join(map(_format_field, fields))}
        for topic, fields in topic_fields.items()
    ]
    schema["$defs"]["topic"] = {"anyOf": [{"$ref": "#/$defs/text"}, *topic_schemas]}
    _replace_topic_refs(schema)
    return schema


def _replace_topic_refs(node: Any) -> None:
    """Replaces references to a text by references to a topic, wherever a topic is named."""
    if isinstance(node, list):
        for child in node:
            _replace_topic_refs(child)
    if not isinstance(node, dict):
        return
    for name, child in node.get("properties", {}).items():
        if name in ("event", "telemetry", "topic") and child.get("$ref") == "#/$defs/text":
            child["$ref"] = "#/$defs/topic"
    for child in node.values():
        _replace_topic_refs(child)


def _format_field(field: FieldInfo) -> str:
    unit = f" ({field.unit})" if field.unit else ""
    return f"{field.name}{unit}: {field.about}" if field.about else f"{field.name}{unit}"
