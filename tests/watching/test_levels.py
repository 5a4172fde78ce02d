"""How grave things stand: levels rise, drop, last and become unknown."""

from __future__ import annotations

from typing import Any

from catcher.model.alert import LevelChange, Severity
from catcher.model.event import Admitted
from catcher.model.rule import AlertSpec, Rule
from catcher.model.run import Firing
from catcher.watching import Network
from tests.watching.playing import (
    WIND,
    alert,
    at,
    event,
    fired,
    level,
    levels,
    play,
    rule,
    stream,
    times,
    trigger,
)


def watching(spec: AlertSpec, **given: Any) -> Rule:
    """A telemetry rule without a job."""
    return rule(trigger(**given), alert=spec)


def test_the_highest_level_that_holds_is_told_when_it_changes() -> None:
    spec = alert(warning=level("speed > 10"), critical=level("speed > 18"))
    found = play(watching(spec), stream(times(5, 12, 20, 20, 12, 5)))
    assert levels(found) == [(1, "warning"), (2, "critical"), (4, "warning"), (5, "none")]
    assert found[1].reason == "speed = 20 > 18"
    assert found[2].reason == "cleared: speed = 12 is not > 18"
    assert fired(found) == []


def test_a_level_clears_by_its_own_condition() -> None:
    spec = alert(warning=level("speed > 10", clear="speed < 9"))
    assert levels(play(watching(spec), stream(times(12, 9.5, 8, 9.5)))) == [
        (0, "warning"),
        (2, "none"),
    ]


def test_a_level_holds_for_a_while_before_it_is_told() -> None:
    spec = alert(warning=level("speed > 10", hold="3s", clear_hold="2s"))
    samples = times(12, 12, 5, 12, 12, 12, 12, 5, 12, 5, 5, 5)
    assert levels(play(watching(spec), stream(samples))) == [(6, "warning"), (11, "none")]


def test_in_levels_time_passes_only_at_what_feeds_them() -> None:
    spec = alert(warning=level("speed > 10", hold="10s"))
    assert levels(play(watching(spec), stream([(0, 12), (9, 12)]), end=60)) == []
    assert levels(play(watching(spec), stream([(0, 12), (9, 12), (12, 12)]))) == [(12, "warning")]


def test_a_silence_is_no_holding() -> None:
    spec = alert(warning=level("speed > 10", hold="10s"))
    found = play(watching(spec), stream([(0, 12), (5, 12), (100, 12), (105, 12), (110, 12)]))
    assert levels(found) == [(110, "warning")]


def test_keys_and_instances_are_alerts_of_their_own() -> None:
    spec = alert(per="name", warning=level("speed > 10"))
    samples = times(
        {"k": 1, "name": "a", "speed": 12},
        {"k": 1, "name": "b", "speed": 12},
        {"k": 2, "name": "a", "speed": 12},
        {"k": 1, "name": "a", "speed": 5},
    )
    found = [one for one in play(watching(spec, by="k"), stream(samples)) if levels([one])]
    assert [(one.key, one.per, one.severity) for one in found if isinstance(one, LevelChange)] == [
        ("1", "a", Severity.WARNING),
        ("1", "b", Severity.WARNING),
        ("2", "a", Severity.WARNING),
        ("1", "a", Severity.NONE),
    ]


def test_unknown_keeps_the_severity_and_says_why() -> None:
    spec = alert(warning=level("speed > 10"))
    found = play(watching(spec), stream(times(12, None, None, 12)))
    assert levels(found) == [(0, "warning"), (1, "warning?"), (3, "warning")]
    assert found[1].reason == "speed > 10 is unknown: speed is missing or not a number"


def test_a_worse_level_that_is_unknown_is_told_and_a_lesser_one_is_not() -> None:
    worse = alert(warning=level("speed > 10"), critical=level("gust > 10"))
    assert levels(play(watching(worse), stream([(0, {"speed": 12})]))) == [(0, "warning?")]
    lesser = alert(warning=level("gust > 10"), critical=level("speed > 10"))
    assert levels(play(watching(lesser), stream([(0, {"speed": 12})]))) == [(0, "critical")]


def test_the_names_of_a_message_come_along() -> None:
    watched = rule(
        trigger(),
        alert=alert(warning=level("excess > 2")),
        let={"excess": "speed - limit"},
        reads={"dome": ("dome", "", "")},
    )
    watched = rule(
        trigger("event", "start"),
        job=True,
        arguments={"limit": 10},
        let={"excess": "speed - limit"},
        reads={"dome": ("dome", "", "")},
        alert=alert(warning=level("excess > 2")),
    )
    network = Network([watched])
    network.feed(stream([(0, {"angle": 30})], "dome"))
    (change,) = network.feed([result(1, {"speed": 15})])
    assert isinstance(change, LevelChange)
    assert change.reason == "speed - 10 = 5 > 2"
    values = {name: change.values[name] for name in ("speed", "excess", "limit", "dome")}
    assert values == {"speed": 15, "excess": 5, "limit": 10, "dome": {"angle": 30}}
    assert (change.run, change.firing) == ("run", "firing")


# -- what ends a level ----------------------------------------------------------------------------


def test_always_holds_from_a_firing_until_the_trigger_is_armed_again() -> None:
    found = play(
        rule(trigger(when="speed > 10"), alert=alert(serious=level(None))),
        stream(times(12, 12, 5, 12)),
    )
    assert levels(found) == [(0, "serious"), (2, "none"), (3, "serious")]


def test_the_level_of_an_event_lasts_for_a_while_after_the_last_true_one() -> None:
    watched = rule(trigger("event"), alert=alert(warning=level(None)))
    assert levels(play(watched, stream([(0, 1), (60, 1)]), end=1000)) == [
        (0, "warning"),
        (660, "none"),
    ]
    watched = rule(trigger("event"), alert=alert(warning=level("speed > 1"), lasts="20s"))
    found = play(watched, stream([(0, 2), (15, 2), (30, 2), (100, 2), (110, 0)]), end=1000)
    assert levels(found) == [(0, "warning"), (50, "none"), (100, "warning"), (110, "none")]


def test_absence_is_an_alert_until_a_message_comes() -> None:
    watched = rule(trigger("absent", hold="10s"), alert=alert(critical=level(None)))
    found = play(watched, stream([(0, 1), (30, 1)]))
    assert levels(found) == [(10, "critical"), (30, "none")]
    assert found[1].reason == f"no {WIND} for 10s"
    assert found[2].reason == f"{WIND} came again"


def test_a_schedule_can_judge_reads() -> None:
    watched = rule(
        trigger("every", "", every="10s"),
        reads={"wind": ("wind", "", "")},
        alert=alert(warning=level("age(wind) > 5"), lasts="1h"),
    )
    found = play(watched, stream([(0, 1), (8, 1), (12, 1), (28, 1)], "wind"), end=30)
    assert levels(found) == [(20, "warning"), (30, "none")]


# -- levels on results ----------------------------------------------------------------------------


def result(seconds: float, fields: dict[str, Any], key: str = "", rule: str = "wind") -> Admitted:
    """A result of a rule's job, as the event that it is."""
    origin = {"rule": rule, "key": key, "run": "run", "firing": "firing"}
    return Admitted(event(seconds, {**fields, "catcher": origin}, f"catcher.{rule}", "catcher"))


def forecasting(**given: Any) -> Rule:
    return rule(trigger(every="1s", when="speed > 8"), job=True, alert=alert(**given))


def test_the_levels_of_a_job_see_its_results() -> None:
    network = Network([forecasting(warning=level("probability > 0.3"))])
    found = network.feed(stream([(0, 12)]))
    assert fired(found) == [0]
    assert levels(found) == []
    assert levels(network.feed([result(0, {"probability": 0.5})])) == [(0, "warning")]
    assert levels(network.feed([result(1, {"probability": None})])) == [(1, "warning?")]
    assert levels(network.feed([result(2, {"probability": 0.1})])) == [(2, "none")]


def test_a_level_drops_when_the_triggers_own_condition_turns_false() -> None:
    network = Network([forecasting(warning=level("probability > 0.3"))])
    network.feed([*stream([(0, 12)]), result(0, {"probability": 0.5})])
    assert levels(network.feed(stream([(3, 5)]))) == [(3, "none")]


def test_a_late_result_changes_no_alert() -> None:
    network = Network([forecasting(warning=level("probability > 0.3"))])
    network.feed(stream([(0, 12), (2, 12), (3, 5)]))
    assert network.feed([result(2, {"probability": 0.5})]) == []
    network.feed([*stream([(5, 12)]), result(5, {"probability": 0.1})])
    assert network.feed([result(4, {"probability": 0.5})]) == []
    assert network.counts()["wind"]["late_results"] == 2


def test_results_of_one_key_do_not_make_those_of_another_late() -> None:
    network = Network([forecasting(warning=level("probability > 0.3"))])
    network.feed([result(5, {"probability": 0.1}, "b")])
    assert levels(network.feed([result(4, {"probability": 0.5}, "a")])) == [(4, "warning")]


def test_without_a_fresh_result_an_alert_expires() -> None:
    network = Network([forecasting(warning=level("probability > 0.3"), expires="15s")])
    network.feed([result(0, {"probability": 0.5}), result(10, {"probability": 0.6})])
    (change,) = network.finish(at(60))
    assert change.time == at(25)
    assert change.reason == "no fresh result for 15s: no longer evaluated"


def test_a_hold_over_sparse_results_can_complete() -> None:
    network = Network([forecasting(warning=level("probability > 0.3", hold="10m"))])
    results = [result(300 * index, {"probability": 0.5}) for index in range(4)]
    assert levels(network.feed(results)) == [(600, "warning")]


def test_each_exposure_is_an_alert_of_its_own_and_ends_by_itself() -> None:
    watched = rule(
        trigger("event", once_per="name"),
        job=True,
        alert=alert(per="name", warning=level("rms > 1"), lasts="60s"),
    )
    network = Network([watched])
    network.feed([result(0, {"name": "a", "rms": 2}), result(5, {"name": "b", "rms": 2})])
    network.feed([result(6, {"name": "c", "rms": 0})])
    assert levels(network.finish(at(100))) == [(60, "none"), (65, "none")]
    (state,) = network.take_states()
    assert state.state["cell"]["levels"] == []


def test_a_failed_job_is_a_level_until_the_next_result() -> None:
    network = Network([forecasting(warning=level("probability > 0.3"), failed=Severity.SERIOUS)])
    (firing,) = network.feed(stream([(0, 12)]))
    assert isinstance(firing, Firing)
    (change,) = network.failed(firing, "run", "ValueError: no data")
    assert (change.severity, change.run) == (Severity.SERIOUS, "run")
    assert change.reason == "the job failed: ValueError: no data"
    assert levels(network.feed([result(1, {"probability": 0.1})])) == [(1, "none")]
    quiet = Network([forecasting(warning=level("probability > 0.3"))])
    assert quiet.failed(firing, "run", "anything") == []


def test_a_forgotten_key_takes_its_alert_along() -> None:
    spec = alert(warning=level("speed > 10"))
    watched = watching(spec, by="k", forget_after="60s")
    network = Network([watched])
    network.feed(stream([(0, {"k": 1, "speed": 12})]))
    assert levels(network.finish(at(100))) == [(60, "none")]
    assert network.counts()["wind"]["keys"] == 0
