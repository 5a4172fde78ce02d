"""Drives a network through a stream, whole or in pieces, and writes down what it decided."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from catcher.model.alert import LevelChange
from catcher.model.commit import TriggerState
from catcher.model.event import RESULT_PREFIX, Admitted, Event
from catcher.model.rule import Rule
from catcher.model.run import Firing
from catcher.watching import Network
from tests.oracle.levels import Changed, Metrics, at_last
from tests.oracle.watched import Fired

Decision = Firing | LevelChange
Saved = dict[tuple[str, str, str], TriggerState]
SOURCE = "sim"


def decided(
    rules: Sequence[Rule], admitted: Sequence[Admitted], cuts: Iterable[int] = ()
) -> list[Decision]:
    """All decisions about a recorded stream, fed in batches that end at the given places."""
    network = Network(rules)
    found: list[Decision] = []
    start = 0
    for cut in [*sorted(set(cuts)), len(admitted)]:
        found += network.feed(admitted[start:cut])
        start = cut
    return found + network.finish(max(item.event.time for item in admitted))


def decided_with_marks(
    rules: Sequence[Rule], admitted: Sequence[Admitted], fractions: Mapping[int, float]
) -> list[Decision]:
    """The same with watermarks before some of the events, none beyond what is still to come."""
    network = Network(rules)
    found: list[Decision] = []
    for place, item in enumerate(admitted):
        if place in fractions:
            before = max([each.event.time for each in admitted[:place]], default=item.event.time)
            coming = min(each.event.time for each in admitted[place:])
            if coming > before:
                mark = before + int((coming - before) * fractions[place])
                found += network.advance({SOURCE: mark})
        found += network.feed([item])
    return found + network.finish(max(item.event.time for item in admitted))


def decided_with_restarts(
    rules: Sequence[Rule], admitted: Sequence[Admitted], stops: Iterable[int]
) -> list[Decision]:
    """The same with the network thrown away at some places, and a new one given its state."""
    network = Network(rules)
    saved: Saved = {}
    found: list[Decision] = []
    stops = set(stops)
    for place, item in enumerate(admitted):
        if place in stops:
            _save(saved, network)
            network = Network(rules, start=admitted[0].event.time)
            network.restore([_through_json(state) for state in saved.values()])
        found += network.feed([item])
    return found + network.finish(max(item.event.time for item in admitted))


def _save(saved: Saved, network: Network) -> None:
    saved.update({(one.rule, one.key, one.part): one for one in network.take_states()})


def _through_json(state: TriggerState) -> TriggerState:
    return replace(state, state=json.loads(json.dumps(state.state)))


def decided_with_downtime(
    rules: Sequence[Rule], admitted: Sequence[Admitted], downtimes: Mapping[int, tuple[int, int]]
) -> list[Decision]:
    """The same by engines one after the other: by place, when one stops and the next takes up."""
    network = Network(rules, start=admitted[0].event.time)
    saved: Saved = {}
    found: list[Decision] = []
    for place, item in enumerate(admitted):
        if place in downtimes:
            stop, again = downtimes[place]
            found += network.finish(stop)
            _save(saved, network)
            network = Network(rules, start=again)
            found += network.restore([_through_json(state) for state in saved.values()])
        found += network.feed([item])
    return found + network.finish(max(item.event.time for item in admitted))


def decided_with_hands(
    rule: Rule, admitted: Sequence[Admitted], hands: Iterable[int]
) -> tuple[list[Decision], list[Firing]]:
    """The same, while somebody fires the rule by hand before some events; those firings apart."""
    network = Network([rule])
    found: list[Decision] = []
    by_hand: list[Firing] = []
    hands = set(hands)
    for place, item in enumerate(admitted):
        if place in hands:
            event = item.event if place % 3 else None
            firing = network.by_hand(rule.id, event, item.event.time, "ana")
            by_hand.append(firing)
            found += network.failed(firing, firing.id, "it could not")
        found += network.feed([item])
    return found + network.finish(max(item.event.time for item in admitted)), by_hand


def decided_with_jobs(
    rule: Rule, admitted: Sequence[Admitted], metrics: Metrics | None, *others: Rule
) -> list[Decision]:
    """The same with a job that takes no time: its result is fed before the next event."""
    assert metrics is not None
    network = Network([rule, *others])
    found: list[Decision] = []

    def settle(decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            found.append(decision)
            if isinstance(decision, Firing) and decision.rule == rule.id:
                measured = metrics(decision.key, decision.time)
                if measured is None:
                    settle(network.failed(decision, decision.id, "it could not"))
                else:
                    settle(network.feed([Admitted(result_of(decision, measured))]))

    def pass_to(instant: int) -> None:
        """A timer's job is done before the next timer."""
        last = -1
        while (due := network.next_timer()) is not None and last < due < instant:
            settle(network.advance({SOURCE: due + 1}))
            last = due
        settle(network.advance({SOURCE: instant}))

    for item in admitted:
        pass_to(item.event.time)
        settle(network.feed([item]))
    end = max(item.event.time for item in admitted)
    pass_to(end + 1)
    while decisions := network.finish(end):
        settle(decisions)
    return found


def result_of(firing: Firing, metrics: Mapping[str, Any]) -> Event:
    """The event that a finished run enters the streams as."""
    about = {"rule": firing.rule, "key": firing.key, "run": firing.id, "firing": firing.id,
             "observation": "", "state": "done"}  # fmt: skip
    own = firing.event.fields if firing.event else {}
    fields = {**own, **metrics, "catcher": about}
    return Event(RESULT_PREFIX + firing.rule, firing.time, fields, "catcher")


def firings_in(decisions: Iterable[Decision]) -> list[Fired]:
    """The firings, in order of time."""
    found = [Fired(d.rule, d.key, d.time) for d in decisions if isinstance(d, Firing)]
    return sorted(found, key=lambda each: (each.time, each.key))


def changes_in(decisions: Iterable[Decision]) -> list[Changed]:
    """What was said of the alerts, in order of time: severity, and whether it can be judged."""
    return at_last(
        Changed(d.rule, d.key, d.per, d.severity, d.unknown, d.time)
        for d in decisions
        if isinstance(d, LevelChange)
    )


def in_words(decisions: Iterable[Decision]) -> list[tuple[Any, ...]]:
    """Everything about each decision that the same stream must give again, in the same order."""
    rows: list[tuple[Any, ...]] = []
    for d in decisions:
        if isinstance(d, Firing):
            rows.append(("firing", d.time, d.rule, d.key, d.cause, d.reason, d.once))
        else:
            rows.append(("level", d.time, d.rule, d.key, d.per, d.severity, d.unknown, d.reason))
    return rows
