"""The language of conditions: what it says, what it refuses, and that it never raises."""

from __future__ import annotations

import math
import statistics
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.expressions import ExpressionCompiler, ExpressionError

FIELDS: dict[str, Any] = {
    "speed": 12.5,
    "count": 3,
    "zero": 0,
    "flag": True,
    "name": "R22_S11",
    "nothing": None,
    "nan": math.nan,
    "inf": math.inf,
    "dome": {"angle": 10.0, "door": {"open": False}, "parts": [1, 2, {"depth": 7}]},
    "force": [1.0, None, -4.0, math.nan, 9.0],
    "axis0": 1,
    "axis1": -2,
    "axis2": 30,
    "az": 350.0,
}


def evaluate_text(text: str, fields: dict[str, Any] | None = None) -> Any:
    return ExpressionCompiler().compile_value(text)(FIELDS if fields is None else fields)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("speed + 1", 13.5),
        ("-speed", -12.5),
        ("7 // 2 + 7 % 4 - 2 ** 3", -2),
        ("speed > 10", True),
        ("10 < speed <= 12.5", True),
        ("10 < speed < 12", False),
        ("not flag", False),
        ("flag == 1", True),
        ("flag == true and not false", True),
        ("name == 'R22_S11'", True),
        ("'S11' in name", True),
        ("name in ('a', 'R22_S11')", True),
        ("count not in [1, 2]", True),
        ("9 in force", True),
        ("dome.angle", 10.0),
        ("dome.door.open", False),
        ("dome.parts[2].depth", 7),
        ("dome.parts[-1]['depth']", 7),
        ("force[2]", -4.0),
        ("axis[2]", 30),
        ("abs(axis1) + sqrt(16) + floor(2.7)", 8),
        ("hypot(3, 4)", 5.0),
        ("round(2.346, 2) + round(2.5)", 4.35),
        ("clip(speed, 0, 10)", 10),
        ("degrees(radians(90))", 90.0),
        ("angle_diff(10, az)", 20.0),
        ("angle_diff(az, 10)", -20.0),
        ("angle_diff(190, 10)", -180.0),
        ("max_of(axis)", 30),
        ("mean_of(force)", 2.0),
        ("count_of(force)", 3),
        ("count_of(abs(force) > 3)", 2),
        ("any_of(force < 0 and force > -5)", True),
        ("any_of(not (force > -10))", False),
        ("min_of(force * 2 + 1)", -7.0),
        ("std_of(axis)", statistics.stdev([1, -2, 30])),
    ],
)
def test_an_expression_has_the_value_it_says(text: str, wanted: Any) -> None:
    assert evaluate_text(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "missing",
        "nothing > 1",
        "nan == nan",
        "inf > 1",
        "speed / zero",
        "speed % zero",
        "log(zero)",
        "sqrt(-count)",
        "exp(1000 * count)",
        "10.0 ** (400 * count)",
        "(-count) ** 0.5",
        "speed > name",
        "name + 1",
        "name == 3",
        "dome.angle.deeper",
        "dome.parts[9]",
        "force > 1",
        "dome == 1",
        "mean_of(speed)",
        "std_of(dome.door)",
        "max_of(missing)",
        "not missing",
        "missing and flag",
        "missing or not flag",
        "name and flag",
    ],
)
def test_missing_or_invalid_values_are_unknown(text: str) -> None:
    assert evaluate_text(text) is None
    assert ExpressionCompiler().compile_predicate(text)(FIELDS) is False


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("missing > 1 and not flag", False),
        ("not flag and missing > 1", False),
        ("missing > 1 or flag", True),
        ("count in (missing, 3)", True),
    ],
)
def test_an_unknown_part_does_not_hide_what_the_rest_decides(text: str, wanted: bool) -> None:
    assert evaluate_text(text) is wanted


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("", 0, "the expression is empty"),
        ("speed >", 6, "this is no expression"),
        ("speed = 3", 6, "= does not compare"),
        ("speed > 1 && flag", 10, "&& is no operator"),
        ("!flag", 0, "! is no operator"),
        ("flag is true", 8, "`is` does not compare"),
        ("x == None", 5, "None compares with nothing"),
        ("speed if flag else 1", 0, "if ... else is not in the language"),
        ("lambda: 1", 0, "lambda is not in the language"),
        ("[x for x in y]", 0, "a comprehension is not in the language"),
        ("speed > [1]", 8, "a list is not in the language"),
        ("open('x')", 0, "there is no function open"),
        ("  mean_off(x)", 2, "there is no function mean_off"),
        ("x.y()", 0, "only a function can be called"),
        ("x.__class__", 0, "__class__ is no field"),
        ("__import__", 0, "__import__ is no field"),
        ("1 + 'a' * 3", 4, "there is no arithmetic with text"),
        ("'a' * 1000000000", 0, "there is no arithmetic with text"),
        ("9" * 400, 0, "the number is too large"),
        ("1e999", 0, "the number is too large"),
        ("a | b", 0, "this operator is not in the language"),
        ("~a", 0, "~ is no operator"),
        ("a[b]", 0, "an index is a whole number"),
        ("a[1:2]", 0, "an index is a whole number"),
        ("abs()", 0, "abs takes 1 argument, not 0"),
        ("abs(x, y=1)", 7, "abs takes no y"),
        ("abs(*x)", 4, "* is not in the language"),
        ("round(x, y)", 9, "round takes a whole number of digits"),
        ("b'x' == y", 0, "b'x' is neither a number"),
        ("f'{x}' == y", 0, "an f-string is not in the language"),
        ("(y := 3) > 2", 1, ":= is not in the language"),
        ("speed > 1 # high", 10, "a # starts a comment"),
        ("mean(speed, '5m') > 3", 0, "mean looks back in time"),
        ("ä > 1 and öpen(x)", 10, "there is no function öpen"),
        ("x\x00", 1, "this is no expression"),
    ],
)
def test_unsupported_syntax_is_rejected_with_its_offset(
    text: str, offset: int, message: str
) -> None:
    with pytest.raises(ExpressionError) as error_info:
        ExpressionCompiler().compile_value(text)
    assert error_info.value.message.startswith(message)
    assert error_info.value.offset == offset


@pytest.mark.parametrize(
    "text",
    [
        "(" * 500 + "x" + ")" * 500,
        "-" * 3_000 + "x",
        "not " * 900 + "x",
        "x" + ".y" * 1_900,
        "x" + "+x" * 1_900,
        "x > 1" * 1_000,
        "x" * 4_001,
    ],
)
def test_depth_and_length_are_bounded(text: str) -> None:
    try:
        ExpressionCompiler().compile_value(text)({"x": 1})
    except ExpressionError as error:
        assert error.message


def test_a_function_that_is_meant_is_suggested() -> None:
    with pytest.raises(ExpressionError, match="did you mean mean_of"):
        ExpressionCompiler().compile_value("mean_off(x)")
    with pytest.raises(ExpressionError, match="min_over"):
        ExpressionCompiler().compile_value("min(x) > 1")


def test_lines_and_quoted_signs_are_part_of_an_expression() -> None:
    assert evaluate_text("speed > 1\n  and name != 'a#b'") is True


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just(10**400)
    | st.just(1e308)
)
payloads = st.dictionaries(
    st.sampled_from(["x", "y", "z", "z0", "z1", "wind"]),
    st.recursive(
        scalars,
        lambda children: (
            st.lists(children, max_size=4)
            | st.dictionaries(st.sampled_from(["x", "y", "0"]), children, max_size=3)
        ),
        max_leaves=8,
    ),
)
operands = st.sampled_from(
    ["x", "y", "z", "x.y", "z[1]", "z[0].x", "1", "0", "1e308", "'a'", "True"]
)
operators = st.sampled_from(
    ["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", ">=", "and", "or", "in"]
)
texts = st.recursive(
    operands,
    lambda children: st.one_of(
        st.tuples(children, operators, children)
        .map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"),
        st.tuples(st.sampled_from(["abs", "exp", "log", "floor", "max_of", "any_of"]), children)
        .map(lambda parts: f"{parts[0]}({parts[1]})"),
        children.map(lambda text: f"(not {text})"),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(texts, payloads)
def test_no_payload_makes_an_expression_raise(text: str, fields: dict[str, Any]) -> None:
    try:
        evaluate = ExpressionCompiler().compile_value(text)
    except ExpressionError:
        return
    result = evaluate(fields)
    assert result is None or isinstance(result, bool | int | float | str)
    if isinstance(result, float):
        assert math.isfinite(result)


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=60) | st.text("xy()[]{}'\"+-*/%<>=!&|.,:0123e #~@\\", max_size=40))
def test_no_text_makes_the_compiler_raise_another_error(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            ExpressionCompiler().compile_value(text)({"x": 1, "y": [1]})
        except ExpressionError as error:
            assert 0 <= error.offset <= len(text)
