"""Checks a site's custom sinks and the templates among the settings of sinks."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from catcher.model.errors import Problem, SourceLocation
from catcher.site.rule_loading import check_template_text
from catcher.site.settings_binding import AdapterSection
from catcher.site.yaml_tree import YamlScalar, iter_scalars

_TEMPLATE_KEYS = ("json", "template")
_DELIVER_HINT = "write def deliver(notice, message, settings): …, async or not"


def check_http_sink_templates(sinks: Mapping[str, AdapterSection]) -> Iterable[Problem]:
    """Checks the templates of HTTP sinks; yields each problem at its location."""
    for section in sinks.values():
        if section.kind != "http":
            continue
        for key in _TEMPLATE_KEYS:
            node = section.node.get(key)
            for scalar in iter_scalars(node) if node is not None else ():
                yield from _check_scalar_template(scalar)


def _check_scalar_template(scalar: YamlScalar) -> Iterable[Problem]:
    if isinstance(scalar.value, str) and not scalar.is_secret and "{" in scalar.text:
        yield from check_template_text(scalar.text, scalar.location)


def check_sink_code(text: str, file: str) -> list[Problem]:
    """Checks that a file defines a sink. The file is parsed, not run."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        column = getattr(error, "offset", None) or 1
        error_text = getattr(error, "msg", None) or str(error)
        return [
            Problem(
                SourceLocation(file, line, max(column, 1)), f"this is no Python: {error_text}", ""
            )
        ]
    except (RecursionError, MemoryError):
        return [
            Problem(SourceLocation(file, 1, 1), "the code is nested too deeply", "write it flatter")
        ]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "deliver":
            return (
                []
                if _accepts_three_arguments(node.args)
                else [_build_signature_problem(file, node)]
            )
        if _binds_deliver(node):
            return []
    return [
        Problem(SourceLocation(file, 1, 1), "no function `deliver` is in this file", _DELIVER_HINT)
    ]


def _binds_deliver(node: ast.stmt) -> bool:
    """True if a statement binds the name `deliver` to something that only running it reveals."""
    if isinstance(node, ast.Assign):
        return any(
            isinstance(target, ast.Name) and target.id == "deliver" for target in node.targets
        )
    if isinstance(node, ast.Import | ast.ImportFrom):
        return any((imported.asname or imported.name) == "deliver" for imported in node.names)
    return isinstance(node, ast.ClassDef) and node.name == "deliver"


def _accepts_three_arguments(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required_count = positional - len(arguments.defaults)
    required_keywords = [default for default in arguments.kw_defaults if default is None]
    return (
        not required_keywords
        and required_count <= 3
        and (positional >= 3 or arguments.vararg is not None)
    )


def _build_signature_problem(file: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Problem:
    location = SourceLocation(file, node.lineno, node.col_offset + 1)
    return Problem(location, "`deliver` does not take what it is called with", _DELIVER_HINT)
