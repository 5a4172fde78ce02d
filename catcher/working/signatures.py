"""What a job file says of its jobs, read without running it.

A file is parsed, never imported, so that one that hangs, prints or fails on import harms only
its own runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from catcher.model.problem import Place, Problem

Function = ast.FunctionDef | ast.AsyncFunctionDef
SHARED = ("lib", "jobs")
"""Top names by which people try to import `jobs/lib/`, which is `from .lib import ...`."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a job; `annotation` and `default` are their text, empty without one."""

    name: str
    annotation: str = ""
    default: str = ""

    @property
    def required(self) -> bool:
        """Whether a run cannot go without it."""
        return not self.default

    @property
    def optional(self) -> bool:
        """Whether None will do where nothing is known."""
        return not self.required or "None" in self.annotation or "Optional" in self.annotation


@dataclass(frozen=True, slots=True)
class Signature:
    """How a job is called. `open` tells that it takes any further argument (`**kwargs`)."""

    name: str
    function: str
    parameters: tuple[Parameter, ...] = ()
    open: bool = False
    is_async: bool = False
    doc: str = ""
    place: Place = field(default=Place())

    def __getitem__(self, name: str) -> Parameter:
        return next(one for one in self.parameters if one.name == name)

    def takes(self, name: str) -> bool:
        """Whether an argument of this name may be given."""
        return self.open or any(one.name == name for one in self.parameters)

    def names(self, name: str) -> bool:
        """Whether an argument of exactly this name is written down."""
        return any(one.name == name for one in self.parameters)


def read_signatures(source: bytes, file: str) -> tuple[list[Signature], list[Problem]]:
    """The jobs of one file and what is wrong with it; `file` is how problems name it."""
    try:
        tree = ast.parse(source, file)
    except SyntaxError as error:
        place = Place(file, error.lineno or 1, error.offset or 1)
        return [], [Problem(place, f"this is no Python: {error.msg}", "mend the syntax")]
    except (ValueError, RecursionError, MemoryError) as error:
        return [], [Problem(Place(file, 1, 1), f"this is no Python: {error}", "rewrite the file")]
    signatures, problems = [], list(_wrong_imports(tree, file))
    for function in tree.body:
        if isinstance(function, Function) and (mark := _mark(function)) is not None:
            signatures.append(_signature(function, _name(mark, function), file))
            problems.extend(_unnameable(function, file))
    return signatures, problems


def _mark(function: Function) -> ast.expr | None:
    """The decorator that makes it a job: `job`, `catcher.job`, bare or called."""
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if ast.unparse(called) in ("job", "catcher.job"):
            return decorator
    return None


def _name(mark: ast.expr, function: Function) -> str:
    for keyword in mark.keywords if isinstance(mark, ast.Call) else ():
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value) or function.name
    return function.name


def _signature(function: Function, name: str, file: str) -> Signature:
    given = function.args
    positional = given.posonlyargs + given.args
    bare = len(positional) - len(given.defaults)
    defaults: list[ast.expr | None] = [None] * bare + list(given.defaults)
    pairs = [*zip(positional, defaults, strict=True)]
    pairs += zip(given.kwonlyargs, given.kw_defaults, strict=True)
    return Signature(
        name=name,
        function=function.name,
        parameters=tuple(_parameter(argument, default) for argument, default in pairs),
        open=given.kwarg is not None,
        is_async=isinstance(function, ast.AsyncFunctionDef),
        doc=ast.get_docstring(function) or "",
        place=Place(file, function.lineno, function.col_offset + 1),
    )


def _parameter(argument: ast.arg, default: ast.expr | None) -> Parameter:
    annotation = "" if argument.annotation is None else _text(argument.annotation)
    return Parameter(argument.arg, annotation, "" if default is None else ast.unparse(default))


def _text(annotation: ast.expr) -> str:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return ast.unparse(annotation)


def _unnameable(function: Function, file: str) -> Iterator[Problem]:
    """Arguments that no rule can give, because arguments bind by name."""
    for argument in function.args.posonlyargs:
        place = Place(file, argument.lineno, argument.col_offset + 1)
        yield Problem(
            place,
            f"{function.name} takes {argument.arg!r} by position only, arguments bind by name",
            "remove the `/`",
        )


def _wrong_imports(tree: ast.Module, file: str) -> Iterator[Problem]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for name in _imported(node):
            if name.split(".")[0] in SHARED:
                yield Problem(
                    Place(file, node.lineno, node.col_offset + 1),
                    f"shared code cannot be imported as {name!r}",
                    "write `from .lib import NAME` for jobs/lib/NAME.py",
                )


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that a statement imports from the top, none for a relative import."""
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    return [node.module or ""] if node.level == 0 else []
