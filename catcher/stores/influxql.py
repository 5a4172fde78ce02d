"""Statements in InfluxQL. Every name and value that comes from outside passes through here.

A name stands in double quotes, a text in single ones; within them InfluxQL knows backslash,
quote and line feed as escapes, so that nothing can end them from inside. Regular expressions are
never made of what users say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from catcher.model.problem import CatcherError
from catcher.model.telemetry import Scalar
from catcher.model.time import MAX_INSTANT, Instant

LONGEST_NAME = 1024


def name(text: str) -> str:
    """A measurement, field, database or retention policy as a quoted identifier."""
    if not text or len(text) > LONGEST_NAME or not text.isprintable():
        raise CatcherError(
            f"{text[:60]!r} cannot be the name of a topic or field",
            "names are made of characters that can be shown",
        )
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(value: Scalar) -> str:
    """A value to compare with."""
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
    if not text_is_clean(value):
        raise CatcherError(f"{value[:60]!r} cannot be compared with", "use text that can be shown")
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def text_is_clean(text: str) -> bool:
    """Whether a text can be written between quotes."""
    return len(text) <= LONGEST_NAME and all(one.isprintable() or one == "\n" for one in text)


def instant(value: Instant) -> str:
    """An instant in nanoseconds, within what the server can hold."""
    return str(min(max(value, -MAX_INSTANT + 10**9), MAX_INSTANT - 10**9))


def select(
    place: str,
    columns: Sequence[str],
    start: Instant | None = None,
    end: Instant | None = None,
    equal: Mapping[str, Scalar] | None = None,
    order: Literal["asc", "desc"] = "asc",
    limit: int = 0,
) -> str:
    """The samples of a measurement; all columns where none is named."""
    conditions = [] if start is None else [f"time >= {instant(start)}"]
    conditions += [] if end is None else [f"time <= {instant(end)}"]
    conditions += [f"{name(key)} = {literal(value)}" for key, value in (equal or {}).items()]
    return "".join((
        f"SELECT {', '.join(map(name, columns)) or '*'} FROM {place}",
        f" WHERE {' AND '.join(conditions)}" if conditions else "",
        " ORDER BY time DESC" if order == "desc" else "",
        f" LIMIT {limit:d}" if limit else "",
    ))  # fmt: skip


def measurement(topic: str, retention: str = "") -> str:
    """Where the samples of a topic are."""
    return f"{name(retention)}.{name(topic)}" if retention else name(topic)
