"""InfluxDB line protocol, as Telegraf, Flux and InfluxDB's client libraries send it.

A line is a measurement, tags, fields and perhaps a time:

    lsst.sal.ESS.airFlow,site=summit speed=7.2,salIndex=301i 1745453113200000000

It becomes an event of the topic `lsst.sal.ESS.airFlow`. Tags are texts among its fields; `7.2`
is a number, `301i` and `301u` whole ones, `t` and `false` truth values, `"…"` a text, which may
go over several lines. In names and tags a backslash stands before a comma, a space and (not in
the measurement) an equals sign that belong to the text, in texts before `"` and a backslash;
anywhere else it stands for itself. Total: whatever comes, it is events or words, never an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from catcher.model.event import Event
from catcher.model.time import HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND, Instant, Span
from catcher.sources.decoding import check_topic, plausible, shown

PRECISIONS: Mapping[str, Span] = {
    "ns": 1, "n": 1, "us": MICROSECOND, "u": MICROSECOND, "ms": MILLISECOND, "s": SECOND,
    "m": MINUTE, "h": HOUR,
}  # fmt: skip
"""What a timestamp counts, by the names that InfluxDB 1 and 2 give it."""
Wrong = tuple[int, str]
"""The number of a line, from 1, and what is wrong with it."""

_MEASUREMENT = re.compile(r"(?:[^, \n]|(?<=\\)[, ])+")
_NAME = re.compile(r"(?:[^,= \n]|(?<=\\)[,= ])+")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_BARE = re.compile(r"[^, \r\n]+")
_GAP = re.compile(r" *")
_END = re.compile(r" *\r?(?:\n|\Z)")
_WHOLE = re.compile(r"([+-]?\d{1,30})([iu])", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_TIME = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_IN_MEASUREMENT = re.compile(r"\\([, ])")
_IN_NAME = re.compile(r"\\([,= ])")
_IN_TEXT = re.compile(r'\\(["\\])')
_TRUTHS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}
_RANGES = {"i": range(-(2**63), 2**63), "u": range(2**64)}
_EXACT = 2**63
"""Whole numbers from here on become floats, as those of JSON do."""


def unit_of(precision: str) -> Span:
    """What a timestamp counts; ValueError where there is no such precision."""
    try:
        return PRECISIONS[precision]
    except KeyError:
        known = ", ".join(PRECISIONS)
        raise ValueError(f"{shown(precision, 20)!r} is no precision; take one of {known}") from None


def read_lines(
    payload: bytes, source: str, unit: Span, arrival: Instant, most: int, events: list[Event]
) -> list[Wrong]:
    """Appends an event for each line; the answer is what is wrong with the others.

    A timestamp counts `unit`s; without one the time of arrival holds. `most` lines are read.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        return [(payload.count(b"\n", 0, error.start) + 1, "the text is not UTF-8")]
    wrong: list[Wrong] = []
    number, at, count = 1, 0, 0
    while at < len(text):
        line = _Line(text, at)
        if line.says_something():
            count += 1
            if count > most:
                return [(number, f"more than the {most} lines that one post may hold")]
            try:
                events.append(line.event(source, unit, arrival))
            except ValueError as error:
                wrong.append((number, str(error)))
                line.give_up()
        number += text.count("\n", at, line.at)
        at = line.at
    return wrong


class _Line:
    """One line, read from left to right; `at` is where reading has come to."""

    def __init__(self, text: str, start: int) -> None:
        self._text, self._start = text, start
        self.at = start

    def says_something(self) -> bool:
        """Whether it is neither empty nor a comment; such a one is left behind."""
        self._pass(_GAP)
        if self._text[self.at : self.at + 1] != "#" and not _END.match(self._text, self.at):
            return True
        self.give_up()
        return False

    def give_up(self) -> None:
        """Goes on behind the end of the line where reading began."""
        end = self._text.find("\n", self._start)
        self.at = len(self._text) if end < 0 else end + 1

    def event(self, source: str, unit: Span, arrival: Instant) -> Event:
        """The event that it holds; ValueError with words where it is none."""
        topic = _IN_MEASUREMENT.sub(r"\1", self._take(_MEASUREMENT, "the measurement is missing"))
        check_topic(topic)
        fields: dict[str, Any] = {}
        for name, value in (*self._tags(), *self._fields()):
            if name in fields:
                raise ValueError(f"{shown(topic)}: {shown(name)!r} is given twice")
            fields[name] = value
        time = self._time(unit)
        if not self._pass(_END):
            raise ValueError(f"{shown(topic)}: {self._rest()!r} is one word too many")
        return Event(topic, arrival if time is None else time, fields, source)

    def _tags(self) -> Iterator[tuple[str, str]]:
        while self._takes(","):
            name = self._name("tag")
            self._expect("=", f"the tag {shown(name)!r} has no value")
            value = self._take(_NAME, f"the tag {shown(name)!r} has no value")
            yield name, _IN_NAME.sub(r"\1", value)

    def _fields(self) -> Iterator[tuple[str, Any]]:
        self._expect(" ", "it has no fields")
        self._pass(_GAP)
        while True:
            name = self._name("field")
            self._expect("=", f"the field {shown(name)!r} has no value")
            yield name, self._value(name)
            if not self._takes(","):
                return

    def _value(self, name: str) -> Any:
        if self._text.startswith('"', self.at):
            found = _TEXT.match(self._text, self.at)
            if found is None:
                raise ValueError(f"the text of {shown(name)!r} is not closed")
            self.at = found.end()
            return _IN_TEXT.sub(r"\1", found[1])
        word = self._take(_BARE, f"the field {shown(name)!r} has no value")
        if word in _TRUTHS:
            return _TRUTHS[word]
        return _number(name, word)

    def _time(self, unit: Span) -> Instant | None:
        self._pass(_GAP)
        found = _BARE.match(self._text, self.at)
        if found is None:
            return None
        self.at = found.end()
        time = int(found[0]) * unit if _TIME.fullmatch(found[0]) else -1
        if not plausible(time):
            words = "no time of 1971 to 2260 in the precision that was given"
            raise ValueError(f"{shown(found[0], 40)!r} is {words}")
        return time

    # -- words ----------------------------------------------------------------------------------

    def _name(self, what: str) -> str:
        return _IN_NAME.sub(r"\1", self._take(_NAME, f"a {what} without a name"))

    def _take(self, pattern: re.Pattern[str], otherwise: str) -> str:
        found = pattern.match(self._text, self.at)
        if found is None:
            raise ValueError(otherwise)
        self.at = found.end()
        return found[0]

    def _pass(self, pattern: re.Pattern[str]) -> bool:
        found = pattern.match(self._text, self.at)
        if found is not None:
            self.at = found.end()
        return found is not None

    def _takes(self, mark: str) -> bool:
        there = self._text.startswith(mark, self.at)
        self.at += there
        return there

    def _expect(self, mark: str, otherwise: str) -> None:
        if not self._takes(mark):
            raise ValueError(otherwise)

    def _rest(self) -> str:
        end = self._text.find("\n", self.at)
        return shown(self._text[self.at : end if end >= 0 else None].strip(), 40)


def _number(name: str, word: str) -> int | float:
    whole = _WHOLE.fullmatch(word)
    if whole is not None:
        value = int(whole[1])
        if value not in _RANGES[whole[2]]:
            raise ValueError(f"{word} of {shown(name)!r} is beyond 64 bits")
        return value if value < _EXACT else float(value)
    if _FLOAT.fullmatch(word) is None:
        words = "no number, truth value or text in double quotes"
        raise ValueError(f"{shown(word, 40)!r} of {shown(name)!r} is {words}")
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{shown(word, 40)} of {shown(name)!r} is beyond what a number holds")
    return number
