"""Maps MQTT topics to stream names: `"sal/+/+": "lsst.sal.{1}.{2}"`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from catcher.model.errors import CatcherError
from catcher.transport.event_decoder import check_topic, to_printable

TOPIC_FROM_PAYLOAD = "{topic}"
"""The name of a mapping whose payloads are recorded lines, each naming its own topic."""
_CACHE_SIZE = 20_000
_PLACEHOLDER = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True, slots=True)
class TopicSubscription:
    """One subscription: the name of its stream, its QoS, and whether it accepts retained messages.

    `qos` None uses the source's own. In `name`, `{1}`, `{2}`, ... are what the wildcards of the
    filter matched, in order; what `#` matched is joined with dots.
    """

    name: str
    qos: Literal[0, 1, 2] | None = None
    retained: bool = True


def parse_subscription(topic_filter: str, entry: Any) -> TopicSubscription:
    """Parses the entry of a topic filter: a name, or `{name, qos, retained}`."""
    if isinstance(entry, Mapping):
        entry = {**entry, "name": entry.get("name", "")}
        unknown = sorted(set(entry) - {"name", "qos", "retained"})
        if unknown:
            raise CatcherError(f"topic {topic_filter!r}: unknown key {unknown[0]!r}", _TOPIC_HINT)
        entry = TopicSubscription(**entry)
    if isinstance(entry, str):
        entry = TopicSubscription(entry)
    if not isinstance(entry, TopicSubscription) or not isinstance(entry.name, str):
        raise CatcherError(f"topic {topic_filter!r} is given no name", _TOPIC_HINT)
    if entry.qos not in (None, 0, 1, 2) or not isinstance(entry.retained, bool):
        raise CatcherError(f"topic {topic_filter!r}: qos is 0, 1 or 2, retained true or false")
    return entry


_TOPIC_HINT = "write a name, or {name: ..., qos: 0, retained: false}"


class TopicMap:
    """The first filter that matches a topic, in the order written, names its stream."""

    def __init__(self, topics: Mapping[str, str | TopicSubscription]) -> None:
        if not topics:
            raise CatcherError(
                "an MQTT source without topics hears nothing",
                'add topics, such as {"sal/+/+": "lsst.sal.{1}.{2}"}',
            )
        self.subscriptions = {
            topic_filter: entry
            if isinstance(entry, TopicSubscription)
            else TopicSubscription(entry)
            for topic_filter, entry in topics.items()
        }
        self._filters = [
            (_compile_filter(topic_filter), entry)
            for topic_filter, entry in self.subscriptions.items()
        ]
        for topic_filter, entry in self.subscriptions.items():
            _check_stream_name(topic_filter, entry.name)
        self._cache: dict[bytes, tuple[str, TopicSubscription] | None] = {}

    def find_stream(self, topic: bytes) -> tuple[str, TopicSubscription] | None:
        """Returns the name and the subscription of a raw topic; None if no filter matches it.

        Raises ValueError if the topic is not UTF-8, or the name is invalid or reserved.
        """
        try:
            return self._cache[topic]
        except KeyError:
            match = self._match_filters(_decode_topic(topic))
            if match is not None and match[0] != TOPIC_FROM_PAYLOAD:
                check_topic(match[0])
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            self._cache[topic] = match
            return match

    def _match_filters(self, topic: str) -> tuple[str, TopicSubscription] | None:
        for pattern, entry in self._filters:
            match = pattern.fullmatch(topic)
            if match is not None:
                return _expand_name(entry.name, match), entry
        return None


def _decode_topic(topic: bytes) -> str:
    try:
        return topic.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{to_printable(topic)}: the MQTT topic is not UTF-8") from None


def _expand_name(name: str, match: re.Match[str]) -> str:
    if name == TOPIC_FROM_PAYLOAD:
        return name
    return _PLACEHOLDER.sub(
        lambda placeholder: (match[int(placeholder[1])] or "").replace("/", "."), name
    )


def _compile_filter(topic_filter: str) -> re.Pattern[str]:
    levels = topic_filter.split("/")
    if levels[0] == "$share":
        if len(levels) < 3:
            raise CatcherError(
                f"{topic_filter!r} is no shared subscription", "write it $share/GROUP/FILTER"
            )
        levels = levels[2:]
    parts = []
    for index, level in enumerate(levels):
        is_last = index == len(levels) - 1
        if level == "#" and is_last:
            # `sport/#` also matches `sport` itself (MQTT 3.1.1, 4.7.1.2).
            parts.append(r"((?!\$).*)" if index == 0 else "(?:/(.*))?")
        elif "#" in level or ("+" in level and level != "+"):
            raise CatcherError(
                f"{topic_filter!r} is no MQTT topic filter",
                "+ stands for one whole level, # for the rest",
            )
        else:
            separator = "/" if index else ""
            # A wildcard at the front does not match `$SYS` and the like (4.7.2).
            guard = "" if index else r"(?!\$)"
            parts.append(separator + (f"{guard}([^/]*)" if level == "+" else re.escape(level)))
    if not topic_filter:
        raise CatcherError("an MQTT topic filter is empty", "name a topic, or # for all of them")
    return re.compile("".join(parts), re.DOTALL)


def _check_stream_name(topic_filter: str, name: str) -> None:
    if name == TOPIC_FROM_PAYLOAD:
        return
    wildcard_count = _compile_filter(topic_filter).groups
    for placeholder in _PLACEHOLDER.findall(name):
        if not placeholder.isdecimal() or not 1 <= int(placeholder) <= wildcard_count:
            raise CatcherError(
                f"{{{placeholder}}} in {name!r} stands for nothing: "
                f"{topic_filter!r} has {wildcard_count} wildcards",
                "count the wildcards from {1}; {topic} alone reads recorded lines",
            )
    if not name:
        raise CatcherError(
            f"the topic filter {topic_filter!r} gives no name", "write one after the colon"
        )
