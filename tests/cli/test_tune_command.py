"""`catcher tune`: a rule with other limits, on a recording."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catcher.authoring.tuning import build_variants
from catcher.model.errors import CatcherError
from catcher.model.rule import Expression, Rule, TriggerSpec
from tests.cli.command_runner import run_command
from tests.sample_site import JOBS, write_site

START = 1_745_452_800
RULES = """
rule: gusts
trigger: {telemetry: wind, by: mast, when: speed >= 10, clear: speed < 5}
---
rule: wind
trigger: {telemetry: wind, by: mast}
alert:
  warning: {when: speed > 10, clear: speed < 8}
  serious: {when: "-20 < speed - 20 and speed > 20"}
---
rule: doubling
trigger: {event: number}
job: {run: doubling}
alert:
  per: value
  warning: doubled > 10
---
rule: limitless
trigger: {event: number}
"""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A minute of wind that rises to 15 and falls, and four numbers."""
    speeds = [*range(16), *range(15, -1, -1)]
    rows: list[dict[str, Any]] = [
        {"topic": "wind", "time": START + n, "fields": {"mast": "m", "speed": speed}}
        for n, speed in enumerate(speeds)
    ]
    rows += [
        {"topic": "number", "time": START + 100 + n, "fields": {"value": 2 * n}} for n in range(5)
    ]
    file = tmp_path / "night.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)) + "\nno event\n")
    return file


def run_tune(tmp_path: Path, rule: str, recording: Path, *factors: str) -> list[dict[str, Any]]:
    site = write_site(tmp_path / "site", RULES, jobs=JOBS)
    options = [option for factor in factors for option in ("--factor", factor)]
    result = run_command("tune", rule, "--data", recording, "--site", site, "--json", *options)
    assert result.status == 0, result.err
    assert "1 lines were left out" in result.err
    return result.rows


def test_the_limits_of_a_level_are_scaled_together(tmp_path: Path, recording: Path) -> None:
    rows = run_tune(tmp_path, "wind", recording, "0.5", "1", "2")
    assert [(row["what"], row["factor"], row["alerts"]) for row in rows] == [
        ("warning", 0.5, 1), ("warning", 1.0, 1), ("warning", 2.0, 0),
        ("serious", 0.5, 1), ("serious", 1.0, 0), ("serious", 2.0, 0),
    ]  # fmt: skip
    assert rows[0]["limits"] == "speed > 5, clear: speed < 4"
    assert rows[3]["limits"] == "-10 < speed - 20 and speed > 10"
    # From the first sample above 10 to the first below 8: 11 to 24 seconds.
    assert rows[1]["lasted_s"] == 13
    assert rows[0]["lasted_s"] > rows[1]["lasted_s"]


def test_the_limits_of_a_trigger_are_tuned_by_its_firings(tmp_path: Path, recording: Path) -> None:
    rows = run_tune(tmp_path, "gusts", recording, "1", "1.6")
    assert [(row["what"], row["firings"]) for row in rows] == [("trigger", 1), ("trigger", 0)]


def test_a_rule_with_a_job_is_tuned_on_its_results(tmp_path: Path, recording: Path) -> None:
    rows = run_tune(tmp_path, "doubling", recording, "0.1", "1", "10")
    assert [row["alerts"] for row in rows] == [4, 2, 0]


def test_table_output(tmp_path: Path, recording: Path) -> None:
    site = write_site(tmp_path / "site", RULES, jobs=JOBS)
    result = run_command("tune", "wind", "--data", recording, "--site", site)
    assert result.status == 0, result.err
    assert len(result.out.splitlines()) == 1 + 2 * 9 + 1
    assert "on a recording from 2025-04-24T00:00:00 to 2025-04-24T00:01:44 UTC" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("wimd",), "did you mean"),
        (("limitless",), "compares nothing with a number"),
        (("wind", "--factor", "0"), "these factors cannot be"),
        (("wind", "--factor", "-1"), "these factors cannot be"),
    ],
)
def test_failed_tuning_gives_the_reason(
    tmp_path: Path, recording: Path, arguments: tuple[str, ...], message: str
) -> None:
    site = write_site(tmp_path / "site", RULES, jobs=JOBS)
    result = run_command("tune", *arguments, "--data", recording, "--site", site)
    assert (result.status, message in result.err) == (2, True), result.err
    assert run_command("tune", "wind", "--site", site).status == 2
    recording.write_text("")
    result = run_command("tune", "wind", "--data", recording, "--site", site)
    assert (result.status, "holds no event" in result.err) == (2, True)


def test_letters_before_a_limit_do_not_shift_it() -> None:
    when = Expression("'größer' != name and speed > 10")
    rule = Rule("a", TriggerSpec("telemetry", "wind", when=when))
    (variant,) = build_variants(rule, [2.0])
    assert variant.limits_text == "'größer' != name and speed > 20"
    with pytest.raises(CatcherError):
        build_variants(
            Rule("a", TriggerSpec("telemetry", "wind", when=Expression("speed >"))), [2.0]
        )
