"""Whatever stands in a rule file: problems with place and hint, never an exception."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from catcher.model.rule import Rule
from catcher.site import Site
from catcher.watching import Network
from tests.fuzz.checking import checked
from tests.fuzz.mutating import BOMBS, soups, spoilt
from tests.oracle.effort import effort
from tests.oracle.strategies import alert_rules, firing_rules, job_rules
from tests.oracle.yaml_text import as_yaml
from tests.site.writing import DESIGN, write_site

SHIPPED = [
    path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parents[2] / "rules").glob("*.yaml"))
]
WORDS = (
    "rule: a\n", "trigger:\n", "  event: T\n", "  telemetry: T\n", "  where: x > 1\n", "---\n",
    "  when: mean(x, \"5m\") > 8\n", "alert:\n", "  warning: always\n", "  every: 10s\n", "\n",
    "trigger: {event: T}\n", "tests:\n", "  - name: a\n", "    feed: {T: \"{x: 1} x 3\"}\n", "  ",
    "    expect: {alerts: []}\n", "reads:\n", "  w: {topic: W}\n", "let:\n", "job:\n", "  run: j\n",
    "  with: {a: 1}\n", "  inputs:\n", "    wind: {topic: W, last: 5m}\n", "x > 1", ": ", "- ",
)  # fmt: skip


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A site with jobs, whose one rule file is written again and again."""
    with TemporaryDirectory() as folder:
        yield write_site(Path(folder), {"rules/r.yaml": ""})


def rules_checked(root: Path, text: str | bytes) -> Site:
    """The site with this rule file."""
    return checked(root, "rules/r.yaml", text)


@effort(150)
@given(text=spoilt([DESIGN, *SHIPPED]))
def test_a_good_file_spoilt(root: Path, text: str) -> None:
    site = rules_checked(root, text)

    Network(site.active).feed([])


@effort(100)
@given(text=soups(WORDS))
def test_a_soup_of_rules(root: Path, text: str) -> None:
    rules_checked(root, text)


@effort(80)
@given(rule=st.one_of(firing_rules(), alert_rules(), job_rules()), data=st.data())
def test_a_rule_of_any_kind_spoilt(root: Path, rule: Rule, data: st.DataObject) -> None:
    rules_checked(root, data.draw(spoilt([as_yaml(rule)])))


@effort(100)
@given(text=st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_any_bytes_at_all(root: Path, text: bytes | str) -> None:
    rules_checked(root, text)


WHERE = [["trigger", "where"], ["trigger", "when"], ["trigger", "by"], ["let", "a"],
         ["alert", "warning"], ["alert", "per"], ["alert", "message"], ["rule"],
         ["trigger", "every"], ["job", "run"], ["reads", "w", "where"], ["about"]]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS, ids=[f"bomb {number}" for number in range(len(BOMBS))])
def test_a_bomb_in_every_place(root: Path, bomb: str) -> None:
    documents = []
    for number, path in enumerate(WHERE):
        document: dict[str, object] = {"rule": f"r{number}", "trigger": {"telemetry": "T"}}
        place = document
        for key in path[:-1]:
            place = place.setdefault(key, {})  # type: ignore[assignment]
        place[path[-1]] = bomb
        documents.append(document)
    rules_checked(root, yaml.safe_dump_all(documents, allow_unicode=True))
    raw = [f"rule: r{n}\ntrigger: {{event: T}}\n{path[0]}: {bomb}" for n, path in enumerate(WHERE)]
    rules_checked(root, "\n---\n".join(raw))


@example(levels=9)
@given(levels=st.integers(1, 40))
@effort(20)
def test_aliases_of_aliases(root: Path, levels: int) -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    rules_checked(root, "rule: a\n" + "\n".join(lines) + "\n")
