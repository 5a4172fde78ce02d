"""What templates can do with values, and how a value looks in a message."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from catcher.model.text import plain, shorten
from catcher.model.time import (
    MILLISECOND,
    SECOND,
    Instant,
    format_duration,
    format_instant,
    parse_instant,
    utc_to_tai,
)

LONGEST_OUTPUT = 4_000
LONGEST_VALUE = 300
MOST_ROUNDS = 50
_LONGEST_SEPARATOR = 20


def shown(value: Any) -> str:
    """A value as people read it: six digits, `unknown` for what is not known, one plain line."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return plain(value, LONGEST_VALUE)


def rounds(value: Any) -> list[Any]:
    """What a loop goes over: a list, or the names of a mapping; the first of many."""
    if not isinstance(value, list | tuple | Mapping):
        raise ValueError("only lists can be gone through one by one")
    return list(value)[:MOST_ROUNDS]


def _number(value: Any) -> float | None:
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


def _instant(value: Any) -> Instant | None:
    try:
        return parse_instant(value)
    except (ValueError, AttributeError, OverflowError):
        return None


def _time(value: Any) -> Any:
    """`{{ start | time }}`: seconds since the epoch, or ISO 8601, as `00:05:13Z`."""
    instant = _instant(value)
    if instant is None:
        return value
    return datetime.fromtimestamp(instant // SECOND, UTC).strftime("%H:%M:%SZ")


def _tai(value: Any) -> Any:
    """`{{ since | tai }}`: a time in UTC as `2025-04-24T00:05:50.2`, what a TAI clock shows."""
    instant = _instant(value)
    if instant is None:
        return value
    shown = utc_to_tai(instant) // MILLISECOND * MILLISECOND
    return format_instant(shown).removesuffix("Z")


def _join(value: Any, separator: str = "") -> str:
    """`{{ names | join(", ") }}`: the items of a list in one text."""
    between = str(separator)[:_LONGEST_SEPARATOR]
    return shorten(between.join(shown(one) for one in rounds(value)), LONGEST_OUTPUT)


OWN: Mapping[str, Callable[..., Any]] = {
    "round": _round,
    "percent": _percent,
    "duration": _duration,
    "time": _time,
    "tai": _tai,
    "join": _join,
}
"""The filters that are not Jinja's own."""
NUMERIC = frozenset({"round", "percent", "duration", "abs", "int", "float"})
"""The filters that are meant for numbers."""
ALLOWED = frozenset(
    (
        "Template", "Output", "TemplateData", "Name", "Const", "List", "Tuple", "Filter", "Test",
        "If", "CondExpr", "Compare", "Operand", "And", "Or", "Not", "Getattr", "Getitem", "Add",
        "Sub", "Mul", "Div", "FloorDiv", "Mod", "Neg", "Pos", "Concat", "For", "Keyword",
    )
)  # fmt: skip
"""What a template may be made of, by Jinja's names."""
REFUSALS: Mapping[str, str] = {
    "Call": "a template calls nothing; use a filter, as in {{ speed | round(1) }}",
    "Pow": "** is not allowed in a template; compute it in the rule (`let:`) or the job",
    "Assign": "a template sets nothing; compute it in the rule (`let:`) or the job",
    "AssignBlock": "a template sets nothing; compute it in the rule (`let:`) or the job",
    "Include": "a template includes no other; write it out",
    "Import": "a template imports nothing; write it out",
    "FromImport": "a template imports nothing; write it out",
    "Extends": "a template extends no other; write it out",
    "Macro": "a template defines no macro; write it out",
    "Dict": "a template builds no mapping; name the value",
    "Slice": "a template takes no slices; use first, last or join",
}
"""What a template may not do, by Jinja's name for it, and what to do instead."""
BUILTIN = (
    "abs", "capitalize", "count", "d", "default", "first", "float", "int", "last",
    "length", "lower", "max", "min", "sort", "string", "sum", "title", "trim", "unique", "upper",
)  # fmt: skip
TESTS = (
    "defined", "undefined", "none", "number", "string", "odd", "even", "in",
    "eq", "ne", "lt", "le", "gt", "ge", "boolean", "true", "false", "sequence", "mapping",
)  # fmt: skip
