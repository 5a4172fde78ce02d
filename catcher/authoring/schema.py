"""JSON Schemas (draft 2020-12) of what a site's authors write, for their editors."""

from __future__ import annotations

from typing import Literal

from catcher.authoring.schema_parts import Schema
from catcher.authoring.schema_rule import rule_schema
from catcher.authoring.schema_site import routes_schema, site_schema
from catcher.site import Adapters

File = Literal["rule", "site", "routes"]


def schema(file: File, adapters: Adapters) -> Schema:
    """The schema of a rule document, of `catcher.yaml` or of `alerts/routes.yaml`.

    It is as strict as the loader about keys and words, and leaves to `catcher check` what takes
    more than the text of one document: expressions, templates, names of jobs and sinks.
    """
    if file == "rule":
        return rule_schema()
    return site_schema(adapters) if file == "site" else routes_schema(adapters)
