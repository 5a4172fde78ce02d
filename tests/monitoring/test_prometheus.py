"""Figures as Prometheus reads them, whatever names people have given to things."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.monitoring.prometheus import MetricFamily, format_families
from tests.monitoring.prometheus_parser import parse_page


def test_a_family_has_its_help_its_kind_and_its_samples() -> None:
    family = MetricFamily("catcher_runs_total", "counter", "Runs.\nOf all \\ kinds.")
    family.add_sample(3, rule="a", state="done")
    family.add_sample(True, rule="b", state="done")
    assert format_families([family]) == (
        "# HELP catcher_runs_total Runs.\\nOf all \\\\ kinds.\n"
        "# TYPE catcher_runs_total counter\n"
        'catcher_runs_total{rule="a",state="done"} 3\n'
        'catcher_runs_total{rule="b",state="done"} 1\n'
    )


def test_unknown_values_and_empty_families_are_omitted() -> None:
    lag = MetricFamily("lag_seconds", "gauge", "Lag.")
    lag.add_sample(None, source="a")
    assert format_families([lag]) == ""
    lag.add_sample(math.nan, source="b")
    lag.add_sample(math.inf, source="c")
    lag.add_sample(-math.inf, source="d")
    values = parse_page(format_families([lag])).values
    assert math.isnan(values["lag_seconds", (("source", "b"),)])
    assert values["lag_seconds", (("source", "d"),)] == -math.inf


def test_a_sample_that_is_there_twice_does_not_spoil_the_page() -> None:
    family = MetricFamily("twice", "gauge", "Twice.")
    family.add_sample(1, name="a")
    family.add_sample(2, name="a")
    assert parse_page(format_families([family])).values == {("twice", (("name", "a"),)): 1}


@pytest.mark.parametrize("name", ["", "1st", "a b", "a-b", "a\n"])
def test_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        MetricFamily(name, "gauge", "")
    family = MetricFamily("good", "gauge", "")
    family.add_sample(1, **{name: "x"})
    with pytest.raises(ValueError, match="cannot be the name of a label"):
        format_families([family])


@given(st.text(), st.floats(allow_nan=False), st.text())
def test_any_label_and_number_round_trip(text: str, number: float, help_text: str) -> None:
    family = MetricFamily("any", "gauge", help_text)
    family.add_sample(number, name=text)
    # A label's line ends where Python's lines end more often than Prometheus' do.
    page = format_families([family]).encode()
    (line,) = [row for row in page.split(b"\n") if row.startswith(b"any{")]
    head, _, value = line.rpartition(b" ")
    encoded = text.encode("utf-8", "replace")
    escaped = encoded.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    assert head == b'any{name="' + escaped + b'"}'
    assert float(value) == number
