"""A site's own sinks and the templates in the settings of sinks, checked without running them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.site.site_files import load_site

ROUTE = "\nroute: {to: [hook]}\n"


def load_problem_texts(folder: Path, files: dict[str, str]) -> list[str]:
    return [str(problem) for problem in load_site(folder, files).problems]


@pytest.mark.parametrize(
    "code",
    [
        "def deliver(notice, message, settings): ...",
        "async def deliver(notice, message, settings, more=None): ...",
        "def deliver(*given): ...",
        "from elsewhere import deliver",
        "import elsewhere as deliver",
        "class deliver: ...",
        "deliver = make()",
    ],
)
def test_valid_sink_files(tmp_path: Path, code: str) -> None:
    assert load_problem_texts(tmp_path, {"alerts/sinks/own.py": code}) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "1:1: no function `deliver` is in this file"),
        ("x = 1\ndef delivr(n, m, s): ...", "1:1: no function `deliver`"),
        ("import os\n\ndef deliver(notice): ...", "3:1: `deliver` does not take"),
        ("def deliver(n, m, s, t): ...", "1:1: `deliver` does not take"),
        ("def deliver(n, m, s, *, t): ...", "1:1: `deliver` does not take"),
        ("def deliver(:", "1:13: this is no Python"),
        ("x = " + "(" * 5_000, "this is no Python"),
        ("\0", "this is no Python"),
    ],
)
def test_invalid_sink_file_is_reported_with_location_and_reason(
    tmp_path: Path, code: str, message: str
) -> None:
    (problem,) = load_problem_texts(tmp_path, {"alerts/sinks/own.py": code})
    assert problem.startswith("alerts/sinks/own.py:") and message in problem


def test_sink_file_is_parsed_and_not_executed(tmp_path: Path) -> None:
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\ndef deliver(n, m, s): ..."
    load_problem_texts(tmp_path, {"alerts/sinks/own.py": code})
    assert not (tmp_path / "ran").exists()


def test_templates_of_an_http_sink_are_checked_at_their_location(tmp_path: Path) -> None:
    text = (
        "sinks:\n  hook:\n    http:\n      url: https://x/y\n      json:\n"
        '        good: "{{ message | upper }}"\n        text: "{{ message | uper }}"\n'
        '        tags: ["{{ a() }}", "{x}"]'
    )
    problems = load_problem_texts(tmp_path, {"alerts/routes.yaml": text + ROUTE})
    assert [problem.split("; ")[0] for problem in problems] == [
        "alerts/routes.yaml:7:16: there is no filter 'uper'",
        "alerts/routes.yaml:8:17: a template calls nothing",
    ]


def test_a_template_as_text_too(tmp_path: Path) -> None:
    text = "sinks:\n  hook: {http: {url: https://x/y, template: '{% set a = 1 %}'}}" + ROUTE
    (problem,) = load_problem_texts(tmp_path, {"alerts/routes.yaml": text})
    assert problem.startswith("alerts/routes.yaml:2:") and "sets nothing" in problem
