"""Rows of numbers are read as arrays; whatever the pieces and the cells, nothing else changes."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.stores.influx_rows import Messages

TIMES = st.integers(2**40, 2**63 - 1)
CELLS = st.floats(allow_nan=False) | st.none() | st.integers(0, 300) | st.text(max_size=3)
NUMBERS = st.floats(allow_nan=False)


def message(columns: list[str], rows: list[list[Any]], partial: bool, tags: bool) -> dict[str, Any]:
    """A message as InfluxDB writes it, its keys in their order."""
    series: dict[str, Any] = {"name": "t", **({"tags": {"a": "b"}} if tags else {})}
    series |= {"columns": columns, "values": rows}
    result: dict[str, Any] = {"statement_id": 0}
    more = {"partial": True} if partial else {}
    return {"results": [result | {"series": [series | more]} | more]}


@st.composite
def messages(draw: st.DrawFn) -> list[dict[str, Any]]:
    made = []
    for _ in range(draw(st.integers(1, 4))):
        width = draw(st.sampled_from([1, 2, 14, 15, 16, 20]))
        cells = draw(st.sampled_from([NUMBERS, NUMBERS, CELLS]))
        row = st.tuples(TIMES, *[cells] * width).map(list)
        rows = draw(st.lists(row, max_size=4))
        columns = ["time", *(f"f{n}" for n in range(width))]
        made.append(message(columns, rows, draw(st.booleans()), draw(st.booleans())))
    return made


def flat(found: Any) -> tuple[list[str], list[list[Any]], bool]:
    """Names, rows and whether more follows, of either form."""
    if isinstance(found, tuple):
        names, columns, partial = found
        rows = [list(row) for row in zip(*(one.tolist() for one in columns), strict=True)]
        return list(names), rows, partial
    (result,) = found["results"]
    (series,) = result["series"]
    rows = [list(row) for row in series["values"]]
    return list(series["columns"]), rows, bool(result.get("partial"))


@settings(max_examples=150, deadline=None)
@given(messages(), st.integers(1, 400))
def test_any_messages_come_as_they_were_sent(sent: list[dict[str, Any]], size: int) -> None:
    data = b"".join(msgpack.packb(one) for one in sent)
    reader, found = Messages(2**20), []
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    found += reader.rest()
    assert [flat(one) for one in found] == [flat(one) for one in sent]


def many(rows: int, width: int = 4) -> dict[str, Any]:
    columns = ["time", *(f"f{n}" for n in range(width))]
    return message(columns, [[2**60 + n, *[n / 7] * width] for n in range(rows)], True, False)


@pytest.mark.parametrize("width", [4, 30])
def test_many_rows_come_as_arrays_before_the_end(width: int) -> None:
    data = msgpack.packb(many(10_000, width))
    reader = Messages(2**28)
    (found,) = [one for piece in (data, data[:70_000]) for one in reader.feed(piece)]
    names, columns, partial = found
    assert (len(names), partial) == (width + 1, True)
    assert columns[0].dtype == np.int64 and columns[1].dtype == np.float64
    np.testing.assert_array_equal(columns[1], np.arange(10_000) / 7)
    with pytest.raises((ValueError, msgpack.UnpackException)):
        list(reader.rest())


def test_a_gap_far_down_is_no_reason_to_misread() -> None:
    sent = many(10_000)
    sent["results"][0]["series"][0]["values"][9_999][2] = None
    reader = Messages(2**28)
    data = msgpack.packb(sent) + msgpack.packb(many(3))
    found = [*reader.feed(data), *reader.rest()]
    assert [flat(one) for one in found] == [flat(sent), flat(many(3))]


@pytest.mark.parametrize("cut", [1, 5, 40, 1000, -1, -30])
def test_what_was_cut_is_no_message(cut: int) -> None:
    reader = Messages(2**28)
    data = msgpack.packb(many(1000))
    with pytest.raises((ValueError, msgpack.UnpackException)):
        assert [*reader.feed(data[:cut]), *reader.rest()]


def test_a_chunk_that_is_too_large_is_refused() -> None:
    reader = Messages(10_000)
    with pytest.raises(msgpack.BufferFull):
        assert [*reader.feed(msgpack.packb(many(1000))), *reader.rest()]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_nonsense_raises_and_ends(data: bytes) -> None:
    reader = Messages(2**16)
    with contextlib.suppress(ValueError, msgpack.UnpackException, RecursionError):
        found = [*reader.feed(data), *reader.rest()]
        assert isinstance(found, list)
