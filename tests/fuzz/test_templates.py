"""Templates: values and nothing else, short, and never an error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.alerting.rendering import Renderer, check_template, template_names
from tests.fuzz.bounding import at_most
from tests.fuzz.mutating import BOMBS, soups, spoilt
from tests.fuzz.test_expressions import rows
from tests.oracle.effort import effort

GOOD = (
    "Wind {{ speed | round(1) }} m/s at {{ name }} since {{ start | time }}",
    "{% if x > 3 %}high{% elif x is none %}unknown{% else %}low{% endif %}: {{ x | percent(1) }}",
    "{% for one in force %}{{ loop.index }}: {{ one }}{% if not loop.last %}, {% endif %}"
    "{% endfor %} {{ force | join(', ') | upper }} {{ dome.angle | default('none') }}",
)
SHARDS = (
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
ENDLESS = (
    "{{ " + "x." * 3_000 + "x }}", "{% if x %}" * 500, "{{ " + "(" * 500 + "x" + ")" * 500 + " }}",
    "{% for a in force %}" * 3 + "x" + "{% endfor %}" * 3, "{{ " + "not " * 2_000 + "x }}",
    "{{ x" + " ~ x" * 5_000 + " }}",
)  # fmt: skip
STAND_IN = "WARNING wind-high"
FORBIDDEN = ("<class", "object at 0x", "built-in", "<function", "<bound method")
texts = st.one_of(spoilt(GOOD, [*SHARDS, *BOMBS]), soups(SHARDS, 10))
forms = st.sampled_from(["text", "slack", "html", "markdown", "json"])


@effort(250)
@given(texts, rows, st.booleans(), forms)
def test_a_template_gives_a_text_or_the_stand_in(
    text: str, values: dict[str, Any], lines: bool, form: Any
) -> None:
    renderer = Renderer()

    with at_most(300_000 + 500 * len(text)):
        problems = check_template(text)
        template_names(text)
        rendered = renderer.render(text, values, STAND_IN, lines, form)

    assert all(line >= 1 and words for line, words in problems)
    if problems or rendered.problem:
        assert rendered.text.startswith(STAND_IN) and rendered.problem
    assert len(rendered.text) < 30_000
    assert not any(word in rendered.text for word in FORBIDDEN if word not in f"{text}{values}")


@effort(100)
@given(st.text(max_size=20).map(lambda text: "{{ x }}" + text), forms)
def test_what_an_event_says_is_never_a_template(text: str, form: Any) -> None:
    rendered = Renderer().render("{{ name }}", {"name": text, "x": "gone off"}, STAND_IN, form=form)

    assert "gone off" not in rendered.text


@pytest.mark.parametrize("text", ENDLESS)
def test_a_template_that_nests_or_repeats_without_end(text: str) -> None:
    values = {"x": "y" * 5_000, "force": list(range(1_000))}

    rendered = Renderer().render(text, values, STAND_IN)

    assert len(rendered.text) < 30_000
