"""Which way an alert goes, and why."""

from __future__ import annotations

import time

import pytest

from catcher.alerting.route_explain import explain_routing
from catcher.alerting.route_tree import (
    AlertMatcher,
    Escalation,
    Route,
    RouteTree,
    SeverityMatcher,
    TimeInterval,
)
from catcher.alerting.router import InhibitionIndex, route_alert
from catcher.model.alert import Alert
from catcher.model.time import HOUR, MINUTE, parse_instant
from tests.alerting.builders import (
    CRITICAL,
    NIGHT,
    NONE,
    SERIOUS,
    WARNING,
    create_alert,
    create_route_tree,
)

DESIGN_ROUTE = Route(
    to=("console",),
    repeat=4 * HOUR,
    routes=(
        Route(
            AlertMatcher(owner=("tma",), severity=SeverityMatcher.parse(">= serious")),
            to=("tma-slack", "love"),
            escalate=Escalation(5 * MINUTE, ("on-shift",)),
            undelivered=Escalation(MINUTE, ("love", "console")),
        ),
        Route(
            AlertMatcher(tags=("wind",)),
            inhibit_if=AlertMatcher(rule=("dome-closed",)),
            mute=(TimeInterval.parse("16:00-21:00 UTC"),),
        ),
    ),
)


def find_sinks(
    alert: Alert, route: Route = DESIGN_ROUTE, now: int = NIGHT, *other_alerts: Alert
) -> tuple[str, ...]:
    return route_alert(
        create_route_tree(route), alert, now, InhibitionIndex(lambda rule: other_alerts)
    ).sinks


def test_first_matching_route_is_used() -> None:
    assert find_sinks(create_alert(SERIOUS, owner="tma", tags=("wind",))) == ("tma-slack", "love")


def test_parent_is_used_without_a_matching_route() -> None:
    assert find_sinks(create_alert(WARNING, owner="tma")) == ("console",)


def test_route_inherits_omitted_settings() -> None:
    decision = route_alert(
        create_route_tree(DESIGN_ROUTE), create_alert(WARNING, tags=("wind",)), NIGHT
    )
    assert (decision.sinks, decision.repeat_interval) == (("console",), 4 * HOUR)


def test_continue_goes_on_to_the_next_sibling() -> None:
    route = Route(
        to=("console",),
        routes=(Route(to=("a",), continues=True), Route(to=("b", "a")), Route(to=("c",))),
    )
    assert find_sinks(create_alert(), route) == ("a", "b")


def test_a_rule_adds_sinks_of_its_own() -> None:
    decision = route_alert(
        create_route_tree(DESIGN_ROUTE),
        create_alert(WARNING),
        NIGHT,
        rule_sinks=("weather", "console"),
    )
    assert decision.sinks == ("console", "weather")


def test_mute_interval_suppresses_an_alert_and_says_so() -> None:
    evening = parse_instant("2025-04-24T18:00:00Z")
    decision = route_alert(create_route_tree(DESIGN_ROUTE), create_alert(tags=("wind",)), evening)
    assert (decision.sinks, decision.silence_reason) == ((), "muted 16:00-21:00 UTC")


def test_another_alert_inhibits() -> None:
    dome_alert = create_alert(WARNING, "dome-closed", key="")
    decision = route_alert(
        create_route_tree(DESIGN_ROUTE),
        create_alert(tags=("wind",)),
        NIGHT,
        InhibitionIndex(lambda rule: [dome_alert]),
    )
    assert (decision.sinks, decision.silence_reason) == ((), "inhibited by dome-closed")


def test_an_alert_does_not_inhibit_itself() -> None:
    route = Route(to=("console",), inhibit_if=AlertMatcher(rule=("wind-*",)))
    alert = create_alert()
    assert find_sinks(alert, route, NIGHT, alert) == ("console",)


def test_the_worst_of_a_latched_alert_counts() -> None:
    cleared = create_alert(NONE, max_severity=CRITICAL, latched=True, owner="tma")
    assert find_sinks(cleared) == ("tma-slack", "love")


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        (AlertMatcher(rule=("wind-*",)), True),
        (AlertMatcher(rule=("dome", "wind-high")), True),
        (AlertMatcher(rule=("Wind-high",)), False),
        (AlertMatcher(tags=("ess*",)), True),
        (AlertMatcher(labels={"place": "summ*", "dome": "*"}), True),
        (AlertMatcher(labels={"place": "base"}), False),
        (AlertMatcher(severity=SeverityMatcher.parse("serious")), True),
        (AlertMatcher(severity=SeverityMatcher.parse("> serious")), False),
        (AlertMatcher(time_intervals=(TimeInterval.parse("23:00-01:00"),)), True),
        (AlertMatcher(time_intervals=(TimeInterval.parse("01:00-23:00"),)), False),
    ],
)
def test_matching(match: AlertMatcher, matches: bool) -> None:
    alert = create_alert(tags=("essential",), labels={"place": "summit"})
    assert (match.find_failed_condition(alert, NIGHT) == "") is matches


@pytest.mark.parametrize(
    ("window", "instant", "expected"),
    [
        ("22:00-06:00 UTC", "2025-04-24T05:59:59Z", True),
        ("22:00-06:00 UTC", "2025-04-24T06:00:00Z", False),
        ("18:00-24:00", "2025-04-24T23:59:00Z", True),
        ("20:00-22:00 America/Santiago", "2025-04-25T01:00:00Z", True),
        ("Mon-Fri 08:00-17:00", "2025-04-26T12:00:00Z", False),
        ("Fri 22:00-06:00", "2025-04-26T05:00:00Z", True),
        ("Sat-Mon 22:00-06:00", "2025-04-26T05:00:00Z", False),
    ],
)
def test_times_of_day(window: str, instant: str, expected: bool) -> None:
    assert TimeInterval.parse(window).contains_instant(parse_instant(instant)) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("16-21", "write it like '16:00-21:00 UTC'"),
        ("25:00-26:00", "has no such time"),
        ("10:00-10:00", "starts where it ends"),
        ("10:00-12:00 Mars/Olympus", "'Mars/Olympus' is no time zone"),
        ("10:00-12:00 ../etc", "no time of day"),
        ("10:00-12:00 /etc/passwd", "no time zone"),
        ("Moo 10:00-12:00", "'Moo' is no week day"),
    ],
)
def test_a_wrong_time_of_day_says_what_is_right(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimeInterval.parse(text)


@pytest.mark.parametrize("text", ["", "=> serious", "serious or worse", ">= bad"])
def test_a_wrong_severity_says_what_is_right(text: str) -> None:
    with pytest.raises(ValueError, match="severity"):
        SeverityMatcher.parse(text)


def test_routing_is_explained_route_by_route() -> None:
    assert explain_routing(
        create_route_tree(DESIGN_ROUTE), create_alert(WARNING, owner="tma", tags=("wind",)), NIGHT
    ) == [
        "route [all] to console: yes",
        "route.1 [severity >= serious, owner tma] to tma-slack, love: no (severity does not fit)",
        "route.2 [tags wind]: yes",
        "route.2 mute 16:00-21:00 UTC: not now",
        "route.2 inhibit_if [rule dome-closed]: no such alert is open",
    ]


def test_without_a_file_everything_goes_to_the_console() -> None:
    assert route_alert(RouteTree(), create_alert(), NIGHT).sinks == ("console",)


def test_routing_of_ten_thousand_alerts_through_a_hundred_routes() -> None:
    leaf_routes = tuple(
        Route(AlertMatcher(rule=(f"rule-{n}",)), to=(f"sink-{n}",)) for n in range(100)
    )
    tree = create_route_tree(Route(to=("console",), routes=leaf_routes))
    alerts = [create_alert(rule=f"rule-{n % 100}") for n in range(10_000)]
    started = time.process_time()
    sinks = [route_alert(tree, alert, NIGHT).sinks for alert in alerts]
    print(f"10,000 alerts through 100 routes: {time.process_time() - started:.2f} s")
    assert sinks == [(f"sink-{n % 100}",) for n in range(10_000)]
