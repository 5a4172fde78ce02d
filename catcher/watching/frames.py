"""What an evaluation sees beside the event in hand, and closures over both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from catcher.model.time import Instant
from catcher.watching.fields import Fields
from catcher.watching.memories import Slot
from catcher.watching.values import BINARY, LARGEST, ORDERINGS, broadcast, scalar


class ReadView(Protocol):
    """A read as closures see it: its latest event and its functions over time, as of now."""

    def latest(self, now: Instant) -> Fields | None: ...
    def age(self, now: Instant) -> float | None: ...
    def figure(self, slot: int, function: str, quantile: float, now: Instant) -> Any: ...


@dataclass(slots=True)
class Frame:
    """The state that an evaluation sees: now, the slots of the feed, the reads by name."""

    now: Instant = 0
    slots: list[Slot] = field(default_factory=list)
    reads: Mapping[str, ReadView] = field(default_factory=dict)


Eval = Callable[[Fields, Frame], Any]


def own_field(name: str) -> Eval:
    """A field of the event in hand, the commonest value of all."""

    def run(fields: Fields, frame: Frame) -> Any:
        value = fields.get(name)
        return value if type(value) is float and -LARGEST <= value <= LARGEST else scalar(value)

    return run


def against_constant(left: Eval, name: str, limit: Any) -> Eval:
    """A comparison with a constant, the commonest condition of all."""
    if type(limit) is str:
        compare = BINARY[name]
        return lambda fields, frame: compare(left(fields, frame), limit)
    operate = ORDERINGS[name]

    def run(fields: Fields, frame: Frame) -> Any:
        value = left(fields, frame)
        if value is None or type(value) is str:
            return None
        return operate(value, limit)

    return run


def all_of(parts: Sequence[Eval]) -> Eval:
    """Kleene's `and` of truths, which stops at the first false one."""

    def run(fields: Fields, frame: Frame) -> bool | None:
        known: bool | None = True
        for part in parts:
            value = part(fields, frame)
            if value is False:
                return False
            if value is None:
                known = None
        return known

    return run


def one_of(parts: Sequence[Eval]) -> Eval:
    """Kleene's `or` of truths, which stops at the first true one."""

    def run(fields: Fields, frame: Frame) -> bool | None:
        known: bool | None = False
        for part in parts:
            value = part(fields, frame)
            if value is True:
                return True
            if value is None:
                known = None
        return known

    return run


def spread(parts: Sequence[Eval], function: Callable[..., Any]) -> Eval:
    """A function of values, element by element where they are arrays."""
    each = broadcast(function)
    return lambda fields, frame: each(*[part(fields, frame) for part in parts])
