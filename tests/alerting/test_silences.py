"""Silences and shelves: who holds back what, until when, why, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from catcher.alerting import Alerting, Changed, Match, Refused, Route
from catcher.alerting.routing import HandOn
from catcher.model.alert import Severity
from catcher.model.desk import Silence
from catcher.model.time import DAY, HOUR, MINUTE
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
    rule,
)

LOOSE = rule(latch=CRITICAL, labels={"place": "summit"})


def told(changed: Changed) -> list[tuple[str, str]]:
    return [(notice.alert.name, notice.kind) for notice in changed.notices]


def hush(
    desk: Alerting,
    name: str = "wind-*",
    span: int = HOUR,
    at: float = 0,
    labels: Mapping[str, str] | None = None,
    severity: Severity = SERIOUS,
) -> Silence:
    until = later(at) + span
    done = desk.silence(name, labels or {}, severity, until, "ana", "iced", later(at), "cli")
    return done.silences[0]


def quiet(desk: Alerting, key: str = "301", at: float = 1) -> bool:
    return not desk.apply(change(WARNING, at, key=key), later(at)).notices


@pytest.mark.parametrize(
    ("name", "labels", "holds"),
    [
        ("wind-high 301", {}, True),
        ("wind-high", {}, True),
        ("wind-*", {}, True),
        ("*", {"place": "summ*"}, True),
        ("*", {"place": "base"}, False),
        ("wind-high 302", {}, False),
        ("dome", {}, False),
        (change(NONE).alert, {}, True),
    ],
)
def test_what_a_silence_holds_back(name: str, labels: dict[str, str], holds: bool) -> None:
    desk = alerting(LOOSE, noise=NOISY)
    hush(desk, name, labels=labels)
    assert quiet(desk) is holds


def test_an_alert_is_there_all_the_same_and_says_why_nobody_hears() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    silence = hush(desk)
    assert quiet(desk)
    (one,) = desk.active()
    assert one.held_back == f"silence {silence.id} of ana: iced"
    assert desk.counts()["held_back"] == 1


def test_a_silence_of_warnings_never_hides_what_is_worse() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    hush(desk, severity=WARNING)
    assert quiet(desk)
    worse = desk.apply(change(CRITICAL, 2), later(2))
    assert told(worse) == [("wind-high 301", "raised")]


def test_what_was_told_before_is_told_to_its_end() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    assert not quiet(desk)
    hush(desk, at=2)
    over = desk.apply(change(NONE, 3), later(3))
    assert told(over) == [("wind-high 301", "resolved")]


def test_when_a_silence_ends_what_it_held_back_is_told() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    silence = hush(desk)
    assert quiet(desk)
    steps = [desk.tick(later(3600) + part) for part in (0, 1, 2)]
    assert [told(one) for one in steps if one.notices] == [[("wind-high 301", "opened")]]
    (ended,) = (one for step in steps for one in step.silences)
    assert (ended.id, ended.ended, ended.hits) == (silence.id, later(3600), 1)
    assert ended.why == "its time was over at 2025-04-24 01:00:00Z"
    entry = next(one for step in steps for one in step.audit if one.what == "silence ended")
    assert entry.detail["holds_back"] == 1 and entry.detail["hits"] == 1
    assert desk.silences() == []


def test_before_it_ends_a_silence_says_so() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    assert not quiet(desk)
    silence = hush(desk, at=2)
    assert desk.tick(later(2 + 3600 - 601)).silences == ()
    soon = desk.tick(later(2 + 3600 - 600))
    assert told(soon) == [("wind-high 301", "reminder")]
    assert f"the silence {silence.id} of ana over wind-* ends at" in soon.notices[0].alert.aside
    assert desk.tick(later(2 + 3600 - 500)).notices == (), "once"


def test_an_idle_silence_is_known_as_idle() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    hush(desk, "dome-*")
    hush(desk, "wind-*", 2 * HOUR)
    assert quiet(desk)
    assert [(one.name, one.hits) for one in desk.silences()] == [("dome-*", 0), ("wind-*", 1)]


def test_a_silence_is_ended_by_hand() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    silence = hush(desk)
    quiet(desk)
    done = desk.unsilence(silence.id[:5], "bo", later(10), "slack")
    assert done.silences[0].why == "ended by bo"
    assert (done.audit[0].who, done.audit[0].channel) == ("bo", "slack")
    assert told(desk.tick(later(11))) == [("wind-high 301", "opened")]


@pytest.mark.parametrize(
    ("who", "reason", "span", "words"),
    [
        ("", "iced", HOUR, "who wants to silence"),
        ("ana", " ", HOUR, "needs an owner and a reason"),
        ("ana", "iced", 31 * DAY, "cannot end at"),
        ("ana", "iced", 0, "cannot end at"),
    ],
)
def test_a_silence_needs_an_owner_a_reason_and_an_end(
    who: str, reason: str, span: int, words: str
) -> None:
    desk = alerting(LOOSE)
    with pytest.raises(Refused, match=words) as refusal:
        desk.silence("*", {}, SERIOUS, NIGHT + span, who, reason, NIGHT, "cli")
    assert refusal.value.audit.detail["refused"]
    with pytest.raises(Refused, match="no silence in force is called 's99'"):
        desk.unsilence("s99", "ana", NIGHT, "cli")


def test_silences_outlast_a_restart() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    silence = hush(desk)
    again = alerting(LOOSE, noise=NOISY, silences=[silence])
    assert quiet(again) and again.silences()[0].hits == 1


def test_ten_thousand_silenced_alerts_write_their_silence_once_a_minute() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    hush(desk)
    steps = [desk.apply(change(WARNING, 1, key=str(n)), later(1)) for n in range(1000)]
    assert sum(len(step.silences) for step in steps) == 1
    assert desk.silences()[0].hits == 1000


# -- shelves -----------------------------------------------------------------------------------


def shelved(desk: Alerting, span: int = HOUR) -> str:
    desk.apply(change(WARNING), NIGHT)
    id = desk.active()[0].id
    desk.shelve(id, later(10) + span, "ana", "known, fix on Monday", later(10), "cli")
    return id


def test_before_it_ends_a_shelf_says_so_and_then_why_it_ended() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    shelved(desk)
    soon = desk.tick(later(10 + 3000))
    assert told(soon) == [("wind-high 301", "reminder")]
    assert "the shelf of ana ends at" in soon.notices[0].alert.aside
    back = desk.tick(later(10 + 3600))
    assert told(back) == [("wind-high 301", "reminder")]
    assert back.alerts[0].aside == (
        "the shelf of ana ended, its time is over: known, fix on Monday"
    )


def test_what_gets_worse_comes_off_its_shelf_and_says_why() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    shelved(desk)
    worse = desk.apply(change(SERIOUS, 60), later(60))
    assert told(worse) == [("wind-high 301", "raised")]
    assert worse.alerts[0].aside == "off the shelf of ana: worse than WARNING"


def test_a_shelf_ends_while_its_alert_is_resolved() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    id = shelved(desk)
    desk.apply(change(NONE, 60), later(60))
    assert desk.tick(later(3000)).notices == ()
    done = desk.tick(later(10 + 3600))
    assert (done.notices, done.alerts[0].shelf) == ((), None)
    assert done.audit[0].what == "unshelved" and "while it was resolved" in done.alerts[0].aside
    assert desk.get(id).state == "resolved"


# -- shifts ------------------------------------------------------------------------------------

PEOPLE = {"ana": ("ana-phone",), "bo": ("bo-phone", "console")}


def with_people(route: Route | None = None) -> Alerting:
    desk = alerting(LOOSE, route=route, noise=NOISY)
    tree = replace(desk._desk.ways.tree, people=PEOPLE)
    desk.swap({"wind-high": LOOSE}, tree)
    return desk


def test_on_shift_is_whoever_took_over() -> None:
    desk = with_people(Route(to=("on-shift",)))
    assert told_to(desk, "a") == {"ana-phone", "bo-phone", "console"}, "nobody known: everybody"
    desk.hand_over("ana", "bo", "quiet night", NIGHT, "cli")
    assert told_to(desk, "b") == {"ana-phone"}
    desk.hand_over("bo", "ana", "", later(5), "cli")
    assert told_to(desk, "c") == {"bo-phone", "console"}
    assert desk.shift is not None and desk.shift.who == "bo"


def told_to(desk: Alerting, key: str) -> set[str]:
    return {one.sink for one in desk.apply(change(WARNING, key=key), NIGHT).notices}


def test_handing_over_moves_open_alerts_and_asks_to_confirm_what_is_put_aside() -> None:
    desk = with_people()
    id = shelved(desk, 5 * HOUR)
    silence = hush(desk, "dome-*", 5 * HOUR, 20)
    desk.apply(change(WARNING, 20, key="302"), later(20))
    done = desk.hand_over("bo", "ana", "all quiet", later(30), "cli")
    assert {one.assignee for one in desk.active()} == {"bo"}
    assert done.shifts[0].note == "all quiet"
    by = later(30) + 30 * MINUTE
    assert desk.get(id).shelf is not None and desk.get(id).shelf.confirm_by == by  # type: ignore[union-attr]
    assert desk.silences()[0].confirm_by == by
    entry = done.audit[-1]
    assert (entry.what, entry.detail["to"], entry.detail["shelves"]) == ("hand over", "bo", 1)
    desk.confirm(id, "bo", later(60), "cli")
    desk.confirm(silence.id, "bo", later(60), "cli")
    assert desk.tick(by + MINUTE).silences == ()
    shelf = desk.get(id).shelf
    assert shelf is not None and (shelf.who, shelf.confirm_by) == ("bo", None)


def test_what_nobody_confirms_comes_back() -> None:
    desk = with_people()
    id = shelved(desk, 5 * HOUR)
    hush(desk, "dome-*", 5 * HOUR, 20)
    desk.hand_over("bo", "ana", "", later(30), "cli")
    by = later(30) + 30 * MINUTE
    steps = [desk.tick(by), desk.tick(by + 1)]
    assert desk.get(id).state == "firing"
    assert "nobody of the new shift confirmed it" in desk.get(id).aside
    ended = [one for step in steps for one in step.silences]
    assert [one.why for one in ended] == ["nobody of the new shift confirmed it"]


def test_only_people_of_the_routes_take_over() -> None:
    with pytest.raises(Refused, match="'eve' is not among the people"):
        with_people().hand_over("eve", "ana", "", NIGHT, "cli")
    assert alerting(LOOSE).hand_over("eve", "ana", "", NIGHT, "cli").shifts[0].who == "eve"


def test_an_alert_is_assigned() -> None:
    desk = alerting(LOOSE, noise=NOISY)
    desk.apply(change(WARNING), NIGHT)
    done = desk.assign(desk.active()[0].id, "bo", "ana", later(5), "slack")
    assert done.alerts[0].assignee == "bo"
    assert done.audit[0].what == "assigned" and "assigned to bo by ana" in done.alerts[0].aside
    assert told(done) == [("wind-high 301", "updated")]


# -- what happens by itself --------------------------------------------------------------------


def test_a_cleared_alert_is_acknowledged_by_itself() -> None:
    route = Route(to=("console",), acknowledge=30 * MINUTE)
    desk = alerting(rule(), route=route, noise=NOISY)
    desk.apply(change(SERIOUS), NIGHT)
    cleared = desk.apply(change(NONE, 60), later(60)).alerts[0]
    assert (cleared.latched, cleared.acknowledges) == (True, later(60) + 30 * MINUTE)
    assert desk.tick(later(60 + 1799)).alerts == ()
    done = desk.tick(later(60 + 1800))
    assert told(done) == [("wind-high 301", "resolved")]
    assert done.audit[0].who == "catcher" and "nobody took it" in done.alerts[0].reason


def test_one_that_is_bad_again_is_not_acknowledged_by_itself() -> None:
    route = Route(to=("console",), acknowledge=30 * MINUTE)
    desk = alerting(rule(), route=route, noise=NOISY)
    desk.apply(change(SERIOUS), NIGHT)
    desk.apply(change(NONE, 60), later(60))
    again = desk.apply(change(SERIOUS, 120), later(120)).alerts[0]
    assert again.acknowledges is None
    assert desk.tick(later(5000)).alerts == ()


def test_what_goes_on_long_after_it_was_taken_comes_back() -> None:
    route = Route(to=("console",), remind=2 * HOUR)
    desk = alerting(LOOSE, route=route, noise=NOISY)
    desk.apply(change(WARNING), NIGHT)
    taken = desk.acknowledge(desk.active()[0].id, WARNING, "ana", "", later(60), "cli").alerts[0]
    assert taken.reminds == later(60) + 2 * HOUR
    back = desk.tick(later(60) + 2 * HOUR)
    assert told(back) == [("wind-high 301", "reminder")]
    assert (back.alerts[0].state, back.alerts[0].acknowledgement) == ("firing", None)
    assert back.alerts[0].aside == "ana took it 2h ago and it goes on"


def test_an_alert_about_one_thing_is_closed_by_taking_it() -> None:
    one = rule("bad-exposure")
    one = replace(one, trigger=replace(one.trigger, kind="event"))
    desk = alerting(one, noise=NOISY)
    desk.apply(change(SERIOUS, rule="bad-exposure", key="", per="MC_1"), NIGHT)
    id = desk.active()[0].id
    done = desk.acknowledge(id, SERIOUS, "ana", "seen", later(60), "cli")
    assert told(done) == [("bad-exposure MC_1", "resolved")]
    assert done.alerts[0].acknowledgement is not None
    assert desk.apply(change(NONE, 600, rule="bad-exposure", key="", per="MC_1"), later(600)) == (
        Changed()
    )


def test_unknown_goes_its_own_way() -> None:
    blind = Route(Match(unknown=True), to=("weather",))
    desk = alerting(LOOSE, route=Route(to=("console",), routes=(blind,)), noise=NOISY)
    desk.apply(change(WARNING), NIGHT)
    lost = desk.apply(change(WARNING, 60, "no data", unknown=True), later(60))
    assert [(one.sink, one.kind) for one in lost.notices] == [
        ("console", "updated"), ("weather", "opened"),
    ]  # fmt: skip
    assert lost.alerts[0].severity == Severity.WARNING


def test_what_nobody_takes_is_handed_on_step_by_step() -> None:
    steps = HandOn(5 * MINUTE, ("bo",), HandOn(15 * MINUTE, ("chief",)))
    desk = alerting(LOOSE, route=Route(to=("console",), escalate=steps), noise=NOISY)
    desk.apply(change(WARNING), NIGHT)
    first, early, second = (desk.tick(later(60 * at)) for at in (5, 14, 15))
    assert ("bo", "opened") in [(one.sink, one.kind) for one in first.notices]
    assert early.notices == ()
    assert ("chief", "opened") in [(one.sink, one.kind) for one in second.notices]
    assert desk.tick(later(9000)).notices == ()
    assert desk.active()[0].handed == 2


# -- escalation of what is held back -------------------------------------------------------------

STEEP = Route(to=("console",), escalate=HandOn(5 * MINUTE, ("phone",)))


def escalations(desk: Alerting, start: int, end: int) -> list[int]:
    """The seconds at which the wind's alert was handed on."""
    looks = ((at, desk.tick(later(at))) for at in range(start, end))
    done = [(at, entry) for at, step in looks for entry in step.audit if entry.what == "escalated"]
    return [at for at, entry in done if entry.detail["name"] == "wind-high 301"]


def test_what_is_silenced_is_handed_on_only_when_somebody_could_have_taken_it() -> None:
    desk = alerting(LOOSE, route=STEEP, noise=NOISY)
    hush(desk, span=20 * MINUTE)
    assert quiet(desk)
    (at,) = escalations(desk, 2, 1600)
    assert at >= 20 * 60 + 5 * 60


def test_a_silence_over_what_was_told_puts_its_escalation_off() -> None:
    desk = alerting(LOOSE, route=STEEP, noise=NOISY)
    assert not quiet(desk)
    hush(desk, at=2, span=20 * MINUTE)
    (at,) = escalations(desk, 3, 1600)
    assert 20 * 60 < at <= 20 * 60 + 5 * 60 + 2


def test_what_was_muted_is_handed_on_so_long_after_it_was_told() -> None:
    muted = replace(STEEP, inhibit_if=Match(rule=("dome-closed",)))
    desk = alerting(LOOSE, rule("dome-closed"), route=muted, noise=NOISY)
    desk.apply(change(WARNING, 0, rule="dome-closed", key=""), later(0))
    assert quiet(desk)
    assert escalations(desk, 2, 700) == []
    desk.apply(change(NONE, 700, rule="dome-closed", key=""), later(700))
    told_at = next(at for at in range(701, 720) if told(desk.tick(later(at))))
    (at,) = escalations(desk, told_at + 1, 1200)
    assert at == told_at + 5 * 60
