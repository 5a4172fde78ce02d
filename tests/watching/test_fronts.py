"""Many rules answered at once decide what each of them decides alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.model.commit import TriggerState
from catcher.model.event import Admitted
from catcher.model.rule import Rule
from catcher.model.run import Firing
from catcher.watching import Network
from tests.watching.playing import alert, at, event, fired, level, rule, stream, times, trigger

values = st.one_of(
    st.integers(-3, 8),
    st.floats(-3, 8),
    st.sampled_from([None, math.nan, math.inf, "4", True, [1], 10**400, 1e308, 2.5, 3, 2**60 + 1]),
)
samples = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.5, 1, 1, 4, 7, 61, -1]), values, st.booleans(),
        st.sampled_from(["a", "b", 1, True, None]), st.booleans(), st.sampled_from([1, 1, 1, 9]),
    ),
    min_size=1,
    max_size=25,
)  # fmt: skip
"""Steps in time, values, whether it is from the usual source, keys, lateness, and how often."""
PLAIN = [
    "speed > 2",
    "speed >= 3",
    "2.5 > speed",
    "speed == 3",
    "speed != 3 and speed > 1",
    "not 1 < speed <= 4",
]
texts = st.sampled_from(
    [
        *PLAIN,
        "speed > one or ok",
        "speed == '4'",
        "abs(speed) > 2",
        'mean(speed, "2s") > 2.5',
        "max_over(speed, last=3) >= 3",
        'std(speed, "3s") < 1 and count(speed > 2, "3s") > 1',
        "median(speed, last=2) > previous(speed)",
        'std(speed, "2s") > 1 or slope(speed, "2s") > 0',
        "min_over(speed, last=3) < 0",
        "streak(speed > 1) >= 2",
        "changed(speed)",
        'rate(speed > 1, "2s") > 0.6',
    ]
)
some = st.sampled_from
spans = some(["", "", "1s", "2s", "8s", "20s"])


def instants(steps: Sequence[Any]) -> list[Admitted]:
    now, found = 10.0, []
    for step, value, ok, key, late, repeats in steps:
        for _ in range(repeats):
            now += step
            source = "efd" if ok else "other"
            fields = {"speed": value, "ok": ok, "one": 1, "key": key}
            found.append(Admitted(event(now, fields, source=source), late and step == -1))
    return found


@st.composite
def edges(draw: Any) -> Rule:
    kind = draw(some(["edge", "hold", "every"]))
    given: dict[str, Any] = {"when": draw(texts), "stale_after": draw(some(["1m", "3s"]))}
    if kind == "every":
        given |= {"every": draw(some(["2s", "8s"])), "when": draw(some([None, given["when"]]))}
    else:
        given["clear"] = draw(st.one_of(st.none(), texts))
        given["on_recovery"] = draw(some(["fire", "ignore"]))
    if kind == "hold":
        given |= {"hold": draw(spans) or None, "clear_hold": draw(spans) or None}
    over = alert(critical=level(None), **draw(some([{}, {"lasts": "3s"}])))
    return rule(trigger(**given), alert=draw(some([None, over])))


@st.composite
def judged(draw: Any) -> Rule:
    given: dict[str, Any] = {"lasts": draw(some(["3s", None]))}
    for severity in draw(some([["warning"], ["warning", "critical"]])):
        clear = draw(st.one_of(st.just(""), texts))
        given[severity] = level(draw(texts), draw(spans), clear, draw(spans) if clear else "")
    return rule(trigger(stale_after=draw(some(["1m", "3s"]))), alert=alert(**given))


@st.composite
def companies(draw: Any) -> list[Rule]:
    """Rules that listen to the same events, so that one front stands before all of them."""
    shared = {
        "where": draw(some([None, "ok"])),
        "by": draw(some([None, "key"])),
        "forget_after": draw(some([None, "20s"])),
    }
    extra = trigger(**shared)
    found = draw(st.lists(st.one_of(edges(), judged()), min_size=1, max_size=6))
    return [
        replace(
            one,
            id=f"rule-{index}",
            trigger=replace(
                one.trigger, where=extra.where, by=extra.by, forget_after=extra.forget_after
            ),
        )
        for index, one in enumerate(found)
    ]


def alone(one: Rule) -> Rule:
    """The same rule with a second trigger that never hears anything: no front stands before it."""
    union = trigger("any", "", any=(one.trigger, replace(one.trigger, topic="silence")))
    return replace(one, trigger=union)


def told(decisions: Any) -> list[Any]:
    return [
        (one.rule, one.key, one.time, one.cause, one.reason, one.values)
        if isinstance(one, Firing)
        else (one.rule, one.key, one.time, one.severity, one.reason, one.unknown, one.values)
        for one in decisions
    ]


def explained(network: Network, one: Rule) -> list[Any]:
    """The decisions, and the values in hand now (the parts of `alone` are there twice)."""
    return [
        (words.key, words.values) if words.what == "now" else words
        for words in network.explain(one.id)
    ]


def through_json(state: TriggerState) -> TriggerState:
    return replace(state, state=json.loads(json.dumps(state.state)))


def figures(network: Network) -> dict[str, Any]:
    names = ("events", "evaluations", "firings", "level_changes", "late", "samples", "keys",
             "unknown_keys", "keys_forgotten")  # fmt: skip
    return {
        rule: {name: counts[name] for name in names} for rule, counts in network.counts().items()
    }


def same(one: Any, other: Any) -> bool:
    """Equal, where NaN equals NaN."""
    return repr(one) == repr(other)


@settings(max_examples=300, deadline=None)
@given(companies(), samples, st.sets(st.integers(0, 40), max_size=6))
def test_rules_together_decide_what_they_decide_alone(
    rules: list[Rule], steps: Any, looks: set[int]
) -> None:
    """Time passes by watermarks too, and somebody looks in between."""
    together, apart = Network(rules), Network([alone(one) for one in rules])
    assert not together.broken
    assert not apart.broken
    for index, each in enumerate(instants(steps)):
        if index in looks:
            marks = {"efd": each.event.time, "other": each.event.time}
            assert same(told(together.advance(marks)), told(apart.advance(marks)))
            for one in rules:
                assert same(explained(together, one), explained(apart, one))
        assert same(told(together.feed([each])), told(apart.feed([each])))
    end = at(200)
    assert same(told(together.finish(end)), told(apart.finish(end)))
    assert figures(together) == figures(apart)


def with_restarts(rules: list[Rule], events: list[Admitted], cuts: set[int]) -> list[Any]:
    network, found = Network(rules), list[Any]()
    saved: dict[tuple[str, str, str], TriggerState] = {}
    for index, each in enumerate(events):
        if index in cuts:
            saved |= {(one.rule, one.key, one.part): one for one in network.take_states()}
            network = Network(rules, start=events[0].event.time)
            network.restore([through_json(one) for one in saved.values()])
        found += network.feed([each])
    return found


@settings(max_examples=100, deadline=None)
@given(companies(), samples, st.sets(st.integers(0, 40), max_size=4))
def test_a_restart_behind_a_front_is_a_restart_without_one(
    rules: list[Rule], steps: Any, cuts: set[int]
) -> None:
    together = with_restarts(rules, instants(steps), cuts)
    apart = with_restarts([alone(one) for one in rules], instants(steps), cuts)
    assert same(told(together), told(apart))


@settings(max_examples=100, deadline=None)
@given(companies(), samples, st.lists(st.sets(st.integers(0, 5)), max_size=5))
def test_rules_that_come_and_go_change_nothing_for_the_others(
    rules: list[Rule], steps: Any, kept: list[set[int]]
) -> None:
    """The first rule stays all the while; what it shares with others must not be lost."""
    network, found = Network(rules), list[Any]()
    for index, each in enumerate(instants(steps)):
        if index % 5 == 4 and index // 5 < len(kept):
            network.swap([one for n, one in enumerate(rules) if n in kept[index // 5] | {0}])
        found += [one for one in network.feed([each]) if one.rule == "rule-0"]
    assert same(told(found), told(Network([alone(rules[0])]).feed(instants(steps))))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(texts, min_size=1, max_size=8) | st.lists(some(PLAIN), min_size=1),
    st.lists(values, min_size=20, max_size=60)
    | st.lists(st.integers(-3, 8) | some([1.5, 2.5, 3.0, 4.0]), min_size=20, max_size=200),
)
def test_the_size_of_a_batch_changes_nothing(whens: list[str], speeds: list[Any]) -> None:
    rules = [rule(trigger(when=one), id=f"rule-{n}") for n, one in enumerate(whens)]
    events = stream(times(*speeds))
    one_by_one, whole = Network(rules), Network(rules)
    wanted = [one for each in events for one in one_by_one.feed([each])]
    assert same(told(whole.feed(events[:3]) + whole.feed(events[3:])), told(wanted))
    assert figures(whole) == figures(one_by_one)


def test_thousands_of_thresholds_fire_one_after_the_other() -> None:
    network = Network([rule(trigger(when=f"speed > {k}"), id=f"r{k:04}") for k in range(1000)])
    found = network.feed(stream(times(-1, 500.5, 499.5, 501.5, 3000)))
    per_event = [len([one for one in found if one.time == at(second)]) for second in range(5)]
    assert per_event == [0, 501, 0, 2, 498]
    assert [one.rule for one in found[501:503]] == ["r0500", "r0501"]


def test_an_explanation_is_of_the_latest_sample_though_nobody_asked_the_machine() -> None:
    network = Network([rule(trigger(when="speed > 10"))])
    network.feed(stream(times(1, 2, 3, 4)))
    (now,) = network.explain("wind")
    assert now.parts[0].values == {"speed": 4}
    assert network.counts()["wind"]["evaluations"] == 4


def test_an_alert_still_expires_behind_a_front() -> None:
    watched = rule(
        trigger(when="speed > 10"),
        job=True,
        alert=alert(warning=level("score > 1"), expires="5s"),
    )
    network = Network([watched])
    network.feed(stream(times(1, 2, 20, 20)))
    origin = {"rule": "wind", "key": "", "run": "r", "firing": "f"}
    result = event(2, {"score": 2, "catcher": origin}, "catcher.wind", "catcher")
    assert len(network.feed([Admitted(result)])) == 1
    found = network.feed(stream(times(20, 20, 20, 20, start=4)))
    assert [(one.time, one.reason[:15]) for one in found] == []
    found = network.feed(stream([(8, 20)]))
    assert [one.time for one in found if not isinstance(one, Firing)] == [at(7)]
    assert fired(found) == []


def test_a_silence_breaks_what_a_front_noted_as_unbroken() -> None:
    """Samples at 0 and 1 s, none until 8 s, then one a second."""
    calm = trigger(stale_after="3s")
    judging = rule(calm, id="judging", alert=alert(warning=level("speed > 10", "20s")))
    holding = rule(trigger(when="speed > 10", hold="20s", stale_after="3s"), id="holding")
    network = Network([judging, holding])
    found = network.feed(stream([(0, 20), (1, 20), *times(*[20] * 40, start=8)]))
    assert [(one.rule, one.time) for one in found] == [("judging", at(28)), ("holding", at(28))]


def test_a_younger_rule_has_a_window_of_its_own_until_both_hold_the_same() -> None:
    old = rule(trigger(when='mean(speed, "100s") > 10'), id="old")
    young = rule(trigger(when='mean(speed, "100s") > 0.5'), id="young")
    network = Network([old])
    network.feed(stream(times(*[1] * 80)))
    network.swap([old, young])
    found = network.feed(stream(times(*[1] * 120, *[1000] * 5, start=80)))
    assert [(one.rule, one.time) for one in found] == [("young", at(180)), ("old", at(200))]
    assert {one["samples"] for one in network.counts().values()} == {100}
