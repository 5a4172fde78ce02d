"""Parses the feed of a rule's test: a few characters that stand for hundreds of events.
`{speed: 5} x 300 @ 1s, {speed: 20} x 5` is 300 samples a second apart, then five more; fields and
cadence carry over from segment to segment. `nothing x 60` lets time pass. A list of `{at: 5s,
speed: 3}` names each event.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping
from typing import Any

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.time import MAX_INSTANT, SECOND, Instant, Span, parse_duration, parse_instant
from catcher.site.mapping_reader import node_to_plain_value
from catcher.site.yaml_loader import parse_documents

DEFAULT_START = parse_instant("2025-01-01T00:00:00Z")
MAX_EVENTS = 1_000_000
FEED_HINT = 'write it like "{speed: 5} x 300 @ 1s, {speed: 20} x 5"'
_SEGMENT_SUFFIX = re.compile(
    r"\s*(?:x\s*(?P<count>\d{1,7}))?\s*(?:@\s*(?P<step>[\w.]+))?\s*(?:,\s*|$)"
)
_GAP_KEYWORD = "nothing"


def parse_feed(feed: Mapping[str, Any], start: Instant) -> Iterator[Event]:
    """Yields the events of a feed's topics in time order. Raises CatcherError if it is invalid."""
    streams = [
        list(_parse_topic_feed(topic, stream_spec, start)) for topic, stream_spec in feed.items()
    ]
    return heapq.merge(*streams, key=lambda event: event.time)


def _parse_topic_feed(topic: str, stream_spec: Any, start: Instant) -> Iterator[Event]:
    if isinstance(stream_spec, str):
        return _parse_segments(topic, stream_spec, start)
    return (_parse_event(topic, entry, start) for entry in stream_spec)


def _parse_event(topic: str, entry: Any, start: Instant) -> Event:
    if not isinstance(entry, Mapping) or "at" not in entry:
        raise CatcherError(f"the feed of {topic} has an event without a time", "add at: 5s")
    fields = {name: value for name, value in entry.items() if name != "at"}
    return Event(
        topic, _validate_time(topic, start + _parse_feed_duration(topic, str(entry["at"]))), fields
    )


def _parse_segments(topic: str, text: str, start: Instant) -> Iterator[Event]:
    fields: dict[str, Any] = {}
    step, time, event_count = SECOND, start, 0
    for segment, suffix in _split_segments(topic, text.strip()):
        step = _parse_feed_duration(topic, suffix["step"]) if suffix["step"] else step
        count = int(suffix["count"] or 1)
        event_count += count
        if event_count > MAX_EVENTS:
            raise CatcherError(f"the feed of {topic} has more than {MAX_EVENTS} events", FEED_HINT)
        if segment != _GAP_KEYWORD:
            fields = {**fields, **_parse_fields(topic, segment)}
        for _ in range(count):
            if segment != _GAP_KEYWORD:
                yield Event(topic, time, fields)
            time = _validate_time(topic, time + step)


def _split_segments(topic: str, text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yields each segment: its braces or `nothing`, and the match of what follows them."""
    position = 0
    while position < len(text):
        end = _find_segment_end(text, position)
        suffix = _SEGMENT_SUFFIX.match(text, end) if end > position else None
        if suffix is None:
            raise CatcherError(
                f"the feed of {topic} is not clear at {text[position:][:30]!r}", FEED_HINT
            )
        yield text[position:end], suffix
        position = suffix.end()


def _find_segment_end(text: str, start: int) -> int:
    """Returns where the braces (or the word) at `start` end; `start` if there are none."""
    if text.startswith(_GAP_KEYWORD, start):
        return start + len(_GAP_KEYWORD)
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


def _parse_feed_duration(topic: str, text: str) -> Span:
    try:
        return parse_duration(text)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise CatcherError(f"the feed of {topic}: {message}", hint) from error


def _validate_time(topic: str, time: Instant) -> Instant:
    if time > MAX_INSTANT:
        raise CatcherError(f"the feed of {topic} goes on beyond the year 2262", "make it shorter")
    return time


def _parse_fields(topic: str, text: str) -> Mapping[str, Any]:
    documents = parse_documents(text, topic)
    problems = [problem for document in documents for problem in document.problems]
    if problems:
        raise CatcherError(f"the feed of {topic} has {text!r}: {problems[0].message}", FEED_HINT)
    value = (
        node_to_plain_value(documents[0].node)
        if len(documents) == 1 and documents[0].node is not None
        else None
    )
    if not isinstance(value, dict):
        raise CatcherError(f"the feed of {topic} has {text!r}, which is no mapping", FEED_HINT)
    return value
