"""The table of functions (docs/functions.md): when each is first known, and its value at the end.

Values are worked out here with numpy and the standard library, never with the engine.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import numpy as np
import pytest

from tests.meanings.scenarios import Scenario
from tests.meanings.test_meanings import rehearse

RAMP = "3 1 4 1 5 9 2 6 5 3 5"
LAST4 = [6, 5, 3, 5]
LAST5 = [2, 6, 5, 3, 5]

OVER_TIME = [
    # expression, samples, first known at, value at the last sample
    ('mean(x, "4s")', RAMP, 4, np.mean(LAST4)),
    ('min_over(x, "4s")', RAMP, 4, 3),
    ('max_over(x, "4s")', RAMP, 4, 6),
    ('sum_over(x, "4s")', RAMP, 4, 19),
    ('std(x, "4s")', RAMP, 4, statistics.stdev(LAST4)),
    ('rms(x, "4s")', RAMP, 4, math.sqrt(np.mean(np.square(LAST4)))),
    ('median(x, "4s")', RAMP, 4, 5),
    ('median(x, "2s")', RAMP, 2, 4),
    ('percentile(x, 90, "4s")', RAMP, 4, np.percentile(LAST4, 90)),
    ('percentile(x, 0, "4s")', RAMP, 4, 3),
    ('percentile(x, 100, "4s")', RAMP, 4, 6),
    ('percentile(x, 37.5, last=5)', RAMP, 4, np.percentile(LAST5, 37.5)),
    ('count(x, "4s")', RAMP, 4, 4),
    ('count(x > 4, "4s")', RAMP, 4, 3),
    ('rate(x, "4s")', RAMP, 4, 1.0),
    ('rate(x > 4, "4s")', RAMP, 4, 0.75),
    ('delta(x, "4s")', RAMP, 4, -1),
    ('slope(x, "4s")', RAMP, 4, np.polyfit([0, 1, 2, 3], LAST4, 1)[0]),
    ("mean(x, last=5)", RAMP, 4, np.mean(LAST5)),
    ("std(x, last=5)", RAMP, 4, statistics.stdev(LAST5)),
    ("sum_over(x, last=5)", RAMP, 4, 21),
    ("count(x > 4, last=5)", RAMP, 4, 3),
    ("rate(x, last=5)", RAMP, 4, 1.0),
    ("delta(x, last=5)", RAMP, 4, 3),
    ("slope(x, last=5)", RAMP, 4, np.polyfit(range(5), LAST5, 1)[0]),
    ("previous(x)", RAMP, 1, 3),
    ("previous(x)", "1 ? 7 nan 8", 2, 7),
    ("streak(x > 2)", RAMP, 0, 4),
    ("streak(x > 2)", "5 ? 5 nan 5", 0, 3),
    ("age(x)", RAMP, 0, 0),
    # Fewer than the least number of samples: unknown, though the window is full.
    ('count(x, "4s")', "1 1 1 1 1 .*20 1", 4, 1),
    ('rate(x, "4s")', "1 1 1 1 1 .*20 1", 4, 0.25),
    ('mean(x, "4s")', "1 1 1 1 1 .*20 8", 4, 8),
    ('std(x, "4s")', "2 .*20 2 4", 22, math.sqrt(2)),
    ('delta(x, "4s")', "2 .*20 2 5", 22, 3),
    ('slope(x, "4s")', "2 .*20 2 . 5", 23, 1.5),
    ('max_over(x, "4s")', "2 .*20 7", 21, 7),
    # Of expressions, and within expressions.
    ('mean(2 * x + 1, "4s")', RAMP, 4, 2 * 4.75 + 1),
    ('x - mean(x, "4s")', RAMP, 4, 0.25),
    ('max_over(abs(x - 4), "4s")', RAMP, 4, 2),
    ('mean(x > 4, "4s")', RAMP, 4, 0.75),
    # Directions.
    ('mean_angle(x, "2s")', "0 350 10", 2, 0),
    ('mean_angle(x, "2s")', "0 80 100", 2, 90),
    ("angle_diff(x, 350)", "10", 0, 20),
    ("angle_diff(x, 10)", "350", 0, -20),
    ("angle_diff(x, 0)", "180", 0, -180),
    ("angle_diff(x, 720)", "30", 0, 30),
    # Numbers.
    ("abs(x)", "-3", 0, 3),
    ("sqrt(x)", "-1 9", 1, 3),
    ("hypot(x, 4)", "3", 0, 5),
    ("exp(x)", "2", 0, math.exp(2)),
    ("log(x)", "0 2", 1, math.log(2)),
    ("sin(x)", "2", 0, math.sin(2)),
    ("cos(x)", "2", 0, math.cos(2)),
    ("tan(x)", "2", 0, math.tan(2)),
    ("atan2(x, -1)", "1", 0, 3 * math.pi / 4),
    ("radians(x)", "180", 0, math.pi),
    ("degrees(x)", "2", 0, math.degrees(2)),
    ("floor(x)", "-1.5", 0, -2),
    ("round(x)", "2.5", 0, 2),
    ("round(x)", "3.5", 0, 4),
    ("round(x, 1)", "0.26", 0, 0.3),
    ("clip(x, 0, 10)", "11", 0, 10),
    ("clip(x, 0, 10)", "-11", 0, 0),
    ("x % 3", "-1", 0, 2),
    ("x // 2", "-3", 0, -2),
    ("x ** 2", "-3", 0, 9),
    ("-x + +x * 2", "4", 0, 4),
]

ARRAYS = [
    # expression, fields of the only event, value
    ("mean_of(a)", "a: [1, 2, 6]", 3),
    ("max_of(a)", "a: [1, 2, 6]", 6),
    ("min_of(a)", "a: [1, 2, 6]", 1),
    ("std_of(a)", "a: [1, 2, 6]", statistics.stdev([1, 2, 6])),
    ("count_of(a > 1)", "a: [1, 2, 6]", 2),
    ("count_of(a)", "a: [1, null, 6]", 2),
    ("mean_of(a)", "a: [1, .nan, 6]", 3.5),
    ("mean_of(abs(a) * 2)", "a: [-1, 3]", 4),
    ("max_of(a - b)", "a: [5, 9], b: [1, 8]", 4),
    ("count_of(abs(force) > 100)", "force0: 101, force1: -200, force2: 3", 2),
    ("max_of(force)", "force0: 1, force1: 2, force2: 3, forceful: 9, force01: 9", 3),
    ("a[1]", "a: [4, 5]", 5),
    ("a[-1]", "a: [4, 5]", 5),
    ("deep.b.c", "deep: {b: {c: 7}}", 7),
]


def deciding(expression: str, value: float, **happened: str) -> Scenario:
    """Fires as `known` where the expression is first known, as `equal` where it has a value."""
    near = f"abs(({expression}) - ({value!r})) <= 1e-9"
    rules = [
        {"rule": "known", "trigger": {"telemetry": "s", "when": f"({expression}) == ({expression})"}},
        {"rule": "equal", "trigger": {"event": "s", "every": "1ns", "when": near}},
    ]
    return Scenario("functions", {"name": expression, "rules": rules, **happened})


@pytest.mark.parametrize(("expression", "samples", "known", "value"), OVER_TIME)
async def test_a_function_is_known_in_time_and_right(
    tmp_path: Path, expression: str, samples: str, known: int, value: float
) -> None:
    scenario = deciding(expression, float(value), samples=samples)
    told = scenario.told(await rehearse(tmp_path, scenario), "fires")
    last = (scenario.events()[-1].time - scenario.start) // 10**9
    assert told["known"][0] == f"{known}s"
    assert told.get("equal", [])[-1:] == [f"{last}s"], f"{expression} is not {value}"


@pytest.mark.parametrize(("expression", "fields", "value"), ARRAYS)
async def test_a_function_of_an_array_is_right(
    tmp_path: Path, expression: str, fields: str, value: float
) -> None:
    scenario = deciding(expression, float(value), events=f"0s s {{{fields}}}")
    told = scenario.told(await rehearse(tmp_path, scenario), "fires")
    assert told == {"known": ["0s"], "equal": ["0s"]}, f"{expression} is not {value}"


@pytest.mark.parametrize(
    "expression",
    ["std_of(a)", "mean_of(b)", "max_of(gone)", "a[1]", "a[7]", "mean_of(c)", "a + 1 > 0"],
)
async def test_a_function_of_too_little_is_unknown(tmp_path: Path, expression: str) -> None:
    scenario = deciding(expression, 1.0, events="0s s {a: [1], b: [], c: [null, .nan]}")
    assert await rehearse(tmp_path, scenario) == []


async def test_an_array_packed_in_one_event_is_a_series_of_its_own(tmp_path: Path) -> None:
    """Ten samples over the second that ends with the event, its start excluded."""
    events = "\n".join(
        f"{second}s s {{{', '.join(f'a{n}: {10 * second + n}' for n in range(10))}}}"
        for second in range(4)
    )
    newest = [10 * second + n for second in (2, 3) for n in range(10)]
    for expression, value in [
        ('mean(packed(a, "1s"), "2s")', np.mean(newest)),
        ('count(packed(a, "1s"), "2s")', 20),
        ('std(packed(a, "1s"), "2s")', statistics.stdev(newest)),
        ('slope(packed(a, "1s"), "2s")', 10.0),
        ('count(packed(a, "1s"), "1500ms")', 15),
        ('max_of(packed(a, "1s"))', 39),
    ]:
        scenario = deciding(expression, float(value), events=events)
        told = scenario.told(await rehearse(tmp_path, scenario), "fires")
        assert told.get("equal", [])[-1:] == ["3s"], f"{expression} is not {value}"
