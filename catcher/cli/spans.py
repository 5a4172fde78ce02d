"""Times and labels as people write them on a command line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

import typer

from catcher.model.problem import CatcherError
from catcher.model.time import format_instant, parse_duration, parse_instant, wall_clock


def instant(text: str) -> int | None:
    """A time, or so long before now; None where none is given."""
    if not text:
        return None
    with contextlib.suppress(ValueError):
        return wall_clock() - parse_duration(text.removeprefix("-"))
    try:
        return parse_instant(text)
    except ValueError as trouble:
        raise CatcherError(str(trouble), "or say how long ago, such as 12h") from trouble


def moment(text: str) -> str | None:
    """A time as the client takes it, from the same words; None where none is given."""
    found = instant(text)
    return None if found is None else format_instant(found)


def labelled(pairs: Sequence[str]) -> dict[str, str]:
    """Labels from `name=value`."""
    labels = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise typer.BadParameter(f"{pair!r} is no label; write name=value")
        labels[name] = value
    return labels


def byte_count(text: str) -> int:
    """A number of bytes such as `64MB`; CatcherError where it is none."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise CatcherError(f"{text!r} is no size", "write it like 64MB or 1GiB")
    return int(float(match[1]) * _SIZES[match[2] or "B"])


_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}  # fmt: skip
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(B|kB|MB|GB|KiB|MiB|GiB)?")
