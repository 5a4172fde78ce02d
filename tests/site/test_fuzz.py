"""Whatever somebody writes: no crash, no hang, and every problem has a place in the file."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.site.site_files import EXAMPLE_RULES, list_misplaced_problems, load_site

LONG_RUN = os.environ.get("CATCHER_HYPOTHESIS") == "long"
QUICK_SETTINGS = settings(
    max_examples=2_000 if LONG_RUN else 120,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)

FRAGMENTS = [
    "rule: a\n", "trigger:", " {event: T}", "---\n", "where: ", "x > 1", "\n", "  ", "\t", "- ",
    '"', "'", "{", "}", "[", "]", "{{ x }}", ": ", ",", "#", "*a", "&a ", "!t ", "| ", "> ",
    "max(a, b)", "mean(speed, \"5m\") > 8", "every: 10s", "for: 2m", "alert:", "warning: ",
    "always", "job: ", "run: j", "inputs: ", "with: ", "${HOME}", "$${", "%YAML", "...", "\r",
    "\r\n", "\x00", "\x85", "\u2028", "é", "😀", "1e999", "0x1f", "null", "~", "?", "<<: *a",
    "any: ", "sequence: ", "absent: ", "schedule: ", "tests: ", "reads: ", "let: ", "expect: ",
]  # fmt: skip
NAMES = [
    "rule", "about", "owner", "trigger", "event", "telemetry", "result", "absent", "sequence",
    "schedule", "http", "any", "every", "where", "when", "for", "clear", "by", "once_per", "job",
    "run", "inputs", "topic", "last", "during", "metric", "of", "image", "with", "timeout", "retry",
    "overlap", "gather", "each", "degraded", "alert", "warning", "serious", "critical", "per",
    "message", "attach", "expires", "latch", "unknown", "to", "labels", "expect", "tests", "feed",
    "reads", "let", "name", "within", "sources", "mqtt", "stores", "ledger", "sinks", "route",
    "match", "severity", "mute", "routes", "observations", "api", "host", "limits", "links",
]  # fmt: skip

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["T", "5m", "x > 1", "max(a, b)", "always", "console", "j", "a", "${X}"]),
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.lists(below, max_size=4),
        st.dictionaries(st.sampled_from(NAMES), below, max_size=6),
    ),
    max_leaves=25,
)


def _encode_utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


FILES = st.sampled_from(["rules/r.yaml", "catcher.yaml", "alerts/routes.yaml"])


@st.composite
def mutate_rules(draw: st.DrawFn) -> str:
    """The rules of the design with a few pieces cut out, doubled or replaced."""
    text = EXAMPLE_RULES
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        text = text[:start] + draw(st.sampled_from([*FRAGMENTS, text[start:end] * 2])) + text[end:]
    return text


def check_loading(name: str, content: str | bytes) -> None:
    with TemporaryDirectory() as folder:
        site = load_site(Path(folder), {name: content}, {"HOME": "at-home"})
        assert not list_misplaced_problems(site)
        assert all(problem.message and "\n" not in str(problem) for problem in site.problems)
        assert all(broken_rule.problems for broken_rule in site.broken_rules)


@QUICK_SETTINGS
@given(FILES, st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
def test_fragments_of_yaml(name: str, text: str) -> None:
    check_loading(name, text)


@QUICK_SETTINGS
@given(mutate_rules())
def test_mutated_rule_file(text: str) -> None:
    check_loading("rules/r.yaml", text)


@QUICK_SETTINGS
@given(FILES, TREES)
def test_right_yaml_of_the_wrong_shape(name: str, tree: object) -> None:
    check_loading(name, yaml.safe_dump(tree, allow_unicode=True))


@QUICK_SETTINGS
@given(FILES, st.one_of(st.binary(max_size=300), st.text(max_size=200).map(_encode_utf8)))
def test_any_bytes(name: str, content: bytes) -> None:
    check_loading(name, content)
