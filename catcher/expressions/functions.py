"""The functions of the expression language: one table, which is also rendered as the docs."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

FunctionKind = Literal["number", "direction", "array", "time"]


@dataclass(frozen=True, slots=True)
class Function:
    """One function: how it is written, what it returns, and details.

    `min_samples` is the least number of known samples (or elements) for a known value, `unit` the
    unit of the value if the arguments are in a unit u.
    """

    name: str
    kind: FunctionKind
    usage: str
    description: str
    unit: str = "u"
    min_samples: int = 1
    ddof: str = ""
    method: str = ""
    arity: tuple[int, int] = (1, 1)
    is_windowed: bool = False


def _define_scalar(
    name: str, description: str, unit: str = "1", usage: str = "", arity: tuple[int, int] = (1, 1)
) -> Function:
    return Function(name, "number", usage or f"{name}(x)", description, unit, arity=arity)


def _define_array(
    name: str, description: str, unit: str = "u", min_samples: int = 1, ddof: str = ""
) -> Function:
    return Function(name, "array", f"{name}(a)", description, unit, min_samples, ddof)


def _define_window(
    name: str,
    description: str,
    unit: str = "u",
    min_samples: int = 1,
    ddof: str = "",
    method: str = "",
) -> Function:
    usage = f'{name}(x, "5m")'
    return Function(
        name, "time", usage, description, unit, min_samples, ddof, method, is_windowed=True
    )


ALL_FUNCTIONS = (
    _define_scalar("abs", "The absolute value.", "u"),
    _define_scalar("sqrt", "The square root; unknown below 0.", "√u"),
    _define_scalar(
        "hypot", "The Euclidean norm of its arguments.", "u", "hypot(x, y, ...)", arity=(2, 8)
    ),
    _define_scalar("exp", "e to the power of x."),
    _define_scalar("log", "The natural logarithm; unknown at 0 and below."),
    _define_scalar("sin", "The sine of an angle in radians."),
    _define_scalar("cos", "The cosine of an angle in radians."),
    _define_scalar("tan", "The tangent of an angle in radians."),
    _define_scalar(
        "atan2", "The angle of the point (x, y), −π to π.", "rad", "atan2(y, x)", arity=(2, 2)
    ),
    _define_scalar("radians", "Degrees to radians.", "rad"),
    _define_scalar("degrees", "Radians to degrees.", "°"),
    _define_scalar("floor", "The greatest integer not above x.", "u"),
    _define_scalar(
        "round",
        "Rounded to `digits` decimals (0), a half to the even neighbour.",
        "u",
        "round(x, digits)",
        arity=(1, 2),
    ),
    _define_scalar(
        "clip",
        "x, but not below `low` nor above `high`.",
        "u",
        "clip(x, low, high)",
        arity=(3, 3),
    ),
    Function(
        "angle_diff",
        "direction",
        "angle_diff(a, b)",
        "a − b on the circle, in −180 (included) to 180.",
        "°",
        arity=(2, 2),
    ),
    Function(
        "mean_angle",
        "direction",
        'mean_angle(a, "5m")',
        "The mean direction over a window, in 0 to 360; unknown where the directions cancel.",
        "°",
        is_windowed=True,
    ),
    _define_array("mean_of", "The mean of the elements."),
    _define_array("max_of", "The greatest element."),
    _define_array("min_of", "The least element."),
    _define_array("std_of", "The standard deviation of the elements.", min_samples=2, ddof="1"),
    _define_array("any_of", "Whether any element is true: `any_of(force > 100)`.", "truth"),
    _define_array("count_of", "How many elements are true, or known where they are numbers.", "1"),
    _define_window("mean", "The mean."),
    _define_window("min_over", "The least value."),
    _define_window("max_over", "The greatest value."),
    _define_window("sum_over", "The sum."),
    _define_window("std", "The standard deviation.", min_samples=2, ddof="1"),
    _define_window("rms", "The root of the mean square.", ddof="0"),
    _define_window("median", "The median.", method="the mean of the middle two"),
    Function(
        "percentile",
        "time",
        'percentile(x, 95, "5m")',
        "The percentile q, 0 to 100.",
        method="linear between neighbours (Hyndman and Fan 7, numpy's default)",
        arity=(2, 2),
        is_windowed=True,
    ),
    _define_window(
        "count", "How many samples are true, or known where x is no truth value.", "1", 0
    ),
    _define_window(
        "rate",
        "`count` per second of the window; with `last=N`: per second since its first sample, "
        "that one not counted.",
        "1/s",
        0,
        method="`last=N` needs 2",
    ),
    _define_window("delta", "The last value minus the first.", min_samples=2),
    _define_window(
        "slope", "The slope of the least-squares line.", "u/s", 2, method="2 different times"
    ),
    Function(
        "previous",
        "time",
        "previous(x)",
        "The value at the known sample before this one.",
        min_samples=2,
    ),
    Function(
        "changed",
        "time",
        "changed(x)",
        "Whether the value differs from the one at the known sample before.",
        "truth",
        2,
    ),
    Function(
        "age",
        "time",
        "age(wind)",
        "How long ago the latest event of a read came; 0 for the event's own fields.",
        "s",
    ),
    Function(
        "streak",
        "time",
        "streak(condition)",
        "At how many evaluations in a row the condition was true, this one included; an unknown "
        "one neither counts nor breaks.",
        "1",
    ),
    Function(
        "packed",
        "time",
        'mean(packed(a, "1s"), "1m")',
        "An array as samples of its own, evenly over the span that ends with the event "
        "(excluded start, included end); for the functions above with a window and those over "
        "arrays.",
        arity=(2, 2),
    ),
)

FUNCTIONS = {function.name: function for function in ALL_FUNCTIONS}

_ALTERNATIVES = {
    "min": "min_over(x, \"5m\") over a window, min_of(a) over an array",
    "max": "max_over(x, \"5m\") over a window, max_of(a) over an array",
    "sum": "sum_over(x, \"5m\")",
    "avg": "mean(x, \"5m\")",
    "average": "mean(x, \"5m\")",
    "len": "count(x, \"5m\") over a window, count_of(a) over an array",
    "any": "any_of(a)",
    "all": "not any_of(not a)",
    "stddev": "std(x, \"5m\")",
    "last": "previous(x), or last=5 in place of a window",
    "pow": "x ** y",
    "ln": "log(x)",
    "log10": "log(x) / 2.302585092994046",
    "int": "floor(x)",
    "derivative": "slope(x, \"5m\")",
}  # fmt: skip


def suggest_function(name: str) -> str:
    """Returns what to write instead of an unknown function."""
    if name in _ALTERNATIVES:
        return f"write {_ALTERNATIVES[name]}"
    close_matches = get_close_matches(name, FUNCTIONS, 1, 0.6)
    return (
        f"did you mean {close_matches[0]}?"
        if close_matches
        else "docs/functions.md lists the functions"
    )


# The documentation of the functions, from their table.


_TITLES: dict[FunctionKind, str] = {
    "number": "Numbers",
    "direction": "Directions (degrees)",
    "array": "Arrays and fields",
    "time": "Time",
}

_INTRODUCTION = """\
# Functions

Made from the code by `python -m catcher.expressions.functions`; the test suite keeps it current.

Every function of an unknown value is unknown, and so is one whose result is not a finite number
(a division by zero, the logarithm of a negative number, an overflow). A missing field, null, NaN
and infinity are unknown. `true` counts as 1 and `false` as 0 where a number is needed; text
compares with text only. *Least* is the least number of known samples or elements for a known
value, *unit* the unit of the value where x is in a unit u.

A window is a duration, `"5m"`: the known samples of this key that pass `where` in (t − 5m, t],
known from 5m after the first of them on; or `last=5`, the last five known evaluations, known from
the fifth on. Means, sums, standard deviations and slopes are computed exactly and rounded once, so
that they do not depend on what has left the window. A function over the names of one entry of
`reads` (and constants) holds that topic's own samples; any other holds the values at the rule's
own evaluations.

Functions over arrays take a list, a flattened one (`force` for `force0`, `force1`, ...) or a field
of a result; unknown elements are skipped, and arithmetic and comparisons inside work element by
element: `count_of(abs(force) > 100) >= 3`.
"""


def render_functions_markdown() -> str:
    """Returns the complete text of `docs/functions.md`."""
    lines = [_INTRODUCTION]
    for kind, title in _TITLES.items():
        lines += [f"## {title}", "", "| function | value | unit | least | ddof | method |"]
        lines.append("| --- | --- | --- | --- | --- | --- |")
        lines += [_render_row(function) for function in ALL_FUNCTIONS if function.kind == kind]
        lines.append("")
    return "\n".join(lines)


def _render_row(function: Function) -> str:
    min_samples = str(function.min_samples) if function.kind != "number" else ""
    columns = (function.description, function.unit, min_samples, function.ddof, function.method)
    return f"| `{function.usage}` | " + " | ".join(columns) + " |"


if __name__ == "__main__":
    print(render_functions_markdown(), end="")
