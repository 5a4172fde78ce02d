"""`catcher query`: every kind, every form, here and at an engine elsewhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.calling import Answer, call
from tests.client.test_one_door import JOBS, RULES, SETTINGS, START, feed
from tests.small_site import ThreadedEngine, engine_in_thread, write_site


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    top = tmp_path_factory.mktemp("query")
    site = write_site(top / "site", RULES, settings=SETTINGS, jobs=JOBS)
    with engine_in_thread(site, top / "data") as running:
        feed(running)
        running.the_run(rule="forms", state="done")
        yield running


@pytest.fixture(params=["site", "url"])
def where(request: pytest.FixtureRequest, engine: ThreadedEngine) -> list[str]:
    if request.param == "url":
        return ["--url", engine.running.url]
    return ["--site", str(engine.site), "--data", str(engine.data)]


def query(where: list[str], *arguments: str) -> Answer:
    found = call("query", *arguments, *where)
    assert found.status == 0, found.err
    return found


def test_every_kind_is_listed(where: list[str]) -> None:
    assert [one["name"] for one in query(where, "metrics", "mean", "--json").rows] == ["mean"]
    assert query(where, "metrics", "--label", "band=g", "--json").rows == []
    assert len(query(where, "artifacts", "--json").rows) == 9
    assert [one["name"] for one in query(where, "artifacts", "--kind", "png", "--json").rows] == [
        "i.png"
    ]
    assert query(where, "runs", "forms", "--obs", "MC_1", "--json").rows[0]["state"] == "done"
    assert query(where, "alerts", "--state", "active", "--json").rows[0]["rule"] == "wind"
    assert query(where, "firings", "--rule", "forms", "--json").rows[0]["rule"] == "forms"
    assert {one["what"] for one in query(where, "audit", "--json").rows} == {"opened"}
    assert {"topic": "wind"} in query(where, "topics", "--json").rows
    assert "speed" in {one["name"] for one in query(where, "fields", "wind", "--json").rows}
    counted = "SELECT state, count(*) AS n FROM runs GROUP BY state"
    assert query(where, "sql", counted, "--json").rows == [{"state": "done", "n": 1}]


def test_telemetry_by_span_by_count_and_packed(where: list[str]) -> None:
    span = ["--since", "2025-04-24", "--until", "2025-04-24T00:00:05Z"]
    found = query(where, "series", "wind", "--field", "speed", "--index", "1", *span, "--json")
    assert found.rows == [
        {"time": "2025-04-24T00:00:01Z", "speed": 0.5},
        {"time": "2025-04-24T00:00:03Z", "speed": 1.5},
        {"time": "2025-04-24T00:00:05Z", "speed": 2.5},
    ]
    last = query(where, "series", "wind", "--last", "2", "--json").rows
    assert [one["speed"] for one in last] == [29.0, 29.5]
    packed = query(where, "series", "accelerations", "--field", "x", "--packed", *span, "--json")
    assert len(packed.rows) == 300
    nothing = query(where, "series", "wind", "--json")
    assert nothing.rows == []
    assert "the last sample is of 2025-04-24T00:00:59Z" in nothing.err


def test_csv_parquet_and_a_plot(where: list[str], tmp_path: Path) -> None:
    span = ["--since", "2025-04-24", "--until", "2025-04-24T00:00:59Z"]
    rows = list(csv.DictReader(io.StringIO(query(where, "metrics", "--csv").out)))
    assert {row["name"]: row["value"] for row in rows} == {"mean": "71.875", "lost": ""}
    rows = list(csv.DictReader(io.StringIO(query(where, "series", "wind", *span, "--csv").out)))
    assert len(rows) == 60
    assert rows[3]["time"] == "2025-04-24T00:00:03Z"
    file, picture = tmp_path / "wind.parquet", tmp_path / "wind.png"
    found = query(where, "series", "wind", *span, "--parquet", str(file), "--plot", str(picture))
    assert found.out == ""
    table = pq.read_table(file)
    assert table.num_rows == 60
    assert table.column("time")[0].as_py().timestamp() == START
    assert picture.read_bytes().startswith(b"\x89PNG")
    for kind in ("metrics", "runs", "alerts"):
        drawn = tmp_path / f"{kind}.svg"
        query(where, kind, "--plot", str(drawn))
        assert "<svg" in drawn.read_text()[:400]
    query(where, "artifacts", "--parquet", str(file))
    assert pq.read_table(file).num_rows == 9


def test_a_table_says_what_it_leaves_out(where: list[str]) -> None:
    found = query(where, "metrics", "--limit", "1")
    assert "there are more than 1: see --limit" in found.err
    assert len(found.out.splitlines()) == 2
    assert "none" in query(where, "metrics", "nothing-such").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("series",), "no topic is named"),
        (("series", "wimd"), "did you mean wind?"),
        (("series", "wind", "--field", "sped"), "did you mean speed?"),
        (("sql",), "no statement is given"),
        (("sql", "DELETE FROM runs"), "only SELECT is answered here"),
        (("sql", "SELECT * FROM metrix"), "did you mean metrics?"),
        (("sql", "SELECT 1", "--timeout", "soon"), "is no duration"),
        (("metrics", "--since", "soonish"), "is no time"),
        (("metrics", "--plot", "x.gif"), "x.gif is no picture"),
        (("metrics", "nothing-such", "--plot", "x.png"), "nothing was found that could be drawn"),
        (("metrics", "--parquet", "/nowhere/x.parquet"), "cannot be written"),
        (("series", "wind", "--last", "0"), "is no number of samples"),
    ],
)
def test_what_cannot_be_asked_says_why(
    where: list[str], arguments: tuple[str, ...], words: str
) -> None:
    found = call("query", *arguments, *where)
    assert found.status == 2
    assert words in found.err
    assert "Traceback" not in found.err


def test_an_address_and_a_site_say_two_things(engine: ThreadedEngine) -> None:
    found = call("query", "runs", "--url", "http://127.0.0.1:1", "--site", engine.site)
    assert (found.status, "say two things" in found.err) == (2, True)
    found = call("query", "runs", "--url", "http://127.0.0.1:1")
    assert (found.status, "no engine answers at" in found.err) == (2, True)
    found = call("query", "runs", "--url", "ftp://nowhere")
    assert (found.status, "is no address" in found.err) == (2, True)
    assert call("query", "runs", "--url", engine.running.url.removeprefix("http://")).status == 0
