"""InfluxDB line protocol, as Telegraf, Flux and InfluxDB's client libraries send it.

A line is a measurement, tags, fields and an optional time:

    lsst.sal.ESS.airFlow,site=summit speed=7.2,salIndex=301i 1745453113200000000

It becomes an event of the topic `lsst.sal.ESS.airFlow`. Tags are text fields; `7.2` is a float,
`301i` and `301u` are integers, `t` and `false` booleans, `"…"` a text, which may span several
lines. A backslash escapes a comma, a space and (except in the measurement) an equals sign in names
and tags, and `"` and a backslash in texts; anywhere else it is literal. Total: any input gives
events or problem texts, never an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from catcher.model.event import Event
from catcher.model.time import HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND, Instant, Span
from catcher.transport.event_decoder import check_topic, is_plausible_time, to_printable

PRECISIONS: Mapping[str, Span] = {
    "ns": 1, "n": 1, "us": MICROSECOND, "u": MICROSECOND, "ms": MILLISECOND, "s": SECOND,
    "m": MINUTE, "h": HOUR,
}  # fmt: skip
"""The unit of a timestamp, by the names of InfluxDB 1 and 2."""
LineError = tuple[int, str]
"""The number of a line, from 1, and the problem with it."""

_MEASUREMENT = re.compile(r"(?:[^, \n]|(?<=\\)[, ])+")
_NAME = re.compile(r"(?:[^,= \n]|(?<=\\)[,= ])+")
_QUOTED_TEXT = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_BARE_TOKEN = re.compile(r"[^, \r\n]+")
_SPACES = re.compile(r" *")
_LINE_END = re.compile(r" *\r?(?:\n|\Z)")
_INTEGER = re.compile(r"([+-]?\d{1,30})([iu])", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_TIME = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_MEASUREMENT_ESCAPE = re.compile(r"\\([, ])")
_NAME_ESCAPE = re.compile(r"\\([,= ])")
_TEXT_ESCAPE = re.compile(r'\\(["\\])')
_BOOLEANS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}
_INTEGER_RANGES = {"i": range(-(2**63), 2**63), "u": range(2**64)}
_EXACT_LIMIT = 2**63
"""Integers from here on become floats, as those of JSON do."""


def parse_precision(precision: str) -> Span:
    """Returns the unit of a precision. Raises ValueError if it is unknown."""
    try:
        return PRECISIONS[precision]
    except KeyError:
        names = ", ".join(PRECISIONS)
        raise ValueError(
            f"{to_printable(precision, 20)!r} is no precision; take one of {names}"
        ) from None


def decode_lines(
    payload: bytes, source: str, unit: Span, arrival: Instant, max_lines: int, events: list[Event]
) -> list[LineError]:
    """Appends an event for each valid line; returns the problems of the others.

    A timestamp counts `unit`s; without one the time of arrival applies. At most `max_lines` lines
    are read.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        return [(payload.count(b"\n", 0, error.start) + 1, "the text is not UTF-8")]
    line_errors: list[LineError] = []
    number, position, count = 1, 0, 0
    while position < len(text):
        line = _LineParser(text, position)
        if line.has_content():
            count += 1
            if count > max_lines:
                return [(number, f"more than the {max_lines} lines that one post may hold")]
            try:
                events.append(line.parse_event(source, unit, arrival))
            except ValueError as error:
                line_errors.append((number, str(error)))
                line.skip_line()
        number += text.count("\n", position, line.position)
        position = line.position
    return line_errors


class _LineParser:
    """Parses one line from left to right; `position` is the current offset."""

    def __init__(self, text: str, start: int) -> None:
        self._text, self._start = text, start
        self.position = start

    def has_content(self) -> bool:
        """True unless it is empty or a comment, which is then skipped."""
        self._accept_pattern(_SPACES)
        if self._text[self.position : self.position + 1] != "#" and not _LINE_END.match(
            self._text, self.position
        ):
            return True
        self.skip_line()
        return False

    def skip_line(self) -> None:
        """Moves behind the end of the line where parsing began."""
        end = self._text.find("\n", self._start)
        self.position = len(self._text) if end < 0 else end + 1

    def parse_event(self, source: str, unit: Span, arrival: Instant) -> Event:
        """Returns the event of the line. Raises ValueError with the reason if it is invalid."""
        topic = _MEASUREMENT_ESCAPE.sub(
            r"\1", self._consume_token(_MEASUREMENT, "the measurement is missing")
        )
        check_topic(topic)
        fields: dict[str, Any] = {}
        for name, value in (*self._parse_tags(), *self._parse_fields()):
            if name in fields:
                raise ValueError(f"{to_printable(topic)}: {to_printable(name)!r} is given twice")
            fields[name] = value
        time = self._parse_time(unit)
        if not self._accept_pattern(_LINE_END):
            raise ValueError(
                f"{to_printable(topic)}: {self._remaining_text()!r} is one word too many"
            )
        return Event(topic, arrival if time is None else time, fields, source)

    def _parse_tags(self) -> Iterator[tuple[str, str]]:
        while self._accept_text(","):
            name = self._parse_name("tag")
            self._expect_text("=", f"the tag {to_printable(name)!r} has no value")
            value = self._consume_token(_NAME, f"the tag {to_printable(name)!r} has no value")
            yield name, _NAME_ESCAPE.sub(r"\1", value)

    def _parse_fields(self) -> Iterator[tuple[str, Any]]:
        self._expect_text(" ", "it has no fields")
        self._accept_pattern(_SPACES)
        while True:
            name = self._parse_name("field")
            self._expect_text("=", f"the field {to_printable(name)!r} has no value")
            yield name, self._parse_value(name)
            if not self._accept_text(","):
                return

    def _parse_value(self, name: str) -> Any:
        if self._text.startswith('"', self.position):
            match = _QUOTED_TEXT.match(self._text, self.position)
            if match is None:
                raise ValueError(f"the text of {to_printable(name)!r} is not closed")
            self.position = match.end()
            return _TEXT_ESCAPE.sub(r"\1", match[1])
        token = self._consume_token(_BARE_TOKEN, f"the field {to_printable(name)!r} has no value")
        if token in _BOOLEANS:
            return _BOOLEANS[token]
        return _parse_number(name, token)

    def _parse_time(self, unit: Span) -> Instant | None:
        self._accept_pattern(_SPACES)
        match = _BARE_TOKEN.match(self._text, self.position)
        if match is None:
            return None
        self.position = match.end()
        time = int(match[0]) * unit if _TIME.fullmatch(match[0]) else -1
        if not is_plausible_time(time):
            message = "no time of 1971 to 2260 in the precision that was given"
            raise ValueError(f"{to_printable(match[0], 40)!r} is {message}")
        return time

    # -- tokens ---------------------------------------------------------------------------------

    def _parse_name(self, kind: str) -> str:
        return _NAME_ESCAPE.sub(r"\1", self._consume_token(_NAME, f"a {kind} without a name"))

    def _consume_token(self, pattern: re.Pattern[str], error_text: str) -> str:
        match = pattern.match(self._text, self.position)
        if match is None:
            raise ValueError(error_text)
        self.position = match.end()
        return match[0]

    def _accept_pattern(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self._text, self.position)
        if match is not None:
            self.position = match.end()
        return match is not None

    def _accept_text(self, text: str) -> bool:
        is_present = self._text.startswith(text, self.position)
        self.position += is_present
        return is_present

    def _expect_text(self, text: str, error_text: str) -> None:
        if not self._accept_text(text):
            raise ValueError(error_text)

    def _remaining_text(self) -> str:
        end = self._text.find("\n", self.position)
        return to_printable(self._text[self.position : end if end >= 0 else None].strip(), 40)


def _parse_number(name: str, token: str) -> int | float:
    integer = _INTEGER.fullmatch(token)
    if integer is not None:
        value = int(integer[1])
        if value not in _INTEGER_RANGES[integer[2]]:
            raise ValueError(f"{token} of {to_printable(name)!r} is beyond 64 bits")
        return value if value < _EXACT_LIMIT else float(value)
    if _FLOAT.fullmatch(token) is None:
        message = "no number, truth value or text in double quotes"
        raise ValueError(f"{to_printable(token, 40)!r} of {to_printable(name)!r} is {message}")
    number = float(token)
    if not math.isfinite(number):
        raise ValueError(
            f"{to_printable(token, 40)} of {to_printable(name)!r} is beyond what a number holds"
        )
    return number
