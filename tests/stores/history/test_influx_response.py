"""Rows of numbers are read as arrays; whatever the pieces and the cells, nothing else changes."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.stores.history.influx_response import MessageStream

TIMES = st.integers(2**40, 2**63 - 1)
MIXED_CELLS = st.floats(allow_nan=False) | st.none() | st.integers(0, 300) | st.text(max_size=3)
NUMBERS = st.floats(allow_nan=False)


def create_message(
    columns: list[str], rows: list[list[Any]], partial: bool, tags: bool
) -> dict[str, Any]:
    """A message as InfluxDB writes it, its keys in their order."""
    series: dict[str, Any] = {"name": "t", **({"tags": {"a": "b"}} if tags else {})}
    series |= {"columns": columns, "values": rows}
    result: dict[str, Any] = {"statement_id": 0}
    partial_flag = {"partial": True} if partial else {}
    return {"results": [result | {"series": [series | partial_flag]} | partial_flag]}


@st.composite
def generate_messages(draw: st.DrawFn) -> list[dict[str, Any]]:
    drawn = []
    for _ in range(draw(st.integers(1, 4))):
        width = draw(st.sampled_from([1, 2, 14, 15, 16, 20]))
        cell_strategy = draw(st.sampled_from([NUMBERS, NUMBERS, MIXED_CELLS]))
        row = st.tuples(TIMES, *[cell_strategy] * width).map(list)
        rows = draw(st.lists(row, max_size=4))
        columns = ["time", *(f"f{n}" for n in range(width))]
        drawn.append(create_message(columns, rows, draw(st.booleans()), draw(st.booleans())))
    return drawn


def flatten_message(decoded: Any) -> tuple[list[str], list[list[Any]], bool]:
    """Names, rows and whether more follows, of either form."""
    if isinstance(decoded, tuple):
        names, columns, partial = decoded
        rows = [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]
        return list(names), rows, partial
    (result,) = decoded["results"]
    (series,) = result["series"]
    rows = [list(row) for row in series["values"]]
    return list(series["columns"]), rows, bool(result.get("partial"))


@settings(max_examples=150, deadline=None)
@given(generate_messages(), st.integers(1, 400))
def test_any_messages_come_as_they_were_sent(messages: list[dict[str, Any]], size: int) -> None:
    data = b"".join(msgpack.packb(message) for message in messages)
    reader, decoded = MessageStream(2**20), []
    for start in range(0, len(data), size):
        decoded += reader.feed_chunk(data[start : start + size])
    decoded += reader.read_remaining_messages()
    assert [flatten_message(message) for message in decoded] == [
        flatten_message(message) for message in messages
    ]


def create_large_message(rows: int, width: int = 4) -> dict[str, Any]:
    columns = ["time", *(f"f{n}" for n in range(width))]
    return create_message(
        columns, [[2**60 + n, *[n / 7] * width] for n in range(rows)], True, False
    )


@pytest.mark.parametrize("width", [4, 30])
def test_many_rows_come_as_arrays_before_the_end(width: int) -> None:
    data = msgpack.packb(create_large_message(10_000, width))
    reader = MessageStream(2**28)
    (decoded,) = [
        item for data_part in (data, data[:70_000]) for item in reader.feed_chunk(data_part)
    ]
    names, columns, partial = decoded
    assert (len(names), partial) == (width + 1, True)
    assert columns[0].dtype == np.int64 and columns[1].dtype == np.float64
    np.testing.assert_array_equal(columns[1], np.arange(10_000) / 7)
    with pytest.raises((ValueError, msgpack.UnpackException)):
        list(reader.read_remaining_messages())


def test_a_gap_far_down_is_no_reason_to_misread() -> None:
    sent = create_large_message(10_000)
    sent["results"][0]["series"][0]["values"][9_999][2] = None
    reader = MessageStream(2**28)
    data = msgpack.packb(sent) + msgpack.packb(create_large_message(3))
    decoded = [*reader.feed_chunk(data), *reader.read_remaining_messages()]
    assert [flatten_message(item) for item in decoded] == [
        flatten_message(sent),
        flatten_message(create_large_message(3)),
    ]


@pytest.mark.parametrize("cut", [1, 5, 40, 1000, -1, -30])
def test_what_was_cut_is_no_message(cut: int) -> None:
    reader = MessageStream(2**28)
    data = msgpack.packb(create_large_message(1000))
    with pytest.raises((ValueError, msgpack.UnpackException)):
        assert [*reader.feed_chunk(data[:cut]), *reader.read_remaining_messages()]


def test_a_chunk_that_is_too_large_is_refused() -> None:
    reader = MessageStream(10_000)
    with pytest.raises(msgpack.BufferFull):
        assert [
            *reader.feed_chunk(msgpack.packb(create_large_message(1000))),
            *reader.read_remaining_messages(),
        ]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_nonsense_raises_and_ends(data: bytes) -> None:
    reader = MessageStream(2**16)
    with contextlib.suppress(ValueError, msgpack.UnpackException, RecursionError):
        decoded = [*reader.feed_chunk(data), *reader.read_remaining_messages()]
        assert isinstance(decoded, list)
