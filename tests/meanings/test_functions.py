"""The table of functions (docs/functions.md): when each is first known, and its value at the end.

Values are worked out here with numpy and the standard library, never with the engine.
"""

from __future__ import annotations

import asyncio
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catcher.model.event import Event
from catcher.model.time import SECOND
from tests.meanings.scenarios import Scenario
from tests.meanings.test_scenarios import run_scenario

RAMP = "3 1 4 1 5 9 2 6 5 3 5"
LAST4 = [6, 5, 3, 5]
LAST5 = [2, 6, 5, 3, 5]

TIME_CASES: list[tuple[str, str, int, float]] = [
    # expression, samples, first known at, value at the last sample
    ('mean(x, "4s")', RAMP, 4, statistics.mean(LAST4)),
    ('min_over(x, "4s")', RAMP, 4, 3),
    ('max_over(x, "4s")', RAMP, 4, 6),
    ('sum_over(x, "4s")', RAMP, 4, 19),
    ('std(x, "4s")', RAMP, 4, statistics.stdev(LAST4)),
    ('rms(x, "4s")', RAMP, 4, math.sqrt(statistics.mean(x * x for x in LAST4))),
    ('median(x, "4s")', RAMP, 4, 5),
    ('median(x, "2s")', RAMP, 2, 4),
    ('percentile(x, 90, "4s")', RAMP, 4, np.percentile(LAST4, 90)),
    ('percentile(x, 0, "4s")', RAMP, 4, 3),
    ('percentile(x, 100, "4s")', RAMP, 4, 6),
    ("percentile(x, 37.5, last=5)", RAMP, 4, np.percentile(LAST5, 37.5)),
    ('count(x, "4s")', RAMP, 4, 4),
    ('count(x > 4, "4s")', RAMP, 4, 3),
    ('rate(x, "4s")', RAMP, 4, 1.0),
    ('rate(x > 4, "4s")', RAMP, 4, 0.75),
    ('delta(x, "4s")', RAMP, 4, -1),
    ('slope(x, "4s")', RAMP, 4, np.polyfit([0, 1, 2, 3], LAST4, 1)[0]),
    ("mean(x, last=5)", RAMP, 4, statistics.mean(LAST5)),
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

ARRAY_CASES: list[tuple[str, str, float]] = [
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


NEWEST_VALUES = [10 * start + offset for start in (2, 3) for offset in range(10)]
PACKED_EXPRESSIONS = [
    # nought at the fourth event only
    f'mean(packed(a, "1s"), "2s") - {statistics.mean(NEWEST_VALUES)!r}',
    f'std(packed(a, "1s"), "2s") + max_of(a) - {statistics.stdev(NEWEST_VALUES) + 39!r}',
    'count(packed(a, "1s"), "2s") + max_of(a) - 59',
    'count(packed(a, "1s"), "1500ms") + max_of(a) - 54',
    'slope(packed(a, "1s"), "2s") + max_of(a) - 49',
    "max_of(a) - 39",
]


def build_rules(expression: str, value: float, topic: str = "s") -> list[dict[str, Any]]:
    """Fires as `known_condition` where the expression is first known, as `equal` where it has a
    value.
    """
    equal_condition = f"abs(({expression}) - ({value!r})) <= 1e-9"
    known_condition = f"({expression}) == ({expression})"
    return [
        {"rule": f"known-{topic}", "trigger": {"telemetry": topic, "when": known_condition}},
        {
            "rule": f"equal-{topic}",
            "trigger": {"event": topic, "every": "1ns", "when": equal_condition},
        },
    ]


@pytest.fixture(scope="module")
def firings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What both tables make fire: each row has a topic of its own, all are played at once."""
    rules: list[dict[str, Any]] = []
    events: list[Event] = []
    cases = [(row[0], row[-1], {"samples": row[1]}) for row in TIME_CASES]
    cases += [(row[0], row[-1], {"events": f"0s s {{{row[1]}}}"}) for row in ARRAY_CASES]
    for number, (expression, value, entry) in enumerate(cases):
        rules += build_rules(expression, float(value), f"t{number}")
        case_events = Scenario("row", entry).build_events()
        events += [event._replace(topic=f"t{number}") for event in case_events]
    events.sort(key=lambda event: event.time)
    scenario = Scenario("functions", {"rules": rules})
    rows = asyncio.run(run_scenario(tmp_path_factory.mktemp("functions"), scenario, events))
    return scenario.format_rows(rows, "fires")


@pytest.mark.parametrize("number", range(len(TIME_CASES)), ids=lambda index: TIME_CASES[index][0])
def test_a_function_is_known_in_time_and_right(firings: dict[str, list[str]], number: int) -> None:
    expression, samples, known_at, value = TIME_CASES[number]
    scenario = Scenario("row", {"samples": samples})
    last_second = (scenario.build_events()[-1].time - scenario.start) // SECOND
    assert firings[f"known-t{number}"][0] == f"{known_at}s"
    assert firings.get(f"equal-t{number}", [])[-1:] == [f"{last_second}s"], (
        f"{expression} is not {value}"
    )


@pytest.mark.parametrize("number", range(len(ARRAY_CASES)), ids=lambda index: ARRAY_CASES[index][0])
def test_a_function_of_an_array_is_right(firings: dict[str, list[str]], number: int) -> None:
    topic = f"t{len(TIME_CASES) + number}"
    assert firings[f"known-{topic}"] == ["0s"]
    assert firings.get(f"equal-{topic}") == ["0s"], (
        f"{ARRAY_CASES[number][0]} is not {ARRAY_CASES[number][2]}"
    )


@pytest.mark.parametrize(
    "expression",
    ["std_of(a)", "mean_of(b)", "max_of(gone)", "a[1]", "a[7]", "mean_of(c)", "a + 1 > 0"],
)
async def test_a_function_of_too_little_is_unknown(tmp_path: Path, expression: str) -> None:
    events = "0s s {a: [1], b: [], c: [null, .nan]}"
    scenario = Scenario("functions", {"rules": build_rules(expression, 1.0), "events": events})
    assert await run_scenario(tmp_path, scenario) == []


async def test_an_array_packed_in_one_event_is_a_series_of_its_own(tmp_path: Path) -> None:
    """Ten samples over the second that ends with the event, its start excluded."""
    events = "\n".join(
        f"{second}s s {{{', '.join(f'a{offset}: {10 * second + offset}' for offset in range(10))}}}"
        for second in range(4)
    )
    rules = [
        {"rule": f"rule-{number}", "trigger": {"telemetry": "s", "when": f"abs({text}) <= 1e-9"}}
        for number, text in enumerate(PACKED_EXPRESSIONS)
    ]
    scenario = Scenario("functions", {"rules": rules, "events": events})
    firings = scenario.format_rows(await run_scenario(tmp_path, scenario), "fires")
    assert firings == {f"rule-{number}": ["3s"] for number in range(len(PACKED_EXPRESSIONS))}
