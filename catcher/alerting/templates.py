"""Messages from templates. The only module that uses Jinja2.

A template is text with `{{ value | filter }}`, `{% if %}` and `{% for %}` over the alert's values.
It can reach values and nothing else: no attribute of a Python object, no call, no assignment. What
could run or grow without bound is rejected by the check, and the output is truncated. Values are
data: each is shown as one plain line, shortened, escaped for the template's format (HTML, Slack's
mrkdwn, JSON), and never rendered.
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

from catcher.alerting import template_filters
from catcher.alerting.template_filters import MAX_ITERATIONS, MAX_OUTPUT_LENGTH, format_value
from catcher.alerting.truncation import MAX_NUMBER, truncate_values
from catcher.model.text import ESCAPES, TextFormat, sanitize_single_line

MAX_TEMPLATE_LENGTH = 20_000
_MAX_DEPTH = 60
_MAX_LOOP_DEPTH = 2
_MAX_COST = 100_000
"""The maximum number of steps of a template, each loop iteration counted."""
_TEMPLATE_ERRORS = (
    jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError,
)  # fmt: skip


class _Environment(ImmutableSandboxedEnvironment):
    """Accesses items of mappings and lists, and nothing else."""

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
        return self.undefined(
            hint=f"there is no {sanitize_single_line(argument, 80)!r} in the value before it"
        )

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        for operand in (left, right):
            if isinstance(operand, jinja2.Undefined):
                operand._fail_with_undefined_error()
            if not isinstance(operand, int | float) or abs(operand) > MAX_NUMBER:
                raise SecurityError(f"{operator} is for numbers below 1e15; join texts with ~")
        return super().call_binop(context, operator, left, right)


@dataclass(frozen=True, slots=True)
class RenderResult:
    """A template's output, or its fallback text with the failure in `problem`."""

    text: str
    problem: str = ""


class TemplateRenderer:
    """Renders messages; `templates` are the site's, by sink name or kind (without `.j2`).

    Never raises: a template that fails yields the fallback text, and is counted.
    """

    def __init__(self, templates: Mapping[str, str] | None = None) -> None:
        self._environments: dict[TextFormat, _Environment] = {}
        self._compiled: dict[tuple[TextFormat, str], jinja2.Template] = {}
        self._templates = dict(templates or {})
        self.failure_count = 0
        self.last_failure = ""

    def replace_templates(self, templates: Mapping[str, str]) -> None:
        """Replaces the site's templates."""
        self._templates = dict(templates)

    def find_template(self, *names: str) -> str | None:
        """Returns the site's template under the first of these names that has one."""
        return next((self._templates[name] for name in names if name in self._templates), None)

    def render(
        self, template: str, values: Mapping[str, Any], fallback_text: str, multiline: bool = False,
        text_format: TextFormat = "text",
    ) -> RenderResult:  # fmt: skip
        """Renders a template, its values escaped for the format; the fallback text if it fails.

        The result is one line, unless `multiline`. The failure is appended to the fallback text,
        which is plain text.
        """
        try:
            text = _join_chunks_up_to_limit(
                self._compile_template(template, text_format).generate(truncate_values(values))
            )
            text_lines = text.splitlines() if multiline else [text]
            return RenderResult(
                "\n".join(sanitize_single_line(line, MAX_OUTPUT_LENGTH) for line in text_lines)
            )
        except _TEMPLATE_ERRORS as error:
            problem = self._record_failure(error)
            message = f"{fallback_text} (its message failed: {problem})"
            return RenderResult(ESCAPES[text_format](message), problem)

    def evaluate_template(self, template: str, values: Mapping[str, Any]) -> Any:
        """Returns the JSON value of a template that is a single `{{ … }}`.

        Other templates return their text. Raises ValueError with the reason if it fails.
        """
        try:
            compiled = self._compile_template(template, "text")
            expression = self._compile_single_expression(template)
            if expression is None:
                return sanitize_single_line(
                    _join_chunks_up_to_limit(compiled.generate(truncate_values(values))),
                    MAX_OUTPUT_LENGTH,
                )
            result = expression(truncate_values(values))
            if isinstance(result, jinja2.Undefined):
                result._fail_with_undefined_error()
            return (
                sanitize_single_line(result, MAX_OUTPUT_LENGTH)
                if isinstance(result, str)
                else result
            )
        except _TEMPLATE_ERRORS as error:
            raise ValueError(self._record_failure(error)) from error

    def _compile_single_expression(self, template: str) -> Callable[..., Any] | None:
        """Returns the expression of a template that consists of nothing else; None otherwise."""
        environment = self._get_environment("text")
        body = environment.parse(template.strip()).body
        output = body[0].nodes if len(body) == 1 and isinstance(body[0], nodes.Output) else []
        if len(output) != 1 or isinstance(output[0], nodes.TemplateData):
            return None
        source = template.strip().removeprefix("{{").removesuffix("}}").strip("+- \n")
        return environment.compile_expression(source, undefined_to_none=False)

    def _record_failure(self, error: Exception) -> str:
        problem = sanitize_single_line(
            error.message if isinstance(error, jinja2.TemplateError) else error
        )
        self.failure_count += 1
        self.last_failure = problem
        return problem

    def _get_environment(self, text_format: TextFormat) -> _Environment:
        if text_format not in self._environments:
            self._environments[text_format] = _create_environment(text_format)
        return self._environments[text_format]

    def _compile_template(self, template: str, text_format: TextFormat) -> jinja2.Template:
        cached = self._compiled.get((text_format, template))
        if cached is not None:
            return cached
        problems = check_template(template)
        if problems:
            raise jinja2.TemplateSyntaxError(problems[0][1], problems[0][0])
        if len(self._compiled) >= 1_000:
            self._compiled.clear()
        environment = self._get_environment(text_format)
        tree = environment.parse(template)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "rounds", [], [], None, None, lineno=loop.lineno)
        return self._compiled.setdefault((text_format, template), environment.from_string(tree))


def check_template(text: str) -> list[tuple[int, str]]:
    """Returns all problems of a template: the line (from 1) and what to do about it."""
    if len(text) > MAX_TEMPLATE_LENGTH:
        return [(1, f"the template has more than {MAX_TEMPLATE_LENGTH} characters; shorten it")]
    try:
        tree = _create_environment("text").parse(text)
        violations = sorted(set(_find_violations(tree, 0)))
        if not violations and _measure_depth(tree) > _MAX_DEPTH:
            return [(1, "the template is nested too deeply; write it flatter")]
        if not violations and _estimate_cost(tree) > _MAX_COST:
            return [(1, "the template does too much in its loops; write less into them")]
        return violations
    except jinja2.TemplateSyntaxError as error:
        return [
            (error.lineno, f"{sanitize_single_line(error.message)}; see {{{{ name | round(2) }}}}")
        ]
    except RecursionError:
        return [(1, "the template is nested too deeply; write it flatter")]


def find_template_variables(text: str) -> frozenset[str]:
    """Returns the names that a template uses; empty if it does not parse."""
    try:
        return frozenset(meta.find_undeclared_variables(_create_environment("text").parse(text)))
    except (jinja2.TemplateSyntaxError, RecursionError):
        return frozenset()


def build_sample_values(text: str, number: float = 12.345) -> dict[str, Any]:
    """Returns sample values for the names of a template: `number` where it calculates or rounds.

    Others are their names in angle quotes; what is looped over is a list. Empty if the template
    does not parse.
    """
    if check_template(text):
        return {}
    tree = _create_environment("text").parse(text)
    samples: dict[str, Any] = {}
    _collect_samples(tree, False, samples, number)
    return {name: samples[name] for name in find_template_variables(text) if name in samples}


def _collect_samples(
    node: nodes.Node, is_numeric: bool, samples: dict[str, Any], number: float
) -> None:
    path = _get_name_path(node)
    if path:
        target = samples
        for name in path[:-1]:
            nested = target.setdefault(name, {})
            if not isinstance(nested, dict):
                return
            target = nested
        sample: Any = number if is_numeric else f"‹{'.'.join(path)}›"
        if is_numeric or path[-1] not in target:
            target[path[-1]] = sample
        return
    if isinstance(node, nodes.For):
        for name in _get_name_path(node.iter)[:1]:
            samples[name] = [f"‹{name}›"]
    is_numeric = isinstance(node, nodes.BinExpr | nodes.Neg | nodes.Pos) or (
        isinstance(node, nodes.Filter) and node.name in template_filters.NUMERIC_FILTERS
    ) or (isinstance(node, nodes.Compare) and any(
        isinstance(constant, nodes.Const) and isinstance(constant.value, int | float)
        for constant in node.find_all(nodes.Const)
    ))  # fmt: skip
    for child in node.iter_child_nodes():
        nested = child.expr if isinstance(child, nodes.Operand) else child
        _collect_samples(nested, is_numeric, samples, number)


def _get_name_path(node: nodes.Node) -> list[str]:
    """Returns the names of `wind.speed`; empty for what is no name."""
    if isinstance(node, nodes.Name):
        return [node.name]
    if isinstance(node, nodes.Getattr):
        prefix = _get_name_path(node.node)
        return [*prefix, node.attr] if prefix else []
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        prefix = _get_name_path(node.node)
        return [*prefix, str(node.arg.value)] if prefix else []
    return []


def _find_violations(node: nodes.Node, loop_depth: int) -> Iterator[tuple[int, str]]:
    node_type = type(node).__name__
    if node_type not in template_filters.ALLOWED_NODES:
        message = template_filters.REJECTED_NODES.get(
            node_type, f"{node_type.lower()} is not allowed here"
        )
        yield node.lineno, message
        return
    if isinstance(node, nodes.Filter) and node.name not in _ALLOWED_FILTERS:
        filter_names = ", ".join(sorted(_ALLOWED_FILTERS))
        yield node.lineno, f"there is no filter {node.name!r}; there are {filter_names}"
    if isinstance(node, nodes.Name) and node.name == "self":
        yield node.lineno, "`self` means nothing in a template; name a value"
    if isinstance(node, nodes.Test) and node.name not in template_filters.ALLOWED_TESTS:
        test_names = ", ".join(template_filters.ALLOWED_TESTS)
        yield node.lineno, f"there is no test {node.name!r}; there are {test_names}"
    if isinstance(node, nodes.For):
        loop_depth += 1
        if node.recursive or loop_depth > _MAX_LOOP_DEPTH:
            yield node.lineno, f"loops may be nested {_MAX_LOOP_DEPTH} deep and not recursive"
    for child in node.iter_child_nodes():
        yield from _find_violations(child, loop_depth)


def _measure_depth(node: nodes.Node) -> int:
    return 1 + max(map(_measure_depth, node.iter_child_nodes()), default=0)


def _estimate_cost(node: nodes.Node) -> int:
    # Some filters sort or sum a list.
    own_cost = 20 if isinstance(node, nodes.Filter) else 1
    cost = own_cost + sum(map(_estimate_cost, node.iter_child_nodes()))
    return cost * MAX_ITERATIONS if isinstance(node, nodes.For) else cost


def _join_chunks_up_to_limit(chunks: Iterator[str]) -> str:
    """Joins the output; stops the template at the maximum length."""
    collected, length = [], 0
    for chunk in chunks:
        collected.append(chunk)
        length += len(chunk)
        if length > MAX_OUTPUT_LENGTH:
            break
    return "".join(collected)


def _create_environment(text_format: TextFormat) -> _Environment:
    escape = ESCAPES[text_format]

    def finalize(value: Any) -> Any:
        return value if isinstance(value, jinja2.Undefined) else escape(format_value(value))

    environment = _Environment(
        undefined=jinja2.StrictUndefined, autoescape=False, finalize=finalize, cache_size=0
    )
    environment.globals.clear()
    environment.filters = {
        **{name: environment.filters[name] for name in template_filters.BUILTIN_FILTERS},
        **{
            name: _make_strict_filter(filter_function)
            for name, filter_function in template_filters.CUSTOM_FILTERS.items()
        },
        "rounds": _make_strict_filter(template_filters.truncate_loop_items),
    }
    environment.tests = {
        name: test
        for name, test in environment.tests.items()
        if name in template_filters.ALLOWED_TESTS
    }
    return environment


def _make_strict_filter(filter_function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a filter so that it fails on an undefined name."""

    @wraps(filter_function)
    def apply_filter(value: Any, *arguments: Any) -> Any:
        if isinstance(value, jinja2.Undefined):
            value._fail_with_undefined_error()
        return filter_function(value, *arguments)

    return apply_filter


_ALLOWED_FILTERS = frozenset((*template_filters.CUSTOM_FILTERS, *template_filters.BUILTIN_FILTERS))
