"""Messages from templates: what they can do, what they cannot, and what a failure looks like."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.alerting.templates import (
    MAX_OUTPUT_LENGTH,
    TemplateRenderer,
    build_sample_values,
    check_template,
    find_template_variables,
)


def render_text(template: str, **values: Any) -> str:
    return TemplateRenderer().render(template, values, "STAND-IN").text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Mount shook {{ rms | round(3) }} arcsec", "Mount shook 0.123 arcsec"),
        ("{{ rms }} {{ count }} {{ name }}", "0.123457 7 MC_O_1"),
        ("{{ wind.speed }} of {{ wind['speed'] }}", "12.5 of 12.5"),
        ("{{ wind.items }}", "three"),
        ("{{ list[1] }} {{ list | first }} {{ list | join(', ') }}", "2 1 1, 2, 3"),
        ("{{ probability | percent }} {{ gap | duration }}", "42 % 3m12s"),
        ("at {{ start | time }} and {{ '2025-04-24T00:05:13.2Z' | time }}",
         "at 00:00:00Z and 00:05:13Z"),
        ("{% if rms > 0.1 %}bad{% else %}good{% endif %}", "bad"),
        ("{% for x in list %}{{ loop.index }}={{ x }} {% endfor %}", "1=1 2=2 3=3"),
        ("{{ nothing }}, {{ nothing | round(2) }}, {{ nan | percent }}",
         "unknown, unknown, unknown"),
        ("{{ rms * 2 + 1 }} {{ yes }}", "1.24691 yes"),
        ("{{ absent | default('-') }} {{ wind.absent | default('-') }}", "- -"),
    ],
)  # fmt: skip
def test_what_a_template_can_say(template: str, text: str) -> None:
    values = {
        "rms": 0.123456789, "count": 7, "name": "MC_O_1", "wind": {"speed": 12.5, "items": "three"},
        "list": [1, 2, 3], "probability": 0.423, "gap": 192.3, "start": 1745452800, "yes": True,
        "nothing": None, "nan": float("nan"),
    }  # fmt: skip
    assert check_template(template) == []
    assert render_text(template, **values) == text


def test_event_data_is_never_rendered_as_a_template() -> None:
    assert (
        render_text("{{ name }}", name="{{ 7 * 7 }}{% for x in y %}")
        == "{{ 7 * 7 }}{% for x in y %}"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x07link", "link"),
        ("bell\x07 null\x00", "bell null"),
        ("two\nlines\r\nand\ttabs", "two lines and tabs"),
        ("\u202egnp.exe\u2066", "gnp.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("half \ud800pair", "half pair"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
def test_values_are_rendered_as_one_plain_line(value: str, text: str) -> None:
    assert render_text("{{ name }}", name=value) == text


def test_a_long_value_is_shortened() -> None:
    text = render_text("{{ name }} end", name="x" * 1_000_000)
    assert len(text) < 310 and text.endswith("… end")


def test_undefined_name_gives_the_fallback_with_the_error() -> None:
    renderer = TemplateRenderer()
    result = renderer.render("speed {{ sped }}", {"speed": 1}, "speed 12 > 10")
    assert result.text == "speed 12 > 10 (its message failed: 'sped' is undefined)"
    assert (renderer.failure_count, renderer.last_failure) == (1, "'sped' is undefined")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ ''.__class__.__mro__ }}", "there is no '__class__'"),
        ("{{ name.__init__ }}", "there is no '__init__'"),
        ("{{ wind.keys() }}", "calls nothing"),
        ("{{ 'a' * 1000000000 }}", "for numbers"),
        ("{{ [0] * 1000000000 }}", "for numbers"),
        ("{{ '%01000000000d' % 1 }}", "for numbers"),
        ("{{ name < 3 }}", "not supported"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% for c in name %}{{ c }}{% endfor %}", "only lists"),
    ],
)
def test_what_fails_when_it_runs(template: str, message: str) -> None:
    text = render_text(template, name="x", wind={})
    assert text.startswith("STAND-IN (its message failed: ") and message in text


@pytest.mark.parametrize(
    ("template", "line", "expected"),
    [
        ("fine\n{{ speed | roud(2) }}", 2, "there is no filter 'roud'"),
        ("{% if %}", 1, "Expected an expression"),
        ("a\nb\n{{ speed", 3, "unexpected end of template"),
        ("{% for i in range(10) %}{% endfor %}", 1, "calls nothing"),
        ("{{ 9 ** 9 ** 9 }}", 1, "** is not allowed"),
        ("{% set x = 1 %}", 1, "sets nothing"),
        ("{% include '/etc/passwd' %}", 1, "includes no other"),
        ("{% macro m() %}{% endmacro %}", 1, "defines no macro"),
        ("{% import 'os' as os %}", 1, "imports nothing"),
        ("{{ self }}", 1, "`self` means nothing"),
        ("{{ x is divisibleby(3) }}", 1, "there is no test 'divisibleby'"),
        ("{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}", 1, "too deeply"),
        ("x" * 30_000, 1, "shorten it"),
        ("{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}",
         1, "nested 2 deep"),
    ],
)  # fmt: skip
def test_what_is_refused_before_it_runs(template: str, line: int, expected: str) -> None:
    violations = check_template(template)
    assert violations and violations[0][0] == line
    assert any(expected in message for _, message in violations)
    assert render_text(template, x=[1]).startswith("STAND-IN")


def test_all_violations_are_reported_at_once() -> None:
    assert len(check_template("{{ a() }}\n{{ b | bee }}\n{% set c = 1 %}")) == 3


def test_long_loop_is_truncated() -> None:
    values = list(range(100_000))
    text = render_text(
        "{% for a in x %}{% for b in x %}{{ a }}-{{ b }} {% endfor %}{% endfor %}", x=values
    )
    assert len(text) == MAX_OUTPUT_LENGTH and text.endswith("…")
    assert render_text("{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}.", x=values) == "."


def test_a_sites_own_template_keeps_its_lines() -> None:
    result = TemplateRenderer({"slack": "a"}).render(
        "one\n{{ x }}", {"x": "two\nthree"}, "", multiline=True
    )
    assert result.text == "one\ntwo three"


def test_the_names_of_a_template_are_known_beforehand() -> None:
    names = find_template_variables(
        "{{ a.b }} {% if c %}{{ d | round(e) }}{% endif %} {% for f in g %}{{ f }}"
    )
    assert names == frozenset(), "a template that cannot be read has none"
    assert find_template_variables("{{ a.b }} {% if c %}{{ d | round(e) }}{% endif %}") == {
        "a",
        "c",
        "d",
        "e",
    }


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.text(alphabet="{}%|()[]'\"ab.+-*/ \n0#forinse", max_size=60), json_values)
def test_no_text_and_no_value_raises(template: str, value: Any) -> None:
    result = TemplateRenderer().render(template, {"a": value, "b": [value]}, "STAND-IN")
    assert isinstance(result.text, str) and (check_template(template) == [] or result.problem)


# -- forms ---------------------------------------------------------------------------------------

HOSTILE_TEXT = "<b>&\"' *x* [a](b) <!channel>\x1b[31m"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("text", "<i><b>&\"' *x* [a](b) <!channel></i>"),
        ("html", "<i>&lt;b&gt;&amp;&quot;&#x27; *x* [a](b) &lt;!channel&gt;</i>"),
        ("slack", "<i>&lt;b&gt;&amp;\"' *x* [a](b) &lt;!channel&gt;</i>"),
        ("json", "<i><b>&\\\"' *x* [a](b) <!channel></i>"),
        ("markdown", "<i>&lt;b&gt;&amp;\"' \\*x\\* \\[a\\]\\(b\\) &lt;\\!channel&gt;</i>"),
    ],
)
def test_values_are_escaped_for_what_a_template_is_written_in(form: Any, text: str) -> None:
    result = TemplateRenderer().render("<i>{{ a }}</i>", {"a": HOSTILE_TEXT}, "", text_format=form)
    assert result.text == text


@pytest.mark.parametrize("form", ["text", "html", "slack", "json", "markdown"])
def test_escaping_cannot_be_bypassed(form: Any) -> None:
    renderer = TemplateRenderer()
    plain = renderer.render("{{ a }}", {"a": "<b>"}, "", text_format=form).text
    for template in (
        "{{ a ~ '' }}", "{{ [a] | join }}", "{{ a | default(1) }}", "{{ a if a else 1 }}",
        "{% for x in [a] %}{{ x }}{% endfor %}", "{{ [a] | first }}", "{{ a | trim }}",
    ):  # fmt: skip
        assert renderer.render(template, {"a": "<b>"}, "", text_format=form).text == plain
    error_text = renderer.render("{{ nope }}", {}, "<b>", text_format=form).text
    assert error_text.startswith(plain)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ number }}", 4), ("{{ flag }}", True), ("{{ nothing }}", None), ("{{ list }}", [1, 2]),
        ("{{ 50 if severity == 'CRITICAL' else 30 }}", 50), ("  {{ number }}\n", 4),
        ("n={{ number }}", "n=4"), ("{{ severity }}{{ number }}", "CRITICAL4"),
        ("{{ severity | lower }}", "critical"), ("{{- number -}}", 4), ("plain", "plain"),
        ("{{ since | tai }}", "2025-04-24T00:00:37.2"),
    ],
)  # fmt: skip
def test_single_expression_keeps_its_type(template: str, value: Any) -> None:
    values = {
        "number": 4, "flag": True, "nothing": None, "list": [1, 2], "severity": "CRITICAL",
        "since": "2025-04-24T00:00:00.2003Z",
    }  # fmt: skip
    assert TemplateRenderer().evaluate_template(template, values) == value


@pytest.mark.parametrize(
    "template", ["{{ nope }}", "{{ nope }}!", "{{ a() }}", "{{", "{% set a=1 %}"]
)
def test_value_that_cannot_be_rendered_says_why(template: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        TemplateRenderer().evaluate_template(template, {})


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in x %}{% for b in x %}" + "{% if x | sort | unique %}{% endif %}" * 5
        + "{% endfor %}{% endfor %}",
        "{{ " + "not " * 2_000 + "a }}",
        "{{ " + "1 + " * 2_000 + "1 }}",
        "{% if a %}" * 900 + "{% endif %}" * 900,
        "{{ a" + ".b" * 3_000 + " }}",
        "{{ a" + " | string" * 1_000 + " }}",
    ],
    ids=["sorts in loops", "nots", "sums", "ifs", "dots", "filters"],
)  # fmt: skip
def test_costly_or_deep_template_is_rejected(template: str) -> None:
    ((_, message),) = check_template(template)
    assert "too deeply" in message or "does too much" in message
    assert render_text(template, x=[1], a=1).startswith("STAND-IN")


def test_samples_stand_for_the_values_that_a_template_takes() -> None:
    assert build_sample_values(
        "{{ a.b | round(1) }} {{ c }} {% if d > 3 %}{{ e['f'] }}{% endif %}"
        "{% for g in h %}{{ g }}{% endfor %} {{ i * 2 }} {{ alert.rule }}"
    ) == {
        "a": {"b": 12.345}, "c": "‹c›", "d": 12.345, "e": {"f": "‹e.f›"}, "h": ["‹h›"],
        "i": 12.345, "alert": {"rule": "‹alert.rule›"},
    }  # fmt: skip
    assert build_sample_values("{{ broken") == {}
