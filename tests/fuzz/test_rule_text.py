"""Whatever stands in a rule file: problems with place and hint, never an exception."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from catcher.evaluation import RuleEvaluator
from catcher.model.rule import Rule
from catcher.site import Site
from tests.fuzz.mutations import HOSTILE_TEXTS, fragment_mixes, mutated_texts
from tests.fuzz.site_checks import load_checked_site
from tests.oracle.hypothesis_settings import property_settings
from tests.oracle.strategies import alert_rules, firing_rules, job_rules
from tests.oracle.yaml_text import rule_to_yaml
from tests.site.site_files import EXAMPLE_RULES, write_site

SHIPPED_RULES = [
    path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parents[2] / "rules").glob("*.yaml"))
]
FRAGMENTS = (
    "rule: a\n", "trigger:\n", "  event: T\n", "  telemetry: T\n", "  where: x > 1\n", "---\n",
    "  when: mean(x, \"5m\") > 8\n", "alert:\n", "  warning: always\n", "  every: 10s\n", "\n",
    "trigger: {event: T}\n", "tests:\n", "  - name: a\n", "    feed: {T: \"{x: 1} x 3\"}\n", "  ",
    "    expect: {alerts: []}\n", "reads:\n", "  w: {topic: W}\n", "let:\n", "job:\n", "  run: j\n",
    "  with: {a: 1}\n", "  inputs:\n", "    wind: {topic: W, last: 5m}\n", "x > 1", ": ", "- ",
)  # fmt: skip


@pytest.fixture(scope="module")
def site_root() -> Iterator[Path]:
    """A site with jobs, whose one rule file is written again and again."""
    with TemporaryDirectory() as folder:
        yield write_site(Path(folder), {"rules/r.yaml": ""})


def load_checked_rules(site_root: Path, text: str | bytes) -> Site:
    """The site with this rule file."""
    return load_checked_site(site_root, "rules/r.yaml", text)


@property_settings(150)
@given(text=mutated_texts([EXAMPLE_RULES, *SHIPPED_RULES]))
def test_a_mutated_valid_file(site_root: Path, text: str) -> None:
    site = load_checked_rules(site_root, text)

    RuleEvaluator(site.active_rules).process_events([])


@property_settings(100)
@given(text=fragment_mixes(FRAGMENTS))
def test_a_mix_of_rule_fragments(site_root: Path, text: str) -> None:
    load_checked_rules(site_root, text)


@property_settings(80)
@given(rule=st.one_of(firing_rules(), alert_rules(), job_rules()), data=st.data())
def test_a_mutated_rule_of_any_kind(site_root: Path, rule: Rule, data: st.DataObject) -> None:
    load_checked_rules(site_root, data.draw(mutated_texts([rule_to_yaml(rule)])))


@property_settings(100)
@given(text=st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_any_bytes_at_all(site_root: Path, text: bytes | str) -> None:
    load_checked_rules(site_root, text)


FIELD_PATHS = [["trigger", "where"], ["trigger", "when"], ["trigger", "by"], ["let", "a"],
         ["alert", "warning"], ["alert", "per"], ["alert", "message"], ["rule"],
         ["trigger", "every"], ["job", "run"], ["reads", "w", "where"], ["about"]]  # fmt: skip


@pytest.mark.parametrize(
    "bomb", HOSTILE_TEXTS, ids=[f"bomb {number}" for number in range(len(HOSTILE_TEXTS))]
)
def test_hostile_text_in_every_field(site_root: Path, bomb: str) -> None:
    documents = []
    for number, path in enumerate(FIELD_PATHS):
        document: dict[str, object] = {"rule": f"r{number}", "trigger": {"telemetry": "T"}}
        parent = document
        for key in path[:-1]:
            parent = parent.setdefault(key, {})  # type: ignore[assignment]
        parent[path[-1]] = bomb
        documents.append(document)
    load_checked_rules(site_root, yaml.safe_dump_all(documents, allow_unicode=True))
    raw_documents = [
        f"rule: r{number}\ntrigger: {{event: T}}\n{path[0]}: {bomb}"
        for number, path in enumerate(FIELD_PATHS)
    ]
    load_checked_rules(site_root, "\n---\n".join(raw_documents))


@example(levels=9)
@given(levels=st.integers(1, 40))
@property_settings(20)
def test_aliases_of_aliases(site_root: Path, levels: int) -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    load_checked_rules(site_root, "rule: a\n" + "\n".join(lines) + "\n")
