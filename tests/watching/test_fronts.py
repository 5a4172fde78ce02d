"""Many rules answered at once decide what each of them decides alone."""

from __future__ import annotations

import json
import math
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
    st.sampled_from([None, math.nan, math.inf, "4", True, [1], 10**400, 1e308, 2.5, 3]),
)
samples = st.lists(
    st.tuples(st.sampled_from([0, 0, 0.5, 1, 1, 7, -1]), values, st.booleans(), st.booleans()),
    min_size=1,
    max_size=40,
)
conditions = st.tuples(
    st.sampled_from(
        [
            "speed > 2",
            "speed >= 3",
            "speed < 2.5",
            "speed <= 2.5",
            "speed > -1",
            'mean(speed, "2s") > 2.5',
            "max_over(speed, last=3) >= 3",
            'std(speed, "3s") < 1',
        ]
    ),
    st.sampled_from(["", "speed < 0", "speed >= 6"]),
    st.sampled_from(["", "ok"]),
    st.sampled_from(["fire", "ignore"]),
)


def events_of(steps: list[tuple[float, Any, bool, bool]]) -> list[Admitted]:
    now, found = 10.0, []
    for step, value, ok, late in steps:
        now += step
        source = "efd" if ok else "other"
        fields = {"speed": value, "ok": ok, "one": 1}
        found.append(Admitted(event(now, fields, source=source), late and step == -1))
    return found


def rules_of(texts: list[tuple[str, str, str, str]], **extra: Any) -> list[Rule]:
    return [
        rule(
            trigger(when=when, clear=clear or None, where=where or None, on_recovery=back, **extra),
            id=f"rule-{index}",
        )
        for index, (when, clear, where, back) in enumerate(texts)
    ]


def told(decisions: Any) -> list[Any]:
    return [(one.rule, one.time, one.cause, one.reason) for one in decisions]


@settings(max_examples=300, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=8), samples, st.sets(st.integers(0, 40)))
def test_rules_together_decide_what_they_decide_alone(
    texts: list[tuple[str, str, str, str]], steps: Any, cuts: set[int]
) -> None:
    """With `by` no front stands before a rule, so its machine sees every event."""
    events = events_of(steps)
    together = Network(rules_of(texts))
    alone = Network(rules_of(texts, by="one"))
    found: list[Any] = []
    saved: dict[tuple[str, str], TriggerState] = {}
    for index, each in enumerate(events):
        found += together.feed([each])
        if index in cuts:
            saved |= {(one.rule, one.key): _through_json(one) for one in together.take_states()}
            together = Network(rules_of(texts))
            together.restore(saved.values())
    wanted = alone.feed(events)
    assert told(found) == told(wanted)
    if not cuts:
        assert _figures(together) == _figures(alone)


def _through_json(state: TriggerState) -> TriggerState:
    return replace(state, state=json.loads(json.dumps(state.state)))


def _figures(network: Network) -> dict[str, Any]:
    names = ("events", "evaluations", "firings", "late", "samples")
    return {
        rule: {name: counts[name] for name in names} for rule, counts in network.counts().items()
    }


def test_thousands_of_thresholds_fire_one_after_the_other() -> None:
    network = Network([rule(trigger(when=f"speed > {k}"), id=f"r{k:04}") for k in range(2000)])
    found = network.feed(stream(times(-1, 500.5, 499.5, 501.5, 3000)))
    per_event = [len([one for one in found if one.time == at(second)]) for second in range(5)]
    assert per_event == [0, 501, 0, 2, 1498]
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
