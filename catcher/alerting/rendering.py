"""Messages from templates. The only module that knows Jinja2.

A template is text with `{{ value | filter }}`, `{% if %}` and `{% for %}` over the alert's values.
It can reach values and nothing else: no attribute of a Python object, no call, no assignment. What
could run or grow without bound is refused when it is checked, and its output is cut. Values are
data: they are shown as one plain line each, shortened, escaped for what the template is written
in (HTML, Slack's mrkdwn, JSON), and never rendered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from catcher.alerting import filters
from catcher.alerting.bounding import HUGE, bounded
from catcher.alerting.filters import LONGEST_OUTPUT, MOST_ROUNDS, shown
from catcher.model.text import ESCAPES, Form, plain

LONGEST_TEMPLATE = 20_000
_DEEPEST = 60
_DEEPEST_LOOP = 2
_MOST_WORK = 100_000
"""Steps that a template may take at the most, each turn of a loop counted."""
_FAILURES = (
    jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError,
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
        self._environments: dict[Form, _Environment] = {}
        self._compiled: dict[tuple[Form, str], jinja2.Template] = {}
        self._templates = dict(templates or {})
        self.failures = 0
        self.last_failure = ""

    def swap(self, templates: Mapping[str, str]) -> None:
        """Other templates of the site from now on."""
        self._templates = dict(templates)

    def template(self, *names: str) -> str | None:
        """The site's own template under the first of these names."""
        return next((self._templates[name] for name in names if name in self._templates), None)

    def render(
        self, template: str, values: Mapping[str, Any], stand_in: str, lines: bool = False,
        form: Form = "text",
    ) -> Rendered:  # fmt: skip
        """The template's output, its values escaped for its form; the stand-in if it fails.

        One line, unless the template's `lines` are kept. The failure is named behind the
        stand-in, which is plain text.
        """
        try:
            text = _collect(self._compile(template, form).generate(bounded(values)))
            kept = text.splitlines() if lines else [text]
            return Rendered("\n".join(plain(line, LONGEST_OUTPUT) for line in kept))
        except _FAILURES as error:
            problem = self._failed(error)
            words = f"{stand_in} (its message failed: {problem})"
            return Rendered(ESCAPES[form](words), problem)

    def value(self, template: str, values: Mapping[str, Any]) -> Any:
        """What a template that is one `{{ … }}` and nothing else stands for: a JSON value.

        Other templates give their text. ValueError says why where it fails.
        """
        try:
            compiled = self._compile(template, "text")
            expression = self._lone_expression(template)
            if expression is None:
                return plain(_collect(compiled.generate(bounded(values))), LONGEST_OUTPUT)
            found = expression(bounded(values))
            if isinstance(found, jinja2.Undefined):
                found._fail_with_undefined_error()
            return plain(found, LONGEST_OUTPUT) if isinstance(found, str) else found
        except _FAILURES as error:
            raise ValueError(self._failed(error)) from error

    def _lone_expression(self, template: str) -> Callable[..., Any] | None:
        """The expression of a template that is nothing besides."""
        environment = self._environment("text")
        body = environment.parse(template.strip()).body
        output = body[0].nodes if len(body) == 1 and isinstance(body[0], nodes.Output) else []
        if len(output) != 1 or isinstance(output[0], nodes.TemplateData):
            return None
        inside = template.strip().removeprefix("{{").removesuffix("}}").strip("+- \n")
        return environment.compile_expression(inside, undefined_to_none=False)

    def _failed(self, error: Exception) -> str:
        problem = plain(error.message if isinstance(error, jinja2.TemplateError) else error)
        self.failures += 1
        self.last_failure = problem
        return problem

    def _environment(self, form: Form) -> _Environment:
        if form not in self._environments:
            self._environments[form] = _environment(form)
        return self._environments[form]

    def _compile(self, template: str, form: Form) -> jinja2.Template:
        found = self._compiled.get((form, template))
        if found is not None:
            return found
        problems = check_template(template)
        if problems:
            raise jinja2.TemplateSyntaxError(problems[0][1], problems[0][0])
        if len(self._compiled) >= 1_000:
            self._compiled.clear()
        environment = self._environment(form)
        tree = environment.parse(template)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "rounds", [], [], None, None, lineno=loop.lineno)
        return self._compiled.setdefault((form, template), environment.from_string(tree))


def check_template(text: str) -> list[tuple[int, str]]:
    """What is wrong with a template: the line (from 1) and what to do, all of it in one pass."""
    if len(text) > LONGEST_TEMPLATE:
        return [(1, f"the template has more than {LONGEST_TEMPLATE} characters; shorten it")]
    try:
        tree = _environment("text").parse(text)
        found = sorted(set(_refusals(tree, 0)))
        if not found and _depth(tree) > _DEEPEST:
            return [(1, "the template is nested too deeply; write it flatter")]
        if not found and _work(tree) > _MOST_WORK:
            return [(1, "the template does too much in its loops; write less into them")]
        return found
    except jinja2.TemplateSyntaxError as error:
        return [(error.lineno, f"{plain(error.message)}; see {{{{ name | round(2) }}}}")]
    except RecursionError:
        return [(1, "the template is nested too deeply; write it flatter")]


def template_names(text: str) -> frozenset[str]:
    """The names that a template takes from outside; empty where it cannot be read."""
    try:
        return frozenset(meta.find_undeclared_variables(_environment("text").parse(text)))
    except (jinja2.TemplateSyntaxError, RecursionError):
        return frozenset()


def sample_values(text: str, number: float = 12.345) -> dict[str, Any]:
    """Values that stand for those that a template takes: `number` where it reckons or rounds.

    Others are their names in angle quotes; what is gone through is a list. Nothing where the
    template cannot be read.
    """
    if check_template(text):
        return {}
    tree = _environment("text").parse(text)
    made: dict[str, Any] = {}
    _sample(tree, False, made, number)
    return {name: made[name] for name in template_names(text) if name in made}


def _sample(node: nodes.Node, reckons: bool, made: dict[str, Any], number: float) -> None:
    path = _path(node)
    if path:
        inner = made
        for name in path[:-1]:
            below = inner.setdefault(name, {})
            if not isinstance(below, dict):
                return
            inner = below
        sample: Any = number if reckons else f"‹{'.'.join(path)}›"
        if reckons or path[-1] not in inner:
            inner[path[-1]] = sample
        return
    if isinstance(node, nodes.For):
        for name in _path(node.iter)[:1]:
            made[name] = [f"‹{name}›"]
    reckons = isinstance(node, nodes.BinExpr | nodes.Neg | nodes.Pos) or (
        isinstance(node, nodes.Filter) and node.name in filters.NUMERIC
    ) or (isinstance(node, nodes.Compare) and any(
        isinstance(one, nodes.Const) and isinstance(one.value, int | float)
        for one in node.find_all(nodes.Const)
    ))  # fmt: skip
    for child in node.iter_child_nodes():
        below = child.expr if isinstance(child, nodes.Operand) else child
        _sample(below, reckons, made, number)


def _path(node: nodes.Node) -> list[str]:
    """`wind.speed` as its names; empty for what is no name."""
    if isinstance(node, nodes.Name):
        return [node.name]
    if isinstance(node, nodes.Getattr):
        before = _path(node.node)
        return [*before, node.attr] if before else []
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        before = _path(node.node)
        return [*before, str(node.arg.value)] if before else []
    return []


def _refusals(node: nodes.Node, loops: int) -> Iterator[tuple[int, str]]:
    kind = type(node).__name__
    if kind not in filters.ALLOWED:
        words = filters.REFUSALS.get(kind, f"{kind.lower()} is not allowed here")
        yield node.lineno, words
        return
    if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
        known = ", ".join(sorted(_FILTERS))
        yield node.lineno, f"there is no filter {node.name!r}; there are {known}"
    if isinstance(node, nodes.Name) and node.name == "self":
        yield node.lineno, "`self` means nothing in a template; name a value"
    if isinstance(node, nodes.Test) and node.name not in filters.TESTS:
        yield node.lineno, f"there is no test {node.name!r}; there are {', '.join(filters.TESTS)}"
    if isinstance(node, nodes.For):
        loops += 1
        if node.recursive or loops > _DEEPEST_LOOP:
            yield node.lineno, f"loops may be nested {_DEEPEST_LOOP} deep and not recursive"
    for child in node.iter_child_nodes():
        yield from _refusals(child, loops)


def _depth(node: nodes.Node) -> int:
    return 1 + max(map(_depth, node.iter_child_nodes()), default=0)


def _work(node: nodes.Node) -> int:
    # Some filters sort or add up a list.
    own = 20 if isinstance(node, nodes.Filter) else 1
    below = own + sum(map(_work, node.iter_child_nodes()))
    return below * MOST_ROUNDS if isinstance(node, nodes.For) else below


def _collect(chunks: Iterator[str]) -> str:
    """Joins the output; stops the template once there is more than anybody reads."""
    parts, length = [], 0
    for chunk in chunks:
        parts.append(chunk)
        length += len(chunk)
        if length > LONGEST_OUTPUT:
            break
    return "".join(parts)


def _environment(form: Form) -> _Environment:
    escape = ESCAPES[form]

    def finalize(value: Any) -> Any:
        return value if isinstance(value, jinja2.Undefined) else escape(shown(value))

    environment = _Environment(
        undefined=jinja2.StrictUndefined, autoescape=False, finalize=finalize, cache_size=0
    )
    environment.globals.clear()
    environment.filters = {
        **{name: environment.filters[name] for name in filters.BUILTIN},
        **{name: _defined(filter) for name, filter in filters.OWN.items()},
        "rounds": _defined(filters.rounds),
    }
    environment.tests = {
        name: test for name, test in environment.tests.items() if name in filters.TESTS
    }
    return environment


def _defined(filter: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that says of a name that is not there that it is not there."""

    @wraps(filter)
    def apply(value: Any, *arguments: Any) -> Any:
        if isinstance(value, jinja2.Undefined):
            value._fail_with_undefined_error()
        return filter(value, *arguments)

    return apply


_FILTERS = frozenset((*filters.OWN, *filters.BUILTIN))
