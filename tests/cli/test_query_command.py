"""`catcher query`: every kind, every form, here and at an engine elsewhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.command_runner import CommandResult, run_command
from tests.client.test_local_and_remote import JOBS, RULES, SETTINGS, START, post_sample_events
from tests.sample_site import ThreadedEngine, engine_in_thread, write_site


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    folder = tmp_path_factory.mktemp("query")
    site = write_site(folder / "site", RULES, settings=SETTINGS, jobs=JOBS)
    with engine_in_thread(site, folder / "data") as running:
        post_sample_events(running)
        running.wait_for_run(rule="forms", state="done")
        yield running


@pytest.fixture(params=["site", "url"])
def target_options(request: pytest.FixtureRequest, engine: ThreadedEngine) -> list[str]:
    if request.param == "url":
        return ["--url", engine.handle.url]
    return ["--site", str(engine.site), "--data", str(engine.data)]


def run_query(where: list[str], *arguments: str) -> CommandResult:
    result = run_command("query", *arguments, *where)
    assert result.status == 0, result.err
    return result


def test_every_kind_is_listed(target_options: list[str]) -> None:
    assert [row["name"] for row in run_query(target_options, "metrics", "mean", "--json").rows] == [
        "mean"
    ]
    assert run_query(target_options, "metrics", "--label", "band=g", "--json").rows == []
    assert len(run_query(target_options, "artifacts", "--json").rows) == 9
    assert [
        row["name"]
        for row in run_query(target_options, "artifacts", "--kind", "png", "--json").rows
    ] == ["i.png"]
    assert (
        run_query(target_options, "runs", "forms", "--obs", "MC_1", "--json").rows[0]["state"]
        == "done"
    )
    assert (
        run_query(target_options, "alerts", "--state", "active", "--json").rows[0]["rule"] == "wind"
    )
    assert (
        run_query(target_options, "firings", "--rule", "forms", "--json").rows[0]["rule"] == "forms"
    )
    assert {row["what"] for row in run_query(target_options, "audit", "--json").rows} == {"opened"}
    assert {"topic": "wind"} in run_query(target_options, "topics", "--json").rows
    assert "speed" in {
        row["name"] for row in run_query(target_options, "fields", "wind", "--json").rows
    }
    statement = "SELECT state, count(*) AS n FROM runs GROUP BY state"
    assert run_query(target_options, "sql", statement, "--json").rows == [{"state": "done", "n": 1}]


def test_telemetry_by_span_by_count_and_packed(target_options: list[str]) -> None:
    time_range = ["--since", "2025-04-24", "--until", "2025-04-24T00:00:05Z"]
    result = run_query(
        target_options, "series", "wind", "--field", "speed", "--index", "1", *time_range, "--json"
    )
    assert result.rows == [
        {"time": "2025-04-24T00:00:01Z", "speed": 0.5},
        {"time": "2025-04-24T00:00:03Z", "speed": 1.5},
        {"time": "2025-04-24T00:00:05Z", "speed": 2.5},
    ]
    latest = run_query(target_options, "series", "wind", "--last", "2", "--json").rows
    assert [row["speed"] for row in latest] == [29.0, 29.5]
    packed = run_query(
        target_options, "series", "accelerations", "--field", "x", "--packed", *time_range, "--json"
    )
    assert len(packed.rows) == 300
    empty = run_query(target_options, "series", "wind", "--json")
    assert empty.rows == []
    assert "the last sample is of 2025-04-24T00:00:59Z" in empty.err


def test_csv_parquet_and_a_plot(target_options: list[str], tmp_path: Path) -> None:
    time_range = ["--since", "2025-04-24", "--until", "2025-04-24T00:00:59Z"]
    rows = list(csv.DictReader(io.StringIO(run_query(target_options, "metrics", "--csv").out)))
    assert {row["name"]: row["value"] for row in rows} == {"mean": "71.875", "lost": ""}
    rows = list(
        csv.DictReader(
            io.StringIO(run_query(target_options, "series", "wind", *time_range, "--csv").out)
        )
    )
    assert len(rows) == 60
    assert rows[3]["time"] == "2025-04-24T00:00:03Z"
    file, plot = tmp_path / "wind.parquet", tmp_path / "wind.png"
    result = run_query(
        target_options, "series", "wind", *time_range, "--parquet", str(file), "--plot", str(plot)
    )
    assert result.out == ""
    table = pq.read_table(file)
    assert table.num_rows == 60
    assert table.column("time")[0].as_py().timestamp() == START
    assert plot.read_bytes().startswith(b"\x89PNG")
    for kind in ("metrics", "runs", "alerts"):
        svg = tmp_path / f"{kind}.svg"
        run_query(target_options, kind, "--plot", str(svg))
        assert "<svg" in svg.read_text()[:400]
    run_query(target_options, "artifacts", "--parquet", str(file))
    assert pq.read_table(file).num_rows == 9


def test_table_reports_omitted_rows(target_options: list[str]) -> None:
    result = run_query(target_options, "metrics", "--limit", "1")
    assert "there are more than 1: see --limit" in result.err
    assert len(result.out.splitlines()) == 2
    assert "none" in run_query(target_options, "metrics", "nothing-such").out


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_invalid_query_gives_the_reason(
    target_options: list[str], arguments: tuple[str, ...], message: str
) -> None:
    result = run_command("query", *arguments, *target_options)
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_url_and_site_are_mutually_exclusive(engine: ThreadedEngine) -> None:
    result = run_command("query", "runs", "--url", "http://127.0.0.1:1", "--site", engine.site)
    assert (result.status, "say two things" in result.err) == (2, True)
    result = run_command("query", "runs", "--url", "http://127.0.0.1:1")
    assert (result.status, "no engine answers at" in result.err) == (2, True)
    result = run_command("query", "runs", "--url", "ftp://nowhere")
    assert (result.status, "is no address" in result.err) == (2, True)
    assert (
        run_command("query", "runs", "--url", engine.handle.url.removeprefix("http://")).status == 0
    )
