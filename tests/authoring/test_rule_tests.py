"""The tests beside a rule: what passes, what fails, and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catcher.app import load_site, run_rule_tests
from catcher.authoring import RuleTestResult
from catcher.model.errors import CatcherError
from tests.sample_site import DOUBLING, WIND, write_site

STORM = {"wind": "{mast: a, speed: 5} x 60 @ 1s, {speed: 12} x 60, {speed: 5} x 60"}


async def run_cases(folder: Path, rule: str, *tests: dict[str, Any]) -> list[RuleTestResult]:
    """The cases of a rule with these tests below it."""
    text = f"{rule}tests: {json.dumps(list(tests))}\n"
    site = load_site(write_site(folder, text))
    assert not site.problems, [str(problem) for problem in site.problems]
    return await run_rule_tests(site, [])


async def find_differences(
    folder: Path, rule: str, feed: dict[str, Any], **expect: Any
) -> list[str]:
    """What one test of a rule finds to be otherwise than expected."""
    cases = await run_cases(folder, rule, {"name": "it", "feed": feed, "expect": expect})
    assert [case.name for case in cases] == ["it"]
    return list(cases[0].differences)


async def test_expected_results_pass(tmp_path: Path) -> None:
    alerts = [{"at": "1m", "severity": "warning", "key": "a", "message": "Wind 12 at a"}]
    cases = await run_cases(
        tmp_path,
        WIND,
        {"name": "a storm warns", "feed": STORM, "expect": {"alerts": alerts, "firings": 0}},
        {"name": "calm", "feed": {"wind": "{mast: a, speed: 5} x 9"}, "expect": {"alerts": []}},
    )
    assert [case.to_json() for case in cases] == [
        {"rule": "wind", "name": "a storm warns", "passed": True, "differences": []},
        {"rule": "wind", "name": "calm", "passed": True, "differences": []},
    ]


async def test_only_raised_severities_count_unless_a_state_is_named(tmp_path: Path) -> None:
    states = [{"at": "1m", "state": "firing"}, {"at": "2m", "state": "resolved"}]
    assert await find_differences(tmp_path, WIND, STORM, alerts=states) == []
    assert await find_differences(tmp_path, WIND, STORM, alerts=1) == []


async def test_raised_severity_in_an_episode_counts_and_a_lowered_one_does_not(
    tmp_path: Path,
) -> None:
    feed = {"wind": "{mast: a, speed: 12} x 5 @ 1s, {speed: 25} x 5, {speed: 12} x 5, {speed: 25}"}
    alerts = [
        {"at": "0s", "severity": "warning"},
        {"at": "5s", "severity": "serious"},
        {"at": "15s", "severity": "serious"},
    ]
    assert await find_differences(tmp_path, WIND, feed, alerts=alerts) == []


async def test_a_time_may_be_off_by_as_much_as_within_says(tmp_path: Path) -> None:
    inside = {"at": "55s", "within": "5s"}
    assert await find_differences(tmp_path, WIND, STORM, alerts=[inside]) == []
    outside = {"at": "54s", "within": "5s"}
    assert await find_differences(tmp_path, WIND, STORM, alerts=[outside]) == [
        "alerts: at 54s (within 5s) expected, came at 1m"
    ]


@pytest.mark.parametrize(
    ("expect", "differences"),
    [
        ({"alerts": []}, ["alerts: not expected: 1 (WARNING at 1m)"]),
        ({"alerts": 2}, ["2 alerts expected, 1 (WARNING at 1m) came"]),
        ({"firings": 1}, ["1 firings expected, none came"]),
        (
            {"alerts": [{"severity": "serious"}]},
            ["alerts: severity serious expected, WARNING came"],
        ),
        ({"alerts": [{"key": "b"}]}, ["alerts: key b expected, a came"]),
        (
            {"alerts": [{"at": "1m"}, {"at": "9m", "severity": "serious"}]},
            ["alerts: at 9m, severity serious expected, nothing came"],
        ),
    ],
)
async def test_differences_are_reported(
    tmp_path: Path, expect: dict[str, Any], differences: list[str]
) -> None:
    assert await find_differences(tmp_path, WIND, STORM, **expect) == differences


async def test_jobs_run_and_their_metrics_are_compared(tmp_path: Path) -> None:
    feed = {"number": "{lane: a, value: 21} x 1, {value: 13}"}
    runs: list[dict[str, Any]] = [
        {"at": "0s", "state": "done", "key": "a", "metrics": {"doubled": 42}},
        {"at": "1s", "state": "failed"},
    ]
    assert await find_differences(tmp_path, DOUBLING, feed, firings=2, runs=runs) == []
    runs[0]["metrics"] = {"doubled": [0, 41], "tripled": 63}
    assert await find_differences(tmp_path, DOUBLING, feed, runs=runs) == [
        "runs: doubled in [0, 41] expected, 42.0 came",
        "runs: tripled in [63, 63] expected, None came",
    ]


async def test_a_feed_that_cannot_be_read_fails_its_own_test_only(tmp_path: Path) -> None:
    broken, valid = await run_cases(
        tmp_path,
        WIND,
        {"name": "broken", "feed": {"wind": "speed: 5"}, "expect": {"alerts": []}},
        {"name": "whole", "feed": STORM, "expect": {"alerts": 1}},
    )
    assert "the feed of wind is not clear" in broken.differences[0]
    assert valid.has_passed


async def test_a_test_may_start_at_a_time_of_its_own(tmp_path: Path) -> None:
    rule = 'rule: noon\ntrigger: {schedule: "0 12 * * *", catch_up: run}\n'
    feed = {"tick": [{"at": "0s"}, {"at": "2h"}]}
    test = {"name": "it", "feed": feed, "expect": {"firings": [{"at": "1h"}]}}
    started = {**test, "start": "2001-02-03T11:00:00Z"}
    cases = await run_cases(tmp_path, rule, started, {**test, "name": "from midnight on"})
    assert [case.has_passed for case in cases] == [True, False]


async def test_only_the_named_rules_are_tested(tmp_path: Path) -> None:
    tests = f"tests: {json.dumps([{'name': 'it', 'feed': STORM, 'expect': {'alerts': 1}}])}\n"
    gust_rule = WIND.replace("rule: wind", "rule: gust")
    broken = "rule: torn\ntrigger: {event: wind, where: speed >}\n"
    site = load_site(
        write_site(tmp_path, f"{WIND}{tests}---\n{gust_rule.strip()}\n{tests}---\n{broken}")
    )
    assert [case.rule for case in await run_rule_tests(site, ["gust", "gust"])] == ["gust"]
    with pytest.raises(CatcherError, match="there is no rule 'gutsy'; did you mean 'gust'"):
        await run_rule_tests(site, ["gutsy"])
    with pytest.raises(CatcherError, match="the rule 'torn' is broken; `catcher check`"):
        await run_rule_tests(site, ["torn"])


async def test_level_uses_the_metric_where_a_field_has_its_name(tmp_path: Path) -> None:
    jobs = '''
from catcher import Event, Field, Result, job


@job
async def measure(event: Event) -> Result:
    """The noise of two amplifiers, and the mean of it."""
    noise = event.fields["noise"]
    return Result({"noise": noise}, {"noise": Field("amp", ["a", "b"], [noise - 1, noise + 1])})
'''
    tests = [
        {
            "name": "it",
            "feed": {"frame": "{noise: 1}, {noise: 8} @ 10s"},
            "expect": {"alerts": [{"severity": "warning", "message": "noise 8"}]},
        }
    ]
    rule = (
        "rule: noisy\ntrigger: {event: frame}\njob: {run: measure}\n"
        "alert: {warning: noise > 5, message: 'noise {{ noise | int }}'}\n"
        f"tests: {json.dumps(tests)}\n"
    )
    site = load_site(write_site(tmp_path, rule, jobs=jobs))
    assert not site.problems, [str(problem) for problem in site.problems]
    (case,) = await run_rule_tests(site, [])
    assert case.differences == ()
