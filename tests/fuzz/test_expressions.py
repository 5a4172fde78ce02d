"""Expressions alone: nothing but the white list compiles, and what compiles is total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.model.event import Admitted, Event
from catcher.model.rule import Expr, Rule, Trigger
from catcher.model.time import SECOND
from catcher.watching import Compiler, ExpressionError, Network, check_rule
from tests.fuzz.bounding import at_most
from tests.fuzz.mutating import BOMBS, soups, spoilt
from tests.oracle.conditions import conditions, stateless_conditions
from tests.oracle.effort import effort
from tests.oracle.streams import MAIN, START

SHARDS = (
    "x", "y", "wind.x", "force", "force[0]", "axis", "name", "dome.angle", " and ", " or ", "not ",
    " in ", " == ", " < ", " > ", " <= ", "!=", " + ", "-", " * ", "/", " // ", "%", " ** ", "(",
    ")", "[", "]", ", ", "1", "2.5", "1e300", '"a"', "true", "abs(", "mean(", 'mean(x, "5s")', ".",
    "count_of(", "std(", "last=3", '"5s"', "previous(x)", "streak(x > 1)", "age(x)", "packed(",
    "percentile(x, 95, last=2)", "clip(x, 0, 1)", "angle_diff(", "mean_angle(", "round(x, 2)", "=",
)  # fmt: skip
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(), st.text(max_size=4),
        st.sampled_from([1e308, -1e308, 5e-324, 0.0, -0.0, 2**62, "a", 10**400]),
    ),
    lambda below: st.one_of(
        st.lists(below, max_size=4),
        st.dictionaries(st.sampled_from(["x", "angle", "", "a.b"]), below, max_size=2),
    ),
    max_leaves=5,
)  # fmt: skip
NAMES = ("x", "y", "name", "flag", "k", "force", "axis0", "axis1", "dome", "axis", "wind")
rows = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
texts = st.one_of(
    soups(SHARDS, 12),
    stateless_conditions(),
    st.one_of(stateless_conditions(), conditions()).flatmap(
        lambda text: spoilt([text], [*SHARDS, *BOMBS])
    ),
)


def accepted(text: str) -> bool:
    """Whether a text compiles; if not, its error tells where in the text, and what to do."""
    with at_most(30_000 + 100 * len(text)):
        try:
            Compiler().predicate(text)
        except ExpressionError as error:
            assert error.message and error.hint, text
            assert 0 <= error.offset <= len(text), text
            return False
    return True


@effort(300)
@given(texts, st.lists(rows, min_size=1, max_size=3))
def test_what_compiles_has_a_value_at_any_event(text: str, events: list[dict[str, Any]]) -> None:
    if accepted(text):
        predicate, value = Compiler().predicate(text), Compiler().value(text)
        for fields in events:
            assert predicate(fields) in (True, False)
            assert is_plain(value(fields))


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, a truth value, unknown, or a list of these."""
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


@effort(250)
@given(texts, st.lists(rows, min_size=1, max_size=6))
def test_a_condition_over_time_decides_at_any_event(
    text: str, events: list[dict[str, Any]]
) -> None:
    rule = Rule("rule", Trigger("telemetry", MAIN, when=Expr(text)))
    with at_most(60_000 + 300 * len(text)):
        if check_rule(rule):
            return
    network = Network([rule])
    decide(network, events)
    for one in network.explain("rule"):
        assert str(one)


def decide(network: Network, events: Sequence[Mapping[str, Any]]) -> None:
    """Feeds some events, a second apart."""
    for place, fields in enumerate(events):
        network.feed([Admitted(Event(MAIN, START + place * SECOND, fields, "sim"))])
    network.take_states()


REFUSED = (
    "x.__class__", "x.y.__init__", "__import__('os').system('id')", "().__class__.__bases__",
    "getattr(x, 'y')", "open('f')", "print(x)", "(lambda: 0)()", "[x for x in y]", "{x: 1}",
    "f'{x}'", "x if y else z", "x := 1", "*x", "x; y", "x, y", "x = 1", "b'x'", "1j", "...", "None",
    "x is y", "x @ y", "x << 3", "x >> 3", "x & y", "x | y", "x ^ y", "~x", "await x", "yield x",
    "abs.__call__(x)", "abs(x)(y)", "x.y(z)", "abs(*x)", "abs(**x)", "abs(x=1)", "mean(x)",
    "mean(x, '5m', '6m')", "mean('5m')", "mean(x, last=0)", "mean(x, last=1.5)", "abs()",
    "x['__class__']", '"a" * 1000000000', "(1, 2) * 1000000000", "2 ** 10 ** 10", "x['a' 'b' * 9]",
)  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_in_the_language_does_not_compile(text: str) -> None:
    trigger = Trigger("telemetry", MAIN, when=Expr(text))

    assert check_rule(Rule("rule", trigger)) != []
    if "mean(" not in text:
        assert not accepted(text)


@pytest.mark.parametrize("text", BOMBS)
def test_a_bomb_goes_off_in_nobody(text: str) -> None:
    for whole in (text, f"x > {text}", f"abs({text}) > 1", f"{text} > 1 and x > 1"):
        if accepted(whole):
            decide(Network([Rule("r", Trigger("event", MAIN, where=Expr(whole)))]), [{"x": 1}])
