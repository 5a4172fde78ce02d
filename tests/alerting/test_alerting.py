"""Level changes in, alerts and notices out."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from catcher.alerting import Alerting, Changed, Refused, Renderer, Route, RouteTree
from catcher.alerting.routing import HandOn, Match, SeverityTest, TimeWindow
from catcher.model.alert import Alert, Notice
from catcher.model.rule import UnknownSpec
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import HOUR, MINUTE
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


def told(changed: Changed) -> list[tuple[str, str]]:
    return [(notice.sink, notice.kind) for notice in changed.notices]


def story(desk: Alerting, *severities: object) -> list[Changed]:
    """Applies severities a minute apart."""
    return [
        desk.apply(change(severity, 60 * step), later(60 * step))  # type: ignore[arg-type]
        for step, severity in enumerate(severities)
    ]


def ack(desk: Alerting, at: float, who: str = "ana") -> Changed:
    id = desk.active()[0].id
    return desk.acknowledge(id, desk.active()[0].shown_severity, who, "on it", later(at), "cli")


# -- notices -----------------------------------------------------------------------------------


def test_one_notice_a_change() -> None:
    steps = story(alerting(rule(latch=CRITICAL)), WARNING, SERIOUS, SERIOUS, WARNING, NONE)
    assert [told(one) for one in steps] == [
        [("console", "opened")],
        [("console", "raised")],
        [],
        [("console", "lowered")],
        [("console", "resolved")],
    ]
    assert [one.notices[0].previous for one in steps if one.notices] == [
        NONE, WARNING, SERIOUS, WARNING,
    ]  # fmt: skip


def test_the_same_story_gives_the_same_notices() -> None:
    first = [one.notices for one in story(alerting(), WARNING, SERIOUS, NONE)]
    again = [one.notices for one in story(alerting(), WARNING, SERIOUS, NONE)]
    ids = [notice.id for notices in first for notice in notices]
    assert first == again and len(set(ids)) == len(ids) == 3


def test_each_episode_has_notices_of_its_own() -> None:
    desk = alerting(rule(latch=CRITICAL))
    steps = story(desk, WARNING, NONE, WARNING)
    assert steps[0].notices[0].id != steps[2].notices[0].id
    assert steps[2].alerts[0].episode == 2


def test_what_nobody_watches_for_is_nothing() -> None:
    assert alerting().apply(change(WARNING, rule="other"), NIGHT) == Changed()


def test_a_rule_in_the_shadow_has_alerts_and_tells_nobody() -> None:
    steps = story(alerting(rule(shadow=True)), WARNING, CRITICAL)
    assert [len(one.alerts) for one in steps] == [1, 1]
    assert not any(one.notices for one in steps)


def test_an_alert_has_what_its_rule_says() -> None:
    desk = alerting(
        rule(
            message="Wind {{ speed | round(1) }} m/s, {{ severity }} {{ alert.key }}",
            owner="weather", runbook="https://run.book", tags=("wind",), labels={"place": "summit"},
        ),
        links=lambda alert: {"board": f"http://board/{alert.id}"},
    )  # fmt: skip
    found = desk.apply(change(WARNING, values={"speed": 12.34}), NIGHT).alerts[0]
    assert found.message == "Wind 12.3 m/s, WARNING 301"
    assert (found.owner, found.runbook, found.tags) == ("weather", "https://run.book", ("wind",))
    assert found.labels == {"place": "summit"}
    assert found.links == {"board": f"http://board/{found.id}"}
    over = desk.apply(change(NONE, 60, values={"speed": 3}), later(60)).alerts[0]
    assert over.message == "Wind 12.3 m/s, WARNING 301", "it keeps what it was about"


def test_a_message_that_fails_tells_the_reason_and_is_counted() -> None:
    desk = alerting(rule(message="Wind {{ sped }}"))
    found = desk.apply(change(WARNING, reason="12 > 10", values={"speed": 12}), NIGHT).alerts[0]
    assert found.message == "12 > 10 (its message failed: 'sped' is undefined)"
    assert desk.counts()["message_failures"] == 1


def test_the_plot_of_the_run_goes_with_the_alert() -> None:
    desk = alerting(rule(attach="wind.png"))
    firing = Firing("wind-high", "301", NIGHT, "c", "r")
    plots = tuple(
        ArtifactRecord(f"k/{name}", name, firing.id, "wind-high", NIGHT, 9, "image/png", "",
                       url=f"file:///k/{name}")
        for name in ("other.png", "wind.png")
    )  # fmt: skip
    run = Run(firing.id, firing, "wind", artifacts=plots)
    found = desk.apply(change(WARNING, run=run.id), NIGHT, run).alerts[0]
    assert (found.attachment, found.run) == ("k/wind.png", run.id)
    assert found.links == {"wind.png": "file:///k/wind.png"}


def test_huge_values_are_cut_before_they_are_kept() -> None:
    values = {"text": "x" * 10**6, "list": list(range(10**6)), "deep": [[[[[[1]]]]]]}
    found = alerting().apply(change(WARNING, values=values), NIGHT).alerts[0]
    assert len(str(found.values)) < 5_000


# -- ways --------------------------------------------------------------------------------------

LOUDER = Route(
    to=("console",),
    routes=(Route(Match(severity=SeverityTest.parse(">= serious")), to=("slack",)),),
)


def test_who_heard_of_an_alert_hears_its_end() -> None:
    steps = story(alerting(rule(latch=CRITICAL), route=LOUDER), WARNING, SERIOUS, WARNING, NONE)
    assert [told(one) for one in steps] == [
        [("console", "opened")],
        [("console", "raised"), ("slack", "raised")],
        [("console", "lowered"), ("slack", "lowered")],
        [("console", "resolved"), ("slack", "resolved")],
    ]


def test_a_muted_alert_is_told_when_the_window_is_over() -> None:
    muted = Route(to=("console",), mute=(TimeWindow.parse("00:00-00:10"),))
    desk = alerting(route=muted)
    assert told(desk.apply(change(WARNING), NIGHT)) == []
    assert told(desk.tick(later(300))) == []
    assert desk.counts()["held_back"] == 1
    assert told(desk.tick(later(601))) == [("console", "opened")]
    assert told(desk.tick(later(700))) == [], "once"


def test_a_muted_alert_that_ends_in_its_window_is_told_to_nobody() -> None:
    muted = Route(to=("console",), mute=(TimeWindow.parse("00:00-00:10"),))
    assert not any(one.notices for one in story(alerting(route=muted), WARNING, NONE))


def test_an_inhibited_alert_is_told_when_the_other_is_over() -> None:
    dome, wind = rule("dome-closed"), rule("wind-high")
    inhibited = Route(
        to=("console",),
        routes=(Route(Match(rule=("wind-*",)), inhibit_if=Match(rule=("dome-*",))),),
    )
    desk = alerting(dome, wind, route=inhibited)
    desk.apply(change(WARNING, rule="dome-closed"), NIGHT)
    assert told(desk.apply(change(WARNING, 10), later(10))) == []
    desk.apply(change(NONE, 20, rule="dome-closed"), later(20))
    assert told(desk.tick(later(60))) == [("console", "opened")]


def test_reminders_come_until_somebody_takes_it() -> None:
    desk = alerting(route=Route(to=("console",), repeat=HOUR))
    desk.apply(change(WARNING), NIGHT)
    first, early = desk.tick(later(3600)), desk.tick(later(3700))
    assert (told(first), told(early)) == ([("console", "reminder")], [])
    assert told(desk.tick(later(7200))) == [("console", "reminder")]
    ack(desk, 7300)
    assert told(desk.tick(later(20_000))) == []


def test_what_nobody_takes_in_time_is_handed_on() -> None:
    route = Route(to=("console",), escalate=HandOn(5 * MINUTE, ("on-shift",)))
    desk = alerting(rule(latch=CRITICAL), route=route)
    opened = desk.apply(change(WARNING), NIGHT).alerts[0]
    assert (opened.escalates, opened.escalate_to) == (later(300), ("on-shift",))
    assert told(desk.tick(later(299))) == []
    handed = desk.tick(later(300))
    assert told(handed) == [("console", "updated"), ("on-shift", "opened")]
    assert handed.alerts[-1].escalated
    assert told(desk.tick(later(9_000))) == [], "once"
    assert told(desk.apply(change(NONE, 9_100), later(9_100))) == [
        ("console", "resolved"), ("on-shift", "resolved"),
    ]  # fmt: skip


def test_what_somebody_took_is_not_handed_on() -> None:
    desk = alerting(route=Route(to=("console",), escalate=HandOn(5 * MINUTE, ("on-shift",))))
    desk.apply(change(WARNING), NIGHT)
    ack(desk, 100)
    assert told(desk.tick(later(400))) == []


def test_worse_than_acknowledged_waits_for_somebody_anew() -> None:
    desk = alerting(route=Route(to=("console",), escalate=HandOn(5 * MINUTE, ("on-shift",))))
    desk.apply(change(WARNING), NIGHT)
    ack(desk, 100)
    desk.apply(change(CRITICAL, 200), later(200))
    assert ("on-shift", "opened") in told(desk.tick(later(500)))


def test_who_stands_in_for_a_dead_sink() -> None:
    desk = alerting(route=Route(to=("slack",), undelivered=HandOn(MINUTE, ("love",))))
    notice = desk.apply(change(WARNING), NIGHT).notices[0]
    assert desk.undelivered(notice) == HandOn(MINUTE, ("love",))


# -- people ------------------------------------------------------------------------------------


def test_acknowledging_is_told_and_audited() -> None:
    desk = alerting()
    desk.apply(change(SERIOUS), NIGHT)
    done = ack(desk, 60)
    assert told(done) == [("console", "updated")]
    assert done.alerts[0].state == "acknowledged"
    entry = done.audit[0]
    assert (entry.who, entry.channel, entry.what) == ("ana", "cli", "acknowledged")
    assert entry.detail["note"] == "on it"


def test_a_refusal_is_audited_too() -> None:
    desk = alerting()
    desk.apply(change(CRITICAL), NIGHT)
    id = desk.active()[0].id
    with pytest.raises(Refused, match="CRITICAL by now") as refusal:
        desk.acknowledge(id, WARNING, "ana", "", later(9), "slack")
    assert refusal.value.audit.detail["refused"]
    with pytest.raises(Refused, match="no alert is called 'beef'") as refusal:
        desk.acknowledge("beef", WARNING, "ana", "", later(9), "slack")
    assert (refusal.value.audit.who, refusal.value.audit.subject) == ("ana", "beef")
    with pytest.raises(Refused, match="who wants to acknowledge"):
        desk.acknowledge(id, CRITICAL, " ", "", later(9), "slack")


def test_nothing_is_told_from_a_shelf_until_it_ends() -> None:
    desk = alerting(rule(latch=CRITICAL))
    desk.apply(change(WARNING), NIGHT)
    id = desk.active()[0].id
    shelved = desk.shelve(id, later(60) + 30 * MINUTE, "ana", "known", later(60), "cli")
    assert told(shelved) == [("console", "updated")]
    desk.apply(change(NONE, 120), later(120))
    assert told(desk.apply(change(WARNING, 180), later(180))) == []
    back = desk.tick(later(60) + 30 * MINUTE)
    assert back.alerts[0].state == "firing"
    assert told(back) == [("console", "opened")], "of this episode nobody had heard"


def test_off_the_shelf_by_hand() -> None:
    desk = alerting()
    desk.apply(change(WARNING), NIGHT)
    id = desk.active()[0].id
    desk.shelve(id, later(3600), "ana", "known", later(60), "cli")
    done = desk.unshelve(id, "bo", later(90), "cli")
    assert done.alerts[0].state == "firing" and done.audit[0].who == "bo"
    assert told(done) == [("console", "reminder")]
    with pytest.raises(Refused, match="is not shelved"):
        desk.unshelve(id, "bo", later(91), "cli")


def test_a_note_is_kept_with_its_author_and_link() -> None:
    desk = alerting()
    before = desk.apply(change(WARNING), NIGHT).alerts[0]
    link = "elog=https://elog.example/17"
    done = desk.note(before.id, "the anemometer ices", "ana", later(60), "cli", link)
    after = done.alerts[0]
    assert (after.state, after.severity, after.reason) == ("firing", WARNING, before.reason)
    assert [(one.who, one.time, one.text) for one in after.notes] == [
        ("ana", later(60), "the anemometer ices")
    ]
    assert after.links["elog"] == "https://elog.example/17"
    assert done.audit[0].detail["text"] == "the anemometer ices"
    with pytest.raises(Refused, match="is no address"):
        desk.note(before.id, "look", "ana", later(60), "cli", "elog=javascript:alert(1)")


def test_alerts_are_found_by_id_by_its_beginning_and_by_name() -> None:
    desk = alerting()
    desk.apply(change(WARNING), NIGHT)
    one = desk.active()[0]
    assert desk.get(one.id) == desk.get(one.id[:5]) == desk.get("wind-high 301") == one


# -- time and change ---------------------------------------------------------------------------


def test_input_unknown_for_too_long_is_told() -> None:
    desk = alerting(rule(unknown=UnknownSpec(WARNING, 5 * MINUTE)))
    waiting = desk.apply(change(NONE, reason="no data", unknown=True), NIGHT)
    assert (told(waiting), waiting.alerts[0].state, desk.active()) == ([], "pending", [])
    assert told(desk.tick(later(299))) == []
    assert told(desk.tick(later(300))) == [("console", "opened")]


def test_a_restart_goes_on_where_it_was() -> None:
    route = Route(to=("console",), repeat=HOUR, escalate=HandOn(2 * HOUR, ("on-shift",)))
    before = alerting(route=route)
    kept = before.apply(change(SERIOUS), NIGHT).alerts[0]
    desk = alerting(route=route, alerts=[kept])
    assert desk.active() == [kept]
    assert told(desk.tick(later(1800))) == [], "nothing is told twice"
    assert told(desk.tick(later(3600))) == [("console", "reminder")]
    assert ("on-shift", "opened") in told(desk.tick(later(7200)))
    again = desk.apply(change(NONE, 8000), later(8000)).alerts[0]
    assert (again.episode, again.severity, again.latched) == (1, NONE, True)


def test_episodes_count_on_after_a_restart() -> None:
    desk = alerting(rule(latch=CRITICAL))
    over = story(desk, WARNING, NONE)[-1].alerts[0]
    desk = alerting(rule(latch=CRITICAL), alerts=[over])
    assert desk.apply(change(WARNING, 300), later(300)).alerts[0].episode == 2


def test_the_alerts_of_a_deleted_rule_are_resolved() -> None:
    desk = alerting()
    desk.apply(change(SERIOUS), NIGHT)
    desk.swap({}, RouteTree())
    gone = desk.tick(later(60))
    assert told(gone) == [("console", "resolved")]
    assert gone.alerts[0].reason == "its rule is gone"


def test_the_alerts_of_a_broken_rule_stay() -> None:
    desk = alerting()
    desk.apply(change(SERIOUS), NIGHT)
    desk.swap({}, RouteTree(), broken=["wind-high"])
    assert desk.tick(later(60)) == Changed()
    assert len(desk.active()) == 1


def test_other_routes_take_effect_at_once() -> None:
    desk = alerting()
    desk.apply(change(SERIOUS), NIGHT)
    desk.swap({"wind-high": rule()}, routes(Route(to=("console", "love")), "console", "love"))
    assert told(desk.tick(later(60))) == [("love", "opened")]


def test_every_change_is_in_the_audit_trail() -> None:
    steps = story(alerting(rule(latch=CRITICAL)), WARNING, SERIOUS, NONE)
    entries = [entry for one in steps for entry in one.audit]
    assert [entry.what for entry in entries] == ["opened", "raised", "resolved"]
    assert {entry.subject for entry in entries} == {steps[0].alerts[0].id}


def test_the_worst_stands_first() -> None:
    desk = alerting()
    for key, severity in (("a", WARNING), ("b", CRITICAL), ("c", SERIOUS)):
        desk.apply(change(severity, key=key), NIGHT)
    assert [one.key for one in desk.active()] == ["b", "c", "a"]


def test_a_storm_of_alerts_is_told_and_cleared() -> None:
    desk = alerting(rule(latch=CRITICAL), route=Route(to=("console",), repeat=HOUR), noise=NOISY)
    began = time.process_time()
    notices: list[Notice] = []
    for severity, at in ((WARNING, 0), (NONE, 60)):
        for key in range(5_200):
            step = change(severity, at, key=str(key))
            notices += desk.apply(step, later(at)).notices
            desk.tick(later(at))
    print(f"10,400 level changes: {time.process_time() - began:.2f} s")
    assert len(notices) == 10_400
    assert desk.active() == [] and desk.counts()["forgotten"] == 200


def test_a_renderer_serves_many_rules() -> None:
    renderer = Renderer()
    rules = {f"r{n}": rule(f"r{n}", message=f"{n} {{{{ x }}}}") for n in range(3)}
    desk = Alerting(rules, RouteTree(), renderer)
    said = [
        desk.apply(replace(change(WARNING, rule=name), values={"x": 1}), NIGHT).alerts[0].message
        for name in rules
    ]
    assert said == ["0 1", "1 1", "2 1"]
    assert isinstance(desk.active()[0], Alert)
