"""The whole grammar of rules: what each key becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catcher.model.alert import Severity
from catcher.model.errors import SourceLocation
from catcher.model.rule import (
    Expression,
    GatherSpec,
    InputSpec,
    JobSpec,
    LevelSpec,
    OverlapPolicy,
    Rule,
    SequenceStep,
    TriggerSpec,
    UnknownSpec,
)
from catcher.model.time import DAY, HOUR, MINUTE, SECOND
from tests.site.site_files import EXAMPLE_RULES, list_problem_texts, load_rules, load_site

FOLDER = Path(__file__).parent


def load_rule(tmp_path: Path, text: str, name: str = "a") -> Rule:
    """The rule of a text without problems."""
    site = load_rules(tmp_path, text)
    assert list_problem_texts(site) == []
    return site.rules[name]


def load_trigger(tmp_path: Path, text: str) -> TriggerSpec:
    return load_rule(tmp_path, f"rule: a\ntrigger: {text}\n").trigger


def load_job(tmp_path: Path, text: str) -> JobSpec:
    job = load_rule(tmp_path, f"rule: a\ntrigger: {{event: T}}\njob: {text}\n").job
    assert job is not None
    return job


@pytest.fixture
def example_rules(tmp_path: Path) -> dict[str, Rule]:
    site = load_rules(tmp_path, EXAMPLE_RULES)
    assert list_problem_texts(site) == []
    return dict(site.rules)


def test_the_examples_of_the_design_are_read_as_they_are_printed(
    example_rules: dict[str, Rule],
) -> None:
    assert list(example_rules) == [
        "mount-jitter",
        "wind-forecast",
        "wind-high",
        "images",
        "psf-rising",
    ]


def test_a_rule_with_a_job(example_rules: dict[str, Rule]) -> None:
    rule = example_rules["mount-jitter"]
    assert rule.about == "Tell the observer when the mount shook during an exposure."
    assert rule.owner == "tma"
    assert rule.trigger == TriggerSpec(
        "event",
        topic="lsst.sal.MTCamera.logevent_endReadout",
        where=Expression("requestedExposureTime > 1"),
        once_per=Expression("imageName"),
    )
    assert rule.job == JobSpec(
        run="mount_jitter",
        inputs={
            "azimuth": InputSpec(topic="lsst.sal.MTMount.azimuth", during="exposure"),
            "elevation": InputSpec(topic="lsst.sal.MTMount.elevation", during="exposure"),
        },
        arguments={"band": "r"},
        timeout=20 * SECOND,
        retry=2,
        deadline=30 * SECOND,
        critical=True,
    )
    assert rule.alert is not None
    assert rule.alert.per == Expression("imageName")
    assert rule.alert.levels == {
        Severity.WARNING: LevelSpec(Expression("image_impact_rms > 0.05")),
        Severity.SERIOUS: LevelSpec(Expression("image_impact_rms > 0.10")),
    }
    assert rule.alert.attach == "jitter.png"
    assert rule.expect == {"image_impact_rms": (0.0, 0.05)}


def test_durations_of_arguments_are_seconds(example_rules: dict[str, Rule]) -> None:
    job = example_rules["wind-forecast"].job
    assert job is not None
    assert job.arguments == {"horizon": 600.0, "threshold": 15}
    assert job.inputs["wind"] == InputSpec(
        topic="lsst.sal.ESS.airFlow",
        fields=("speed",),
        where=Expression("salIndex == 301"),
        last=30 * MINUTE,
    )


def test_levels_with_holds(example_rules: dict[str, Rule]) -> None:
    alert = example_rules["wind-high"].alert
    assert alert is not None
    assert alert.levels == {
        Severity.WARNING: LevelSpec(
            Expression('mean(speed, "30s") > 10'),
            2 * MINUTE,
            Expression('mean(speed, "30s") < 9'),
            5 * MINUTE,
        ),
        Severity.CRITICAL: LevelSpec(Expression('mean(speed, "30s") > 18'), 30 * SECOND),
    }


def test_shards_and_their_gather_job(example_rules: dict[str, Rule]) -> None:
    job = example_rules["images"].job
    assert job is not None
    assert (job.each, job.gather) == ("detector", GatherSpec("visit_summary", 20 * SECOND))
    assert job.inputs == {"frame": InputSpec(image="exposure")}
    assert job.degraded == {"detectors": ("R22_S11",), "metrics": ("psf_fwhm",)}


def test_shards_over_the_observations_of_a_night(tmp_path: Path) -> None:
    job = load_job(tmp_path, "{run: j, each: exposure, last: 12h, priority: -50}")
    assert (job.each, job.last, job.priority) == ("exposure", 12 * HOUR, -50)


def test_a_rule_on_results_with_reads(example_rules: dict[str, Rule]) -> None:
    rule = example_rules["psf-rising"]
    assert rule.trigger == TriggerSpec("result", topic="catcher.images", by=Expression("band"))
    assert rule.reads["wind"].max_age == 2 * MINUTE
    assert rule.reads["wind"].where == Expression("salIndex == 301")


def test_tests_of_a_rule_are_stored_unchanged(tmp_path: Path) -> None:
    tests_text = (FOLDER / "design_tests.yaml").read_text(encoding="utf-8")
    rule = load_rule(
        tmp_path, f"rule: a\ntrigger: {{telemetry: lsst.sal.ESS.airFlow}}\n{tests_text}"
    )
    assert [test["name"] for test in rule.tests] == [
        "a gust is not wind",
        "two minutes of wind warn once",
    ]
    assert rule.tests[1]["expect"] == {
        "alerts": [{"at": "3m30s", "within": "30s", "severity": "warning"}]
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{telemetry: T}", TriggerSpec("telemetry", topic="T")),
        ("{http: flux}", TriggerSpec("http", topic="catcher.http.flux")),
        ("{every: 1d}", TriggerSpec("every", every=DAY)),
        ("{every: 1h, catch_up: run}", TriggerSpec("every", every=HOUR, catch_up="run")),
        ("{absent: {topic: T, for: 30s}}", TriggerSpec("absent", topic="T", hold=30 * SECOND)),
        (
            "{schedule: 0 12 * * *, zone: America/Santiago}",
            TriggerSpec("schedule", schedule="0 12 * * *", zone="America/Santiago"),
        ),
        (
            "{telemetry: T, when: x > 1, for: 2m, clear: x < 1, clear_for: 1m, stale_after: 10s}",
            TriggerSpec(
                "telemetry",
                topic="T",
                when=Expression("x > 1"),
                hold=2 * MINUTE,
                clear=Expression("x < 1"),
                clear_hold=MINUTE,
                stale_after=10 * SECOND,
            ),
        ),
        (
            "{telemetry: T, when: x > 1, on_recovery: fire, by: salIndex, forget_after: 1d}",
            TriggerSpec(
                "telemetry",
                topic="T",
                when=Expression("x > 1"),
                on_recovery="fire",
                by=Expression("salIndex"),
                forget_after=DAY,
            ),
        ),
        (
            "{sequence: [{event: T, where: x > 1}, {event: U}], within: 5m}",
            TriggerSpec(
                "sequence",
                steps=(SequenceStep("T", Expression("x > 1")), SequenceStep("U")),
                within=5 * MINUTE,
            ),
        ),
        (
            "{any: [{event: T, where: x > 1}, {http: U}], once_per: id}",
            TriggerSpec(
                "any",
                once_per=Expression("id"),
                any=(
                    TriggerSpec("event", topic="T", where=Expression("x > 1")),
                    TriggerSpec("http", topic="catcher.http.U"),
                ),
            ),
        ),
        (
            "{any: [{event: T}, {absent: {topic: U, for: 1m}}]}",
            TriggerSpec(
                "any",
                any=(
                    TriggerSpec("event", topic="T"),
                    TriggerSpec("absent", topic="U", hold=MINUTE),
                ),
            ),
        ),
    ],
)
def test_every_kind_of_trigger(tmp_path: Path, text: str, expected: TriggerSpec) -> None:
    assert load_trigger(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("queue", OverlapPolicy()),
        ("latest", OverlapPolicy("latest")),
        ("skip", OverlapPolicy("skip")),
        ("parallel(4)", OverlapPolicy("parallel", 4)),
        ("parallel( 2 )", OverlapPolicy("parallel", 2)),
    ],
)
def test_every_overlap(tmp_path: Path, text: str, expected: OverlapPolicy) -> None:
    assert load_job(tmp_path, f"{{run: j, overlap: {text}}}").overlap == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{topic: T, last: 5m}", InputSpec(topic="T", last=5 * MINUTE)),
        (
            "{topic: T, from: start - 60, to: start}",
            InputSpec(topic="T", start=Expression("start - 60"), end=Expression("start")),
        ),
        (
            "{metric: psf_fwhm, of: a, last: 2h}",
            InputSpec(metric="psf_fwhm", of="a", last=2 * HOUR),
        ),
    ],
)
def test_every_kind_of_input(tmp_path: Path, text: str, expected: InputSpec) -> None:
    assert load_job(tmp_path, f"{{run: j, inputs: {{wind: {text}}}}}").inputs["wind"] == expected


def test_a_bare_name_is_a_job(tmp_path: Path) -> None:
    job = load_job(tmp_path, "j")
    assert (job.run, job.location) == ("j", SourceLocation("rules/r.yaml", 3, 6))


def test_the_bounds_of_a_job(tmp_path: Path) -> None:
    job = load_job(tmp_path, "{run: j, memory: 512MiB, priority: -5, deadline: 1m30s}")
    assert (job.memory, job.priority, job.deadline) == (512 * 2**20, -5, 90 * SECOND)


def load_alert(tmp_path: Path, text: str) -> Any:
    body = f"rule: a\ntrigger: {{event: T}}\njob: j\nalert:\n{text}"
    return load_rule(tmp_path, body).alert


def test_the_rest_of_an_alert(tmp_path: Path) -> None:
    alert = load_alert(
        tmp_path,
        "  critical: always\n  latch: critical\n  failed: warning\n  expires: 15m\n"
        "  unknown: {severity: warning, for: 5m}\n  to: console\n  labels: {team: 7}\n"
        "  owner: me\n  lasts: 1h\n",
    )
    assert alert.levels == {Severity.CRITICAL: LevelSpec(None)}
    assert (alert.latch, alert.failed) == (Severity.CRITICAL, Severity.WARNING)
    assert alert.unknown == UnknownSpec(Severity.WARNING, 5 * MINUTE)
    assert (alert.to, alert.labels, alert.owner) == (("console",), {"team": "7"}, "me")
    assert (alert.expires, alert.lasts) == (15 * MINUTE, HOUR)


def test_an_expression_may_go_over_several_lines(tmp_path: Path) -> None:
    rule = load_rule(
        tmp_path,
        "rule: a\ntrigger:\n  telemetry: T\n  when: >\n    x > 1\n    and y > 2\n",
    )
    assert rule.trigger.when == Expression("x > 1 and y > 2")


def test_mistake_in_its_second_line_is_reported_there(tmp_path: Path) -> None:
    text = "rule: a\ntrigger:\n  telemetry: T\n  when: >\n    x > 1\n    and men(y, '5m') > 2\n"
    (problem,) = load_rules(tmp_path, text).problems
    assert problem.location == SourceLocation("rules/r.yaml", 6, 9)


def test_wrong_expression_is_reported_at_its_location(tmp_path: Path) -> None:
    text = "rule: a\ntrigger:\n  telemetry: T\n  when: speed > foo(3)\n"
    (problem,) = load_rules(tmp_path, text).problems
    assert problem.location == SourceLocation("rules/r.yaml", 4, 17)
    assert problem.rule == "a"


def test_expressions_are_checked_even_where_the_rule_has_other_mistakes(tmp_path: Path) -> None:
    text = "rule: a\ntriggr: 1\ntrigger:\n  telemetry: T\n  when: speed > foo(3)\n"
    locations = [problem.location for problem in load_rules(tmp_path, text).problems]
    assert locations == [
        SourceLocation("rules/r.yaml", 2, 1),
        SourceLocation("rules/r.yaml", 5, 17),
    ]


def test_wrong_template_is_reported_at_its_line(tmp_path: Path) -> None:
    text = (
        "rule: a\ntrigger: {event: T}\nalert:\n  warning: x > 1\n"
        "  message: |\n    fine\n    {{ x | nofilter }}\n"
    )
    (problem,) = load_rules(tmp_path, text).problems
    assert (problem.location.line, problem.rule) == (7, "a")


def test_rules_of_several_files_and_folders(tmp_path: Path) -> None:
    site = load_site(
        tmp_path,
        {
            "rules/a.yaml": "rule: a\ntrigger: {event: T}\n",
            "rules/deep/b.yml": "rule: b\ntrigger: {event: T}\nenabled: false\n",
            "rules/.hidden.yaml": "nonsense",
            "rules/notes.txt": "nonsense",
        },
    )
    assert list_problem_texts(site) == []
    assert list(site.rules) == ["a", "b"]
    assert [rule.id for rule in site.active_rules] == ["a"]
