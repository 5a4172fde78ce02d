"""The page `/docs`: every operation, rendered from the API's own description, without a script.
FastAPI's own page loads its viewer from the internet, which an observatory's network may not have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 56rem; padding: 0 1rem;
       color: #1c2430; background: #fff }
h2 { font-size: 1rem; margin: 2rem 0 .25rem; border-top: 1px solid #d5dae1; padding-top: .75rem }
code, pre { font: 14px/1.5 ui-monospace, monospace }
pre { background: #f3f5f8; padding: .5rem .75rem; overflow-x: auto }
table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0; vertical-align: top }
.method { color: #0b5cad }
@media (prefers-color-scheme: dark) { body { color: #dfe5ee; background: #14181f }
  pre { background: #1e242e } h2 { border-color: #333c49 } .method { color: #7fb8f0 } }
"""


def add_docs_page(api: FastAPI) -> None:
    """Adds the page."""

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse("".join(render_docs_page(api.openapi())), headers=_HEADERS)


def render_docs_page(openapi: Mapping[str, Any]) -> Iterator[str]:
    """Renders the page for an OpenAPI description."""
    title = escape(openapi["info"]["title"])
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}: API</title>"
    yield f"<style>{_STYLE}</style><h1>{title}: API</h1>"
    yield f"<p>{escape(openapi['info'].get('description', ''))}</p>"
    yield "<p>A refusal has the form <code>{&quot;error&quot;, &quot;hint&quot;}</code>. The whole "
    yield 'description is at <a href="/openapi.json">/openapi.json</a>.</p>'
    schemas = openapi.get("components", {}).get("schemas", {})
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            yield from _render_operation(path, method, operation, schemas)


def _render_operation(
    path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]
) -> Iterator[str]:
    name = f"{method} {path}"
    yield f"<h2 id={escape(json.dumps(name))}><code><span class=method>{escape(method.upper())}"
    yield (
        f"</span> {escape(path)}</code></h2><p>"
        f"{_format_code_spans(operation.get('description', ''))}</p>"
    )
    rows = [
        (
            parameter["name"],
            parameter["in"],
            parameter.get("required", False),
            parameter.get("schema", {}),
        )
        for parameter in operation.get("parameters", ())
    ]
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("schema", {})
    body = schemas.get(str(body.get("$ref", "")).rpartition("/")[2], body)
    required_fields = body.get("required", ())
    rows += [
        (field, "body", field in required_fields, schema)
        for field, schema in body.get("properties", {}).items()
    ]
    if rows:
        yield "<table>"
        for field, location, required, schema in rows:
            description = (
                f"{_format_schema_type(schema)}{'' if required else ', ' + _format_default(schema)}"
            )
            yield f"<tr><td><code>{escape(field)}</code><td>{location}<td>{escape(description)}"
        yield "</table>"
    yield f"<pre>{escape(_build_curl_example(path, method, bool(rows and content)))}</pre>"


def _format_code_spans(text: str) -> str:
    """Formats a text with its parts in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _format_schema_type(schema: Mapping[str, Any]) -> str:
    type_names = [option.get("type", "any") for option in schema.get("anyOf", (schema,))]
    return " or ".join(
        "nothing" if type_name == "null" else str(type_name) for type_name in type_names
    )


def _format_default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    return f"default {json.dumps(default)}" if default not in (None, "") else "optional"


def _build_curl_example(path: str, method: str, has_body: bool) -> str:
    if method == "get":
        return f"curl http://127.0.0.1:8787{path}"
    data = " -d '{…}'" if has_body or path.startswith(("/events", "/http")) else ""
    command = f"curl -X {method.upper()} http://127.0.0.1:8787{path}"
    return f"{command} -H 'Content-Type: application/json'{data}"
