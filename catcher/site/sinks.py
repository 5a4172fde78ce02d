"""What is wrong with a site's own sinks and the templates among the settings of sinks."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from catcher.model.problem import Place, Problem
from catcher.site.binding import Section
from catcher.site.drafts import check_text
from catcher.site.nodes import Scalar, scalars

_TEMPLATES = ("json", "template")
_WANTED = "write def deliver(notice, message, settings): …, async or not"


def check_templates(sinks: Mapping[str, Section]) -> Iterable[Problem]:
    """The templates of HTTP sinks, each problem at its place."""
    for section in sinks.values():
        if section.kind != "http":
            continue
        for key in _TEMPLATES:
            node = section.node.get(key)
            for scalar in scalars(node) if node is not None else ():
                yield from _check(scalar)


def _check(scalar: Scalar) -> Iterable[Problem]:
    if isinstance(scalar.value, str) and not scalar.secret and "{" in scalar.text:
        yield from check_text(scalar.text, scalar.place)


def check_code(text: str, file: str) -> list[Problem]:
    """Whether a file defines a sink. It is read, not run."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        column = getattr(error, "offset", None) or 1
        words = getattr(error, "msg", None) or str(error)
        return [Problem(Place(file, line, max(column, 1)), f"this is no Python: {words}", "")]
    except (RecursionError, MemoryError):
        return [Problem(Place(file, 1, 1), "the code is nested too deeply", "write it flatter")]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "deliver":
            return [] if _takes_three(node.args) else [_misfit(file, node)]
        if _names(node):
            return []
    return [Problem(Place(file, 1, 1), "no function `deliver` is in this file", _WANTED)]


def _names(node: ast.stmt) -> bool:
    """Whether a statement gives the name `deliver` to something that only running tells."""
    if isinstance(node, ast.Assign):
        return any(isinstance(one, ast.Name) and one.id == "deliver" for one in node.targets)
    if isinstance(node, ast.Import | ast.ImportFrom):
        return any((one.asname or one.name) == "deliver" for one in node.names)
    return isinstance(node, ast.ClassDef) and node.name == "deliver"


def _takes_three(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    needed = positional - len(arguments.defaults)
    extra = [default for default in arguments.kw_defaults if default is None]
    return not extra and needed <= 3 and (positional >= 3 or arguments.vararg is not None)


def _misfit(file: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Problem:
    place = Place(file, node.lineno, node.col_offset + 1)
    return Problem(place, "`deliver` does not take what it is called with", _WANTED)
