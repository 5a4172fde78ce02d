"""The mistakes that people make in their first rules, with the exact words that they read.

`mistakes.txt` holds them: a rule file, then a line `=> line:column: what is wrong; how to mend it`
for each of its problems. An empty line ends a case.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.site.site_files import list_problem_texts, load_rules, load_site

TEXT = (Path(__file__).parent / "mistakes.txt").read_text(encoding="utf-8")


def parse_cases() -> list[tuple[str, list[str]]]:
    cases = []
    for block in TEXT.split("\n\n"):
        lines = block.strip("\n").split("\n")
        rule = [line for line in lines if not line.startswith("=> ")]
        messages = [line.removeprefix("=> ") for line in lines if line.startswith("=> ")]
        cases.append(("\n".join(rule) + "\n", [f"rules/r.yaml:{message}" for message in messages]))
    return cases


def test_the_table_is_long_enough() -> None:
    assert len(parse_cases()) >= 80
    assert all(messages for _, messages in parse_cases())


@pytest.mark.parametrize(("rule", "messages"), parse_cases())
def test_mistake_is_reported_with_its_location_and_fix(
    tmp_path: Path, rule: str, messages: list[str]
) -> None:
    assert list_problem_texts(load_rules(tmp_path, rule)) == messages


def test_a_control_character_is_named(tmp_path: Path) -> None:
    site = load_rules(tmp_path, "rule: a\ntrigger: {event: T}\nabout: \x07\n")
    assert list_problem_texts(site) == [
        "rules/r.yaml:3:8: the control character U+0007 is not allowed; "
        "delete it and type the line again"
    ]


def test_all_problems_of_all_files_come_in_one_pass(tmp_path: Path) -> None:
    site = load_site(
        tmp_path,
        {
            "catcher.yaml": "sit: x\napi: {port: high}\n",
            "rules/a.yaml": "rule: a\ntriger: {event: T}\nowner: [1, {}]\n",
            "rules/b.yaml": "rule: b\ntrigger: {event: T, every: soon}\nenabled: 1\n",
            "alerts/routes.yaml": "route: {to: [nobody]}\n",
        },
    )
    assert [str(problem.location) for problem in site.problems] == [
        "alerts/routes.yaml:1:14",
        "catcher.yaml:1:1",
        "catcher.yaml:2:13",
        "rules/a.yaml:2:1",
        "rules/a.yaml:3:8",
        "rules/b.yaml:2:28",
        "rules/b.yaml:3:10",
    ]
