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

from catcher.model.event import Admitted
from catcher.model.time import SECOND
from catcher.watching import Network
from catcher.watching.functions import markdown
from tests.watching.playing import (
    Rule,
    alert,
    at,
    event,
    fired,
    level,
    levels,
    merged,
    play,
    rule,
    stream,
    times,
    trigger,
)


def results(text: str, samples: list[tuple[float, Any]], **given: Any) -> list[Any]:
    """The value of an expression at each sample: what a firing at each of them carries."""
    watched = rule(trigger("event"), let={"wanted": text}, **given)
    network = Network([watched])
    assert not network.broken, network.broken
    found = network.feed(stream(samples))
    assert len(found) == len(samples)
    return [one.values["wanted"] for one in found]


def test_a_window_is_known_once_it_has_been_open_for_its_length() -> None:
    assert results('mean(speed, "3s")', times(1, 2, 3, 4, 5)) == [None, None, None, 3, 4]


def test_a_window_leaves_out_its_start_and_takes_in_its_end() -> None:
    found = results('sum_over(speed, "2s")', [(0, 1), (1, 10), (2, 100), (3, 1000), (3, 10_000)])
    assert found == [None, None, 110, 1100, 11100]


def test_gaps_do_not_make_a_window_unknown_again() -> None:
    assert results('count(speed, "2s")', [(0, 1), (2, 1), (100, 1)]) == [None, 1, 1]


def test_a_sample_without_a_value_is_unknown_and_enters_no_window() -> None:
    found = results('mean(speed, "2s")', times(1, 3, None, math.nan, 5, {"other": 1}, 7))
    assert found == [None, None, None, None, 5, None, 7]


def test_last_counts_evaluations() -> None:
    found = results("mean(speed, last=3)", [(0, 1), (1, 2), (50, None), (90, 3), (91, 10)])
    assert found == [None, None, None, 2, 5]


SAMPLES = [4.0, -2.5, 7.25, 0.1, 0.2, 1e6, 3.3, 3.3, -8.0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mean(speed, last=9)", statistics.fmean(SAMPLES)),
        ("sum_over(speed, last=9)", math.fsum(SAMPLES)),
        ("min_over(speed, last=9)", -8.0),
        ("max_over(speed, last=9)", 1e6),
        ("std(speed, last=9)", statistics.stdev(SAMPLES)),
        ("rms(speed, last=9)", math.sqrt(math.fsum(one * one for one in SAMPLES) / 9)),
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
    assert results(text, times(*SAMPLES))[-1] == pytest.approx(wanted, rel=1e-12)


def test_percentile_takes_its_arguments_in_either_order() -> None:
    samples = times(1, 2, 3, 4)
    assert results('percentile(speed, 50, "2s")', samples) == results(
        'percentile(speed, "2s", 50)', samples
    )


def test_streaks_pass_over_the_unknown() -> None:
    found = results("streak(speed > 1)", times(2, 2, None, 2, 0, 2))
    assert found == [1, 2, None, 3, 0, 1]


def test_previous_and_changed_look_at_known_samples() -> None:
    samples = times(1, None, 2, 2)
    assert results("previous(speed)", samples) == [None, None, 1, 2]
    assert results("changed(speed)", samples) == [None, None, True, False]


def test_directions_are_averaged_on_the_circle() -> None:
    assert results("mean_angle(speed, last=2)", times(350, 20))[-1] == pytest.approx(5)
    assert results("mean_angle(speed, last=2)", times(0, 180))[-1] is None


def test_a_packed_array_is_a_series_that_ends_with_its_event() -> None:
    flat = {f"angle{index}": float(index) for index in range(4)}
    listed = {"angle": [10.0, 11.0, None, 13.0]}
    found = results('sum_over(packed(angle, "1s"), "1s")', [(0, flat), (1, flat), (1.5, listed)])
    assert found == [None, 6, 2 + 3 + 34]
    assert results("max_of(packed(angle, '1s'))", [(0, flat)]) == [3.0]


def test_counts_of_truths_count_the_true_ones() -> None:
    assert results("count(flag, last=3)", [(i, {"flag": f}) for i, f in enumerate("110")])[-1] == 3
    truths = [(i, {"flag": f}) for i, f in enumerate((True, False, True))]
    assert results("count(flag, last=3)", truths)[-1] == 2


def test_keys_have_windows_of_their_own() -> None:
    samples = [(i, {"salIndex": i % 2, "speed": float(i)}) for i in range(6)]
    watched = rule(trigger("event", by="salIndex"), let={"wanted": "mean(speed, last=2)"})
    found = Network([watched]).feed(stream(samples))
    assert [one.values["wanted"] for one in found] == [None, None, 1, 2, 3, 4]


def test_a_window_holds_only_what_passes_where() -> None:
    samples = times({"speed": 1, "ok": True}, {"speed": 9, "ok": False}, {"speed": 3, "ok": True})
    watched = rule(trigger("event", where="ok"), let={"wanted": "mean(speed, last=2)"})
    found = Network([watched]).feed(stream(samples))
    assert [one.values["wanted"] for one in found] == [None, 2]


numbers = st.floats(-1e12, 1e12) | st.sampled_from([0.1, 0.2, 0.3, 1e-300, 1e300, -0.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, min_size=3, max_size=40))
def test_a_window_forgets_without_a_trace_what_has_left_it(values: list[float]) -> None:
    """Its figures are those of the samples that are in it, to the last bit."""
    texts = ["mean", "std", "rms", "min_over", "max_over", "median", "slope", "sum_over"]
    whole = {f"{name}(speed, last=3)": values for name in texts}
    for text in whole:
        long = results(text, times(*values))[-1]
        short = results(text, times(*values[-3:], start=len(values) - 3))[-1]
        assert long == short or (long is None and short is None)
    mean = results("mean(speed, last=3)", times(*values))[-1]
    assert mean == pytest.approx(statistics.fmean(values[-3:]), rel=1e-15, abs=1e-300)


# -- reads --------------------------------------------------------------------------------------

DOME = "lsst.sal.MTDome.azimuth"


def joined(text: str, **reads: Any) -> Rule:
    return rule(trigger("event", when=text), reads=reads)


def wind(*samples: tuple[float, Any]) -> list[Any]:
    return stream(samples, "wind")


def test_a_read_is_the_latest_event_of_its_topic_as_of_now() -> None:
    watched = joined("wind.speed > 5", wind=("wind", "", ""))
    events = merged(wind((0, 9), (2, 3), (4, 9)), stream(times(1, 1, start=1, step=2)))
    assert fired(play(watched, events)) == [1]


def test_a_read_takes_only_what_passes_its_where() -> None:
    watched = joined("wind.speed > 5", wind=("wind", "speed != 9", ""))
    events = merged(wind((0, 9), (2, 8)), stream(times(1, 1, start=1, step=2)))
    assert fired(play(watched, events)) == [3]


def test_a_read_goes_stale() -> None:
    watched = rule(
        trigger("event", when="wind.speed > 5", on_recovery="fire"),
        reads={"wind": ("wind", "", "10s")},
    )
    events = merged(wind((0, 9), (30, 9)), stream([(10, 1), (10.5, 1), (31, 1)]))
    assert fired(play(watched, events)) == [10, 31]


def test_windows_over_a_read_hold_its_own_samples() -> None:
    watched = joined('mean(wind.speed, "3s") == 3', wind=("wind", "", ""))
    events = merged(wind(*times(0, 1, 2, 3, 4)), stream([(3.5, 0), (4.5, 0)]))
    assert fired(play(watched, events)) == [4.5]


def test_age_is_the_time_since_a_read_came() -> None:
    watched = joined("age(wind) >= 2.5", wind=("wind", "", ""))
    assert fired(play(watched, merged(wind((1, 0)), stream([(3, 0), (3.5, 0)])))) == [3.5]


def test_a_result_of_the_past_is_joined_with_the_reads_of_its_own_moment() -> None:
    """A job's result stands at its firing's time, while telemetry has gone on."""
    watched = rule(
        trigger("event", "start"),
        job=True,
        reads={"wind": ("wind", "", "")},
        alert=alert(warning=level('mean(wind.speed, "2s") == 4.5 and previous(wind.speed) == 4')),
    )
    network = Network([watched])
    network.feed(wind(*times(*range(20))))
    origin = {"rule": "wind", "key": "", "run": "r", "firing": "f"}
    result = event(5, {"score": 1, "catcher": origin}, "catcher.wind", "catcher")
    assert levels(network.feed([Admitted(result)])) == [(5, "warning")]


def test_functions_over_several_sources_hold_the_values_at_the_rules_own_events() -> None:
    watched = joined("max_over(speed - wind.speed, last=2) > 3", wind=("wind", "", ""))
    events = merged(wind((0, 1), (1.5, 9)), stream([(1, 5), (2, 5), (3, 5)]))
    assert fired(play(watched, events)) == [2]


def test_the_table_of_the_documentation_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "functions.md"
    assert page.read_text("utf-8") == markdown()


def test_times_are_exact_to_the_nanosecond() -> None:
    watched = rule(trigger("event"), let={"wanted": 'count(speed, "1s")'})
    samples = [event(0, 1), event(0, 1)._replace(time=at(1)), event(0, 1)._replace(time=SECOND + 1)]
    found = Network([watched]).feed([Admitted(one) for one in samples])
    assert [one.values["wanted"] for one in found] == [None, 1, 2]
