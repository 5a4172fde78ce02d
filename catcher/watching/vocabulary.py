"""The functions of the expression language: one table, from which `functions` makes the docs."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Kind = Literal["number", "direction", "array", "time"]


@dataclass(frozen=True, slots=True)
class Function:
    """One function: how it is written, what it gives, and the small print.

    `least` is the least number of known samples (or elements) for a known value, `unit` the
    unit of the value where the arguments are in a unit u.
    """

    name: str
    kind: Kind
    usage: str
    about: str
    unit: str = "u"
    least: int = 1
    ddof: str = ""
    method: str = ""
    arguments: tuple[int, int] = (1, 1)
    windowed: bool = False


def _number(
    name: str, about: str, unit: str = "1", usage: str = "", arguments: tuple[int, int] = (1, 1)
) -> Function:
    return Function(name, "number", usage or f"{name}(x)", about, unit, arguments=arguments)


def _array(name: str, about: str, unit: str = "u", least: int = 1, ddof: str = "") -> Function:
    return Function(name, "array", f"{name}(a)", about, unit, least, ddof)


def _window(
    name: str, about: str, unit: str = "u", least: int = 1, ddof: str = "", method: str = ""
) -> Function:
    usage = f'{name}(x, "5m")'
    return Function(name, "time", usage, about, unit, least, ddof, method, windowed=True)


ALL = (
    _number("abs", "The absolute value.", "u"),
    _number("sqrt", "The square root; unknown below 0.", "√u"),
    _number(
        "hypot", "The Euclidean norm of its arguments.", "u", "hypot(x, y, ...)", arguments=(2, 8)
    ),
    _number("exp", "e to the power of x."),
    _number("log", "The natural logarithm; unknown at 0 and below."),
    _number("sin", "The sine of an angle in radians."),
    _number("cos", "The cosine of an angle in radians."),
    _number("tan", "The tangent of an angle in radians."),
    _number(
        "atan2", "The angle of the point (x, y), −π to π.", "rad", "atan2(y, x)", arguments=(2, 2)
    ),
    _number("radians", "Degrees to radians.", "rad"),
    _number("degrees", "Radians to degrees.", "°"),
    _number("floor", "The greatest integer not above x.", "u"),
    _number(
        "round",
        "Rounded to `digits` decimals (0), a half to the even neighbour.",
        "u",
        "round(x, digits)",
        arguments=(1, 2),
    ),
    _number(
        "clip", "x, but not below `low` nor above `high`.", "u", "clip(x, low, high)",
        arguments=(3, 3),
    ),
    Function(
        "angle_diff",
        "direction",
        "angle_diff(a, b)",
        "a − b on the circle, in −180 (included) to 180.",
        "°",
        arguments=(2, 2),
    ),
    Function(
        "mean_angle",
        "direction",
        'mean_angle(a, "5m")',
        "The mean direction over a window, in 0 to 360; unknown where the directions cancel.",
        "°",
        windowed=True,
    ),
    _array("mean_of", "The mean of the elements."),
    _array("max_of", "The greatest element."),
    _array("min_of", "The least element."),
    _array("std_of", "The standard deviation of the elements.", least=2, ddof="1"),
    _array("any_of", "Whether any element is true: `any_of(force > 100)`.", "truth"),
    _array("count_of", "How many elements are true, or known where they are numbers.", "1"),
    _window("mean", "The mean."),
    _window("min_over", "The least value."),
    _window("max_over", "The greatest value."),
    _window("sum_over", "The sum."),
    _window("std", "The standard deviation.", least=2, ddof="1"),
    _window("rms", "The root of the mean square.", ddof="0"),
    _window("median", "The median.", method="the mean of the middle two"),
    Function(
        "percentile",
        "time",
        'percentile(x, 95, "5m")',
        "The percentile q, 0 to 100.",
        method="linear between neighbours (Hyndman and Fan 7, numpy's default)",
        arguments=(2, 2),
        windowed=True,
    ),
    _window("count", "How many samples are true, or known where x is no truth value.", "1", 0),
    _window(
        "rate",
        "`count` per second of the window; with `last=N`: per second since its first sample, "
        "that one not counted.",
        "1/s",
        0,
        method="`last=N` needs 2",
    ),
    _window("delta", "The last value minus the first.", least=2),
    _window(
        "slope", "The slope of the least-squares line.", "u/s", 2, method="2 different times"
    ),
    Function(
        "previous", "time", "previous(x)", "The value at the known sample before this one.", least=2
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
        arguments=(2, 2),
    ),
)  # fmt: skip

FUNCTIONS = {function.name: function for function in ALL}

_MEANT = {
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


def suggestion(name: str) -> str:
    """What to write instead of a function that there is not."""
    if name in _MEANT:
        return f"write {_MEANT[name]}"
    close = get_close_matches(name, FUNCTIONS, 1, 0.6)
    return f"did you mean {close[0]}?" if close else "docs/functions.md lists the functions"
