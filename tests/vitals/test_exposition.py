"""Figures as Prometheus reads them, whatever names people have given to things."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.vitals.exposition import Family, exposed
from tests.vitals.prometheus import read


def test_a_family_has_its_help_its_kind_and_its_samples() -> None:
    family = Family("catcher_runs_total", "counter", "Runs.\nOf all \\ kinds.")
    family.add(3, rule="a", state="done")
    family.add(True, rule="b", state="done")
    assert exposed([family]) == (
        "# HELP catcher_runs_total Runs.\\nOf all \\\\ kinds.\n"
        "# TYPE catcher_runs_total counter\n"
        'catcher_runs_total{rule="a",state="done"} 3\n'
        'catcher_runs_total{rule="b",state="done"} 1\n'
    )


def test_what_is_not_known_is_left_out_and_so_is_an_empty_family() -> None:
    lag = Family("lag_seconds", "gauge", "Lag.")
    lag.add(None, source="a")
    assert exposed([lag]) == ""
    lag.add(math.nan, source="b")
    lag.add(math.inf, source="c")
    lag.add(-math.inf, source="d")
    values = read(exposed([lag])).values
    assert math.isnan(values["lag_seconds", (("source", "b"),)])
    assert values["lag_seconds", (("source", "d"),)] == -math.inf


def test_a_sample_that_is_there_twice_does_not_spoil_the_page() -> None:
    family = Family("twice", "gauge", "Twice.")
    family.add(1, name="a")
    family.add(2, name="a")
    assert read(exposed([family])).values == {("twice", (("name", "a"),)): 1}


@pytest.mark.parametrize("name", ["", "1st", "a b", "a-b", "a\n"])
def test_a_name_that_no_scraper_takes_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        Family(name, "gauge", "")
    family = Family("good", "gauge", "")
    family.add(1, **{name: "x"})
    with pytest.raises(ValueError, match="cannot be the name of a label"):
        exposed([family])


@given(st.text(), st.floats(allow_nan=False), st.text())
def test_any_label_and_any_number_come_back_as_they_went_in(
    text: str, number: float, about: str
) -> None:
    family = Family("any", "gauge", about)
    family.add(number, name=text)
    # A label's line ends where Python's lines end more often than Prometheus' do.
    page = exposed([family]).encode()
    (line,) = [one for one in page.split(b"\n") if one.startswith(b"any{")]
    head, _, value = line.rpartition(b" ")
    clean = text.encode("utf-8", "replace")
    written = clean.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    assert head == b'any{name="' + written + b'"}'
    assert float(value) == number
