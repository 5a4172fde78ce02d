"""The filters and syntax that templates may use, and how a value looks in a message."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from catcher.model.text import sanitize_single_line, truncate_text
from catcher.model.time import (
    MILLISECOND,
    SECOND,
    Instant,
    format_duration,
    format_instant,
    parse_instant,
    utc_to_tai,
)

MAX_OUTPUT_LENGTH = 4_000
MAX_VALUE_LENGTH = 300
MAX_ITERATIONS = 50
_MAX_SEPARATOR_LENGTH = 20


def format_value(value: Any) -> str:
    """Formats a value for people: six digits, `unknown` if it is None or NaN, one plain line."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return sanitize_single_line(value, MAX_VALUE_LENGTH)


def truncate_loop_items(value: Any) -> list[Any]:
    """Returns what a loop iterates over: the first items of a list, or of a mapping's names."""
    if not isinstance(value, list | tuple | Mapping):
        raise ValueError("only lists can be gone through one by one")
    return list(value)[:MAX_ITERATIONS]


def _to_finite_float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _format_rounded(value: Any, digits: int = 0) -> Any:
    """`{{ speed | round(1) }}`: with that many decimals, up to 12."""
    number = _to_finite_float(value)
    if number is None:
        return value
    return f"{number:.{max(0, min(int(digits), 12))}f}"


def _format_percent(value: Any, digits: int = 0) -> Any:
    """`{{ probability | percent }}`: a fraction as per cent."""
    number = _to_finite_float(value)
    return value if number is None else f"{_format_rounded(100 * number, digits)} %"


def _format_seconds_as_duration(value: Any) -> Any:
    """`{{ gap | duration }}`: seconds as `3m12s`."""
    number = _to_finite_float(value)
    if number is None or abs(number) > 1e9:
        return value
    resolution = SECOND if abs(number) >= 10 else SECOND // 1000
    return format_duration(round(number * SECOND / resolution) * resolution)


def _try_parse_instant(value: Any) -> Instant | None:
    try:
        return parse_instant(value)
    except (ValueError, AttributeError, OverflowError):
        return None


def _format_time_of_day(value: Any) -> Any:
    """`{{ start | time }}`: seconds since the epoch, or ISO 8601, as `00:05:13Z`."""
    instant = _try_parse_instant(value)
    if instant is None:
        return value
    return datetime.fromtimestamp(instant // SECOND, UTC).strftime("%H:%M:%SZ")


def _format_tai(value: Any) -> Any:
    """`{{ since | tai }}`: a time in UTC as a TAI clock shows it, `2025-04-24T00:05:50.2`."""
    instant = _try_parse_instant(value)
    if instant is None:
        return value
    tai_instant = utc_to_tai(instant) // MILLISECOND * MILLISECOND
    return format_instant(tai_instant).removesuffix("Z")


def _join_items(value: Any, separator: str = "") -> str:
    """`{{ names | join(", ") }}`: the items of a list joined into one text."""
    delimiter = str(separator)[:_MAX_SEPARATOR_LENGTH]
    return truncate_text(
        delimiter.join(format_value(item) for item in truncate_loop_items(value)), MAX_OUTPUT_LENGTH
    )


CUSTOM_FILTERS: Mapping[str, Callable[..., Any]] = {
    "round": _format_rounded,
    "percent": _format_percent,
    "duration": _format_seconds_as_duration,
    "time": _format_time_of_day,
    "tai": _format_tai,
    "join": _join_items,
}
"""The filters that are not Jinja's own."""
NUMERIC_FILTERS = frozenset({"round", "percent", "duration", "abs", "int", "float"})
"""The filters that are meant for numbers."""
ALLOWED_NODES = frozenset(
    (
        "Template", "Output", "TemplateData", "Name", "Const", "List", "Tuple", "Filter", "Test",
        "If", "CondExpr", "Compare", "Operand", "And", "Or", "Not", "Getattr", "Getitem", "Add",
        "Sub", "Mul", "Div", "FloorDiv", "Mod", "Neg", "Pos", "Concat", "For", "Keyword",
    )
)  # fmt: skip
"""The syntax nodes that a template may contain, by Jinja's names."""
REJECTED_NODES: Mapping[str, str] = {
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
BUILTIN_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "first", "float", "int", "last",
    "length", "lower", "max", "min", "sort", "string", "sum", "title", "trim", "unique", "upper",
)  # fmt: skip
ALLOWED_TESTS = (
    "defined", "undefined", "none", "number", "string", "odd", "even", "in",
    "eq", "ne", "lt", "le", "gt", "ge", "boolean", "true", "false", "sequence", "mapping",
)  # fmt: skip
