"""Who hears of a topic's events: the fronts of the simple rules, and all other rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from catcher.model.event import Event
from catcher.model.time import Instant
from catcher.watching.blueprint import Branch, fires
from catcher.watching.checking import LISTENING
from catcher.watching.conditions import Condition
from catcher.watching.fronts import Front
from catcher.watching.tree import Node
from catcher.watching.watch import Decision, Feed, Watch

OWN = frozenset(("",))


@dataclass(slots=True)
class Listeners:
    """All that listens to one topic."""

    fronts: list[Front] = field(default_factory=list)
    others: list[tuple[Watch, Feed]] = field(default_factory=list)

    @property
    def alone(self) -> Front | None:
        """The front that can look at stretches of events, where nobody else listens."""
        if self.others or len(self.fronts) != 1 or not self.fronts[0].plain:
            return None
        return self.fronts[0]

    def take(self, event: Event, late: bool) -> Sequence[Watch]:
        """An event; the rules that may have decided something."""
        if len(self.fronts) == 1 and not self.others:
            return self.fronts[0].take(event, late)
        asked: list[Watch] = []
        for front in self.fronts:
            asked += front.take(event, late)
        if self.others:
            for watch, _ in self.others:
                watch.next_event()
            for _, feed in self.others:
                feed(event, late)
            asked += [watch for watch, _ in self.others]
        return asked


def arrange(watches: Mapping[str, Watch]) -> dict[str, Listeners]:
    """The listeners of every topic, rules in the order of their ids."""
    found: dict[str, Listeners] = {}
    simple: dict[tuple[str, str, str], list[Watch]] = {}
    for name in sorted(watches):
        watch = watches[name]
        place = _place(watch)
        if place is not None:
            simple.setdefault(place, []).append(watch)
        for topic, feed in watch.feeds():
            listeners = found.setdefault(topic, Listeners())
            if place is None or topic != place[0]:
                listeners.others.append((watch, feed))
    for (topic, *_), members in simple.items():
        found[topic].fronts.append(Front(members))
    return found


def decided(asked: Sequence[Watch]) -> list[Decision]:
    """What some rules decided on one event, ordered by time, rule and key."""
    out: list[Decision] = []
    for watch in asked:
        if watch.out:
            out += watch.take_out()
    return sorted(out, key=_order) if len(out) > 1 else out


def _order(decision: Decision) -> tuple[Instant, str, str]:
    return decision.time, decision.rule, decision.key


def _place(watch: Watch) -> tuple[str, str, str] | None:
    """Topic, `where` and `by` of a rule that a front can answer for."""
    branches = watch.blueprint.branches
    if len(branches) != 1:
        return None
    branch, topics = branches[0], [topic for topic, _ in watch.feeds()]
    if not _is_judged(watch, branch) or topics.count(branch.trigger.topic) > 1:
        return None
    if not all(_is_own(condition.node) for condition in _conditions(watch, branch)):
        return None
    where = branch.where.node.text if branch.where is not None else ""
    by = branch.by_node.text if branch.by_node is not None else ""
    return branch.trigger.topic, where, by


def _is_judged(watch: Watch, branch: Branch) -> bool:
    """Whether what a rule does at an event follows from truths alone."""
    trigger, judge = branch.trigger, watch.judge
    if trigger.kind not in LISTENING or trigger.once_per is not None:
        return False
    if judge is not None and not judge.results and judge.levels.per is not None:
        return False
    if trigger.when is None and trigger.every is None:
        return not fires(watch.rule, trigger)
    return True


def _conditions(watch: Watch, branch: Branch) -> Iterator[Condition]:
    found = [branch.when, branch.clear]
    judge = watch.judge
    if judge is not None and not judge.results:
        found += [one for plan in judge.levels.levels for one in (plan.when, plan.clear)]
    yield from (one for one in found if one is not None)


def _is_own(condition: Node) -> bool:
    """Whether it looks at the rule's own events alone, and at no figure of a figure."""
    nested = (node for node in condition.walk() if node.kind == "over" and node.args[0].stateful)
    return condition.roots <= OWN and not any(nested)
