"""Reads the signatures of the jobs in a file without running it.

A file is parsed, never imported, so that one that hangs, prints or fails on import harms only its
own runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from catcher.model.errors import Problem, SourceLocation

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
SHARED_MODULES = ("lib", "jobs")
"""Top-level names by which people try to import `jobs/lib/`; right is `from .lib import ...`."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a job; `annotation` and `default` are their text, empty without one."""

    name: str
    annotation: str = ""
    default: str = ""

    @property
    def is_required(self) -> bool:
        """Whether a run cannot do without it."""
        return not self.default

    @property
    def accepts_none(self) -> bool:
        """Whether None may be passed if nothing is known."""
        return not self.is_required or "None" in self.annotation or "Optional" in self.annotation


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature of a job. `accepts_kwargs`: it takes any further argument (`**kwargs`)."""

    name: str
    function: str
    parameters: tuple[Parameter, ...] = ()
    accepts_kwargs: bool = False
    is_async: bool = False
    doc: str = ""
    place: SourceLocation = field(default=SourceLocation())

    def __getitem__(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)

    def accepts_argument(self, name: str) -> bool:
        """Whether an argument of this name may be passed."""
        return self.accepts_kwargs or any(parameter.name == name for parameter in self.parameters)

    def has_parameter(self, name: str) -> bool:
        """Whether it has a parameter of exactly this name."""
        return any(parameter.name == name for parameter in self.parameters)


def parse_signatures(source: bytes, file: str) -> tuple[list[Signature], list[Problem]]:
    """Returns the jobs of one file and its problems; `file` is its name in problems."""
    try:
        tree = ast.parse(source, file)
    except SyntaxError as error:
        place = SourceLocation(file, error.lineno or 1, error.offset or 1)
        return [], [Problem(place, f"this is no Python: {error.msg}", "mend the syntax")]
    except (ValueError, RecursionError, MemoryError) as error:
        return [], [
            Problem(SourceLocation(file, 1, 1), f"this is no Python: {error}", "rewrite the file")
        ]
    signatures, problems = [], list(_check_lib_imports(tree, file))
    for function in tree.body:
        if (
            isinstance(function, FunctionNode)
            and (decorator := _find_job_decorator(function)) is not None
        ):
            signatures.append(_build_signature(function, _get_job_name(decorator, function), file))
            problems.extend(_check_positional_only(function, file))
    return signatures, problems


def _find_job_decorator(function: FunctionNode) -> ast.expr | None:
    """Returns the decorator that makes it a job: `job`, `catcher.job`, bare or called."""
    for decorator in function.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if ast.unparse(target) in ("job", "catcher.job"):
            return decorator
    return None


def _get_job_name(decorator: ast.expr, function: FunctionNode) -> str:
    for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value) or function.name
    return function.name


def _build_signature(function: FunctionNode, name: str, file: str) -> Signature:
    args = function.args
    positional = args.posonlyargs + args.args
    required_count = len(positional) - len(args.defaults)
    defaults: list[ast.expr | None] = [None] * required_count + list(args.defaults)
    pairs = [*zip(positional, defaults, strict=True)]
    pairs += zip(args.kwonlyargs, args.kw_defaults, strict=True)
    return Signature(
        name=name,
        function=function.name,
        parameters=tuple(_build_parameter(argument, default) for argument, default in pairs),
        accepts_kwargs=args.kwarg is not None,
        is_async=isinstance(function, ast.AsyncFunctionDef),
        doc=ast.get_docstring(function) or "",
        place=SourceLocation(file, function.lineno, function.col_offset + 1),
    )


def _build_parameter(argument: ast.arg, default: ast.expr | None) -> Parameter:
    annotation = "" if argument.annotation is None else _format_annotation(argument.annotation)
    return Parameter(argument.arg, annotation, "" if default is None else ast.unparse(default))


def _format_annotation(annotation: ast.expr) -> str:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return ast.unparse(annotation)


def _check_positional_only(function: FunctionNode, file: str) -> Iterator[Problem]:
    """Yields a problem for each positional-only argument, because arguments bind by name."""
    for argument in function.args.posonlyargs:
        place = SourceLocation(file, argument.lineno, argument.col_offset + 1)
        yield Problem(
            place,
            f"{function.name} takes {argument.arg!r} by position only, arguments bind by name",
            "remove the `/`",
        )


def _check_lib_imports(tree: ast.Module, file: str) -> Iterator[Problem]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for name in _list_absolute_imports(node):
            if name.split(".")[0] in SHARED_MODULES:
                yield Problem(
                    SourceLocation(file, node.lineno, node.col_offset + 1),
                    f"shared code cannot be imported as {name!r}",
                    "write `from .lib import NAME` for jobs/lib/NAME.py",
                )


def _list_absolute_imports(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Returns the modules that a statement imports absolutely; none for a relative import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if node.level == 0 else []
