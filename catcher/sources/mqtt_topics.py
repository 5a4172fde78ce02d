"""From an MQTT topic to a stream's name: `"sal/+/+": "lsst.sal.{1}.{2}"`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from catcher.model.problem import CatcherError
from catcher.sources.decoding import check_topic, shown

RECORDED = "{topic}"
"""The name of a mapping whose payloads are recorded lines, each naming its own topic."""
_CACHED = 20_000
_PLACE = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription: the name its messages get, its QoS, and whether retained ones count.

    `qos` None takes the source's own. In `name`, `{1}`, `{2}`, ... are what the wildcards of
    the filter stood for, in their order; what `#` stood for is joined with dots.
    """

    name: str
    qos: Literal[0, 1, 2] | None = None
    retained: bool = True


def subscription(text: str, entry: Any) -> Subscription:
    """What is written after a topic filter: a name, or `{name, qos, retained}`."""
    if isinstance(entry, Mapping):
        entry = {**entry, "name": entry.get("name", "")}
        unknown = sorted(set(entry) - {"name", "qos", "retained"})
        if unknown:
            raise CatcherError(f"topic {text!r}: unknown key {unknown[0]!r}", _TOPIC_KEYS)
        entry = Subscription(**entry)
    if isinstance(entry, str):
        entry = Subscription(entry)
    if not isinstance(entry, Subscription) or not isinstance(entry.name, str):
        raise CatcherError(f"topic {text!r} is given no name", _TOPIC_KEYS)
    if entry.qos not in (None, 0, 1, 2) or not isinstance(entry.retained, bool):
        raise CatcherError(f"topic {text!r}: qos is 0, 1 or 2, retained true or false")
    return entry


_TOPIC_KEYS = "write a name, or {name: ..., qos: 0, retained: false}"


class TopicMap:
    """The first filter that fits a topic, in the order they were written, names it."""

    def __init__(self, topics: Mapping[str, str | Subscription]) -> None:
        if not topics:
            raise CatcherError(
                "an MQTT source without topics hears nothing",
                'add topics, such as {"sal/+/+": "lsst.sal.{1}.{2}"}',
            )
        self.subscriptions = {
            text: entry if isinstance(entry, Subscription) else Subscription(entry)
            for text, entry in topics.items()
        }
        self._filters = [(_pattern(text), entry) for text, entry in self.subscriptions.items()]
        for text, entry in self.subscriptions.items():
            _check_name(text, entry.name)
        self._known: dict[bytes, tuple[str, Subscription] | None] = {}

    def find(self, topic: bytes) -> tuple[str, Subscription] | None:
        """The name and the subscription of a topic as it came; None where no filter fits it.

        ValueError where the topic is not UTF-8, or the name is one that no source may give.
        """
        try:
            return self._known[topic]
        except KeyError:
            found = self._match(_text(topic))
            if found is not None and found[0] != RECORDED:
                check_topic(found[0])
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[topic] = found
            return found

    def _match(self, topic: str) -> tuple[str, Subscription] | None:
        for pattern, entry in self._filters:
            match = pattern.fullmatch(topic)
            if match is not None:
                return _named(entry.name, match), entry
        return None


def _text(topic: bytes) -> str:
    try:
        return topic.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{shown(topic)}: the MQTT topic is not UTF-8") from None


def _named(name: str, match: re.Match[str]) -> str:
    if name == RECORDED:
        return name
    return _PLACE.sub(lambda place: (match[int(place[1])] or "").replace("/", "."), name)


def _pattern(text: str) -> re.Pattern[str]:
    levels = text.split("/")
    if levels[0] == "$share":
        if len(levels) < 3:
            raise CatcherError(
                f"{text!r} is no shared subscription", "write it $share/GROUP/FILTER"
            )
        levels = levels[2:]
    parts = []
    for place, level in enumerate(levels):
        last = place == len(levels) - 1
        if level == "#" and last:
            # `sport/#` also fits `sport` itself (MQTT 3.1.1, 4.7.1.2).
            parts.append(r"((?!\$).*)" if place == 0 else "(?:/(.*))?")
        elif "#" in level or ("+" in level and level != "+"):
            raise CatcherError(
                f"{text!r} is no MQTT topic filter", "+ stands for one whole level, # for the rest"
            )
        else:
            head = "/" if place else ""
            # A wildcard at the front does not fit `$SYS` and its like (4.7.2).
            front = "" if place else r"(?!\$)"
            parts.append(head + (f"{front}([^/]*)" if level == "+" else re.escape(level)))
    if not text:
        raise CatcherError("an MQTT topic filter is empty", "name a topic, or # for all of them")
    return re.compile("".join(parts), re.DOTALL)


def _check_name(text: str, name: str) -> None:
    if name == RECORDED:
        return
    wildcards = _pattern(text).groups
    for place in _PLACE.findall(name):
        if not place.isdecimal() or not 1 <= int(place) <= wildcards:
            raise CatcherError(
                f"{{{place}}} in {name!r} stands for nothing: {text!r} has {wildcards} wildcards",
                "count the wildcards from {1}; {topic} alone reads recorded lines",
            )
    if not name:
        raise CatcherError(f"the topic filter {text!r} gives no name", "write one after the colon")
