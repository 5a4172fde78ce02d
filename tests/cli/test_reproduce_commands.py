"""`reproduce` and `job`: a run computed once more, a job for an observation of the past."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catcher.model.time import SECOND, parse_instant
from tests.cli.command_runner import CommandResult, run_command
from tests.sample_site import engine_in_thread, write_site

START = parse_instant("2025-04-24T00:00:00Z") / SECOND
SETTINGS = """
site: again
observations: {exposure: {event: shot, id: name, length: exptime, image: "IMAGES/{id}.txt"}}
"""
RULES = """
rule: shaken
trigger: {event: shot, once_per: name}
job:
  run: shaken
  inputs:
    azimuth: {topic: azimuth, fields: [position], during: exposure, where: salIndex == 1}
    frame: {image: exposure}
  with: {scale: 2.0, band: r}
---
rule: kept
trigger: {event: shot, once_per: name}
job: {run: plain, inputs: {azimuth: {topic: azimuth, last: 10s}}, keep_inputs: true}
---
rule: trend
trigger: {result: shaken}
job: {run: trend, inputs: {rms: {metric: rms, of: shaken, last: 1h}}}
"""
JOBS = '''
"""Jobs whose results follow from their inputs alone."""

from pathlib import Path

import numpy as np

from catcher import Field, Metric, Observation, Result, Series, job


@job
async def shaken(
    azimuth: Series, frame: Path, scale: float, band: str, observation: Observation
) -> Result:
    """How much it shook."""
    rms = scale * float(np.std(azimuth["position"]))
    return Result(
        {"rms": Metric(rms, "arcsec"), "unknown": None},
        {"by_amp": Field("amp", ["C00", "C01"], np.array([rms, np.nan]), "adu")},
        {
            "table.parquet": {"position": azimuth["position"]},
            "words.txt": f"{band} {observation.id} {frame.read_text()}",
        },
    )


@job
async def plain(azimuth: Series) -> Result:
    """The number of samples."""
    return Result({"samples": len(azimuth)})


@job
async def trend(rms: Series) -> Result:
    """How many there are."""
    return Result({"count": len(rms)})
'''


class RecordedSite:
    """A site with what its engine kept."""

    def __init__(self, folder: Path) -> None:
        self.site, self.data = folder / "site", folder / "data"
        self.images = folder / "images"
        self.runs: dict[str, str] = {}

    def run_command(self, *arguments: str) -> CommandResult:
        return run_command(*arguments, "--site", self.site, "--data", self.data)

    def reproduce(self, rule: str, *options: str) -> tuple[int, dict[str, Any]]:
        result = self.run_command("reproduce", self.runs[rule], "--json", *options)
        assert result.out, result.err
        return result.status, result.row


@pytest.fixture(scope="module")
def recorded_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An exposure with telemetry and an image, carried out by a real engine."""
    folder = tmp_path_factory.mktemp("again")
    (folder / "images").mkdir()
    (folder / "images" / "MC_1.txt").write_text("a frame")
    settings = SETTINGS.replace("IMAGES", str(folder / "images"))
    site = write_site(folder / "site", RULES, settings=settings, jobs=JOBS)
    with engine_in_thread(site, folder / "data") as engine:
        events = [
            {"topic": "azimuth", "time": START + n / 10,
             "fields": {"position": (n * 7919 % 100) / 100, "salIndex": n % 2}}
            for n in range(300)
        ]  # fmt: skip
        events.append(
            {"topic": "shot", "time": START + 29, "fields": {"name": "MC_1", "exptime": 20}}
        )
        assert engine.request("POST", "/events", json=events).status_code == 202
        runs = {rule: engine.wait_for_run(rule=rule)["id"] for rule in ("shaken", "kept", "trend")}
    (folder / "runs.json").write_text(json.dumps(runs))
    yield folder


@pytest.fixture
def recorded_site(recorded_folder: Path, tmp_path: Path) -> RecordedSite:
    """A copy of it, to be spoiled."""
    shutil.copytree(recorded_folder, tmp_path / "copy")
    site_copy = RecordedSite(tmp_path / "copy")
    settings = SETTINGS.replace("IMAGES", str(site_copy.images))
    (site_copy.site / "catcher.yaml").write_text(settings)
    site_copy.runs = json.loads((site_copy.images.parent / "runs.json").read_text())
    with sqlite3.connect(site_copy.data / "ledger.db") as ledger:
        ledger.execute(
            "UPDATE runs SET inputs = replace(inputs, ?, ?)",
            (str(recorded_folder), str(site_copy.images.parent)),
        )
    return site_copy


# -- reproduce ----------------------------------------------------------------------------------


def test_a_run_is_reproduced_from_what_it_read(recorded_site: RecordedSite) -> None:
    for rule in ("shaken", "kept", "trend"):
        status, row = recorded_site.reproduce(rule)
        assert (status, row["same"]) == (0, True), row
        assert row["version"].startswith("as it ran")
    row = recorded_site.reproduce("shaken")[1]
    assert {item["name"] for item in row["inputs"]} == {"azimuth", "frame", "scale", "band"}
    assert {item["name"] for item in row["results"]} == {
        "rms", "unknown", "by_amp", "table.parquet", "words.txt",
    }  # fmt: skip
    result = recorded_site.run_command("reproduce", recorded_site.runs["shaken"])
    assert result.status == 0
    assert result.out.splitlines()[-1] == "reproduced"


def test_original_job_version_is_used_despite_later_edits(recorded_site: RecordedSite) -> None:
    jobs = recorded_site.site / "jobs" / "jobs.py"
    jobs.write_text(jobs.read_text().replace("rms = scale *", "rms = 3 * scale *"))
    rules = recorded_site.site / "rules" / "rules.yaml"
    rules.write_text(rules.read_text().replace("scale: 2.0", "scale: 5.0"))
    assert recorded_site.reproduce("shaken")[0] == 0
    status, row = recorded_site.reproduce("shaken", "--present")
    assert (status, row["version"]) == (1, "as it is now")
    differing = {item["name"]: item["words"] for item in row["results"] if not item["same"]}
    assert set(differing) == {"rms", "by_amp"}
    assert " then, " in differing["rms"]
    assert differing["by_amp"] == "differs at C00"
    assert recorded_site.reproduce("shaken", "--present", "--tolerance", "1")[0] == 0
    output = recorded_site.run_command("reproduce", recorded_site.runs["shaken"], "--present").out
    assert "not reproduced: 2 of 9 differ" in output


def test_missing_job_version_is_reported(recorded_site: RecordedSite) -> None:
    shutil.rmtree(recorded_site.data / "jobs")
    jobs = recorded_site.site / "jobs" / "jobs.py"
    assert recorded_site.reproduce("shaken")[0] == 0  # the site still has it
    jobs.write_text(jobs.read_text() + "\n# edited\n")
    result = recorded_site.run_command("reproduce", recorded_site.runs["shaken"])
    assert result.status == 2
    assert "the version of 'shaken' that ran" in result.err
    assert "--present takes the job as it is now" in result.err


def test_modified_job_copy_is_not_run(recorded_site: RecordedSite) -> None:
    (copy,) = (recorded_site.data / "jobs").glob("*/jobs/jobs.py")
    copy.write_text(copy.read_text().replace("scale *", "9 *"))
    result = recorded_site.run_command("reproduce", recorded_site.runs["shaken"])
    assert (result.status, "was changed" in result.err) == (2, True)


def test_changed_or_missing_inputs_are_reported(recorded_site: RecordedSite) -> None:
    image = recorded_site.images / "MC_1.txt"
    image.write_text("another frame")
    status, row = recorded_site.reproduce("shaken")
    assert (status, row["results"]) == (1, [])
    states = {item["name"]: (item["state"], item["words"]) for item in row["inputs"]}
    assert states["frame"] == ("changed", "the file has 13 bytes now, 7 then")
    assert states["azimuth"] == ("same", "")
    image.unlink()
    shutil.rmtree(recorded_site.data / "history")
    states = {
        item["name"]: item["state"] for item in recorded_site.reproduce("shaken")[1]["inputs"]
    }
    assert states == {"frame": "gone", "azimuth": "gone", "scale": "same", "band": "same"}
    output = recorded_site.run_command("reproduce", recorded_site.runs["shaken"]).out
    assert "its inputs are not what they were: nothing was computed" in output


def test_run_with_stored_inputs_needs_no_history(recorded_site: RecordedSite) -> None:
    shutil.rmtree(recorded_site.data / "history")
    status, row = recorded_site.reproduce("kept")
    assert (status, row["same"]) == (0, True)
    assert row["inputs"][0]["state"] == "kept"
    (copy,) = recorded_site.data.glob("objects/kept/**/input-azimuth.parquet")
    copy.write_bytes(copy.read_bytes()[:-20])
    result = recorded_site.run_command("reproduce", recorded_site.runs["kept"])
    assert result.status == 2
    assert "cannot be read" in result.err


def test_later_runs_do_not_change_what_a_run_read_of_others(recorded_site: RecordedSite) -> None:
    with sqlite3.connect(recorded_site.data / "ledger.db") as ledger:
        (run,) = ledger.execute("SELECT id FROM runs WHERE rule = 'shaken'").fetchone()
        columns = [row[1] for row in ledger.execute("PRAGMA table_info(runs)")]
        copied = ", ".join(
            {"id": "'later'", "finished": "finished + 1000000000000"}.get(name, f'"{name}"')
            for name in columns
        )
        ledger.execute(f"INSERT INTO runs SELECT {copied} FROM runs WHERE id = ?", (run,))
        ledger.execute(
            "INSERT INTO metrics SELECT 'later', name, rule, key, time, 99, unit, labels, "
            "observation, reason FROM metrics WHERE run = ? AND name = 'rms'", (run,)
        )  # fmt: skip
    assert recorded_site.reproduce("trend")[0] == 0


@pytest.mark.parametrize("run", ["nothing", "", "../../x", "' OR 1=1 --"])
def test_unknown_run_is_reported(recorded_site: RecordedSite, run: str) -> None:
    result = recorded_site.run_command("reproduce", run)
    assert (result.status, "is known" in result.err) == (2, True)


# -- job ----------------------------------------------------------------------------------------


def test_job_is_run_for_an_observation(recorded_site: RecordedSite) -> None:
    before = recorded_site.run_command("query", "runs", "--json").rows
    output_folder = recorded_site.images.parent / "out"
    result = recorded_site.run_command(
        "job", "shaken", "--obs", "MC_1", "--output", str(output_folder), "--json"
    )
    assert result.status == 0, result.err
    first = recorded_site.run_command("show", recorded_site.runs["shaken"], "--json").row
    assert result.row["metrics"] == first["metrics"]
    assert (output_folder / "words.txt").read_text() == "r MC_1 a frame"
    assert recorded_site.run_command("query", "runs", "--json").rows == before
    second = recorded_site.run_command(
        "job", "shaken", "--obs", "MC_1", "--with", "scale=4", "--with", "band=g"
    )
    assert second.status == 0
    assert f"rms = {2 * first['metrics']['rms']['value']:.6g} arcsec" in second.out
    assert "words.txt" in second.out


def test_missing_job_parameters_are_reported(recorded_site: RecordedSite) -> None:
    for arguments, message in (
        (("shakem",), "no job 'shakem'; did you mean 'shaken'?"),
        (("shaken", "--obs", "MC_2"), "no observation 'MC_2' is known"),
        (("shaken", "--obs", "MC_1", "--rule", "kept"), "no rule 'kept' runs the job"),
        (("shaken", "--obs", "MC_1", "--with", "x"), "is no argument"),
    ):
        result = recorded_site.run_command("job", *arguments)
        assert result.status == 2
        assert message in f"{result.err}".replace("\n  ", "; "), result.err
    result = recorded_site.run_command("job", "shaken", "--json")
    assert (result.status, result.row["state"]) == (1, "failed")
    assert "observation" in result.row["error"]
