"""JSON Schemas (draft 2020-12) of what a site's authors write, for their editors."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

from catcher.authoring.field_checks import Described
from catcher.authoring.schema_parts import Schema
from catcher.authoring.schema_rule import rule_schema
from catcher.authoring.schema_site import routes_schema, site_schema
from catcher.model.telemetry import FieldInfo
from catcher.site import Adapters

File = Literal["rule", "site", "routes"]


def schema(file: File, adapters: Adapters, described: Described | None = None) -> Schema:
    """The schema of a rule document, of `catcher.yaml` or of `alerts/routes.yaml`.

    It is as strict as the loader about keys and words, and leaves to `catcher check` what takes
    more than the text of one document: expressions, templates, names of jobs and sinks. Topics
    whose fields are `described` are offered where a rule names one, and show their fields.
    """
    if file == "rule":
        return _offering(rule_schema(), described or {})
    return site_schema(adapters) if file == "site" else routes_schema(adapters)


def _offering(whole: Schema, described: Described) -> Schema:
    """The schema with the known topics where a topic is named."""
    if not described:
        return whole
    whole = deepcopy(whole)
    known: list[Schema] = [
        {"const": topic, "description": "\n".join(map(_line, fields))}
        for topic, fields in described.items()
    ]
    whole["$defs"]["topic"] = {"anyOf": [{"$ref": "#/$defs/text"}, *known]}
    _point(whole)
    return whole


def _point(node: Any) -> None:
    """Wherever a topic stands, it is one of those."""
    if isinstance(node, list):
        for one in node:
            _point(one)
    if not isinstance(node, dict):
        return
    for name, one in node.get("properties", {}).items():
        if name in ("event", "telemetry", "topic") and one.get("$ref") == "#/$defs/text":
            one["$ref"] = "#/$defs/topic"
    for one in node.values():
        _point(one)


def _line(field: FieldInfo) -> str:
    unit = f" ({field.unit})" if field.unit else ""
    return f"{field.name}{unit}: {field.about}" if field.about else f"{field.name}{unit}"
