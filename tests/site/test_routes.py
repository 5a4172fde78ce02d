"""`alerts/routes.yaml`: sinks, and the tree that leads to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from catcher.alerting.limits import FloodLimit, NoiseLimits, RateLimit
from catcher.alerting.route_tree import (
    AlertMatcher,
    Escalation,
    RouteTree,
    SeverityMatcher,
    TimeInterval,
)
from catcher.alerting.solar import GeoLocation
from catcher.alerting.time_intervals import SolarInterval, parse_interval
from catcher.model.alert import Severity
from catcher.model.time import HOUR, MINUTE
from catcher.site import Site
from tests.site.site_files import list_problem_texts, load_site

FOLDER = Path(__file__).parent
SECRETS = {"SLACK_TOKEN": "xoxb-1234567", "LOVE_PASSWORD": "hunter22"}
DOME = "rule: dome-closed\ntrigger: {event: T}\n"


def load_site_with_routes(tmp_path: Path, text: str) -> Site:
    files = {
        "alerts/routes.yaml": text,
        "rules/r.yaml": DOME,
        "alerts/sinks/pager.py": "def deliver(notice, message, settings): ...",
        "alerts/sinks/__init__.py": "",
    }
    return load_site(tmp_path, files, SECRETS)


def test_without_a_file_everything_goes_to_the_console(tmp_path: Path) -> None:
    site = load_site(tmp_path, {})
    assert site.routes == RouteTree()
    assert {name: sink.kind for name, sink in site.sinks.items()} == {"console": "console"}


def test_without_a_valid_sink_the_console_is_used(tmp_path: Path) -> None:
    site = load_site_with_routes(
        tmp_path, "sinks: {one: {mqtt: {host: h}}, two: {slak: {}}}\nroute: {to: [two]}\n"
    )
    assert site.routes.route.to == ("console",)
    assert sorted(site.sinks) == ["console", "one"]


def test_the_example_of_the_design(tmp_path: Path) -> None:
    site = load_site_with_routes(
        tmp_path, (FOLDER / "design_routes.yaml").read_text(encoding="utf-8")
    )
    assert site.errors == []
    sinks = site.routes.sinks
    assert {name: sink.kind for name, sink in sinks.items()} == {
        "console": "console",
        "tma-slack": "slack",
        "love": "love",
    }
    assert sinks["love"].settings["password"] == SECRETS["LOVE_PASSWORD"]
    root = site.routes.route
    assert (root.to, root.group_by, root.repeat) == (("console",), ("rule",), 4 * HOUR)
    tma, wind = root.routes
    assert tma.matcher == AlertMatcher(
        severity=SeverityMatcher(">=", Severity.SERIOUS), owner=("tma",)
    )
    assert tma.to == ("tma-slack", "love")
    assert tma.undelivered == Escalation(MINUTE, ("love", "console"))
    assert wind.matcher == AlertMatcher(tags=("wind",))
    assert wind.inhibit_if == AlertMatcher(rule=("dome-closed",))
    assert wind.mute == (TimeInterval.parse("16:00-21:00 UTC"),)


def test_on_shift_without_people_is_reported(tmp_path: Path) -> None:
    site = load_site_with_routes(
        tmp_path, (FOLDER / "design_routes.yaml").read_text(encoding="utf-8")
    )
    assert list_problem_texts(site) == [
        "alerts/routes.yaml:13:34: `on-shift` tells nobody: no people are named; "
        "name them and their sinks, like people: {ana: [ana-phone]}",
    ]


FULL_ROUTES = """
sinks:
  console: {rate: 30 per 1m}
  wall: {console: {}, each: true}
  ana-phone: {console: {}}
people: {ana: [ana-phone], bo: [wall]}
noise: {flapping: off, flood: {above: 20, within: 5m}}
route:
  to: [console]
  auto_acknowledge: 30m
  reminder: 2h
  routes:
    - match: {time: [night, "sun > -12"], unknown: true}
      to: [on-shift]
      group_by: []
      escalate: [{after: 5m, to: [on-shift]}, {after: 15m, to: [wall]}]
      mute: [day]
"""


def test_every_key_of_a_route(tmp_path: Path) -> None:
    site = load_site(
        tmp_path,
        {
            "alerts/routes.yaml": FULL_ROUTES,
            "catcher.yaml": "site: s\nlocation: {latitude: -30.24, longitude: -70.75}\n",
        },
    )
    assert list_problem_texts(site) == []
    tree = site.routes
    assert (tree.sinks["console"].rate_limit, tree.sinks["wall"].ungrouped) == (
        RateLimit(30, MINUTE),
        True,
    )
    assert tree.sinks["console"].kind == "console"
    assert tree.sinks_by_person == {"ana": ("ana-phone",), "bo": ("wall",)}
    assert tree.noise_limits == NoiseLimits(None, FloodLimit(20, 5, 5 * MINUTE))
    assert tree.site_location == GeoLocation(-30.24, -70.75)
    assert (tree.route.acknowledge, tree.route.remind) == (30 * MINUTE, 2 * HOUR)
    (route,) = tree.route.routes
    assert route.matcher.time_intervals == (
        parse_interval("night"),
        SolarInterval(-12, is_below=False),
    )
    assert (route.matcher.unknown, route.to, route.group_by) == (True, ("on-shift",), ())
    assert route.escalate == Escalation(
        5 * MINUTE, ("on-shift",), Escalation(15 * MINUTE, ("wall",))
    )
    assert route.mute == (parse_interval("day"),)


def test_custom_sink_is_its_own_kind(tmp_path: Path) -> None:
    site = load_site_with_routes(
        tmp_path, "sinks: {night: {pager: {number: 7}}, pager: {}}\nroute: {to: night}\n"
    )
    assert list_problem_texts(site) == []
    assert site.routes.sinks["night"].settings == {"number": 7}
    assert site.routes.sinks["pager"].kind == "pager"
    assert site.custom_sinks == {"pager": site.root / "alerts/sinks/pager.py"}


def test_labels_times_and_continuing(tmp_path: Path) -> None:
    site = load_site_with_routes(
        tmp_path,
        "route:\n  to: console\n  routes:\n"
        "    - match: {labels: {team: tma*}, time: ['Mon-Fri 08:00-17:00 America/Santiago']}\n"
        "      continue: true\n      escalate: {after: 5m, to: console}\n",
    )
    assert list_problem_texts(site) == []
    (route,) = site.routes.route.routes
    assert route.matcher.labels == {"team": "tma*"}
    assert route.matcher.time_intervals == (
        TimeInterval.parse("Mon-Fri 08:00-17:00 America/Santiago"),
    )
    assert route.continues
    assert route.escalate == Escalation(5 * MINUTE, ("console",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sinks: {console: {}}\n", "1:1: alerts/routes.yaml lacks `route`; "
                                   "write it like route: {to: [console]}"),
        ("sinks: {console: {}}\nroute: {to: [consol]}\n",
         "2:14: there is no sink 'consol'; did you mean 'console'?"),
        ("sinks: {consol: {}}\nroute: {to: [consol]}\n",
         "1:17: the sink 'consol' does not say what kind it is; did you mean 'console'?"),
        ("sinks: {a: {slack: {}, love: {}}}\nroute: {to: a}\n",
         "1:12: the sink 'a' names both `slack` and `love`; "
         "give exactly one of console, slack, love, mqtt, kafka, http, apprise, pager, "
         "as {kind: {settings}}"),
        ("route: {to: [console], match: {owner: a}}\n",
         "1:24: the outermost route takes every alert, so it has no `match`; "
         "put it in one below `routes:`"),
        ("route: {repeat: 4h}\n", "1:8: `route` lacks `to`; "
         "say who hears of what no other route takes, like to: [console]"),
        ("route: {to: console, routes: [{match: {severity: '>= bad'}}]}\n",
         "1:51: 'bad' is no severity; choose none, warning, serious or critical"),
        ("route: {to: console, routes: [{mute: [16-21]}]}\n",
         "1:38: '16-21' is no time of day; write it like '16:00-21:00 UTC', day, night, "
         "or sun < -12"),
        ("route: {to: console, routes: [{mute: [night]}]}\n",
         "1:31: this route goes by the sun, and nobody says where the site is; "
         "write location: {latitude: …, longitude: …} into catcher.yaml"),
        ("sinks: {console: {rate: 5 per}}\nroute: {to: console}\n",
         "1:25: '5 per' is no rate; write it like '30 per 1m'"),
        ("noise: {flood: {above: 5, below: 9}}\nroute: {to: console}\n",
         "1:34: a flood cannot end while it would begin anew; `below` is at most `above`"),
        ("noise: {flapping: never}\nroute: {to: console}\n",
         "1:19: `flapping` takes a mapping or off; write flapping: off, or a mapping"),
        ("people: {ana: [phone]}\nroute: {to: console}\n",
         "1:16: there is no sink 'phone'; choose from console"),
        ("route:\n  to: console\n"
         "  escalate: [{after: 5m, to: console}, {after: 5m, to: console}]\n",
         "3:14: the steps of `escalate` are not one after the other; "
         "each `after` counts from the beginning: 5m, then 15m"),
        ("route: {to: console, routes: [{match: {rul: x}}]}\n",
         "1:40: `match` has no key 'rul'; did you mean 'rule'?"),
        ("route: {to: console, routes: [{inhibit_if: {rule: dome-close}}]}\n",
         "1:44: there is no rule 'dome-close'; did you mean 'dome-closed'?"),
        ("route: {to: console, routes: {match: {}}}\n",
         "1:30: `routes` takes a list, not a mapping; start each entry with `- `"),
    ],
)  # fmt: skip
def test_mistake_is_reported_and_the_console_is_still_notified(
    tmp_path: Path, text: str, message: str
) -> None:
    site = load_site_with_routes(tmp_path, text)
    assert list_problem_texts(site) == [f"alerts/routes.yaml:{message}"]
    assert "console" in site.routes.sinks
    assert site.routes.route.to == ("console",)


def test_broken_file_falls_back_to_the_console(tmp_path: Path) -> None:
    site = load_site_with_routes(tmp_path, "sinks: [\n")
    assert site.routes == RouteTree()
    assert len(site.config_errors) == 1


def test_a_template_is_checked(tmp_path: Path) -> None:
    site = load_site(
        tmp_path,
        {
            "alerts/templates/slack.j2": "{{ severity }}\n{{ x | nofilter }}\n",
            "alerts/templates/mail.html.j2": "{{ severity }}\n",
        },
    )
    assert sorted(site.templates) == ["mail.html", "slack"]
    (problem,) = site.problems
    assert (problem.location.file, problem.location.line) == ("alerts/templates/slack.j2", 2)


def test_a_custom_sink_with_a_name_that_yaml_could_not_use(tmp_path: Path) -> None:
    site = load_site(tmp_path, {"alerts/sinks/My Sink.py": ""})
    assert list_problem_texts(site) == [
        "alerts/sinks/My Sink.py:1:1: 'My Sink' cannot be the name of a sink; "
        "use small letters, digits, - and _"
    ]
