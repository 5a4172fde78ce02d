"""Functions over time, to the sample, against Python's own statistics and numpy."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.evaluation import RuleEvaluator
from catcher.expressions.functions import render_functions_markdown
from catcher.model.event import AdmittedEvent
from catcher.model.time import SECOND
from tests.evaluation.rule_builders import (
    Rule,
    create_alert,
    create_event,
    create_level,
    create_rule,
    create_samples,
    create_stream,
    create_trigger,
    list_firing_times,
    list_level_changes,
    merge_streams,
    run_rules,
    to_instant,
)


def evaluate_samples(text: str, samples: list[tuple[float, Any]], **settings: Any) -> list[Any]:
    """The value of an expression at each sample: what a firing at each of them carries."""
    rule = create_rule(create_trigger("event"), let={"wanted": text}, **settings)
    evaluator = RuleEvaluator([rule])
    assert not evaluator.broken_rules, evaluator.broken_rules
    firings = evaluator.process_events(create_stream(samples))
    assert len(firings) == len(samples)
    return [firing.values["wanted"] for firing in firings]


def test_a_window_is_known_once_it_has_been_open_for_its_length() -> None:
    assert evaluate_samples('mean(speed, "3s")', create_samples(1, 2, 3, 4, 5)) == [
        None,
        None,
        None,
        3,
        4,
    ]


def test_a_window_excludes_its_start_and_includes_its_end() -> None:
    results = evaluate_samples(
        'sum_over(speed, "2s")', [(0, 1), (1, 10), (2, 100), (3, 1000), (3, 10_000)]
    )
    assert results == [None, None, 110, 1100, 11100]


def test_gaps_do_not_make_a_window_unknown_again() -> None:
    assert evaluate_samples('count(speed, "2s")', [(0, 1), (2, 1), (100, 1)]) == [None, 1, 1]


def test_a_sample_without_a_value_is_unknown_and_enters_no_window() -> None:
    results = evaluate_samples(
        'mean(speed, "2s")', create_samples(1, 3, None, math.nan, 5, {"other": 1}, 7)
    )
    assert results == [None, None, None, None, 5, None, 7]


def test_last_counts_evaluations() -> None:
    results = evaluate_samples(
        "mean(speed, last=3)", [(0, 1), (1, 2), (50, None), (90, 3), (91, 10)]
    )
    assert results == [None, None, None, 2, 5]


SAMPLES = [4.0, -2.5, 7.25, 0.1, 0.2, 1e6, 3.3, 3.3, -8.0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mean(speed, last=9)", statistics.fmean(SAMPLES)),
        ("sum_over(speed, last=9)", math.fsum(SAMPLES)),
        ("min_over(speed, last=9)", -8.0),
        ("max_over(speed, last=9)", 1e6),
        ("std(speed, last=9)", statistics.stdev(SAMPLES)),
        ("rms(speed, last=9)", math.sqrt(math.fsum(sample * sample for sample in SAMPLES) / 9)),
        ("median(speed, last=9)", 3.3),
        ("median(speed, last=8)", statistics.median(SAMPLES[1:])),
        ("percentile(speed, 90, last=9)", float(np.percentile(SAMPLES, 90))),
        ("percentile(speed, 0, last=9)", -8.0),
        ("count(speed, last=9)", 9),
        ("count(speed > 3, last=9)", 5),
        ("delta(speed, last=9)", -12.0),
        ("slope(speed, last=9)", float(np.polyfit(range(9), SAMPLES, 1)[0])),
        ("rate(speed, last=9)", 1.0),
        ('rate(speed, "4s")', 1.0),
        ('rate(speed > 3, "4s")', 0.75),
        ("previous(speed)", 3.3),
        ("changed(speed)", True),
        ("streak(speed != 3.3)", 1),
        ("mean(max_over(speed, last=2), last=2)", 3.3),
    ],
)
def test_a_function_has_its_textbook_value(text: str, wanted: Any) -> None:
    assert evaluate_samples(text, create_samples(*SAMPLES))[-1] == pytest.approx(wanted, rel=1e-12)


def test_percentile_takes_its_arguments_in_either_order() -> None:
    samples = create_samples(1, 2, 3, 4)
    assert evaluate_samples('percentile(speed, 50, "2s")', samples) == evaluate_samples(
        'percentile(speed, "2s", 50)', samples
    )


def test_streaks_pass_over_the_unknown() -> None:
    results = evaluate_samples("streak(speed > 1)", create_samples(2, 2, None, 2, 0, 2))
    assert results == [1, 2, None, 3, 0, 1]


def test_previous_and_changed_look_at_known_samples() -> None:
    samples = create_samples(1, None, 2, 2)
    assert evaluate_samples("previous(speed)", samples) == [None, None, 1, 2]
    assert evaluate_samples("changed(speed)", samples) == [None, None, True, False]


def test_directions_are_averaged_on_the_circle() -> None:
    assert evaluate_samples("mean_angle(speed, last=2)", create_samples(350, 20))[
        -1
    ] == pytest.approx(5)
    assert evaluate_samples("mean_angle(speed, last=2)", create_samples(0, 180))[-1] is None


def test_a_packed_array_is_a_series_that_ends_with_its_event() -> None:
    flat_fields = {f"angle{index}": float(index) for index in range(4)}
    list_fields = {"angle": [10.0, 11.0, None, 13.0]}
    results = evaluate_samples(
        'sum_over(packed(angle, "1s"), "1s")',
        [(0, flat_fields), (1, flat_fields), (1.5, list_fields)],
    )
    assert results == [None, 6, 2 + 3 + 34]
    assert evaluate_samples("max_of(packed(angle, '1s'))", [(0, flat_fields)]) == [3.0]


def test_counts_of_truths_count_the_true_ones() -> None:
    assert (
        evaluate_samples(
            "count(flag, last=3)", [(index, {"flag": flag}) for index, flag in enumerate("110")]
        )[-1]
        == 3
    )
    truths = [(index, {"flag": flag}) for index, flag in enumerate((True, False, True))]
    assert evaluate_samples("count(flag, last=3)", truths)[-1] == 2


def test_keys_have_windows_of_their_own() -> None:
    samples = [(index, {"salIndex": index % 2, "speed": float(index)}) for index in range(6)]
    rule = create_rule(
        create_trigger("event", by="salIndex"), let={"wanted": "mean(speed, last=2)"}
    )
    firings = RuleEvaluator([rule]).process_events(create_stream(samples))
    assert [firing.values["wanted"] for firing in firings] == [None, None, 1, 2, 3, 4]


def test_a_window_holds_only_what_passes_where() -> None:
    samples = create_samples(
        {"speed": 1, "ok": True}, {"speed": 9, "ok": False}, {"speed": 3, "ok": True}
    )
    rule = create_rule(create_trigger("event", where="ok"), let={"wanted": "mean(speed, last=2)"})
    firings = RuleEvaluator([rule]).process_events(create_stream(samples))
    assert [firing.values["wanted"] for firing in firings] == [None, 2]


numbers = st.floats(-1e12, 1e12) | st.sampled_from([0.1, 0.2, 0.3, 1e-300, 1e300, -0.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, min_size=3, max_size=40))
def test_a_window_keeps_no_trace_of_removed_samples(values: list[float]) -> None:
    """Its figures are those of the samples that are in it, to the last bit."""
    function_names = ["mean", "std", "rms", "min_over", "max_over", "median", "slope", "sum_over"]
    values_by_text = {f"{name}(speed, last=3)": values for name in function_names}
    for text in values_by_text:
        long_result = evaluate_samples(text, create_samples(*values))[-1]
        short_result = evaluate_samples(text, create_samples(*values[-3:], start=len(values) - 3))[
            -1
        ]
        assert long_result == short_result or (long_result is None and short_result is None)
    mean_result = evaluate_samples("mean(speed, last=3)", create_samples(*values))[-1]
    assert mean_result == pytest.approx(statistics.fmean(values[-3:]), rel=1e-15, abs=1e-300)


# -- reads --------------------------------------------------------------------------------------

DOME = "lsst.sal.MTDome.azimuth"


def create_read_rule(text: str, **reads: Any) -> Rule:
    return create_rule(create_trigger("event", when=text), reads=reads)


def create_wind_stream(*samples: tuple[float, Any]) -> list[Any]:
    return create_stream(samples, "wind")


def test_a_read_is_the_latest_event_of_its_topic_as_of_now() -> None:
    rule = create_read_rule("wind.speed > 5", wind=("wind", "", ""))
    events = merge_streams(
        create_wind_stream((0, 9), (2, 3), (4, 9)),
        create_stream(create_samples(1, 1, start=1, step=2)),
    )
    assert list_firing_times(run_rules(rule, events)) == [1]


def test_a_read_accepts_only_what_passes_its_where() -> None:
    rule = create_read_rule("wind.speed > 5", wind=("wind", "speed != 9", ""))
    events = merge_streams(
        create_wind_stream((0, 9), (2, 8)), create_stream(create_samples(1, 1, start=1, step=2))
    )
    assert list_firing_times(run_rules(rule, events)) == [3]


def test_a_read_goes_stale() -> None:
    rule = create_rule(
        create_trigger("event", when="wind.speed > 5", on_recovery="fire"),
        reads={"wind": ("wind", "", "10s")},
    )
    events = merge_streams(
        create_wind_stream((0, 9), (30, 9)), create_stream([(10, 1), (10.5, 1), (31, 1)])
    )
    assert list_firing_times(run_rules(rule, events)) == [10, 31]


def test_windows_over_a_read_hold_its_own_samples() -> None:
    rule = create_read_rule('mean(wind.speed, "3s") == 3', wind=("wind", "", ""))
    events = merge_streams(
        create_wind_stream(*create_samples(0, 1, 2, 3, 4)), create_stream([(3.5, 0), (4.5, 0)])
    )
    assert list_firing_times(run_rules(rule, events)) == [4.5]


def test_age_is_the_time_since_a_read_came() -> None:
    rule = create_read_rule("age(wind) >= 2.5", wind=("wind", "", ""))
    assert list_firing_times(
        run_rules(
            rule, merge_streams(create_wind_stream((1, 0)), create_stream([(3, 0), (3.5, 0)]))
        )
    ) == [3.5]


def test_a_result_of_the_past_is_joined_with_the_reads_of_its_own_moment() -> None:
    """A job's result stands at its firing's time, while telemetry has gone on."""
    rule = create_rule(
        create_trigger("event", "start"),
        job=True,
        reads={"wind": ("wind", "", "")},
        alert=create_alert(
            warning=create_level('mean(wind.speed, "2s") == 4.5 and previous(wind.speed) == 4')
        ),
    )
    evaluator = RuleEvaluator([rule])
    evaluator.process_events(create_wind_stream(*create_samples(*range(20))))
    origin = {"rule": "wind", "key": "", "run": "r", "firing": "f"}
    result = create_event(5, {"score": 1, "catcher": origin}, "catcher.wind", "catcher")
    assert list_level_changes(evaluator.process_events([AdmittedEvent(result)])) == [(5, "warning")]


def test_functions_over_several_sources_hold_the_values_at_the_rules_own_events() -> None:
    rule = create_read_rule("max_over(speed - wind.speed, last=2) > 3", wind=("wind", "", ""))
    events = merge_streams(
        create_wind_stream((0, 1), (1.5, 9)), create_stream([(1, 5), (2, 5), (3, 5)])
    )
    assert list_firing_times(run_rules(rule, events)) == [2]


def test_the_table_of_the_documentation_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "functions.md"
    assert page.read_text("utf-8") == render_functions_markdown()


def test_times_are_exact_to_the_nanosecond() -> None:
    rule = create_rule(create_trigger("event"), let={"wanted": 'count(speed, "1s")'})
    samples = [
        create_event(0, 1),
        create_event(0, 1)._replace(time=to_instant(1)),
        create_event(0, 1)._replace(time=SECOND + 1),
    ]
    firings = RuleEvaluator([rule]).process_events([AdmittedEvent(sample) for sample in samples])
    assert [firing.values["wanted"] for firing in firings] == [None, 1, 2]
