"""Expressions alone: nothing but the white list compiles, and what compiles is total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.evaluation import RuleEvaluator, check_rule
from catcher.expressions import ExpressionCompiler, ExpressionError
from catcher.model.event import AdmittedEvent, Event
from catcher.model.rule import Expression, Rule, TriggerSpec
from catcher.model.time import SECOND
from tests.fuzz.call_limit import limit_calls
from tests.fuzz.mutations import HOSTILE_TEXTS, fragment_mixes, mutated_texts
from tests.oracle.conditions import stateful_conditions, stateless_conditions
from tests.oracle.hypothesis_settings import property_settings
from tests.oracle.streams import MAIN, START

FRAGMENTS = (
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
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.dictionaries(st.sampled_from(["x", "angle", "", "a.b"]), children, max_size=2),
    ),
    max_leaves=5,
)  # fmt: skip
FIELD_NAMES = ("x", "y", "name", "flag", "k", "force", "axis0", "axis1", "dome", "axis", "wind")
field_rows = st.dictionaries(st.sampled_from(FIELD_NAMES), values, max_size=6)
texts = st.one_of(
    fragment_mixes(FRAGMENTS, 12),
    stateless_conditions(),
    st.one_of(stateless_conditions(), stateful_conditions()).flatmap(
        lambda text: mutated_texts([text], [*FRAGMENTS, *HOSTILE_TEXTS])
    ),
)


def is_valid_expression(text: str) -> bool:
    """Whether a text compiles; if not, its error tells where in the text, and what to do."""
    with limit_calls(30_000 + 100 * len(text)):
        try:
            ExpressionCompiler().compile_predicate(text)
        except ExpressionError as error:
            assert error.message and error.hint, text
            assert 0 <= error.offset <= len(text), text
            return False
    return True


@property_settings(300)
@given(texts, st.lists(field_rows, min_size=1, max_size=3))
def test_what_compiles_has_a_value_at_any_event(text: str, events: list[dict[str, Any]]) -> None:
    if is_valid_expression(text):
        predicate, value = (
            ExpressionCompiler().compile_predicate(text),
            ExpressionCompiler().compile_value(text),
        )
        for fields in events:
            assert predicate(fields) in (True, False)
            assert is_plain_value(value(fields))


def is_plain_value(value: Any) -> bool:
    """Whether a value is a number, a text, a truth value, unknown, or a list of these."""
    if isinstance(value, list):
        return all(map(is_plain_value, value))
    return value is None or type(value) in (bool, int, float, str)


@property_settings(250)
@given(texts, st.lists(field_rows, min_size=1, max_size=6))
def test_a_condition_over_time_decides_at_any_event(
    text: str, events: list[dict[str, Any]]
) -> None:
    rule = Rule("rule", TriggerSpec("telemetry", MAIN, when=Expression(text)))
    with limit_calls(60_000 + 300 * len(text)):
        if check_rule(rule):
            return
    evaluator = RuleEvaluator([rule])
    process_rows(evaluator, events)
    for explanation in evaluator.explain_rule("rule"):
        assert str(explanation)


def process_rows(evaluator: RuleEvaluator, events: Sequence[Mapping[str, Any]]) -> None:
    """Feeds some events, a second apart."""
    for index, fields in enumerate(events):
        evaluator.process_events(
            [AdmittedEvent(Event(MAIN, START + index * SECOND, fields, "sim"))]
        )
    evaluator.snapshot_changed_states()


INVALID_TEXTS = (
    "x.__class__", "x.y.__init__", "__import__('os').system('id')", "().__class__.__bases__",
    "getattr(x, 'y')", "open('f')", "print(x)", "(lambda: 0)()", "[x for x in y]", "{x: 1}",
    "f'{x}'", "x if y else z", "x := 1", "*x", "x; y", "x, y", "x = 1", "b'x'", "1j", "...", "None",
    "x is y", "x @ y", "x << 3", "x >> 3", "x & y", "x | y", "x ^ y", "~x", "await x", "yield x",
    "abs.__call__(x)", "abs(x)(y)", "x.y(z)", "abs(*x)", "abs(**x)", "abs(x=1)", "mean(x)",
    "mean(x, '5m', '6m')", "mean('5m')", "mean(x, last=0)", "mean(x, last=1.5)", "abs()",
    "x['__class__']", '"a" * 1000000000', "(1, 2) * 1000000000", "2 ** 10 ** 10", "x['a' 'b' * 9]",
)  # fmt: skip


@pytest.mark.parametrize("text", INVALID_TEXTS)
def test_what_is_not_in_the_language_does_not_compile(text: str) -> None:
    trigger = TriggerSpec("telemetry", MAIN, when=Expression(text))

    assert check_rule(Rule("rule", trigger)) != []
    if "mean(" not in text:
        assert not is_valid_expression(text)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_hostile_text_harms_nothing(text: str) -> None:
    for condition in (text, f"x > {text}", f"abs({text}) > 1", f"{text} > 1 and x > 1"):
        if is_valid_expression(condition):
            process_rows(
                RuleEvaluator([Rule("r", TriggerSpec("event", MAIN, where=Expression(condition)))]),
                [{"x": 1}],
            )
