"""Messages from templates: what they can do, what they cannot, and what a failure looks like."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.alerting.rendering import (
    LONGEST_OUTPUT,
    Renderer,
    check_template,
    template_names,
)


def rendered(template: str, **values: Any) -> str:
    return Renderer().render(template, values, "STAND-IN").text


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
    assert rendered(template, **values) == text


def test_event_data_is_never_rendered_as_a_template() -> None:
    assert (
        rendered("{{ name }}", name="{{ 7 * 7 }}{% for x in y %}") == "{{ 7 * 7 }}{% for x in y %}"
    )


@pytest.mark.parametrize(
    ("nasty", "shown"),
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
def test_values_are_shown_as_one_plain_line(nasty: str, shown: str) -> None:
    assert rendered("{{ name }}", name=nasty) == shown


def test_a_long_value_is_shortened() -> None:
    text = rendered("{{ name }} end", name="x" * 1_000_000)
    assert len(text) < 310 and text.endswith("… end")


def test_a_name_that_is_not_there_gives_the_stand_in_with_the_failure() -> None:
    renderer = Renderer()
    done = renderer.render("speed {{ sped }}", {"speed": 1}, "speed 12 > 10")
    assert done.text == "speed 12 > 10 (its message failed: 'sped' is undefined)"
    assert (renderer.failures, renderer.last_failure) == (1, "'sped' is undefined")


@pytest.mark.parametrize(
    ("template", "words"),
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
def test_what_fails_when_it_runs(template: str, words: str) -> None:
    text = rendered(template, name="x", wind={})
    assert text.startswith("STAND-IN (its message failed: ") and words in text


@pytest.mark.parametrize(
    ("template", "line", "words"),
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
def test_what_is_refused_before_it_runs(template: str, line: int, words: str) -> None:
    found = check_template(template)
    assert found and found[0][0] == line
    assert any(words in message for _, message in found)
    assert rendered(template, x=[1]).startswith("STAND-IN")


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(check_template("{{ a() }}\n{{ b | bee }}\n{% set c = 1 %}")) == 3


def test_a_loop_over_much_ends_soon() -> None:
    many = list(range(100_000))
    text = rendered(
        "{% for a in x %}{% for b in x %}{{ a }}-{{ b }} {% endfor %}{% endfor %}", x=many
    )
    assert len(text) == LONGEST_OUTPUT and text.endswith("…")
    assert rendered("{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}.", x=many) == "."


def test_a_sites_own_template_keeps_its_lines() -> None:
    done = Renderer({"slack": "a"}).render("one\n{{ x }}", {"x": "two\nthree"}, "", lines=True)
    assert done.text == "one\ntwo three"


def test_the_names_of_a_template_are_known_beforehand() -> None:
    names = template_names(
        "{{ a.b }} {% if c %}{{ d | round(e) }}{% endif %} {% for f in g %}{{ f }}"
    )
    assert names == frozenset(), "a template that cannot be read has none"
    assert template_names("{{ a.b }} {% if c %}{{ d | round(e) }}{% endif %}") == {
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
    done = Renderer().render(template, {"a": value, "b": [value]}, "STAND-IN")
    assert isinstance(done.text, str) and (check_template(template) == [] or done.problem)
