"""A site's own sinks and the templates in the settings of sinks, checked without running them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.site.writing import load_site

ROUTE = "\nroute: {to: [hook]}\n"


def problems(folder: Path, files: dict[str, str]) -> list[str]:
    return [str(one) for one in load_site(folder, files).problems]


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
def test_what_may_be_a_sink(tmp_path: Path, code: str) -> None:
    assert problems(tmp_path, {"alerts/sinks/own.py": code}) == []


@pytest.mark.parametrize(
    ("code", "says"),
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
def test_what_is_none_says_where_and_why(tmp_path: Path, code: str, says: str) -> None:
    (found,) = problems(tmp_path, {"alerts/sinks/own.py": code})
    assert found.startswith("alerts/sinks/own.py:") and says in found


def test_it_is_read_and_not_run(tmp_path: Path) -> None:
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\ndef deliver(n, m, s): ..."
    problems(tmp_path, {"alerts/sinks/own.py": code})
    assert not (tmp_path / "ran").exists()


def test_templates_of_an_http_sink_are_checked_where_they_stand(tmp_path: Path) -> None:
    text = (
        "sinks:\n  hook:\n    http:\n      url: https://x/y\n      json:\n"
        '        good: "{{ message | upper }}"\n        text: "{{ message | uper }}"\n'
        '        tags: ["{{ a() }}", "{x}"]'
    )
    found = problems(tmp_path, {"alerts/routes.yaml": text + ROUTE})
    assert [one.split("; ")[0] for one in found] == [
        "alerts/routes.yaml:7:16: there is no filter 'uper'",
        "alerts/routes.yaml:8:17: a template calls nothing",
    ]


def test_a_template_as_text_too(tmp_path: Path) -> None:
    text = "sinks:\n  hook: {http: {url: https://x/y, template: '{% set a = 1 %}'}}" + ROUTE
    (found,) = problems(tmp_path, {"alerts/routes.yaml": text})
    assert found.startswith("alerts/routes.yaml:2:") and "sets nothing" in found
