"""What commands print as JSON of a recording whose times never change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import Answer, call
from tests.goldens.compare import (
    compare_json,
    compare_text,
    describe_types,
    hide_keys,
    replace_texts,
)
from tests.goldens.running import settle_times
from tests.small_site import DOUBLING, JOBS, WIND, write_site

START = 1_745_452_800
SETTINGS = """
site: small
observations: {exposure: {event: shot, id: name, length: exptime}}
"""
RULES = f"""{WIND}---{DOUBLING}---
rule: gusts
trigger: {{telemetry: wind, by: mast, when: speed >= 15, clear: speed < 5}}
---
rule: windy
about: How windy it was during an exposure.
owner: tma
runbook: https://run.book/windy
tags: [wind]
trigger: {{event: shot, once_per: name}}
job:
  run: windy
  inputs: {{wind: {{topic: wind, fields: [speed], during: exposure}}}}
  with: {{limit: 3.0}}
alert: {{per: name, warning: most > limit, message: "Gusts of {{{{ most }}}} m/s"}}
---
rule: calm
trigger: {{absent: {{topic: wind, for: 30s}}}}
alert: {{warning: always}}
"""
MORE_JOBS = '''

from catcher import Field, Series


@job
async def windy(wind: Series, limit: float) -> Result:
    """The strongest gust, each sample, and a table."""
    most = float(wind["speed"].max())
    return Result(
        {"most": Metric(most, unit="m/s"), "over": most - limit, "none": float("nan")},
        fields={"speeds": Field("sample", list(range(wind.time.size)), wind["speed"], "m/s")},
        artifacts={"speeds.json": {"speeds": wind["speed"].tolist()}, "words.txt": "windy"},
    )
'''
CHANGING = ("created", "waited", "started", "heartbeat", "finished", "engine", "engine_id")


def write_recording(file: Path) -> Path:
    """Half a minute of wind that rises and falls, numbers of which one fails, and an exposure."""
    speeds = [*range(16), *range(15, -1, -1)]
    rows: list[dict[str, Any]] = [
        {"topic": "wind", "time": START + n, "fields": {"mast": "m", "speed": speed}}
        for n, speed in enumerate(speeds)
    ]
    rows.append(
        {"topic": "shot", "time": START + 40, "fields": {"name": "E1", "exptime": 10.0, "n": 1}}
    )
    for n, value in enumerate((4, 13)):
        fields = {"value": value, "lane": n}
        rows.append({"topic": "number", "time": START + 50 + n, "fields": fields})
    rows.append({"topic": "wind", "time": START + 120, "fields": {"mast": "m", "speed": 1}})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@dataclass(frozen=True)
class Place:
    """A site, a recording, and the data folder that its replay has left."""

    site: Path
    recording: Path
    data: Path

    def call(self, *arguments: str | Path) -> Answer:
        """A command on the data folder."""
        return call(*arguments, "--site", self.site, "--data", self.data)

    def settle(self, value: Any) -> Any:
        """A value without this run's folders and times."""
        texts = {str(self.site): "SITE", str(self.data): "DATA", str(self.recording): "RECORDING"}
        return settle_times(hide_keys(replace_texts(value, texts), CHANGING), self.ids())

    def ids(self) -> set[str]:
        """The ids of what was replayed, which follow from the recording alone."""
        kept: set[str] = set()
        for kind in ("runs", "firings", "alerts"):
            kept |= {row["id"] for row in self.call("query", kind, "--json").rows}
        return kept


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    top = tmp_path_factory.mktemp("replayed")
    site = write_site(top / "site", RULES, settings=SETTINGS, jobs=JOBS + MORE_JOBS)
    place = Place(site, write_recording(top / "night.jsonl"), top / "data")
    replayed = place.call("replay", place.recording, "--speed", "max")
    assert (replayed.status, replayed.err) == (0, "")
    yield place


KEPT: Mapping[str, tuple[str, ...]] = {
    "runs": ("runs",),
    "runs that failed": ("runs", "--state", "failed"),
    "alerts": ("alerts", "--all"),
    "explain": ("explain", "wind"),
    "topics": ("topics",),
    "metrics": ("query", "metrics"),
    "artifacts": ("query", "artifacts"),
    "queried runs": ("query", "runs"),
    "queried alerts": ("query", "alerts"),
    "firings": ("query", "firings"),
    "series": ("query", "series", "wind", "--since", "2025-04-24", "--until", "2025-04-25"),
    "queried topics": ("query", "topics"),
    "fields": ("query", "fields", "wind"),
    "sql": ("query", "sql", "SELECT rule, key, state, job FROM runs ORDER BY rule, key"),
    "queried audit": ("query", "audit"),
    "audit": ("audit",),
    "silences": ("silences",),
    "dead-letters": ("dead-letters",),
    "shift": ("handover",),
}


def test_what_was_kept_is_printed_the_same(place: Place) -> None:
    found: dict[str, Any] = {}
    for what, arguments in KEPT.items():
        answer = place.call(*arguments, "--json")
        found[what] = {
            "status": int(answer.status),
            "printed": json.loads(answer.out) if answer.out else answer.err,
        }
    compare_json("commands/kept.json", place.settle(found))


def test_a_run_is_shown_and_reproduced_the_same(place: Place) -> None:
    found = {}
    for row in place.call("runs", "--json").rows:
        shown = place.call("show", row["id"], "--json")
        found[row["rule"] + " " + row["key"]] = {"status": int(shown.status), "page": shown.row}
        if row["rule"] == "windy":
            again = place.call("reproduce", row["id"], "--json")
            found["reproduced"] = {"status": int(again.status), "page": again.row}
    for page in found.values():
        if "traceback" in page["page"]:
            page["page"]["traceback"] = describe_types(page["page"]["traceback"])
    compare_json("commands/run.json", place.settle(found))


def test_artifacts_have_the_same_keys(place: Place) -> None:
    rows = place.call("query", "artifacts", "--json").rows
    keys = sorted(row["key"] for row in rows)
    assert len(keys) == 3
    compare_text("commands/artifact_keys.txt", "".join(f"{key}\n" for key in keys))


def test_figures_are_reported_the_same(place: Place) -> None:
    span = ("--since", "2025-04-24T00:00:00Z", "--until", "2025-04-25T00:00:00Z")
    answer = place.call("alarms", "report", "--json", *span)
    row = answer.row
    row["buckets"] = describe_types(row["buckets"])
    compare_json("commands/report.json", place.settle(row))


def test_the_doctor_finds_the_same(place: Place) -> None:
    answer = place.call("doctor", "--json")
    found = [(row["what"], row["state"], describe_types(row)) for row in answer.rows]
    compare_json("commands/doctor.json", place.settle(found))


def test_a_backtest_prints_the_same_lines(place: Place) -> None:
    answer = call(
        "backtest", "--data", place.recording, "--site", place.site, "--json",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    lines = [json.loads(line) for line in answer.out.splitlines()]
    lines = [{**line, "run": describe_types(line["run"])} if "run" in line else line
             for line in lines]  # fmt: skip
    compare_json("commands/backtest.json", place.settle(lines))


def test_a_backtest_prints_the_same_words(place: Place) -> None:
    answer = call("backtest", "wind", "gusts", "--data", place.recording, "--site", place.site)
    compare_text("commands/backtest.txt", answer.out + answer.err)


def test_tuning_prints_the_same(place: Place) -> None:
    found = {
        rule: call(
            "tune", rule, "--data", place.recording, "--site", place.site, "--json", *how
        ).rows
        for rule, how in (("wind", ()), ("gusts", ("--factor", "0.5")))
    }
    compare_json("commands/tune.json", found)


def test_a_preview_prints_the_same(place: Place) -> None:
    event = json.dumps({"speed": 21.44, "mast": 3})
    given = call(
        "preview", "wind", "--event", event, "--severity", "serious", "--site", place.site,
        "--json",
    )  # fmt: skip
    without = call("preview", "windy", "--site", place.site, "--json")
    compare_json("commands/preview.json", place.settle([given.rows, without.rows]))


def test_the_way_of_an_alert_is_printed_the_same(place: Place) -> None:
    found = [
        call("routes", "test", "--rule", rule, *more, "--json", "--site", place.site).row
        for rule, more in (("wind", ()), ("windy", ("--severity", "critical")))
    ]
    compare_json("commands/routes.json", place.settle(found))


def test_a_job_tried_out_is_printed_the_same(place: Place) -> None:
    answer = place.call("job", "windy", "--obs", "E1", "--json", "--rule", "windy")
    assert answer.status == 0, answer.err
    compare_json("commands/job.json", place.settle(answer.row))


def test_checks_of_a_good_site_are_printed_the_same(place: Place, tmp_path: Path) -> None:
    found = {
        "check": place.call("check", "--json").rows,
        "test": call("test", "--json", "--site", place.site).rows,
    }
    compare_json("commands/good_site.json", found)


# -- recorded streams --------------------------------------------------------------------------


def test_a_recording_with_odd_lines_is_told_in_the_same_words(place: Place, tmp_path: Path) -> None:
    good = {"topic": "wind", "time": START, "fields": {"mast": "m", "speed": 20}}
    lines = [
        json.dumps(good),
        json.dumps({**good, "time": "2025-04-24T00:00:01.5Z"}),
        "no JSON",
        "[1]",
        json.dumps({"time": START, "fields": {}}),
        json.dumps({**good, "time": "noon"}),
        json.dumps({**good, "time": None}),
        json.dumps({**good, "fields": 3}),
        json.dumps({"topic": "wind", "fields": {}}),
        json.dumps({**good, "topic": "catcher.health"}),
        json.dumps({**good, "more": 1}),
        "",
    ]
    file = tmp_path / "odd.jsonl"
    file.write_text("\n".join(lines) + "\n")
    answer = call("backtest", "wind", "--data", file, "--site", place.site, "--json")
    text = answer.out + answer.err
    compare_text("commands/odd_lines.txt", text.replace(str(file), "FILE"))


def test_copies_of_the_recording_are_replayed_to_the_same_runs(
    place: Place, tmp_path: Path
) -> None:
    copy = tmp_path / "again.jsonl"
    shutil.copy(place.recording, copy)
    again = Place(place.site, copy, tmp_path / "data")
    assert again.call("replay", copy, "--speed", "max").status == 0
    assert again.ids() == place.ids()
