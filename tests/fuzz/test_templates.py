"""Templates: values and nothing else, short, and never an error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.alerting.templates import TemplateRenderer, check_template, find_template_variables
from tests.fuzz.call_limit import limit_calls
from tests.fuzz.mutations import HOSTILE_TEXTS, fragment_mixes, mutated_texts
from tests.fuzz.test_expressions import field_rows
from tests.oracle.hypothesis_settings import property_settings

VALID_TEMPLATES = (
    "Wind {{ speed | round(1) }} m/s at {{ name }} since {{ start | time }}",
    "{% if x > 3 %}high{% elif x is none %}unknown{% else %}low{% endif %}: {{ x | percent(1) }}",
    "{% for one in force %}{{ loop.index }}: {{ one }}{% if not loop.last %}, {% endif %}"
    "{% endfor %} {{ force | join(', ') | upper }} {{ dome.angle | default('none') }}",
)
FRAGMENTS = (
    "{{", "}}", "{%", "%}", "{#", "#}", "{{ x }}", "{{ force[0] }}", "{{ x.__class__ }}", " | ",
    "{{ ''.__class__.__mro__ }}", "{{ self }}", "{{ loop }}", "{{ x() }}", "{{ range(10**9) }}",
    "{{ 'a' * 10**9 }}", "{{ 9 ** 9 ** 9 }}", "{{ x ~ x }}", "{% set a = 1 %}", "{% raw %}",
    "{% for a in force %}", "{% endfor %}", "{% if x %}", "{% endif %}", "{% include 'x' %}",
    "{% macro m() %}", "{{ cycler }}", "{{ x | attr('y') }}", "{{ x | format }}",
    "{{ x | pprint }}",
    "{{ force | map('upper') }}", "round(", "default(", "time", "duration", "percent", "join",
    "{{ x | round(99999) }}", "{{ x | round(name) }}", "{{ name | join(force) }}", "{{ x / 0 }}",
    "{{ dome['__class__'] }}", "{{ config }}", "{{ request }}", "{{ x if y }}", "{{ x in force }}",
)  # fmt: skip
OVERSIZED_TEMPLATES = (
    "{{ " + "x." * 3_000 + "x }}", "{% if x %}" * 500, "{{ " + "(" * 500 + "x" + ")" * 500 + " }}",
    "{% for a in force %}" * 3 + "x" + "{% endfor %}" * 3, "{{ " + "not " * 2_000 + "x }}",
    "{{ x" + " ~ x" * 5_000 + " }}",
)  # fmt: skip
FALLBACK_TEXT = "WARNING wind-high"
FORBIDDEN_TEXTS = ("<class", "object at 0x", "built-in", "<function", "<bound method")
texts = st.one_of(
    mutated_texts(VALID_TEMPLATES, [*FRAGMENTS, *HOSTILE_TEXTS]), fragment_mixes(FRAGMENTS, 10)
)
formats = st.sampled_from(["text", "slack", "html", "markdown", "json"])


@property_settings(250)
@given(texts, field_rows, st.booleans(), formats)
def test_a_template_gives_a_text_or_the_fallback(
    text: str, values: dict[str, Any], lines: bool, format_name: Any
) -> None:
    renderer = TemplateRenderer()

    with limit_calls(300_000 + 500 * len(text)):
        problems = check_template(text)
        find_template_variables(text)
        rendered = renderer.render(text, values, FALLBACK_TEXT, lines, format_name)

    assert all(line >= 1 and message for line, message in problems)
    if problems or rendered.problem:
        assert rendered.text.startswith(FALLBACK_TEXT) and rendered.problem
    assert len(rendered.text) < 30_000
    assert not any(
        forbidden in rendered.text
        for forbidden in FORBIDDEN_TEXTS
        if forbidden not in f"{text}{values}"
    )


@property_settings(100)
@given(st.text(max_size=20).map(lambda text: "{{ x }}" + text), formats)
def test_event_text_is_never_a_template(text: str, format_name: Any) -> None:
    rendered = TemplateRenderer().render(
        "{{ name }}", {"name": text, "x": "gone off"}, FALLBACK_TEXT, text_format=format_name
    )

    assert "gone off" not in rendered.text


@pytest.mark.parametrize("text", OVERSIZED_TEMPLATES)
def test_a_template_that_nests_or_repeats_without_end(text: str) -> None:
    values = {"x": "y" * 5_000, "force": list(range(1_000))}

    rendered = TemplateRenderer().render(text, values, FALLBACK_TEXT)

    assert len(rendered.text) < 30_000
