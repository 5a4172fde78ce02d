"""The feed of a rule's test: a few characters that stand for hundreds of events.

`{speed: 5} x 300 @ 1s, {speed: 20} x 5` is 300 samples a second apart, then five more; fields
and cadence carry over from segment to segment. `nothing x 60` lets time pass. A list of
`{at: 5s, speed: 3}` names each event.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping
from typing import Any

from catcher.model.event import Event
from catcher.model.problem import CatcherError
from catcher.model.time import MAX_INSTANT, SECOND, Instant, Span, parse_duration, parse_instant
from catcher.site.reader import json_of
from catcher.site.strict import documents

START = parse_instant("2025-01-01T00:00:00Z")
MOST = 1_000_000
SHAPE = 'write it like "{speed: 5} x 300 @ 1s, {speed: 20} x 5"'
_REST = re.compile(r"\s*(?:x\s*(?P<count>\d{1,7}))?\s*(?:@\s*(?P<step>[\w.]+))?\s*(?:,\s*|$)")
_NOTHING = "nothing"


def read_feed(feed: Mapping[str, Any], start: Instant) -> Iterator[Event]:
    """The events of all topics of a feed in the order of time; CatcherError says what is wrong."""
    streams = [list(_stream(topic, what, start)) for topic, what in feed.items()]
    return heapq.merge(*streams, key=lambda event: event.time)


def _stream(topic: str, what: Any, start: Instant) -> Iterator[Event]:
    if isinstance(what, str):
        return _segments(topic, what, start)
    return (_single(topic, one, start) for one in what)


def _single(topic: str, one: Any, start: Instant) -> Event:
    if not isinstance(one, Mapping) or "at" not in one:
        raise CatcherError(f"the feed of {topic} has an event without a time", "add at: 5s")
    fields = {name: value for name, value in one.items() if name != "at"}
    return Event(topic, _bounded(topic, start + _step(topic, str(one["at"]))), fields)


def _segments(topic: str, text: str, start: Instant) -> Iterator[Event]:
    fields: dict[str, Any] = {}
    step, time, made = SECOND, start, 0
    for what, rest in _split(topic, text.strip()):
        step = _step(topic, rest["step"]) if rest["step"] else step
        count = int(rest["count"] or 1)
        made += count
        if made > MOST:
            raise CatcherError(f"the feed of {topic} has more than {MOST} events", SHAPE)
        if what != _NOTHING:
            fields = {**fields, **_fields(topic, what)}
        for _ in range(count):
            if what != _NOTHING:
                yield Event(topic, time, fields)
            time = _bounded(topic, time + step)


def _split(topic: str, text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Each segment: its braces or `nothing`, and what stands behind them."""
    position = 0
    while position < len(text):
        end = _end(text, position)
        rest = _REST.match(text, end) if end > position else None
        if rest is None:
            raise CatcherError(
                f"the feed of {topic} is not clear at {text[position:][:30]!r}", SHAPE
            )
        yield text[position:end], rest
        position = rest.end()


def _end(text: str, start: int) -> int:
    """Where the braces (or the word) that begin at a position end; `start` where there are none."""
    if text.startswith(_NOTHING, start):
        return start + len(_NOTHING)
    depth, quote = 0, ""
    for index in range(start, len(text)):
        char = text[index]
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth += (char in "{[") - (char in "}]")
            if depth == 0:
                return index + 1 if char == "}" else start
    return start


def _step(topic: str, text: str) -> Span:
    try:
        return parse_duration(text)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise CatcherError(f"the feed of {topic}: {message}", hint) from error


def _bounded(topic: str, time: Instant) -> Instant:
    if time > MAX_INSTANT:
        raise CatcherError(f"the feed of {topic} goes on beyond the year 2262", "make it shorter")
    return time


def _fields(topic: str, text: str) -> Mapping[str, Any]:
    found = documents(text, topic)
    problems = [problem for document in found for problem in document.problems]
    if problems:
        raise CatcherError(f"the feed of {topic} has {text!r}: {problems[0].message}", SHAPE)
    value = json_of(found[0].node) if len(found) == 1 and found[0].node is not None else None
    if not isinstance(value, dict):
        raise CatcherError(f"the feed of {topic} has {text!r}, which is no mapping", SHAPE)
    return value
