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
class KeyHistory:
    """The samples of one key that passed `where`, with all that the rule's reads have seen."""

    rule: Rule
    samples: list[Sample]
    reads: Mapping[str, list[Sample]] = field(default_factory=dict)

    def build_contexts(self) -> list[SampleContext]:
        return [SampleContext(self, sample) for sample in self.samples]


@dataclass(eq=False)
class SampleContext:
    """A sample of a feed, with what could be seen when it came.

    For a window over a read, `bound_read` is the read that `sample` belongs to. Inside a function
    over arrays, where arithmetic goes element by element, `uses_arrays` is true.
    """

    history: KeyHistory
    sample: Sample
    bound_read: str = ""
    uses_arrays: bool = False

    @property
    def time(self) -> int:
        return self.sample.time

    def find_read_samples(self, read: str) -> list[Sample]:
        """The samples of a read that came before this one and are not from its future."""
        return [
            sample
            for sample in self.history.reads[read]
            if sample.position < self.sample.position and sample.time <= self.time
        ]

    def find_latest(self, read: str) -> Sample | None:
        """What a read stands at now; None where it has never been seen or has expired."""
        read_samples = self.find_read_samples(read)
        max_age = self.history.rule.reads[read].max_age
        if not read_samples or (
            max_age is not None and self.time - read_samples[-1].time > max_age
        ):
            return None
        return read_samples[-1]

    def get_value(self, name: str) -> Any:
        """The value of a name; for a function over arrays a list is an `Array`."""
        rule = self.history.rule
        if self.bound_read:
            if name == self.bound_read:
                return self.sample.fields
            return rule.constants.get(name, UNKNOWN)
        if name in rule.reads:
            latest = self.find_latest(name)
            return UNKNOWN if latest is None else latest.fields
        if name in rule.constants:
            return rule.constants[name]
        return get_field(self.sample.fields, name, self.uses_arrays)

    def get_element(self, name: str, index: int) -> Any:
        """One element of a list, or of one whose elements are fields of their own."""
        elements = self.get_value(name)
        if isinstance(elements, list):
            return elements[index] if index < len(elements) else UNKNOWN
        return self.sample.fields.get(f"{name}{index}", UNKNOWN)

    def list_past_contexts(self, expression: ast.expr) -> list[SampleContext]:
        """The moments over which a function of `expression` runs, this one last."""
        names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
        read = next(iter(names & set(self.history.rule.reads)), "")
        if read and not self.bound_read:
            return [
                SampleContext(self.history, sample, read) for sample in self.find_read_samples(read)
            ]
        samples = self.history.reads[self.bound_read] if self.bound_read else self.history.samples
        return [
            SampleContext(self.history, sample, self.bound_read)
            for sample in samples
            if sample.position <= self.sample.position
        ]


def get_field(fields: Mapping[str, Any], name: str, uses_arrays: bool) -> Any:
    """A field; for a function over arrays a list, be it one or fields of their own."""
    if not uses_arrays:
        return fields.get(name, UNKNOWN)
    if name not in fields and f"{name}0" in fields:
        numbers = takewhile(lambda number: f"{name}{number}" in fields, count())
        return Array(fields[f"{name}{number}"] for number in numbers)
    value = fields.get(name, UNKNOWN)
    return Array(value) if isinstance(value, list) else value
