"""What keeps the alerts bearable: flapping, groups, floods. Nothing is lost on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catcher.alerting import Alerting, Changed, Route
from catcher.alerting.noise import Flapping, Flood, Noise, Rate
from catcher.alerting.routing import SinkSpec
from catcher.model.alert import Notice
from catcher.model.time import HOUR, MINUTE, SECOND
from tests.alerting.making import (
    CRITICAL,
    NIGHT,
    NOISY,
    NONE,
    SERIOUS,
    WARNING,
    alerting,
    change,
    later,
    routes,
    rule,
)

LOOSE = rule(latch=CRITICAL)
GROUPED = Route(to=("console",), group_by=("rule",))
CALM = replace(NOISY, flapping=Flapping())
FLOODS = replace(NOISY, flood=Flood())


def told(changed: Changed) -> list[tuple[str, str]]:
    return [(notice.alert.name, notice.kind) for notice in changed.notices]


def storm(desk: Alerting, count: int, at: float = 0, severity: object = WARNING) -> list[Notice]:
    """So many new alerts within a second."""
    steps = [
        desk.apply(change(severity, at, key=str(key)), later(at + key / count))  # type: ignore[arg-type]
        for key in range(count)
    ]
    return [notice for step in steps for notice in step.notices]


def night(desk: Alerting, begin: float, end: float, step: float = 1) -> list[Notice]:
    """What time alone tells, second by second."""
    told: list[Notice] = []
    at = begin
    while at <= end:
        told += desk.tick(later(at)).notices
        at += step
    return told


# -- flapping ----------------------------------------------------------------------------------


def comes_and_goes(desk: Alerting, times: int, severity: object = WARNING) -> list[list[str]]:
    """Opens and clears an alert so many times, a minute each."""
    said: list[list[str]] = []
    for turn in range(times):
        for part, level in enumerate((severity, NONE)):
            at = 60 * turn + 30 * part
            said.append([one.kind for one in desk.apply(change(level, at), later(at)).notices])  # type: ignore[arg-type]
    return said


def test_what_comes_and_goes_is_told_once_that_it_flaps() -> None:
    desk = alerting(LOOSE, noise=CALM)
    said = comes_and_goes(desk, 8)
    assert said[:9] == [["opened"], ["resolved"]] * 4 + [["opened"]]
    assert said[9:] == [[]] * 7
    flaps = desk.get(change(NONE).alert)
    assert flaps.flapping and flaps.untold == 7
    assert flaps.aside.startswith("flapping: came back 4 times in 10m")
    assert desk.counts()["untold"] == 7


def test_its_life_goes_on_while_it_flaps() -> None:
    desk = alerting(LOOSE, noise=CALM)
    comes_and_goes(desk, 7)
    again = desk.apply(change(WARNING, 500), later(500)).alerts[0]
    assert (again.episode, again.state, again.flapping) == (8, "firing", True)
    assert again.thread == 5, "the message about it began when it began to flap"


def test_when_it_is_calm_the_present_state_is_told() -> None:
    desk = alerting(LOOSE, noise=CALM)
    comes_and_goes(desk, 8)
    assert desk.tick(later(420 + 599)).notices == ()
    calm = desk.tick(later(420 + 600))
    assert [one.kind for one in calm.notices] == ["resolved"]
    assert calm.alerts[0].aside == "calm again: 7 changes were not told one by one"
    assert not calm.alerts[0].flapping
    assert desk.tick(later(5000)) == Changed()


def test_worse_than_was_told_is_told_at_once() -> None:
    desk = alerting(LOOSE, noise=CALM)
    comes_and_goes(desk, 6)
    worse = desk.apply(change(CRITICAL, 400), later(400))
    assert [one.kind for one in worse.notices] == ["opened"]
    assert desk.apply(change(NONE, 401), later(401)).notices == ()
    assert desk.apply(change(CRITICAL, 402), later(402)).notices == (), "that it is so was told"


def test_who_took_a_flapping_alert_has_taken_it() -> None:
    desk = alerting(LOOSE, noise=CALM)
    comes_and_goes(desk, 6)
    desk.apply(change(WARNING, 400), later(400))
    desk.acknowledge(desk.active()[0].id, WARNING, "ana", "", later(401), "cli")
    desk.apply(change(NONE, 402), later(402))
    again = desk.apply(change(WARNING, 403), later(403)).alerts[0]
    assert (again.state, again.acknowledgement is not None) == ("acknowledged", True)
    worse = desk.apply(change(SERIOUS, 404), later(404)).alerts[0]
    assert (worse.state, worse.acknowledgement) == ("firing", None)


def test_a_severity_that_goes_up_and_down_flaps_too() -> None:
    desk = alerting(LOOSE, noise=CALM)
    said = []
    for turn in range(20):
        severity = (WARNING, SERIOUS)[turn % 2]
        said.append(desk.apply(change(severity, turn), later(turn)).notices)
    assert sum(map(len, said)) == 10 and said[-1] == ()
    assert desk.active()[0].flapping


def test_one_that_rises_and_falls_once_does_not_flap() -> None:
    desk = alerting(LOOSE, noise=CALM)
    for at, severity in enumerate((WARNING, SERIOUS, CRITICAL, SERIOUS, WARNING, NONE)):
        assert desk.apply(change(severity, at), later(at)).notices


def test_a_flapping_alert_of_a_rule_that_is_gone_is_put_away() -> None:
    desk = alerting(LOOSE, noise=CALM)
    comes_and_goes(desk, 8)
    desk.swap({}, routes(Route(to=("console",))))
    desk.tick(later(500))
    assert desk.counts()["flapping"] == 0


# -- groups ------------------------------------------------------------------------------------


def test_a_burst_is_one_message_with_a_count() -> None:
    desk = alerting(LOOSE, route=GROUPED, noise=NOISY)
    assert storm(desk, 30) == []
    (message,) = night(desk, 1, 60)
    assert (message.kind, message.alert.name) == ("opened", "group wind-high")
    assert message.alert.message.startswith("30 alerts: 30 wind-high; 30 open (30 WARNING)")
    assert "and 20 more" in message.alert.message
    assert message.alert.severity == WARNING


def test_one_alone_is_told_as_itself() -> None:
    desk = alerting(LOOSE, route=GROUPED, noise=NOISY)
    desk.apply(change(WARNING), NIGHT)
    assert night(desk, 1, 4) == []
    (message,) = night(desk, 5, 60)
    assert (message.kind, message.alert.name) == ("opened", "wind-high 301")
    over = desk.apply(change(NONE, 70), later(70))
    assert told(over) == [("wind-high 301", "resolved")]


def test_what_is_over_before_its_group_is_told_is_counted() -> None:
    desk = alerting(LOOSE, route=GROUPED, noise=NOISY)
    desk.apply(change(WARNING), NIGHT)
    desk.apply(change(NONE, 1), later(1))
    assert night(desk, 1, 60) == []
    assert desk.counts()["fleeting"] == 1


def test_a_group_says_what_became_of_it_and_ends_with_its_last_alert() -> None:
    desk = alerting(LOOSE, route=GROUPED, noise=NOISY)
    storm(desk, 3)
    (first,) = night(desk, 5, 6)
    assert desk.apply(change(NONE, 10, key="0"), later(10)).notices == ()
    (second,) = night(desk, 11, 40)
    assert (second.kind, second.alert.id) == ("updated", first.alert.id)
    assert "2 open" in second.alert.message
    for key in "12":
        assert desk.apply(change(NONE, 50, key=key), later(50)).notices == ()
    (last,) = night(desk, 51, 100)
    assert (last.kind, last.alert.state) == ("resolved", "resolved")
    assert night(desk, 101, 200) == []
    assert [first.sequence, second.sequence, last.sequence] == [1, 2, 3]


def test_what_gets_worse_leaves_its_group_and_is_told_by_itself() -> None:
    desk = alerting(LOOSE, route=GROUPED, noise=NOISY)
    storm(desk, 3)
    night(desk, 5, 6)
    worse = desk.apply(change(SERIOUS, 10, key="0"), later(10))
    assert told(worse) == [("wind-high 0", "raised")]
    better = desk.apply(change(WARNING, 11, key="0"), later(11))
    assert told(better) == [("wind-high 0", "lowered")]
    assert "2 open" in night(desk, 12, 60)[0].alert.message


def test_what_is_critical_goes_alone_and_at_once() -> None:
    desk = alerting(LOOSE, route=GROUPED, noise=NOISY)
    storm(desk, 3)
    fire = desk.apply(change(CRITICAL, 1, key="fire"), later(1))
    assert told(fire) == [("wind-high fire", "opened")]


def test_taking_a_group_takes_its_alerts() -> None:
    desk = alerting(LOOSE, route=GROUPED, noise=NOISY)
    storm(desk, 3)
    (message,) = night(desk, 5, 6)
    done = desk.acknowledge(message.alert.id, WARNING, "ana", "", later(10), "slack")
    assert {one.state for one in done.alerts} == {"acknowledged"} and len(done.alerts) == 3
    (after,) = night(desk, 11, 60)
    assert after.alert.state == "acknowledged" and "3 taken" in after.alert.message


def test_groups_are_apart_by_what_the_route_says() -> None:
    route = Route(to=("console",), group_by=("rule", "place"), group_wait=2 * SECOND)
    here, there = rule("a", labels={"place": "here"}), rule("b", labels={"place": "there"})
    desk = alerting(here, there, route=route, noise=NOISY)
    for name in ("a", "b"):
        for key in "12":
            desk.apply(change(WARNING, rule=name, key=key), NIGHT)
    assert sorted(one.alert.name for one in night(desk, 1, 3)) == [
        "group a, here",
        "group b, there",
    ]


def test_a_sink_that_shows_each_alert_hears_of_each() -> None:
    desk = alerting(LOOSE, noise=FLOODS)
    tree = routes(Route(to=("console", "love"), group_by=("rule",)), "console", noise=FLOODS)
    tree = replace(tree, sinks={**tree.sinks, "love": SinkSpec("love", "love")})
    desk.swap({"wind-high": LOOSE}, tree)
    sent = storm(desk, 30)
    assert {one.sink for one in sent} == {"love"} and len(sent) == 30


def test_a_group_outlasts_a_restart() -> None:
    desk = alerting(LOOSE, route=GROUPED, noise=NOISY)
    storm(desk, 3)
    step = desk.tick(later(6))
    again = alerting(LOOSE, route=GROUPED, noise=NOISY, alerts=desk.active(), bundles=step.bundles)
    for key in "012":
        again.apply(change(NONE, 50, key=key), later(50))
    (last,) = night(again, 51, 100)
    assert (last.alert.id, last.kind) == (step.bundles[0].id, "resolved")


def test_what_was_to_be_told_in_a_group_that_was_not_kept_is_told_all_the_same() -> None:
    desk = alerting(LOOSE, route=GROUPED, noise=NOISY)
    storm(desk, 3)
    again = alerting(LOOSE, route=GROUPED, noise=NOISY, alerts=desk.active())
    (message,) = night(again, 1, 10)
    assert message.alert.message.startswith("3 alerts")


# -- floods ------------------------------------------------------------------------------------


def test_a_flood_is_one_summary_but_what_is_critical_is_told_by_itself() -> None:
    desk = alerting(LOOSE, noise=FLOODS)
    sent = storm(desk, 10_000)
    assert len(sent) == 10, "what came before it was one"
    fire = desk.apply(change(CRITICAL, 2, key="fire"), later(2))
    assert told(fire) == [("wind-high fire", "opened")]
    summaries = night(desk, 3, 59)
    assert [one.kind for one in summaries] == ["opened"]
    assert summaries[0].alert.message.startswith(
        "9990 alerts in a flood, told together: 9990 wind-high; 9990 open"
    )
    assert desk.flood(later(60)) == {"new_alerts": 10_001, "since": later(10 / 10_000)}


def test_a_flood_ends_when_the_alerts_are_few_and_those_still_open_are_told() -> None:
    desk = alerting(LOOSE, noise=FLOODS)
    storm(desk, 30)
    night(desk, 2, 3)
    for key in range(28):
        desk.apply(change(NONE, 60, key=str(key)), later(60))
    night(desk, 61, 599)
    end = [desk.tick(later(at)) for at in (600, 601, 602, 603)]
    entries = [entry.what for step in end for entry in step.audit]
    assert "flood ended" in entries
    kinds = [(one.alert.name, one.kind) for step in end for one in step.notices]
    assert ("flood", "resolved") in kinds
    assert {name for name, kind in kinds if kind == "opened"} == {"wind-high 28", "wind-high 29"}


def test_when_many_are_open_at_the_end_of_a_flood_they_stay_in_its_summary() -> None:
    desk = alerting(LOOSE, noise=FLOODS)
    storm(desk, 300)
    night(desk, 2, 3)
    late = night(desk, 590, 700)
    assert late == [] and not desk.counts()["flood"]
    for key in range(300):
        desk.apply(change(NONE, 800, key=str(key)), later(800))
    assert [one.kind for one in night(desk, 801, 900) if one.alert.rule == "flood"] == ["resolved"]


def test_the_flood_is_in_the_audit_trail() -> None:
    desk = alerting(LOOSE, noise=FLOODS)
    steps = [desk.apply(change(WARNING, key=str(key)), NIGHT) for key in range(12)]
    whats = [entry.what for step in steps for entry in step.audit]
    assert whats.count("flood began") == 1 and whats.count("opened") == 12


def test_a_flood_is_known_after_a_restart() -> None:
    desk = alerting(LOOSE, noise=FLOODS)
    storm(desk, 30)
    again = alerting(LOOSE, noise=FLOODS, alerts=desk.active())
    assert again.apply(change(WARNING, 5, key="new"), later(5)).notices == ()


def test_a_restart_in_a_flood_tells_no_summary_again() -> None:
    desk = alerting(LOOSE, noise=FLOODS)
    seen = {}
    for key in range(30):
        step = desk.apply(change(WARNING, key / 100, key=str(key)), later(key / 100))
        seen |= {one.id: one for one in step.alerts}
    for key in range(20, 25):
        step = desk.apply(change(NONE, 1, key=str(key)), later(1))
        seen |= {one.id: one for one in step.alerts}
    told = desk.tick(later(3))
    (summary,) = told.notices
    assert summary.alert.message.startswith("20 alerts in a flood, told together: 20 wind-high")
    for one in desk.active():
        seen[one.id] = one
    again = alerting(LOOSE, noise=FLOODS, alerts=seen.values(), bundles=told.bundles)
    assert again.counts()["flood"] == 1
    assert night(again, 4, 300) == []
    again.apply(change(WARNING, 301, key="new"), later(301))
    (more,) = night(again, 302, 400)
    assert (more.kind, more.alert.id) == ("updated", summary.alert.id)
    assert more.alert.message.startswith("21 alerts in a flood, told together: 21 wind-high")


def test_a_restart_before_the_summary_was_told_tells_it_and_not_each() -> None:
    desk = alerting(LOOSE, noise=FLOODS)
    storm(desk, 30)
    again = alerting(LOOSE, noise=FLOODS, alerts=desk.active())
    (summary,) = night(again, 1, 60)
    assert summary.alert.message.startswith("20 alerts in a flood, told together")


def test_a_flood_that_ended_while_nobody_watched_is_over_after_a_restart() -> None:
    desk = alerting(LOOSE, noise=FLOODS)
    storm(desk, 30)
    desk.tick(later(3))
    again = alerting(LOOSE, noise=FLOODS, alerts=desk.active())
    assert "flood ended" in [entry.what for entry in again.tick(later(3000)).audit]
    assert again.counts()["flood"] == 0


def test_ten_alerts_in_ten_minutes_are_no_flood() -> None:
    desk = alerting(LOOSE, noise=FLOODS)
    sent = [
        notice
        for key in range(40)
        for notice in desk.apply(change(WARNING, 61 * key, key=str(key)), later(61 * key)).notices
    ]
    assert len(sent) == 40


def test_a_reminder_of_a_group_is_one_message() -> None:
    route = replace(GROUPED, repeat=HOUR)
    desk = alerting(LOOSE, route=route, noise=NOISY)
    storm(desk, 3)
    night(desk, 5, 6)
    reminders = night(desk, 3600, 3700)
    assert [(one.alert.name, one.kind) for one in reminders] == [("group wind-high", "reminder")]


# -- rates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"), [("30 per 1m", Rate(30, MINUTE)), ("5/10s", Rate(5, 10 * SECOND))]
)
def test_a_rate_is_read(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize("text", ["", "30", "0 per 1m", "30 per", "30 per long", "5 per 1ms"])
def test_a_rate_that_cannot_be_read_says_how_one_looks(text: str) -> None:
    with pytest.raises(ValueError, match="write it like '30 per 1m'"):
        Rate.parse(text)


def test_the_bounds_can_be_switched_off() -> None:
    desk = alerting(LOOSE, noise=Noise(None, None))
    assert len(storm(desk, 100)) == 100
