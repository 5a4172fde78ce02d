"""A site as a whole: what is broken is set aside, the rest runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catcher.site import compute_site_digest, load_site_folder
from tests.site.site_files import (
    EXAMPLE_RULES,
    list_misplaced_problems,
    list_problem_texts,
    load_rules,
    load_site,
    write_site,
)

GOOD = "rule: good\ntrigger: {event: T}\n"


@pytest.mark.parametrize(
    "broken",
    [
        "rule: bad\ntrigger: {\n",
        "rule: bad\ntrigger: {evnt: T}\n",
        "rule: bad\ntrigger: {event: T, where: f(x)}\n",
        "rule: bad\ntrigger: {event: T}\njob: nowhere\n",
        "rule: bad\ntrigger: {event: T}\nabout: \x00\n",
        "rule: bad\ntrigger: {result: missing}\n",
    ],
)
def test_broken_rule_does_not_affect_others(tmp_path: Path, broken: str) -> None:
    site = load_rules(tmp_path, f"{GOOD}---\n{broken}---\n{GOOD.replace('good', 'better')}")
    assert list(site.rules) == ["good", "better"]
    (broken_rule,) = site.broken_rules
    assert broken_rule.id == "bad"
    assert broken_rule.location.line in (4, 5, 6)
    assert broken_rule.problems == tuple(site.problems)
    assert {problem.rule for problem in broken_rule.problems} == {"bad"}


def test_broken_configuration_stops_no_rule(tmp_path: Path) -> None:
    site = load_site(tmp_path, {"catcher.yaml": "site: [\n", "rules/r.yaml": EXAMPLE_RULES})
    assert len(site.rules) == 5
    assert [problem.location.file for problem in site.problems] == ["catcher.yaml"]


def test_a_folder_without_anything_is_a_site_without_rules(tmp_path: Path) -> None:
    site = load_site_folder(tmp_path, {})
    assert (dict(site.rules), site.problems, site.settings.site) == ({}, (), tmp_path.name)


def test_job_with_wrong_arguments_is_reported(tmp_path: Path) -> None:
    site = load_rules(
        tmp_path,
        "rule: a\ntrigger: {event: T}\njob:\n  run: wind_extrapolation\n"
        "  with: {horizon: 10m, threshold: 15}\n",
    )
    assert list(site.rules) == []
    (problem,) = site.problems
    assert problem.rule == "a"
    assert "wind" in problem.message


def test_a_rule_on_the_results_of_a_broken_one_is_warned_of(tmp_path: Path) -> None:
    text = "rule: a\ntrigger: {evnt: T}\n---\nrule: b\ntrigger: {result: a}\n"
    site = load_rules(tmp_path, text)
    assert list(site.rules) == ["b"]
    assert str(site.problems[-1]) == (
        "rules/r.yaml:5:19: the rule 'a' is broken, so its results do not come; mend that rule"
    )
    assert site.problems[-1].severity == "warning"


def test_chain_of_results_is_no_cycle(tmp_path: Path) -> None:
    rules = "".join(f"---\nrule: r{n}\ntrigger: {{result: r{n - 1}}}\n" for n in range(1, 60))
    site = load_rules(tmp_path, f"rule: r0\ntrigger: {{event: T}}\n{rules}")
    assert list_problem_texts(site) == []
    assert len(site.rules) == 60


def test_long_cycle_disables_only_its_members(tmp_path: Path) -> None:
    site = load_rules(
        tmp_path,
        "rule: a\ntrigger: {result: c}\n---\nrule: b\ntrigger: {telemetry: catcher.a}\n---\n"
        "rule: c\ntrigger: {any: [{event: T}, {result: b}]}\n---\n"
        "rule: d\ntrigger: {result: a}\n",
    )
    assert [str(problem) for problem in site.errors] == [
        "rules/r.yaml:2:19: the results go in a circle: a -> c -> b -> a; "
        "break it at one of these rules",
        "rules/r.yaml:5:22: the results go in a circle: b -> a -> c -> b; "
        "break it at one of these rules",
        "rules/r.yaml:8:38: the results go in a circle: c -> b -> a -> c; "
        "break it at one of these rules",
    ]
    assert list(site.rules) == ["d"]


def test_the_same_id_in_two_files_disables_both(tmp_path: Path) -> None:
    site = load_site(tmp_path, {"rules/a.yaml": GOOD, "rules/b.yaml": GOOD})
    assert list_problem_texts(site) == [
        "rules/a.yaml:1:7: there are two rules named 'good', the other at rules/b.yaml:1:7; "
        "rename one of them",
        "rules/b.yaml:1:7: there are two rules named 'good', the other at rules/a.yaml:1:7; "
        "rename one of them",
    ]
    assert list(site.rules) == []


def test_a_folder_or_a_pipe_where_a_file_should_be(tmp_path: Path) -> None:
    write_site(tmp_path, {"rules/good.yaml": GOOD})
    (tmp_path / "rules" / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "rules" / "pipe.yaml")
    site = load_site_folder(tmp_path, {})
    assert list(site.rules) == ["good"]
    assert list_problem_texts(site) == [
        "rules/pipe.yaml:1:1: this is not a regular file; put a YAML file here"
    ]
    assert list_misplaced_problems(site) == []


def test_editing_any_file_changes_the_digest(tmp_path: Path) -> None:
    write_site(tmp_path, {"rules/r.yaml": GOOD, "alerts/templates/a.j2": "x"})
    digests = {compute_site_digest(tmp_path)}
    for name in ("catcher.yaml", "rules/r.yaml", "jobs/all.py", "alerts/templates/a.j2"):
        with (tmp_path / name).open("a") as file:
            file.write("\n# edited\n")
        digests.add(compute_site_digest(tmp_path))
    assert len(digests) == 5
    assert load_site_folder(tmp_path, {}).digest == compute_site_digest(tmp_path)


def test_loading_twice_gives_the_same(tmp_path: Path) -> None:
    write_site(tmp_path, {"rules/r.yaml": EXAMPLE_RULES})
    first, second = load_site_folder(tmp_path, {}), load_site_folder(tmp_path, {})
    assert first.rules == second.rules
    assert first.problems == second.problems


def test_five_hundred_rules(tmp_path: Path) -> None:
    rule = EXAMPLE_RULES.split("---\n")[2]
    files = {
        f"rules/r{n}.yaml": rule.replace("rule: wind-high", f"rule: wind-{n}") for n in range(500)
    }
    site = load_site(tmp_path, files)
    assert list_problem_texts(site) == []
    assert len(site.rules) == 500


def test_long_cycle_is_counted_and_not_listed(tmp_path: Path) -> None:
    rules = "---\n".join(f"rule: r{n}\ntrigger: {{result: r{(n + 1) % 300}}}\n" for n in range(300))
    site = load_rules(tmp_path, rules)
    assert len(site.broken_rules) == 300
    assert site.problems[0].message == "the results go in a circle: one of 300 rules"
    assert site.problems[-1].message == "there are 100 more problems in this file"


def test_a_mapping_of_thousands_is_refused(tmp_path: Path) -> None:
    names = "".join(f"  v{n}: x + {n}\n" for n in range(1_200))
    site = load_rules(tmp_path, f"rule: a\ntrigger: {{event: T}}\nlet:\n{names}")
    assert "rules/r.yaml:1004:3: `let` has more than 1000 entries; nobody can read so many; " in (
        "\n".join(list_problem_texts(site))
    )


def test_a_flood_of_broken_documents_ends_soon(tmp_path: Path) -> None:
    site = load_rules(tmp_path, "--- [x\n" * 2_000)
    assert len(site.broken_rules) == 2_000
    assert len(site.problems) == 201
