"""Who hears of a topic's events: the fronts of the simple rules, and all other rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from catcher.model.event import Event
from catcher.watching.blueprint import Branch
from catcher.watching.checking import LISTENING
from catcher.watching.fronts import FURTHEST, FieldFront, Front, Limits, Member
from catcher.watching.sharing import Signal, WindowFront, slot_key
from catcher.watching.tree import Node
from catcher.watching.watch import Feed, Watch

ORDERED = frozenset((">", ">=", "<", "<="))


@dataclass(slots=True)
class Listeners:
    """All that listens to one topic."""

    fronts: list[Front] = field(default_factory=list)
    others: list[tuple[Watch, Feed]] = field(default_factory=list)

    def take(self, event: Event, late: bool) -> list[Watch]:
        """An event; the rules that may have decided something."""
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
    simple: dict[tuple[str, str, str], list[Member]] = {}
    for name in sorted(watches):
        watch = watches[name]
        place = _place(watch)
        if place is not None:
            simple.setdefault(place, []).append(Member(watch, watch.blueprint.branches[0]))
        for topic, feed in watch.feeds():
            listeners = found.setdefault(topic, Listeners())
            if place is None or topic != place[0]:
                listeners.others.append((watch, feed))
    for (topic, _, what), members in simple.items():
        found[topic].fronts.append(_front(what, members))
    return found


def _front(what: str, members: Sequence[Member]) -> Front:
    where = members[0].branch.where
    truth = where.truth if where is not None else None
    if what:
        pairs = [(limit, one) for one in members for _, limit in _compared(one.branch)]
        return FieldFront(members, truth, what, Limits(pairs))
    signals: dict[Signal, list[tuple[float, Member]]] = {}
    for one in members:
        for node, limit in _compared(one.branch):
            slot = one.branch.plan.slots[one.branch.plan.slot(node)]
            signal = slot_key(slot), node.name, node.value.quantile
            signals.setdefault(signal, []).append((limit, one))
    return WindowFront(members, truth, {key: Limits(pairs) for key, pairs in signals.items()})


def _place(watch: Watch) -> tuple[str, str, str] | None:
    """Topic, `where` and field (empty: windows) of a rule that a front can answer for."""
    branches = watch.blueprint.branches
    if len(branches) != 1 or (watch.judge is not None and not watch.judge.results):
        return None
    branch = branches[0]
    trigger = branch.trigger
    plain = trigger.kind in LISTENING and branch.when is not None and trigger.every is None
    extras = (trigger.by, trigger.once_per, trigger.hold, trigger.clear_hold, trigger.forget_after)
    topics = [topic for topic, _ in watch.feeds()]
    if not plain or any(extra is not None for extra in extras) or topics.count(topics[0]) > 1:
        return None
    compared = _compared(branch)
    if not compared or any(not _usable(node, limit) for node, limit in compared):
        return None
    names = {node.text for node, _ in compared}
    windows = {node.kind == "over" for node, _ in compared}
    slots = branch.plan.slots
    if len(windows) > 1 or (slots and windows == {False}) or (not slots and windows == {True}):
        return None
    if windows == {False} and len(names) > 1:
        return None
    if slots and any(slot.kind not in ("window", "count") for slot in slots):
        return None
    where = branch.where.node.text if branch.where is not None else ""
    return trigger.topic, where, "" if slots else names.pop()


def _compared(branch: Branch) -> list[tuple[Node, float]]:
    """What `when` and `clear` compare with which constant; nothing where either does more."""
    found: list[tuple[Node, float]] = []
    for condition in (branch.when, branch.clear):
        if condition is None:
            continue
        node = condition.node
        if node.kind != "apply" or node.name not in ORDERED or node.args[1].kind != "const":
            return []
        limit = node.args[1].value
        if not isinstance(limit, int | float):
            return []
        found.append((node.args[0], limit))
    return found


def _usable(node: Node, limit: float) -> bool:
    if not -FURTHEST < limit < FURTHEST or node.roots != frozenset(("",)):
        return False
    if node.kind == "field":
        return len(node.value) == 1
    inner = node.kind == "over" and node.args[0]
    return isinstance(inner, Node) and not inner.stateful and node.name not in ("streak", "changed")
