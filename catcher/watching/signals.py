"""What the conditions of many rules look at: each value once, with the limits it is compared with.

A condition is a combination of comparisons. As long as each value that is compared stays between
the same two limits, every comparison keeps its truth, and so does every condition made of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from catcher.watching.compiling import Plan
from catcher.watching.frames import Eval
from catcher.watching.tree import Node
from catcher.watching.values import COMPARISONS

FURTHEST = 1e300
"""Raw values beyond are looked at closely: they are near to what counts as unknown."""
LARGEST_WHOLE = 2**53
"""Up to here floats tell whole numbers apart."""


@dataclass(slots=True)
class Home:
    """Where a signal is evaluated: in the plan of a member's trigger, or of its levels."""

    member: int
    levels: bool
    node: Node
    run: Eval


@dataclass(slots=True)
class Signal:
    """One value, and whom to ask when it moves past a limit, or (`others`) changes at all."""

    truth: bool = False
    homes: list[Home] = field(default_factory=list)
    pairs: list[tuple[float, int]] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    steps: npt.NDArray[np.float64] | None = None
    """The steps of the limits, where floats are exact."""
    owners: list[int] = field(default_factory=list)

    @property
    def node(self) -> Node:
        """The expression."""
        return self.homes[0].node

    @property
    def name(self) -> str:
        """The field that it is; empty where it is anything else."""
        node = self.node
        plain = node.kind == "field" and len(node.value) == 1 and not node.root
        return str(node.value[0]) if plain else ""

    def settle(self) -> None:
        """Puts the limits in order."""
        self.pairs.sort()
        self.limits = [limit for limit, _ in self.pairs]
        self.owners = [owner for _, owner in self.pairs]
        whole = all(abs(limit) <= LARGEST_WHOLE for limit in self.limits)
        self.steps = steps_of(self.limits) if whole else None

    def all(self) -> list[int]:
        """Everybody who looks at it."""
        return [*self.owners, *self.others]


def steps_of(limits: Sequence[float]) -> npt.NDArray[np.float64]:
    """Where a value that rises comes to stand elsewhere: on a limit, and just beyond it."""
    exact = np.unique(np.array(limits, dtype=np.float64))
    return np.stack((exact, np.nextafter(exact, np.inf)), axis=-1).ravel()


class Signals:
    """The signals of all conditions of some rules."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, bool], Signal] = {}

    def add(self, member: int, levels: bool, plan: Plan, condition: Node) -> None:
        """Takes in what a condition looks at."""
        for node, limit in parts(condition):
            truth = limit is None and not _compared_with_text(node)
            looked_at = node if truth or limit is not None else node.args[0]
            run = plan.condition(looked_at) if truth else plan.compile(looked_at)
            signal = self.found.setdefault((looked_at.text, truth), Signal(truth))
            if not any(home.member == member for home in signal.homes[-1:]):
                signal.homes.append(Home(member, levels, looked_at, run))
            if limit is None:
                signal.others.append(member)
            else:
                signal.pairs.append((limit, member))

    def ready(self) -> list[Signal]:
        """All of them, in order."""
        for signal in self.found.values():
            signal.settle()
        return list(self.found.values())


def parts(condition: Node) -> Iterator[tuple[Node, float | None]]:
    """What a condition compares with which number; a part that does not, without one."""
    if condition.kind in ("and", "or", "not"):
        for arg in condition.args:
            yield from parts(arg)
        return
    if condition.kind == "apply" and condition.name in COMPARISONS:
        left, right = condition.args
        for one, other in ((left, right), (right, left)):
            if one.kind != "const" and other.kind == "const" and _is_limit(other.value):
                yield one, other.value
                return
    yield condition, None


def _is_limit(value: Any) -> bool:
    return isinstance(value, int | float) and -FURTHEST < value < FURTHEST


def _compared_with_text(node: Node) -> bool:
    if node.kind != "apply" or node.name not in COMPARISONS:
        return False
    left, right = node.args
    return left.kind != "const" and right.kind == "const" and isinstance(right.value, str)
