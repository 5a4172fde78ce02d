"""Maps topics to stream names: `"lsst.sal.*": "lsst.sal.{1}"`, or a list of patterns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from catcher.model.errors import CatcherError
from catcher.transport.event_decoder import check_topic

TOPIC_FROM_PAYLOAD = "{topic}"
"""The name of a mapping whose payloads are recorded lines, each naming its own topic."""
_CACHE_SIZE = 20_000
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_PATTERN_SYNTAX = re.compile(r"[A-Za-z0-9._*-]{1,249}")


class TopicPatterns:
    """The first pattern that matches a topic, in the order written, names its stream.

    In a pattern `*` matches any characters. In a name `{0}` is the complete topic, `{1}`, `{2}`
    what the stars matched. A list of patterns leaves the topics their own names.
    """

    def __init__(self, topics: Mapping[str, Any] | Sequence[Any]) -> None:
        mapping = topics if isinstance(topics, Mapping) else dict.fromkeys(topics, "{0}")
        if not mapping:
            raise CatcherError(
                "a source without topics hears nothing",
                "add topics, such as [lsst.sal.ESS.*, lsst.sal.MTMount.*]",
            )
        self.patterns = [_validate_pattern(pattern) for pattern in mapping]
        self._names = {
            pattern: _validate_stream_name(pattern, name) for pattern, name in mapping.items()
        }
        self._compiled = [
            (compile_pattern(pattern), self._names[pattern]) for pattern in self.patterns
        ]
        self._cache: dict[str, str] = {}

    @property
    def has_no_wildcards(self) -> bool:
        """True if no pattern has a star."""
        return not any("*" in pattern for pattern in self.patterns)

    @property
    def combined_regex(self) -> str:
        """One regular expression that matches every topic of the patterns."""
        return (
            "^(?:"
            + "|".join(compile_pattern(pattern).pattern for pattern in self.patterns)
            + r")\Z"
        )

    def resolve_stream_name(self, topic: str) -> str:
        """Returns the stream's name. Raises ValueError if it is invalid or reserved."""
        try:
            return self._cache[topic]
        except KeyError:
            name = self._match_patterns(topic)
            if name != TOPIC_FROM_PAYLOAD:
                check_topic(name)
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            self._cache[topic] = name
            return name

    def _match_patterns(self, topic: str) -> str:
        for pattern, name in self._compiled:
            match = pattern.fullmatch(topic)
            if match is None:
                continue
            if name == TOPIC_FROM_PAYLOAD:
                return name
            return _expand_name(name, match)
        return topic


def _expand_name(name: str, match: re.Match[str]) -> str:
    """Returns the name with `{1}`, `{2}`, … replaced by the groups of the match."""
    return _PLACEHOLDER.sub(lambda placeholder: str(match[int(placeholder[1])]), name)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compiles a topic pattern to a regular expression."""
    return re.compile("(.*)".join(map(re.escape, pattern.split("*"))))


def _validate_pattern(pattern: Any) -> str:
    if not isinstance(pattern, str) or not _PATTERN_SYNTAX.fullmatch(pattern):
        raise CatcherError(
            f"{pattern!r} is no topic", "letters, digits, . _ and -; * stands for the rest"
        )
    return pattern


def _validate_stream_name(pattern: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise CatcherError(f"topic {pattern!r} is given no name", 'write "{0}" to keep its own')
    if name == TOPIC_FROM_PAYLOAD:
        return name
    star_count = pattern.count("*")
    for placeholder in _PLACEHOLDER.findall(name):
        if not placeholder.isdecimal() or int(placeholder) > star_count:
            raise CatcherError(
                f"{{{placeholder}}} in {name!r} stands for "
                f"nothing: {pattern!r} has {star_count} stars",
                "{0} is the whole topic, {1} what the first star stands for",
            )
    return name
