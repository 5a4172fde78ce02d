"""The documentation of the functions, from their table.

`python -m catcher.watching.functions` prints `docs/functions.md`.
"""

from __future__ import annotations

from catcher.watching.vocabulary import ALL, Function, Kind

_TITLES: dict[Kind, str] = {
    "number": "Numbers",
    "direction": "Directions (degrees)",
    "array": "Arrays and fields",
    "time": "Time",
}

_INTRODUCTION = """\
# Functions

Made from the code by `python -m catcher.watching.functions`; the test suite keeps it current.

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


def markdown() -> str:
    """The whole of `docs/functions.md`."""
    lines = [_INTRODUCTION]
    for kind, title in _TITLES.items():
        lines += [f"## {title}", "", "| function | value | unit | least | ddof | method |"]
        lines.append("| --- | --- | --- | --- | --- | --- |")
        lines += [_row(function) for function in ALL if function.kind == kind]
        lines.append("")
    return "\n".join(lines)


def _row(function: Function) -> str:
    least = str(function.least) if function.kind != "number" else ""
    cells = (function.about, function.unit, least, function.ddof, function.method)
    return f"| `{function.usage}` | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print(markdown(), end="")
