"""Parses times and labels as people write them on a command line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

import typer

from catcher.model.errors import CatcherError
from catcher.model.time import format_instant, parse_duration, parse_instant, wall_clock


def parse_time_option(text: str) -> int | None:
    """Parses a time, or a duration before now; None if the text is empty."""
    if not text:
        return None
    with contextlib.suppress(ValueError):
        return wall_clock() - parse_duration(text.removeprefix("-"))
    try:
        return parse_instant(text)
    except ValueError as error:
        raise CatcherError(str(error), "or say how long ago, such as 12h") from error


def normalize_time_option(text: str) -> str | None:
    """Parses such a time and formats it for the client; None if the text is empty."""
    instant = parse_time_option(text)
    return None if instant is None else format_instant(instant)


def parse_labels(pairs: Sequence[str]) -> dict[str, str]:
    """Parses labels from `name=value`."""
    labels = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise typer.BadParameter(f"{pair!r} is no label; write name=value")
        labels[name] = value
    return labels


def parse_byte_count(text: str) -> int:
    """Parses a number of bytes such as `64MB`. Raises CatcherError if it is none."""
    match = _SIZE_PATTERN.fullmatch(text.strip())
    if match is None:
        raise CatcherError(f"{text!r} is no size", "write it like 64MB or 1GiB")
    return int(float(match[1]) * _SIZE_UNITS[match[2] or "B"])


_SIZE_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}  # fmt: skip
_SIZE_PATTERN = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(B|kB|MB|GB|KiB|MiB|GiB)?")
