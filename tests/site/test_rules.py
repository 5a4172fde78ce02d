"""The whole grammar of rules: what each key becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catcher.model.alert import Severity
from catcher.model.problem import Place
from catcher.model.rule import (
    Expr,
    Gather,
    Input,
    JobSpec,
    LevelSpec,
    Overlap,
    Rule,
    Step,
    Trigger,
    UnknownSpec,
)
from catcher.model.time import DAY, HOUR, MINUTE, SECOND
from tests.site.writing import DESIGN, load_rules, load_site, words

HERE = Path(__file__).parent


def rule_of(tmp_path: Path, text: str, name: str = "a") -> Rule:
    """The rule of a text without problems."""
    site = load_rules(tmp_path, text)
    assert words(site) == []
    return site.rules[name]


def trigger_of(tmp_path: Path, text: str) -> Trigger:
    return rule_of(tmp_path, f"rule: a\ntrigger: {text}\n").trigger


def job_of(tmp_path: Path, text: str) -> JobSpec:
    job = rule_of(tmp_path, f"rule: a\ntrigger: {{event: T}}\njob: {text}\n").job
    assert job is not None
    return job


@pytest.fixture
def design(tmp_path: Path) -> dict[str, Rule]:
    site = load_rules(tmp_path, DESIGN)
    assert words(site) == []
    return dict(site.rules)


def test_the_examples_of_the_design_are_read_as_they_are_printed(design: dict[str, Rule]) -> None:
    assert list(design) == ["mount-jitter", "wind-forecast", "wind-high", "images", "psf-rising"]


def test_a_rule_with_a_job(design: dict[str, Rule]) -> None:
    rule = design["mount-jitter"]
    assert rule.about == "Tell the observer when the mount shook during an exposure."
    assert rule.owner == "tma"
    assert rule.trigger == Trigger(
        "event",
        topic="lsst.sal.MTCamera.logevent_endReadout",
        where=Expr("requestedExposureTime > 1"),
        once_per=Expr("imageName"),
    )
    assert rule.job == JobSpec(
        run="mount_jitter",
        inputs={
            "azimuth": Input(topic="lsst.sal.MTMount.azimuth", during="exposure"),
            "elevation": Input(topic="lsst.sal.MTMount.elevation", during="exposure"),
        },
        arguments={"band": "r"},
        timeout=20 * SECOND,
        retry=2,
        deadline=30 * SECOND,
        critical=True,
    )
    assert rule.alert is not None
    assert rule.alert.per == Expr("imageName")
    assert rule.alert.levels == {
        Severity.WARNING: LevelSpec(Expr("image_impact_rms > 0.05")),
        Severity.SERIOUS: LevelSpec(Expr("image_impact_rms > 0.10")),
    }
    assert rule.alert.attach == "jitter.png"
    assert rule.expect == {"image_impact_rms": (0.0, 0.05)}


def test_durations_of_arguments_are_seconds(design: dict[str, Rule]) -> None:
    job = design["wind-forecast"].job
    assert job is not None
    assert job.arguments == {"horizon": 600.0, "threshold": 15}
    assert job.inputs["wind"] == Input(
        topic="lsst.sal.ESS.airFlow",
        fields=("speed",),
        where=Expr("salIndex == 301"),
        last=30 * MINUTE,
    )


def test_levels_with_holds(design: dict[str, Rule]) -> None:
    alert = design["wind-high"].alert
    assert alert is not None
    assert alert.levels == {
        Severity.WARNING: LevelSpec(
            Expr('mean(speed, "30s") > 10'), 2 * MINUTE, Expr('mean(speed, "30s") < 9'), 5 * MINUTE
        ),
        Severity.CRITICAL: LevelSpec(Expr('mean(speed, "30s") > 18'), 30 * SECOND),
    }


def test_parts_and_their_gathering(design: dict[str, Rule]) -> None:
    job = design["images"].job
    assert job is not None
    assert (job.each, job.gather) == ("detector", Gather("visit_summary", 20 * SECOND))
    assert job.inputs == {"frame": Input(image="exposure")}
    assert job.degraded == {"detectors": ("R22_S11",), "metrics": ("psf_fwhm",)}


def test_parts_over_the_observations_of_a_night(tmp_path: Path) -> None:
    job = job_of(tmp_path, "{run: j, each: exposure, last: 12h, priority: -50}")
    assert (job.each, job.last, job.priority) == ("exposure", 12 * HOUR, -50)


def test_a_rule_on_results_with_reads(design: dict[str, Rule]) -> None:
    rule = design["psf-rising"]
    assert rule.trigger == Trigger("result", topic="catcher.images", by=Expr("band"))
    assert rule.reads["wind"].max_age == 2 * MINUTE
    assert rule.reads["wind"].where == Expr("salIndex == 301")


def test_the_tests_of_the_design_are_kept_as_they_were_written(tmp_path: Path) -> None:
    printed = (HERE / "design_tests.yaml").read_text(encoding="utf-8")
    rule = rule_of(tmp_path, f"rule: a\ntrigger: {{telemetry: lsst.sal.ESS.airFlow}}\n{printed}")
    assert [test["name"] for test in rule.tests] == [
        "a gust is not wind",
        "two minutes of wind warn once",
    ]
    assert rule.tests[1]["expect"] == {
        "alerts": [{"at": "3m30s", "within": "30s", "severity": "warning"}]
    }


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("{telemetry: T}", Trigger("telemetry", topic="T")),
        ("{http: flux}", Trigger("http", topic="catcher.http.flux")),
        ("{every: 1d}", Trigger("every", every=DAY)),
        ("{every: 1h, catch_up: run}", Trigger("every", every=HOUR, catch_up="run")),
        ("{absent: {topic: T, for: 30s}}", Trigger("absent", topic="T", hold=30 * SECOND)),
        ("{schedule: 0 12 * * *, zone: America/Santiago}",
         Trigger("schedule", schedule="0 12 * * *", zone="America/Santiago")),
        ("{telemetry: T, when: x > 1, for: 2m, clear: x < 1, clear_for: 1m, stale_after: 10s}",
         Trigger("telemetry", topic="T", when=Expr("x > 1"), hold=2 * MINUTE, clear=Expr("x < 1"),
                 clear_hold=MINUTE, stale_after=10 * SECOND)),
        ("{telemetry: T, when: x > 1, on_recovery: fire, by: salIndex, forget_after: 1d}",
         Trigger("telemetry", topic="T", when=Expr("x > 1"), on_recovery="fire",
                 by=Expr("salIndex"), forget_after=DAY)),
        ("{sequence: [{event: T, where: x > 1}, {event: U}], within: 5m}",
         Trigger("sequence", steps=(Step("T", Expr("x > 1")), Step("U")), within=5 * MINUTE)),
        ("{any: [{event: T, where: x > 1}, {http: U}], once_per: id}",
         Trigger("any", once_per=Expr("id"), any=(
             Trigger("event", topic="T", where=Expr("x > 1")),
             Trigger("http", topic="catcher.http.U")))),
        ("{any: [{event: T}, {absent: {topic: U, for: 1m}}]}",
         Trigger("any", any=(
             Trigger("event", topic="T"), Trigger("absent", topic="U", hold=MINUTE)))),
    ],
)  # fmt: skip
def test_every_kind_of_trigger(tmp_path: Path, text: str, trigger: Trigger) -> None:
    assert trigger_of(tmp_path, text) == trigger


@pytest.mark.parametrize(
    ("text", "overlap"),
    [("queue", Overlap()), ("latest", Overlap("latest")), ("skip", Overlap("skip")),
     ("parallel(4)", Overlap("parallel", 4)), ("parallel( 2 )", Overlap("parallel", 2))],
)  # fmt: skip
def test_every_overlap(tmp_path: Path, text: str, overlap: Overlap) -> None:
    assert job_of(tmp_path, f"{{run: j, overlap: {text}}}").overlap == overlap


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("{topic: T, last: 5m}", Input(topic="T", last=5 * MINUTE)),
        ("{topic: T, from: start - 60, to: start}",
         Input(topic="T", start=Expr("start - 60"), end=Expr("start"))),
        ("{metric: psf_fwhm, of: a, last: 2h}", Input(metric="psf_fwhm", of="a", last=2 * HOUR)),
    ],
)  # fmt: skip
def test_every_way_to_ask_for_an_input(tmp_path: Path, text: str, asked: Input) -> None:
    assert job_of(tmp_path, f"{{run: j, inputs: {{wind: {text}}}}}").inputs["wind"] == asked


def test_a_bare_name_is_a_job(tmp_path: Path) -> None:
    job = job_of(tmp_path, "j")
    assert (job.run, job.place) == ("j", Place("rules/r.yaml", 3, 6))


def test_the_bounds_of_a_job(tmp_path: Path) -> None:
    job = job_of(tmp_path, "{run: j, memory: 512MiB, priority: -5, deadline: 1m30s}")
    assert (job.memory, job.priority, job.deadline) == (512 * 2**20, -5, 90 * SECOND)


def alert_of(tmp_path: Path, text: str) -> Any:
    body = f"rule: a\ntrigger: {{event: T}}\njob: j\nalert:\n{text}"
    return rule_of(tmp_path, body).alert


def test_the_rest_of_an_alert(tmp_path: Path) -> None:
    alert = alert_of(
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
    rule = rule_of(
        tmp_path,
        "rule: a\ntrigger:\n  telemetry: T\n  when: >\n    x > 1\n    and y > 2\n",
    )
    assert rule.trigger.when == Expr("x > 1 and y > 2")


def test_a_mistake_in_its_second_line_is_found_there(tmp_path: Path) -> None:
    text = "rule: a\ntrigger:\n  telemetry: T\n  when: >\n    x > 1\n    and men(y, '5m') > 2\n"
    (problem,) = load_rules(tmp_path, text).problems
    assert problem.place == Place("rules/r.yaml", 6, 9)


def test_an_expression_that_is_wrong_is_told_at_its_place(tmp_path: Path) -> None:
    text = "rule: a\ntrigger:\n  telemetry: T\n  when: speed > foo(3)\n"
    (problem,) = load_rules(tmp_path, text).problems
    assert problem.place == Place("rules/r.yaml", 4, 17)
    assert problem.rule == "a"


def test_expressions_are_checked_even_where_the_rule_has_other_mistakes(tmp_path: Path) -> None:
    text = "rule: a\ntriggr: 1\ntrigger:\n  telemetry: T\n  when: speed > foo(3)\n"
    places = [problem.place for problem in load_rules(tmp_path, text).problems]
    assert places == [Place("rules/r.yaml", 2, 1), Place("rules/r.yaml", 5, 17)]


def test_a_template_that_is_wrong_is_told_at_its_line(tmp_path: Path) -> None:
    text = (
        "rule: a\ntrigger: {event: T}\nalert:\n  warning: x > 1\n"
        "  message: |\n    fine\n    {{ x | nofilter }}\n"
    )
    (problem,) = load_rules(tmp_path, text).problems
    assert (problem.place.line, problem.rule) == (7, "a")


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
    assert words(site) == []
    assert list(site.rules) == ["a", "b"]
    assert [rule.id for rule in site.active] == ["a"]
