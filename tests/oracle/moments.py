"""What can be seen at one sample: its fields, the samples before it, what the reads stand at."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import Any

from catcher.model.rule import Rule
from tests.oracle.functions import UNKNOWN
from tests.oracle.values import Array


@dataclass(frozen=True, eq=False)
class Sample:
    """One event as the rule saw it: its place in the admitted order, its time, its fields.

    A result's place lies between the event that it was fired by and the next.
    """

    position: float
    time: int
    fields: Mapping[str, Any]


@dataclass(eq=False)
class Feed:
    """The samples of one key that passed `where`, with all that the rule's reads have seen."""

    rule: Rule
    samples: list[Sample]
    reads: Mapping[str, list[Sample]] = field(default_factory=dict)

    def moments(self) -> list[Moment]:
        return [Moment(self, sample) for sample in self.samples]


@dataclass(eq=False)
class Moment:
    """A sample of a feed, with what could be seen when it came.

    For a window over a read, `bound` is the read that `sample` belongs to. Inside a function over
    arrays, where arithmetic goes element by element, `arrays` is true.
    """

    feed: Feed
    sample: Sample
    bound: str = ""
    arrays: bool = False

    @property
    def time(self) -> int:
        return self.sample.time

    def seen(self, read: str) -> list[Sample]:
        """The samples of a read that came before this one and are not from its future."""
        return [
            past
            for past in self.feed.reads[read]
            if past.position < self.sample.position and past.time <= self.time
        ]

    def latest(self, read: str) -> Sample | None:
        """What a read stands at now; None where it has never been seen or has expired."""
        seen = self.seen(read)
        limit = self.feed.rule.reads[read].max_age
        if not seen or (limit is not None and self.time - seen[-1].time > limit):
            return None
        return seen[-1]

    def lookup(self, name: str) -> Any:
        """The value of a name; for a function over arrays a list is an `Array`."""
        rule = self.feed.rule
        if self.bound:
            if name == self.bound:
                return self.sample.fields
            return rule.constants.get(name, UNKNOWN)
        if name in rule.reads:
            latest = self.latest(name)
            return UNKNOWN if latest is None else latest.fields
        if name in rule.constants:
            return rule.constants[name]
        return part_of(self.sample.fields, name, self.arrays)

    def element(self, name: str, place: int) -> Any:
        """One element of a list, or of one whose elements are fields of their own."""
        whole = self.lookup(name)
        if isinstance(whole, list):
            return whole[place] if place < len(whole) else UNKNOWN
        return self.sample.fields.get(f"{name}{place}", UNKNOWN)

    def history(self, expression: ast.expr) -> list[Moment]:
        """The moments over which a function of `expression` runs, this one last."""
        names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
        read = next(iter(names & set(self.feed.rule.reads)), "")
        if read and not self.bound:
            return [Moment(self.feed, past, read) for past in self.seen(read)]
        source = self.feed.reads[self.bound] if self.bound else self.feed.samples
        return [
            Moment(self.feed, past, self.bound)
            for past in source
            if past.position <= self.sample.position
        ]


def part_of(fields: Mapping[str, Any], name: str, arrays: bool) -> Any:
    """A field; for a function over arrays a list, be it one or fields of their own."""
    if not arrays:
        return fields.get(name, UNKNOWN)
    if name not in fields and f"{name}0" in fields:
        numbers = takewhile(lambda n: f"{name}{n}" in fields, count())
        return Array(fields[f"{name}{number}"] for number in numbers)
    value = fields.get(name, UNKNOWN)
    return Array(value) if isinstance(value, list) else value
