"""What commands print as JSON of a recording whose times never change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_runner import CommandResult, run_command
from tests.goldens.compare import (
    compare_json,
    compare_text,
    describe_types,
    hide_keys,
    replace_texts,
)
from tests.goldens.scenario import mask_times_and_ids
from tests.sample_site import DOUBLING, JOBS, WIND, write_site

START_SECOND = 1_745_452_800
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
WINDY_JOB = '''

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
VOLATILE_KEYS = ("created", "waited", "started", "heartbeat", "finished", "engine", "engine_id")


def write_recording(file: Path) -> Path:
    """Half a minute of wind that rises and falls, numbers of which one fails, and an exposure."""
    speeds = [*range(16), *range(15, -1, -1)]
    rows: list[dict[str, Any]] = [
        {"topic": "wind", "time": START_SECOND + index, "fields": {"mast": "m", "speed": speed}}
        for index, speed in enumerate(speeds)
    ]
    rows.append(
        {
            "topic": "shot",
            "time": START_SECOND + 40,
            "fields": {"name": "E1", "exptime": 10.0, "n": 1},
        }
    )
    for index, value in enumerate((4, 13)):
        fields = {"value": value, "lane": index}
        rows.append({"topic": "number", "time": START_SECOND + 50 + index, "fields": fields})
    rows.append({"topic": "wind", "time": START_SECOND + 120, "fields": {"mast": "m", "speed": 1}})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@dataclass(frozen=True)
class ReplayedSite:
    """A site, a recording, and the data folder that its replay has left."""

    site: Path
    recording: Path
    data: Path

    def run_command(self, *arguments: str | Path) -> CommandResult:
        """A command on the data folder."""
        return run_command(*arguments, "--site", self.site, "--data", self.data)

    def normalize(self, value: Any) -> Any:
        """A value without this run's folders and times."""
        texts = {str(self.site): "SITE", str(self.data): "DATA", str(self.recording): "RECORDING"}
        return mask_times_and_ids(
            hide_keys(replace_texts(value, texts), VOLATILE_KEYS), self.list_ids()
        )

    def list_ids(self) -> set[str]:
        """The ids of what was replayed, which follow from the recording alone."""
        ids: set[str] = set()
        for kind in ("runs", "firings", "alerts"):
            ids |= {row["id"] for row in self.run_command("query", kind, "--json").rows}
        return ids


@pytest.fixture(scope="module")
def replayed_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayedSite]:
    folder = tmp_path_factory.mktemp("replayed")
    site = write_site(folder / "site", RULES, settings=SETTINGS, jobs=JOBS + WINDY_JOB)
    replayed_site = ReplayedSite(site, write_recording(folder / "night.jsonl"), folder / "data")
    result = replayed_site.run_command("replay", replayed_site.recording, "--speed", "max")
    assert (result.status, result.err) == (0, "")
    yield replayed_site


READ_COMMANDS: Mapping[str, tuple[str, ...]] = {
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


def test_stored_data_is_printed_the_same(replayed_site: ReplayedSite) -> None:
    outputs: dict[str, Any] = {}
    for name, arguments in READ_COMMANDS.items():
        result = replayed_site.run_command(*arguments, "--json")
        outputs[name] = {
            "status": int(result.status),
            "printed": json.loads(result.out) if result.out else result.err,
        }
    compare_json("commands/kept.json", replayed_site.normalize(outputs))


def test_a_run_is_shown_and_reproduced_the_same(replayed_site: ReplayedSite) -> None:
    pages = {}
    for row in replayed_site.run_command("runs", "--json").rows:
        result = replayed_site.run_command("show", row["id"], "--json")
        pages[row["rule"] + " " + row["key"]] = {"status": int(result.status), "page": result.row}
        if row["rule"] == "windy":
            reproduction = replayed_site.run_command("reproduce", row["id"], "--json")
            pages["reproduced"] = {"status": int(reproduction.status), "page": reproduction.row}
    for page in pages.values():
        if "traceback" in page["page"]:
            page["page"]["traceback"] = describe_types(page["page"]["traceback"])
    compare_json("commands/run.json", replayed_site.normalize(pages))


def test_artifacts_have_the_same_keys(replayed_site: ReplayedSite) -> None:
    rows = replayed_site.run_command("query", "artifacts", "--json").rows
    keys = sorted(row["key"] for row in rows)
    assert len(keys) == 3
    compare_text("commands/artifact_keys.txt", "".join(f"{key}\n" for key in keys))


def test_alarm_statistics_are_reported_the_same(replayed_site: ReplayedSite) -> None:
    span = ("--since", "2025-04-24T00:00:00Z", "--until", "2025-04-25T00:00:00Z")
    result = replayed_site.run_command("alarms", "report", "--json", *span)
    row = result.row
    row["buckets"] = describe_types(row["buckets"])
    compare_json("commands/report.json", replayed_site.normalize(row))


def test_the_doctor_finds_the_same(replayed_site: ReplayedSite) -> None:
    result = replayed_site.run_command("doctor", "--json")
    checks = [(row["what"], row["state"], describe_types(row)) for row in result.rows]
    compare_json("commands/doctor.json", replayed_site.normalize(checks))


def test_a_backtest_prints_the_same_lines(replayed_site: ReplayedSite) -> None:
    result = run_command(
        "backtest", "--data", replayed_site.recording, "--site", replayed_site.site, "--json",
    )  # fmt: skip
    assert result.status == 0, result.err
    lines = [json.loads(line) for line in result.out.splitlines()]
    lines = [{**line, "run": describe_types(line["run"])} if "run" in line else line
             for line in lines]  # fmt: skip
    compare_json("commands/backtest.json", replayed_site.normalize(lines))


def test_a_backtest_prints_the_same_text(replayed_site: ReplayedSite) -> None:
    result = run_command(
        "backtest", "wind", "gusts", "--data", replayed_site.recording, "--site", replayed_site.site
    )
    compare_text("commands/backtest.txt", result.out + result.err)


def test_tuning_prints_the_same(replayed_site: ReplayedSite) -> None:
    rows_by_rule = {
        rule: run_command(
            "tune",
            rule,
            "--data",
            replayed_site.recording,
            "--site",
            replayed_site.site,
            "--json",
            *options,
        ).rows
        for rule, options in (("wind", ()), ("gusts", ("--factor", "0.5")))
    }
    compare_json("commands/tune.json", rows_by_rule)


def test_a_preview_prints_the_same(replayed_site: ReplayedSite) -> None:
    event = json.dumps({"speed": 21.44, "mast": 3})
    with_event = run_command(
        "preview", "wind", "--event", event, "--severity", "serious", "--site", replayed_site.site,
        "--json",
    )  # fmt: skip
    without_event = run_command("preview", "windy", "--site", replayed_site.site, "--json")
    compare_json(
        "commands/preview.json", replayed_site.normalize([with_event.rows, without_event.rows])
    )


def test_the_route_of_an_alert_is_printed_the_same(replayed_site: ReplayedSite) -> None:
    routes = [
        run_command(
            "routes", "test", "--rule", rule, *options, "--json", "--site", replayed_site.site
        ).row
        for rule, options in (("wind", ()), ("windy", ("--severity", "critical")))
    ]
    compare_json("commands/routes.json", replayed_site.normalize(routes))


def test_a_job_tried_out_is_printed_the_same(replayed_site: ReplayedSite) -> None:
    result = replayed_site.run_command("job", "windy", "--obs", "E1", "--json", "--rule", "windy")
    assert result.status == 0, result.err
    compare_json("commands/job.json", replayed_site.normalize(result.row))


def test_checks_of_a_good_site_are_printed_the_same(
    replayed_site: ReplayedSite, tmp_path: Path
) -> None:
    outputs = {
        "check": replayed_site.run_command("check", "--json").rows,
        "test": run_command("test", "--json", "--site", replayed_site.site).rows,
    }
    compare_json("commands/good_site.json", outputs)


# -- recorded streams --------------------------------------------------------------------------


def test_odd_lines_of_a_recording_are_reported_in_the_same_words(
    replayed_site: ReplayedSite, tmp_path: Path
) -> None:
    event = {"topic": "wind", "time": START_SECOND, "fields": {"mast": "m", "speed": 20}}
    lines = [
        json.dumps(event),
        json.dumps({**event, "time": "2025-04-24T00:00:01.5Z"}),
        "no JSON",
        "[1]",
        json.dumps({"time": START_SECOND, "fields": {}}),
        json.dumps({**event, "time": "noon"}),
        json.dumps({**event, "time": None}),
        json.dumps({**event, "fields": 3}),
        json.dumps({"topic": "wind", "fields": {}}),
        json.dumps({**event, "topic": "catcher.health"}),
        json.dumps({**event, "more": 1}),
        "",
    ]
    file = tmp_path / "odd.jsonl"
    file.write_text("\n".join(lines) + "\n")
    result = run_command("backtest", "wind", "--data", file, "--site", replayed_site.site, "--json")
    text = result.out + result.err
    compare_text("commands/odd_lines.txt", text.replace(str(file), "FILE"))


def test_copies_of_the_recording_are_replayed_to_the_same_runs(
    replayed_site: ReplayedSite, tmp_path: Path
) -> None:
    copied_file = tmp_path / "again.jsonl"
    shutil.copy(replayed_site.recording, copied_file)
    second_replay = ReplayedSite(replayed_site.site, copied_file, tmp_path / "data")
    assert second_replay.run_command("replay", copied_file, "--speed", "max").status == 0
    assert second_replay.list_ids() == replayed_site.list_ids()
