"""The mistakes that people make in their first rules, with the exact words that they read.

`mistakes.txt` holds them: a rule file, then a line `=> line:column: what is wrong; how to mend it`
for each of its problems. An empty line ends a case.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.site.writing import load_rules, load_site, words

TEXT = (Path(__file__).parent / "mistakes.txt").read_text(encoding="utf-8")


def cases() -> list[tuple[str, list[str]]]:
    found = []
    for block in TEXT.split("\n\n"):
        lines = block.strip("\n").split("\n")
        rule = [line for line in lines if not line.startswith("=> ")]
        told = [line.removeprefix("=> ") for line in lines if line.startswith("=> ")]
        found.append(("\n".join(rule) + "\n", [f"rules/r.yaml:{one}" for one in told]))
    return found


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(cases()) >= 80
    assert all(told for _, told in cases())


@pytest.mark.parametrize(("rule", "told"), cases())
def test_a_mistake_is_told_where_it_is_and_how_to_mend_it(
    tmp_path: Path, rule: str, told: list[str]
) -> None:
    assert words(load_rules(tmp_path, rule)) == told


def test_a_control_character_is_named(tmp_path: Path) -> None:
    site = load_rules(tmp_path, "rule: a\ntrigger: {event: T}\nabout: \x07\n")
    assert words(site) == [
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
    assert [str(one.place) for one in site.problems] == [
        "alerts/routes.yaml:1:14",
        "catcher.yaml:1:1",
        "catcher.yaml:2:13",
        "rules/a.yaml:2:1",
        "rules/a.yaml:3:8",
        "rules/b.yaml:2:28",
        "rules/b.yaml:3:10",
    ]
