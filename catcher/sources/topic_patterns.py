"""From a topic to a stream's name: `"lsst.sal.*": "lsst.sal.{1}"`, or a list of patterns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from catcher.model.problem import CatcherError
from catcher.sources.decoding import check_topic

RECORDED = "{topic}"
"""The name of a mapping whose payloads are recorded lines, each naming its own topic."""
_CACHED = 20_000
_PLACE = re.compile(r"\{(\w*)\}")
_NAME = re.compile(r"[A-Za-z0-9._*-]{1,249}")


class TopicPatterns:
    """The first pattern that fits a topic, in the order they were written, names its stream.

    In a pattern `*` stands for any characters. In a name `{0}` is the whole topic, `{1}`, `{2}`
    what the stars stood for. A list of patterns leaves the topics their own names.
    """

    def __init__(self, topics: Mapping[str, Any] | Sequence[Any]) -> None:
        given = topics if isinstance(topics, Mapping) else dict.fromkeys(topics, "{0}")
        if not given:
            raise CatcherError(
                "a source without topics hears nothing",
                "add topics, such as [lsst.sal.ESS.*, lsst.sal.MTMount.*]",
            )
        self.patterns = [_checked(pattern) for pattern in given]
        self._names = {pattern: _name(pattern, name) for pattern, name in given.items()}
        self._shapes = [(shape(one), self._names[one]) for one in self.patterns]
        self._known: dict[str, str] = {}

    @property
    def exact(self) -> bool:
        """Whether every topic is named in full."""
        return not any("*" in one for one in self.patterns)

    @property
    def expression(self) -> str:
        """One regular expression that fits every topic that is meant."""
        return "^(?:" + "|".join(shape(one).pattern for one in self.patterns) + r")\Z"

    def find(self, topic: str) -> str:
        """The stream's name; ValueError where it is one that no source may give."""
        try:
            return self._known[topic]
        except KeyError:
            name = self._match(topic)
            if name != RECORDED:
                check_topic(name)
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[topic] = name
            return name

    def _match(self, topic: str) -> str:
        for pattern, name in self._shapes:
            match = pattern.fullmatch(topic)
            if match is None:
                continue
            if name == RECORDED:
                return name
            return _PLACE.sub(lambda place, match=match: str(match[int(place[1])]), name)  # type: ignore[misc]
        return topic


def shape(pattern: str) -> re.Pattern[str]:
    """A pattern of topics as a regular expression."""
    return re.compile("(.*)".join(map(re.escape, pattern.split("*"))))


def _checked(pattern: Any) -> str:
    if not isinstance(pattern, str) or not _NAME.fullmatch(pattern):
        raise CatcherError(
            f"{pattern!r} is no topic", "letters, digits, . _ and -; * stands for the rest"
        )
    return pattern


def _name(pattern: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise CatcherError(f"topic {pattern!r} is given no name", 'write "{0}" to keep its own')
    if name == RECORDED:
        return name
    stars = pattern.count("*")
    for place in _PLACE.findall(name):
        if not place.isdecimal() or int(place) > stars:
            raise CatcherError(
                f"{{{place}}} in {name!r} stands for nothing: {pattern!r} has {stars} stars",
                "{0} is the whole topic, {1} what the first star stands for",
            )
    return name
