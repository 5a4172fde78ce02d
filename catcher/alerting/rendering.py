"""Messages from templates. The only module that knows Jinja2.

A template is text with `{{ value | filter }}`, `{% if %}` and `{% for %}` over the alert's values.
It can reach values and nothing else: no attribute of a Python object, no call, no assignment. What
could run or grow without bound is refused when it is checked, and its output is cut. Values are
data: they are shown as one plain line each, shortened, and never rendered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from catcher.alerting.bounding import HUGE, bounded
from catcher.model.text import plain, shorten
from catcher.model.time import SECOND, format_duration, parse_instant

LONGEST_TEMPLATE = 20_000
LONGEST_OUTPUT = 4_000
LONGEST_VALUE = 300
_DEEPEST_LOOP = 2
_MOST_ROUNDS = 50
_FAILURES = (
    jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError,
)  # fmt: skip
_LONGEST_SEPARATOR = 20

_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.List,
    nodes.Tuple, nodes.Filter, nodes.Test, nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand,
    nodes.And, nodes.Or, nodes.Not, nodes.Getattr, nodes.Getitem, nodes.Add, nodes.Sub, nodes.Mul,
    nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Concat, nodes.For,
    nodes.Keyword,
)  # fmt: skip
_REFUSALS: dict[type[nodes.Node], str] = {
    nodes.Call: "a template calls nothing; use a filter, as in {{ speed | round(1) }}",
    nodes.Pow: "** is not allowed in a template; compute it in the rule (`let:`) or the job",
    nodes.Assign: "a template sets nothing; compute it in the rule (`let:`) or the job",
    nodes.AssignBlock: "a template sets nothing; compute it in the rule (`let:`) or the job",
    nodes.Include: "a template includes no other; write it out",
    nodes.Import: "a template imports nothing; write it out",
    nodes.FromImport: "a template imports nothing; write it out",
    nodes.Extends: "a template extends no other; write it out",
    nodes.Macro: "a template defines no macro; write it out",
    nodes.Dict: "a template builds no mapping; name the value",
    nodes.Slice: "a template takes no slices; use first, last or join",
}
_BUILTIN_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "first", "float", "int", "last",
    "length", "lower", "max", "min", "sort", "string", "sum", "title", "trim", "unique", "upper",
)  # fmt: skip
_BUILTIN_TESTS = (
    "defined", "undefined", "none", "number", "string", "odd", "even", "in",
    "eq", "ne", "lt", "le", "gt", "ge", "boolean", "true", "false", "sequence", "mapping",
)  # fmt: skip


class _Environment(ImmutableSandboxedEnvironment):
    """Reaches items of mappings and lists, and of nothing else."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%"])

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext) and attribute in ("index", "index0", "first", "last"):
            return getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, jinja2.Undefined):
            return obj
        try:
            if isinstance(obj, Mapping | list | tuple):
                return obj[argument]
        except (LookupError, TypeError):
            pass
        return self.undefined(hint=f"there is no {plain(argument, 80)!r} in the value before it")

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        for operand in (left, right):
            if isinstance(operand, jinja2.Undefined):
                operand._fail_with_undefined_error()
            if not isinstance(operand, int | float) or abs(operand) > HUGE:
                raise SecurityError(f"{operator} is for numbers below 1e15; join texts with ~")
        return super().call_binop(context, operator, left, right)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A template's output, or the stand-in for it with the failure in `problem`."""

    text: str
    problem: str = ""


class Renderer:
    """Renders messages; `templates` are those of the site by sink name or kind (without `.j2`).

    Total: a template that fails gives the stand-in, and is counted.
    """

    def __init__(self, templates: Mapping[str, str] | None = None) -> None:
        self._environment = _environment()
        self._compiled: dict[str, jinja2.Template] = {}
        self._templates = dict(templates or {})
        self.failures = 0
        self.last_failure = ""

    def template(self, *names: str) -> str | None:
        """The site's own template under the first of these names."""
        return next((self._templates[name] for name in names if name in self._templates), None)

    def render(
        self, template: str, values: Mapping[str, Any], stand_in: str, lines: bool = False
    ) -> Rendered:
        """The template's output as plain text; the stand-in with the failure named if it fails.

        One line, unless the template's `lines` are kept.
        """
        try:
            text = _collect(self._compile(template).generate(bounded(values)))
            kept = text.splitlines() if lines else [text]
            return Rendered("\n".join(plain(line, LONGEST_OUTPUT) for line in kept))
        except _FAILURES as error:
            problem = plain(error.message if isinstance(error, jinja2.TemplateError) else error)
            self.failures += 1
            self.last_failure = problem
            return Rendered(f"{stand_in} (its message failed: {problem})", problem)

    def _compile(self, template: str) -> jinja2.Template:
        found = self._compiled.get(template)
        if found is not None:
            return found
        problems = check_template(template)
        if problems:
            raise jinja2.TemplateSyntaxError(problems[0][1], problems[0][0])
        if len(self._compiled) >= 1_000:
            self._compiled.clear()
        tree = self._environment.parse(template)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "rounds", [], [], None, None, lineno=loop.lineno)
        return self._compiled.setdefault(template, self._environment.from_string(tree))


def check_template(text: str) -> list[tuple[int, str]]:
    """What is wrong with a template: the line (from 1) and what to do, all of it in one pass."""
    if len(text) > LONGEST_TEMPLATE:
        return [(1, f"the template has more than {LONGEST_TEMPLATE} characters; shorten it")]
    try:
        return sorted(set(_refusals(_environment().parse(text), 0)))
    except jinja2.TemplateSyntaxError as error:
        return [(error.lineno, f"{plain(error.message)}; see {{{{ name | round(2) }}}}")]
    except RecursionError:
        return [(1, "the template is nested too deeply; write it flatter")]


def template_names(text: str) -> frozenset[str]:
    """The names that a template takes from outside; empty where it cannot be read."""
    try:
        return frozenset(meta.find_undeclared_variables(_environment().parse(text)))
    except (jinja2.TemplateSyntaxError, RecursionError):
        return frozenset()


def _refusals(node: nodes.Node, loops: int) -> Iterator[tuple[int, str]]:
    if not isinstance(node, _ALLOWED):
        words = _REFUSALS.get(type(node), f"{type(node).__name__.lower()} is not allowed here")
        yield node.lineno, words
        return
    if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
        known = ", ".join(sorted(_FILTERS))
        yield node.lineno, f"there is no filter {node.name!r}; there are {known}"
    if isinstance(node, nodes.Name) and node.name == "self":
        yield node.lineno, "`self` means nothing in a template; name a value"
    if isinstance(node, nodes.Test) and node.name not in _BUILTIN_TESTS:
        yield node.lineno, f"there is no test {node.name!r}; there are {', '.join(_BUILTIN_TESTS)}"
    if isinstance(node, nodes.For):
        loops += 1
        if node.recursive or loops > _DEEPEST_LOOP:
            yield node.lineno, f"loops may be nested {_DEEPEST_LOOP} deep and not recursive"
    for child in node.iter_child_nodes():
        yield from _refusals(child, loops)


def _collect(chunks: Iterator[str]) -> str:
    """Joins the output; stops the template once there is more than anybody reads."""
    parts, length = [], 0
    for chunk in chunks:
        parts.append(chunk)
        length += len(chunk)
        if length > LONGEST_OUTPUT:
            break
    return "".join(parts)


def _environment() -> _Environment:
    environment = _Environment(
        undefined=jinja2.StrictUndefined, autoescape=False, finalize=shown, cache_size=0
    )
    environment.globals.clear()
    environment.filters = {
        **{name: environment.filters[name] for name in _BUILTIN_FILTERS},
        **_own_filters(),
        "rounds": _rounds,
    }
    environment.tests = {
        name: test for name, test in environment.tests.items() if name in _BUILTIN_TESTS
    }
    return environment


def shown(value: Any) -> Any:
    """A value as people read it: six digits, `unknown` for what is not known, one plain line."""
    if isinstance(value, jinja2.Undefined):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return plain(value, LONGEST_VALUE)


def _number(value: Any) -> float | None:
    if isinstance(value, jinja2.Undefined):
        value._fail_with_undefined_error()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _round(value: Any, digits: int = 0) -> Any:
    """`{{ speed | round(1) }}`: with that many decimals, up to 12."""
    number = _number(value)
    if number is None:
        return value
    return f"{number:.{max(0, min(int(digits), 12))}f}"


def _percent(value: Any, digits: int = 0) -> Any:
    """`{{ probability | percent }}`: a fraction as per cent."""
    number = _number(value)
    return value if number is None else f"{_round(100 * number, digits)} %"


def _duration(value: Any) -> Any:
    """`{{ gap | duration }}`: seconds as `3m12s`."""
    number = _number(value)
    if number is None or abs(number) > 1e9:
        return value
    step = SECOND if abs(number) >= 10 else SECOND // 1000
    return format_duration(round(number * SECOND / step) * step)


def _time(value: Any) -> Any:
    """`{{ start | time }}`: seconds since the epoch, or ISO 8601, as `00:05:13Z`."""
    if isinstance(value, jinja2.Undefined):
        value._fail_with_undefined_error()
    try:
        instant = parse_instant(value)
    except (ValueError, AttributeError, OverflowError):
        return value
    return datetime.fromtimestamp(instant // SECOND, UTC).strftime("%H:%M:%SZ")


def _join(value: Any, separator: str = "") -> str:
    """`{{ names | join(", ") }}`: the items of a list in one text."""
    between = str(separator)[:_LONGEST_SEPARATOR]
    return shorten(between.join(str(shown(one)) for one in _rounds(value)), LONGEST_OUTPUT)


def _rounds(value: Any) -> list[Any]:
    """What a loop goes over: a list, or the names of a mapping; the first of many."""
    if isinstance(value, jinja2.Undefined):
        value._fail_with_undefined_error()
    if not isinstance(value, list | tuple | Mapping):
        raise SecurityError("only lists can be gone through one by one")
    return list(value)[:_MOST_ROUNDS]


def _own_filters() -> dict[str, Callable[..., Any]]:
    return {
        "round": _round, "percent": _percent, "duration": _duration, "time": _time, "join": _join,
    }  # fmt: skip


_FILTERS = frozenset((*_own_filters(), *_BUILTIN_FILTERS))
