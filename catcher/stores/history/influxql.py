"""Builds InfluxQL statements. Every external name and value passes through here.

Names are double-quoted, texts single-quoted; within quotes InfluxQL escapes backslash, quote and
line feed, so that nothing can end them from inside. Regular expressions are never built from user
input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from catcher.model.errors import CatcherError
from catcher.model.telemetry import Scalar
from catcher.model.time import MAX_INSTANT, Instant

MAX_NAME_LENGTH = 1024


def quote_name(text: str) -> str:
    """Quotes a measurement, field, database or retention policy as an identifier."""
    if not text or len(text) > MAX_NAME_LENGTH or not text.isprintable():
        raise CatcherError(
            f"{text[:60]!r} cannot be the name of a topic or field",
            "names are made of characters that can be shown",
        )
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def format_literal(value: Scalar) -> str:
    """Formats a value to compare with."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise CatcherError(f"{value} is too large to compare with", "use a 64-bit integer")
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CatcherError(f"{value} cannot be compared with", "use a finite number")
        return format(value, ".17f") if abs(value) < 1e15 else format(value, ".1f")
    if not is_quotable_text(value):
        raise CatcherError(f"{value[:60]!r} cannot be compared with", "use text that can be shown")
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def is_quotable_text(text: str) -> bool:
    """True if a text can be written between quotes."""
    return len(text) <= MAX_NAME_LENGTH and all(char.isprintable() or char == "\n" for char in text)


def format_time(value: Instant) -> str:
    """Formats an instant in nanoseconds, clamped to the server's range."""
    return str(min(max(value, -MAX_INSTANT + 10**9), MAX_INSTANT - 10**9))


def build_select(
    measurement: str,
    columns: Sequence[str],
    start: Instant | None = None,
    end: Instant | None = None,
    equal: Mapping[str, Scalar] | None = None,
    order: Literal["asc", "desc"] = "asc",
    limit: int = 0,
) -> str:
    """Builds a query of a measurement's samples; all columns if none is named."""
    conditions = [] if start is None else [f"time >= {format_time(start)}"]
    conditions += [] if end is None else [f"time <= {format_time(end)}"]
    conditions += [
        f"{quote_name(key)} = {format_literal(value)}" for key, value in (equal or {}).items()
    ]
    return "".join((
        f"SELECT {', '.join(map(quote_name, columns)) or '*'} FROM {measurement}",
        f" WHERE {' AND '.join(conditions)}" if conditions else "",
        " ORDER BY time DESC" if order == "desc" else "",
        f" LIMIT {limit:d}" if limit else "",
    ))  # fmt: skip


def quote_measurement(topic: str, retention: str = "") -> str:
    """Returns the quoted measurement of a topic."""
    return f"{quote_name(retention)}.{quote_name(topic)}" if retention else quote_name(topic)
