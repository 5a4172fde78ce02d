"""State is saved and comes back, edits keep what they leave alone, and decisions say why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catcher.model.commit import TriggerState
from catcher.model.event import Admitted
from catcher.model.problem import CatcherError
from catcher.model.rule import Rule
from catcher.watching import Network, meaning
from tests.watching.playing import (
    alert,
    at,
    fired,
    level,
    levels,
    merged,
    play,
    recorded,
    rule,
    stream,
    times,
    trigger,
)


def restarted(rules: Rule, events: list[Admitted], stop: int) -> list[Any]:
    """The decisions of two engines, one after the other, on one stream."""
    first = Network([rules])
    found = first.feed(events[:stop])
    states = [through_json(state) for state in first.take_states()]
    second = Network([rules])
    second.restore(states)
    found += second.feed(events[stop:])
    return found + second.finish(events[-1].event.time)


def through_json(state: TriggerState) -> TriggerState:
    return replace(state, state=json.loads(json.dumps(state.state)))


EVENTS = merged(
    stream([(i, {"speed": (7 * i) % 23, "k": i % 3, "name": i // 4}) for i in range(60)]),
    stream([(i + 0.5, {"angle": (5 * i) % 17}) for i in range(60)], "dome"),
)
READS = {"dome": ("dome", "angle > 2", "30s")}


@pytest.mark.parametrize("stop", [0, 1, 17, 60, 119])
@pytest.mark.parametrize(
    "watched",
    [
        rule(trigger(when='mean(speed, "5s") > 12 and streak(speed > 3) > 1', by="k"), reads=READS),
        rule(trigger(when="speed > 9", hold="1s", clear="speed < 15", clear_hold="1s")),
        rule(trigger(when='max_over(dome.angle, "4s") > 15 or changed(speed)'), reads=READS),
        rule(trigger(every="7s", when='slope(speed, "6s") > 0 or median(speed, last=4) > 14')),
        rule(trigger("event", once_per="name")),
        rule(trigger("absent", hold="700ms"), alert=alert(serious=level(None))),
        rule(trigger("schedule", "", schedule="* * * * *"), alert=alert(warning=level(None))),
        rule(
            trigger(by="k", forget_after="20s"),
            alert=alert(
                per="name",
                warning=level("speed > 9", hold="3s"),
                critical=level("speed > 20", clear="speed < 4"),
                lasts="9s",
            ),
        ),
    ],
)
def test_a_restart_from_saved_state_changes_nothing(watched: Rule, stop: int) -> None:
    whole = play(watched, EVENTS)
    assert whole
    assert restarted(watched, EVENTS, stop) == whole


def test_only_what_changed_is_saved_again() -> None:
    watched = rule(trigger(when="speed > 10", by="k"))
    network = Network([watched])
    network.feed(stream([(0, {"k": 1, "speed": 1}), (1, {"k": 2, "speed": 1})]))
    assert [state.key for state in network.take_states()] == ["", "1", "2"]
    network.feed(stream([(2, {"k": 2, "speed": 1})]))
    assert [state.key for state in network.take_states()] == ["", "2"]
    assert network.take_states() == []


def test_the_meaning_is_that_of_the_trigger_and_the_levels() -> None:
    spec = alert(warning=level("speed > limit"), message="windy")
    one = rule(trigger(by="k"), alert=spec, job=True, arguments={"limit": 10})
    assert meaning(one) == meaning(replace(one, about="words", owner="me", tags=("x",)))
    assert meaning(one) == meaning(replace(one, alert=replace(spec, message="very windy")))
    assert meaning(one) == meaning(replace(one, trigger=trigger(by=" k ")))
    other = rule(trigger(by="k"), alert=spec, job=True, arguments={"limit": 11})
    assert meaning(one) != meaning(other)
    assert meaning(one) != meaning(replace(one, trigger=trigger(by="k", where="k > 1")))


def test_state_of_another_meaning_is_left_out() -> None:
    old = Network([rule(trigger(when="speed > 10"))])
    old.feed(stream([(0, 20)]))
    new = Network([rule(trigger(when="speed > 11"))])
    new.restore(old.take_states())
    assert fired(new.feed(stream([(1, 20)]))) == [1]


def test_an_edit_keeps_the_state_of_what_it_leaves_alone() -> None:
    spec = alert(warning=level("speed > 10"), message="windy")
    kept, gone, changed = (rule(trigger(), id=name, alert=spec) for name in ("a", "b", "c"))
    network = Network([kept, gone, changed])
    network.feed(stream([(0, 20)]))
    stricter = replace(changed, alert=alert(warning=level("speed > 30")))
    worded = replace(kept, alert=replace(spec, message="very windy"))
    found = network.swap([worded, stricter, rule(trigger("event"), id="d")])
    assert [(one.rule, str(one.severity), one.reason) for one in found] == [
        ("b", "NONE", "the rule is gone"),
        ("c", "NONE", "the rule was changed"),
    ]
    found = network.feed(stream([(1, 20), (2, 5)]))
    assert [(one.rule, one.time) for one in found] == [
        ("d", at(1)),
        ("a", at(2)),
        ("d", at(2)),
    ]


def test_a_broken_edit_keeps_the_old_rule() -> None:
    network = Network([rule(trigger(when="speed > 10"))])
    network.swap([rule(trigger(when="speed >"))])
    assert list(network.broken) == ["wind"]
    assert fired(network.feed(stream([(1, 20)]))) == [1]


def test_a_rule_added_later_is_watched_from_then_on() -> None:
    network = Network([rule(trigger("event", "x"))], start=at(0))
    network.feed(stream([(1000, 1)]))
    network.swap([rule(trigger("absent", hold="60s"), id="silence")])
    assert fired(network.finish(at(2000))) == [1060]


def test_a_broken_rule_never_stops_the_others() -> None:
    network = Network([rule(trigger(when="speed >"), id="bad"), rule(trigger("event"))])
    assert list(network.broken) == ["bad"]
    assert fired(network.feed(stream([(1, 20)]))) == [1]


# -- explanations ---------------------------------------------------------------------------------


def now_of(network: Network) -> Any:
    return next(one for one in network.explain("wind") if one.what == "now")


def test_an_explanation_says_what_is_missing_for_a_firing() -> None:
    watched = rule(
        trigger(when='mean(speed, "10s") > 10 and dome.angle > 5', hold="5s"),
        reads={"dome": ("dome", "", "")},
    )
    network = Network([watched])
    network.feed(stream(times(*[20] * 4)))
    words = now_of(network).missing
    assert 'mean(speed, "10s"): 3s of 10s seen' in words
    assert "dome (dome) never seen" in words
    network.feed(merged(stream([(4, {"angle": 7})], "dome"), stream(times(*[20] * 10, start=4))))
    assert "held 3s of 5s" in now_of(network).missing


def test_an_explanation_shows_the_truth_part_by_part() -> None:
    network = Network([rule(trigger(when="speed > 10 or gust > 20 or name == 'x'"))])
    network.feed(stream([(0, {"speed": 5, "name": "y"})]))
    found = now_of(network)
    assert [(part.text, part.truth) for part in found.parts] == [
        ("speed > 10", False),
        ("gust > 20", None),
        ("name == 'x'", False),
    ]
    assert found.parts[0].values == {"speed": 5}
    assert found.parts[1].missing == "gust is missing or not a number"
    assert "gust > 20: unknown" in str(found)
    assert json.dumps(found.as_json())


def test_an_explanation_remembers_decisions() -> None:
    network = Network([rule(trigger(when="speed > 10", hold="5s"))])
    network.feed(stream([(0, 20), (2, 20), (3, 5), (4, 20), (6, 20), (10, 20), (11, 3)]))
    told = [(one.time, one.what, one.reason) for one in network.explain("wind")[:-1]]
    assert told == [
        (at(3), "broken", "after 3s: speed = 5 is not > 10"),
        (at(9), "fired", "speed = 20 > 10 held 5s"),
        (at(11), "armed", "armed again: speed = 3 is not > 10"),
    ]
    assert [one.what for one in network.explain("wind", at=at(9))] == ["broken", "fired"]


def test_a_rule_that_has_seen_nothing_says_so() -> None:
    network = Network([rule(trigger(when="speed > 10"))])
    assert now_of(network).missing == ("lsst.sal.ESS.airFlow never seen by this rule",)
    with pytest.raises(CatcherError, match="no rule 'other' is running; running: wind"):
        network.explain("other")


# -- bounds and real data -------------------------------------------------------------------------


def test_no_payload_raises_out_of_the_network() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = {"x": [deep]}
    hostile = [
        {},
        {"speed": 10**400, "k": 1e308},
        {"speed": "12", "k": "1" * 100_000},
        {"speed": [1] * 100_000, "k": [1]},
        {"speed": {"a": {"b": 1}}, "k": {"x": 1}},
        {"speed": float("nan"), "k": float("inf")},
        {"speed": deep, "k": True, "name": deep},
        {"catcher": 3, "speed": 1e308, "k": -0.0},
        {"catcher": {"key": [1], "run": {}, "firing": None}, "speed": -1e308},
    ]
    rules = [
        rule(trigger(when='mean(speed, "1s") > 1 or std(speed, last=2) > 1', by="k"), id="a"),
        rule(
            trigger("event", once_per="name"), id="b", job=True, alert=alert(warning=level("x>1"))
        ),
        rule(trigger(every="1s"), id="c", alert=None, reads={"r": ("catcher.b", "speed > 1", "")}),
        rule(
            trigger(by="k"), id="d", alert=alert(per="name", warning=level("rms(speed, last=1)>1"))
        ),
        rule(trigger("result", "catcher.b", when="sum_over(speed, last=2) > 0"), id="e"),
    ]
    network = Network(rules)
    for second, fields in enumerate(hostile * 3):
        network.feed(stream([(second, fields)]))
        network.feed(stream([(second, fields)], "catcher.b"))
    network.finish(at(100))
    assert json.dumps([state.state for state in network.take_states()])
    for each in rules:
        assert network.explain(each.id)


def test_a_window_is_bounded_and_says_what_it_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catcher.watching.windows.MOST_SAMPLES", 10)
    network = Network([rule(trigger(when='mean(speed, "1h") > 1'))])
    network.feed(stream(times(*range(25))))
    assert network.counts()["wind"]["samples"] == 10
    assert network.counts()["wind"]["samples_dropped"] == 15


def test_keys_are_bounded_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catcher.watching.keys.MOST_KEYS", 100)
    network = Network([rule(trigger(when="speed > 10", by="k"))])
    network.feed(stream([(i, {"k": i, "speed": 20}) for i in range(150)]))
    assert network.counts()["wind"]["keys"] == 100
    assert network.counts()["wind"]["keys_evicted"] == 50


def test_the_mount_of_a_real_night_is_in_position_as_often_as_the_file_says(
    shared_data: Path,
) -> None:
    events = recorded(shared_data / "efd-night-2023-07-28.jsonl.gz")
    topic = "lsst.sal.MTMount.logevent_azimuthInPosition"
    became, before = 0, False
    for one in events:
        if one.topic == topic:
            became += one.fields["inPosition"] and not before
            before = one.fields["inPosition"]
    watched = rule(trigger("event", topic, when="inPosition"))
    assert became == len(fired(play(watched, [Admitted(one) for one in events])))


def test_the_recorded_wind_warns_where_its_mean_says(shared_data: Path) -> None:
    events = recorded(shared_data / "ess-airflow-2025-04-24.jsonl")
    watched = rule(trigger(by="salIndex"), alert=alert(warning=level('mean(speed, "5m") > 7')))
    found = play(watched, [Admitted(one) for one in events])
    start = events[0].time
    wanted: list[tuple[float, bool]] = []
    for one in events:
        inside = [o.fields["speed"] for o in events if one.time - at(300) < o.time <= one.time]
        high = one.time >= start + at(300) and sum(inside) / len(inside) > 7
        if high != (wanted[-1][1] if wanted else False):
            wanted.append((one.time / 1e9, high))
    told = [(when, name == "warning") for when, name in levels(found) if "?" not in name]
    changes = [one for i, one in enumerate(told) if one[1] != (told[i - 1][1] if i else False)]
    assert changes == wanted
