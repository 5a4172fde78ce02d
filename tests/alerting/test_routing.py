"""Which way an alert goes, and why."""

from __future__ import annotations

import time

import pytest

from catcher.alerting.directing import Inhibitors, direct
from catcher.alerting.routing import (
    HandOn,
    Match,
    Route,
    RouteTree,
    SeverityTest,
    TimeWindow,
)
from catcher.alerting.tracing import explain
from catcher.model.alert import Alert
from catcher.model.time import HOUR, MINUTE, parse_instant
from tests.alerting.making import CRITICAL, NIGHT, NONE, SERIOUS, WARNING, alert, routes

DESIGN = Route(
    to=("console",),
    repeat=4 * HOUR,
    routes=(
        Route(
            Match(owner=("tma",), severity=SeverityTest.parse(">= serious")),
            to=("tma-slack", "love"),
            escalate=HandOn(5 * MINUTE, ("on-shift",)),
            undelivered=HandOn(MINUTE, ("love", "console")),
        ),
        Route(
            Match(tags=("wind",)),
            inhibit_if=Match(rule=("dome-closed",)),
            mute=(TimeWindow.parse("16:00-21:00 UTC"),),
        ),
    ),
)


def way(one: Alert, route: Route = DESIGN, now: int = NIGHT, *others: Alert) -> tuple[str, ...]:
    return direct(routes(route), one, now, Inhibitors(lambda rule: others)).sinks


def test_the_first_route_that_fits_takes_the_alert() -> None:
    assert way(alert(SERIOUS, owner="tma", tags=("wind",))) == ("tma-slack", "love")


def test_where_no_route_fits_the_one_above_takes_it() -> None:
    assert way(alert(WARNING, owner="tma")) == ("console",)


def test_what_a_route_leaves_out_it_has_from_above() -> None:
    direction = direct(routes(DESIGN), alert(WARNING, tags=("wind",)), NIGHT)
    assert (direction.sinks, direction.repeat) == (("console",), 4 * HOUR)


def test_continue_goes_on_to_the_next_sibling() -> None:
    both = Route(
        to=("console",),
        routes=(Route(to=("a",), continues=True), Route(to=("b", "a")), Route(to=("c",))),
    )
    assert way(alert(), both) == ("a", "b")


def test_a_rule_adds_sinks_of_its_own() -> None:
    direction = direct(routes(DESIGN), alert(WARNING), NIGHT, extra=("weather", "console"))
    assert direction.sinks == ("console", "weather")


def test_a_mute_window_holds_an_alert_back_and_says_so() -> None:
    evening = parse_instant("2025-04-24T18:00:00Z")
    direction = direct(routes(DESIGN), alert(tags=("wind",)), evening)
    assert (direction.sinks, direction.silenced) == ((), "muted 16:00-21:00 UTC")


def test_another_alert_inhibits() -> None:
    closed = alert(WARNING, "dome-closed", key="")
    direction = direct(
        routes(DESIGN), alert(tags=("wind",)), NIGHT, Inhibitors(lambda rule: [closed])
    )
    assert (direction.sinks, direction.silenced) == ((), "inhibited by dome-closed")


def test_an_alert_does_not_inhibit_itself() -> None:
    own = Route(to=("console",), inhibit_if=Match(rule=("wind-*",)))
    one = alert()
    assert way(one, own, NIGHT, one) == ("console",)


def test_the_worst_of_a_latched_alert_counts() -> None:
    cleared = alert(NONE, max_severity=CRITICAL, latched=True, owner="tma")
    assert way(cleared) == ("tma-slack", "love")


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        (Match(rule=("wind-*",)), True),
        (Match(rule=("dome", "wind-high")), True),
        (Match(rule=("Wind-high",)), False),
        (Match(tags=("ess*",)), True),
        (Match(labels={"place": "summ*", "dome": "*"}), True),
        (Match(labels={"place": "base"}), False),
        (Match(severity=SeverityTest.parse("serious")), True),
        (Match(severity=SeverityTest.parse("> serious")), False),
        (Match(time=(TimeWindow.parse("23:00-01:00"),)), True),
        (Match(time=(TimeWindow.parse("01:00-23:00"),)), False),
    ],
)
def test_matching(match: Match, fits: bool) -> None:
    one = alert(tags=("essential",), labels={"place": "summit"})
    assert (match.misfit(one, NIGHT) == "") is fits


@pytest.mark.parametrize(
    ("window", "instant", "holds"),
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
def test_times_of_day(window: str, instant: str, holds: bool) -> None:
    assert TimeWindow.parse(window).holds(parse_instant(instant)) is holds


@pytest.mark.parametrize(
    ("text", "words"),
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
def test_a_wrong_time_of_day_says_what_is_right(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TimeWindow.parse(text)


@pytest.mark.parametrize("text", ["", "=> serious", "serious or worse", ">= bad"])
def test_a_wrong_severity_says_what_is_right(text: str) -> None:
    with pytest.raises(ValueError, match="severity"):
        SeverityTest.parse(text)


def test_the_way_is_explained_route_by_route() -> None:
    assert explain(routes(DESIGN), alert(WARNING, owner="tma", tags=("wind",)), NIGHT) == [
        "route [all] to console: yes",
        "route.1 [severity >= serious, owner tma] to tma-slack, love: no (severity does not fit)",
        "route.2 [tags wind]: yes",
        "route.2 mute 16:00-21:00 UTC: not now",
        "route.2 inhibit_if [rule dome-closed]: no such alert is open",
    ]


def test_without_a_file_everything_goes_to_the_console() -> None:
    assert direct(RouteTree(), alert(), NIGHT).sinks == ("console",)


def test_ten_thousand_alerts_find_their_way_through_a_hundred_routes() -> None:
    leaves = tuple(Route(Match(rule=(f"rule-{n}",)), to=(f"sink-{n}",)) for n in range(100))
    tree = routes(Route(to=("console",), routes=leaves))
    alerts = [alert(rule=f"rule-{n % 100}") for n in range(10_000)]
    began = time.process_time()
    ways = [direct(tree, one, NIGHT).sinks for one in alerts]
    print(f"10,000 alerts through 100 routes: {time.process_time() - began:.2f} s")
    assert ways == [(f"sink-{n % 100}",) for n in range(10_000)]
