"""The past played through rules: rows in the form of the commands, jobs and chains included."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from catcher.app import load_site, run_backtest
from catcher.authoring import BacktestSummary, select_with_dependencies
from catcher.model.errors import CatcherError
from catcher.model.time import SECOND, format_instant, parse_instant
from tests.sample_site import DOUBLING, WIND, write_site

START = parse_instant("2025-04-24T00:00:00Z")
CHAIN = f"""{DOUBLING}---
rule: large
trigger: {{result: doubling, where: doubled > 50, by: lane}}
alert: {{warning: always, lasts: 1h, message: "{{{{ doubled }}}}"}}
---{WIND}"""


def write_recording(path: Path, lines: Iterable[tuple[float, str, dict[str, Any]]]) -> Path:
    """A recorded stream of events at so many seconds after the start."""
    rows = [
        {"topic": topic, "time": format_instant(START + round(seconds * SECOND)), "fields": fields}
        for seconds, topic, fields in lines
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def format_time(seconds: float) -> str:
    return format_instant(START + round(seconds * SECOND))


async def run_on_file(
    folder: Path, file: Path, *names: str, rules: str = CHAIN
) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """The rows of a backtest, what it said of its progress, and what it could not read."""
    rows: list[dict[str, Any]] = []
    progress: list[str] = []
    rejected: list[str] = []
    site = load_site(write_site(folder, rules))
    await run_backtest(site, names, [file], rows.append, progress.append, rejected.append)
    return rows, progress, rejected


async def test_an_alert_is_a_row_at_each_change_of_severity_or_state(tmp_path: Path) -> None:
    speeds = [5, 12, 13, 25, 26, 15, 5, 5]
    file = write_recording(
        tmp_path / "wind.jsonl",
        ((step, "wind", {"mast": "a", "speed": speed}) for step, speed in enumerate(speeds)),
    )
    rows, _, _ = await run_on_file(tmp_path, file, "wind")
    assert {row["kind"] for row in rows} == {"alert"}
    assert [(row["time"], row["severity"], row["state"], row["key"]) for row in rows] == [
        (format_time(1), "WARNING", "firing", "a"),
        (format_time(3), "SERIOUS", "firing", "a"),
        (format_time(5), "WARNING", "firing", "a"),
        (format_time(6), "NONE", "firing", "a"),
    ]


async def test_a_reminder_is_no_row(tmp_path: Path) -> None:
    routes = "sinks: {console: {}}\nroute: {to: [console], repeat: 1m}\n"
    write_site(tmp_path, CHAIN, routes=routes)
    file = write_recording(
        tmp_path / "wind.jsonl",
        ((60 * step, "wind", {"mast": "a", "speed": 12}) for step in range(30)),
    )
    rows, _, _ = await run_on_file(tmp_path, file, "wind")
    assert [(row["time"], row["severity"]) for row in rows] == [(format_time(0), "WARNING")]


async def test_firings_runs_and_alerts_of_a_chain_come_in_their_order(tmp_path: Path) -> None:
    file = write_recording(tmp_path / "numbers.jsonl", [(1, "number", {"lane": "a", "value": 30})])
    rows, _, _ = await run_on_file(tmp_path, file)
    assert [(row["kind"], row["rule"], row["key"], row["time"]) for row in rows] == [
        ("firing", "doubling", "a", format_time(1)),
        ("run", "doubling", "a", format_time(1)),
        ("firing", "large", "a", format_time(1)),
        ("alert", "large", "a", format_time(1)),
    ]
    firing, run, _, alert = rows
    assert "number" in firing["reason"]
    assert run["metrics"] == {"doubled": 60.0}
    assert run["state"] == "done"
    assert (alert["severity"], alert["state"], alert["message"]) == ("WARNING", "firing", "60")
    json.dumps(rows, allow_nan=False)


async def test_required_rules_run_and_are_not_reported(tmp_path: Path) -> None:
    file = write_recording(tmp_path / "numbers.jsonl", [(1, "number", {"lane": "a", "value": 30})])
    rows, _, _ = await run_on_file(tmp_path, file, "large")
    assert [(row["kind"], row["rule"]) for row in rows] == [("firing", "large"), ("alert", "large")]


async def test_a_failed_job_is_a_run_with_its_error(tmp_path: Path) -> None:
    file = write_recording(tmp_path / "numbers.jsonl", [(1, "number", {"lane": "a", "value": 13})])
    rows, _, _ = await run_on_file(tmp_path, file, "doubling")
    assert [row["kind"] for row in rows] == ["firing", "run"]
    assert rows[1]["state"] == "failed"
    assert "thirteen" in rows[1]["error"]


async def test_the_same_recording_gives_the_same_rows(tmp_path: Path) -> None:
    lines = [(step / 2, "number", {"lane": step % 3, "value": step}) for step in range(40)]
    file = write_recording(tmp_path / "numbers.jsonl", lines)
    first, _, _ = await run_on_file(tmp_path, file)
    second, _, _ = await run_on_file(tmp_path, file)

    def select_decisions(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        return [(row["kind"], row["id"], row["time"], row.get("metrics")) for row in rows]

    assert select_decisions(first) == select_decisions(second)
    assert len(first) > 80


async def test_invalid_lines_are_reported_and_the_others_are_played(tmp_path: Path) -> None:
    file = write_recording(tmp_path / "numbers.jsonl", [(1, "number", {"lane": "a", "value": 30})])
    file.write_text("no json\n" + file.read_text() + '{"topic": "number"}\n')
    rows, progress, rejected = await run_on_file(tmp_path, file, "doubling")
    assert len(rows) == 2
    assert [line.split(":")[1] for line in rejected] == ["1", "3"]
    assert progress == [f"0 events, {format_time(1)[:19]}"]


async def test_event_from_the_future_is_reported_and_does_not_advance_time(tmp_path: Path) -> None:
    times = [0, 1, 40_000_000, 2, 3]
    file = write_recording(
        tmp_path / "wind.jsonl",
        ((seconds, "wind", {"mast": "a", "speed": 12}) for seconds in times),
    )
    rules = "rule: silent\ntrigger: {absent: {topic: wind, for: 1h}}\n"
    rows, _, rejected = await run_on_file(tmp_path, file, rules=rules)
    assert rows == []
    assert rejected == [f"wind of {format_time(40_000_000)}: too far in the future"]


async def test_a_condition_that_becomes_unknown_is_no_row(tmp_path: Path) -> None:
    speeds = [12, None, 12, 5]
    file = write_recording(
        tmp_path / "wind.jsonl",
        ((step, "wind", {"mast": "a", "speed": speed}) for step, speed in enumerate(speeds)),
    )
    rows, _, _ = await run_on_file(tmp_path, file, "wind")
    decisions = [(row["time"], row["severity"], row["state"]) for row in rows]
    assert decisions == [
        (format_time(0), "WARNING", "firing"),
        (format_time(3), "NONE", "resolved"),
    ]


async def test_an_unknown_rule_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    file = write_recording(tmp_path / "numbers.jsonl", [])
    with pytest.raises(CatcherError, match="there is no rule 'doubeling'; did you mean 'doubling'"):
        await run_on_file(tmp_path, file, "doubeling")


async def test_disabled_rule_runs_when_it_is_named(tmp_path: Path) -> None:
    disabled = DOUBLING + "enabled: false\n"
    file = write_recording(tmp_path / "numbers.jsonl", [(1, "number", {"lane": "a", "value": 30})])
    assert (await run_on_file(tmp_path, file, rules=disabled))[0] == []
    assert len((await run_on_file(tmp_path, file, "doubling", rules=disabled))[0]) == 2


async def test_missing_recording_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match="there is no recorded stream"):
        await run_on_file(tmp_path, tmp_path / "nowhere.jsonl")


def test_the_closure_follows_reads_inputs_and_nested_triggers(tmp_path: Path) -> None:
    text = """
rule: a
trigger: {event: x}
job: doubling
---
rule: b
trigger: {event: x}
job: doubling
---
rule: c
trigger: {any: [{result: a}, {event: y}]}
job: {run: doubling, inputs: {seen: {metric: doubled, of: b, last: 1h}}}
---
rule: d
trigger: {event: z}
reads: {c: {topic: catcher.c}}
---
rule: e
trigger: {event: x}
"""
    jobs = "from catcher import job\n@job\ndef doubling(seen=None): ...\n"
    site = load_site(write_site(tmp_path, text, jobs=jobs))
    assert not site.problems, [str(problem) for problem in site.problems]
    assert list(select_with_dependencies(site.rules, ["d"])) == ["a", "b", "c", "d"]
    assert list(select_with_dependencies(site.rules, ["e", "a"])) == ["a", "e"]


def test_summary_counts_decisions_and_rejected_lines() -> None:
    summary = BacktestSummary()
    assert summary.format_summary() == "nothing fired"
    for kind in ("firing", "firing"):
        summary.count_row({"kind": kind, "rule": "wind"})
    summary.count_row({"kind": "run", "rule": "wind", "state": "done"})
    summary.count_row({"kind": "alert", "rule": "gust", "severity": "WARNING", "state": "firing"})
    summary.rejected_count = 2
    assert summary.format_summary().splitlines() == [
        "gust: 1 WARNING firing",
        "wind: 2 firings, 1 run done",
        "2 lines were left out",
    ]
