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
from tests.cli.calling import Answer, call
from tests.small_site import engine_in_thread, write_site

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


class Place:
    """A site with what its engine kept."""

    def __init__(self, folder: Path) -> None:
        self.site, self.data = folder / "site", folder / "data"
        self.images = folder / "images"
        self.runs: dict[str, str] = {}

    def call(self, *arguments: str) -> Answer:
        return call(*arguments, "--site", self.site, "--data", self.data)

    def again(self, rule: str, *more: str) -> tuple[int, dict[str, Any]]:
        found = self.call("reproduce", self.runs[rule], "--json", *more)
        assert found.out, found.err
        return found.status, found.row


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
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
        assert engine.ask("POST", "/events", json=events).status_code == 202
        runs = {rule: engine.the_run(rule=rule)["id"] for rule in ("shaken", "kept", "trend")}
    (folder / "runs.json").write_text(json.dumps(runs))
    yield folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Place:
    """A copy of it, to be spoiled."""
    shutil.copytree(made, tmp_path / "copy")
    place = Place(tmp_path / "copy")
    settings = SETTINGS.replace("IMAGES", str(place.images))
    (place.site / "catcher.yaml").write_text(settings)
    place.runs = json.loads((place.images.parent / "runs.json").read_text())
    with sqlite3.connect(place.data / "ledger.db") as ledger:
        ledger.execute(
            "UPDATE runs SET inputs = replace(inputs, ?, ?)", (str(made), str(place.images.parent))
        )
    return place


# -- reproduce ----------------------------------------------------------------------------------


def test_a_run_is_reproduced_from_what_it_read(place: Place) -> None:
    for rule in ("shaken", "kept", "trend"):
        status, row = place.again(rule)
        assert (status, row["same"]) == (0, True), row
        assert row["version"].startswith("as it ran")
    row = place.again("shaken")[1]
    assert {one["name"] for one in row["inputs"]} == {"azimuth", "frame", "scale", "band"}
    assert {one["name"] for one in row["results"]} == {
        "rms", "unknown", "by_amp", "table.parquet", "words.txt",
    }  # fmt: skip
    words = place.call("reproduce", place.runs["shaken"])
    assert words.status == 0
    assert words.out.splitlines()[-1] == "reproduced"


def test_the_version_that_ran_is_taken_whatever_the_site_says_now(place: Place) -> None:
    jobs = place.site / "jobs" / "jobs.py"
    jobs.write_text(jobs.read_text().replace("rms = scale *", "rms = 3 * scale *"))
    rules = place.site / "rules" / "rules.yaml"
    rules.write_text(rules.read_text().replace("scale: 2.0", "scale: 5.0"))
    assert place.again("shaken")[0] == 0
    status, row = place.again("shaken", "--present")
    assert (status, row["version"]) == (1, "as it is now")
    other = {one["name"]: one["words"] for one in row["results"] if not one["same"]}
    assert set(other) == {"rms", "by_amp"}
    assert " then, " in other["rms"]
    assert other["by_amp"] == "differs at C00"
    assert place.again("shaken", "--present", "--tolerance", "1")[0] == 0
    words = place.call("reproduce", place.runs["shaken"], "--present").out
    assert "not reproduced: 2 of 9 differ" in words


def test_a_version_that_is_gone_is_said(place: Place) -> None:
    shutil.rmtree(place.data / "jobs")
    jobs = place.site / "jobs" / "jobs.py"
    assert place.again("shaken")[0] == 0  # the site still has it
    jobs.write_text(jobs.read_text() + "\n# edited\n")
    found = place.call("reproduce", place.runs["shaken"])
    assert found.status == 2
    assert "the version of 'shaken' that ran" in found.err
    assert "--present takes the job as it is now" in found.err


def test_a_copy_of_a_job_that_was_changed_is_not_run(place: Place) -> None:
    (copy,) = (place.data / "jobs").glob("*/jobs/jobs.py")
    copy.write_text(copy.read_text().replace("scale *", "9 *"))
    found = place.call("reproduce", place.runs["shaken"])
    assert (found.status, "was changed" in found.err) == (2, True)


def test_inputs_that_changed_or_are_gone_are_named(place: Place) -> None:
    image = place.images / "MC_1.txt"
    image.write_text("another frame")
    status, row = place.again("shaken")
    assert (status, row["results"]) == (1, [])
    states = {one["name"]: (one["state"], one["words"]) for one in row["inputs"]}
    assert states["frame"] == ("changed", "the file has 13 bytes now, 7 then")
    assert states["azimuth"] == ("same", "")
    image.unlink()
    shutil.rmtree(place.data / "history")
    states = {one["name"]: one["state"] for one in place.again("shaken")[1]["inputs"]}
    assert states == {"frame": "gone", "azimuth": "gone", "scale": "same", "band": "same"}
    words = place.call("reproduce", place.runs["shaken"]).out
    assert "its inputs are not what they were: nothing was computed" in words


def test_a_run_that_kept_its_inputs_needs_no_history(place: Place) -> None:
    shutil.rmtree(place.data / "history")
    status, row = place.again("kept")
    assert (status, row["same"]) == (0, True)
    assert row["inputs"][0]["state"] == "kept"
    (copy,) = place.data.glob("objects/kept/**/input-azimuth.parquet")
    copy.write_bytes(copy.read_bytes()[:-20])
    found = place.call("reproduce", place.runs["kept"])
    assert found.status == 2
    assert "cannot be read" in found.err


def test_later_runs_do_not_change_what_a_run_read_of_others(place: Place) -> None:
    with sqlite3.connect(place.data / "ledger.db") as ledger:
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
    assert place.again("trend")[0] == 0


@pytest.mark.parametrize("run", ["nothing", "", "../../x", "' OR 1=1 --"])
def test_a_run_that_is_not_there_is_said(place: Place, run: str) -> None:
    found = place.call("reproduce", run)
    assert (found.status, "is known" in found.err) == (2, True)


# -- job ----------------------------------------------------------------------------------------


def test_a_job_is_carried_out_for_an_observation(place: Place) -> None:
    before = place.call("query", "runs", "--json").rows
    out = place.images.parent / "out"
    found = place.call("job", "shaken", "--obs", "MC_1", "--output", str(out), "--json")
    assert found.status == 0, found.err
    first = place.call("show", place.runs["shaken"], "--json").row
    assert found.row["metrics"] == first["metrics"]
    assert (out / "words.txt").read_text() == "r MC_1 a frame"
    assert place.call("query", "runs", "--json").rows == before
    twice = place.call("job", "shaken", "--obs", "MC_1", "--with", "scale=4", "--with", "band=g")
    assert twice.status == 0
    assert f"rms = {2 * first['metrics']['rms']['value']:.6g} arcsec" in twice.out
    assert "words.txt" in twice.out


def test_what_a_job_lacks_is_said(place: Place) -> None:
    for arguments, words in (
        (("shakem",), "no job 'shakem'; did you mean 'shaken'?"),
        (("shaken", "--obs", "MC_2"), "no observation 'MC_2' is known"),
        (("shaken", "--obs", "MC_1", "--rule", "kept"), "no rule 'kept' runs the job"),
        (("shaken", "--obs", "MC_1", "--with", "x"), "is no argument"),
    ):
        found = place.call("job", *arguments)
        assert found.status == 2
        assert words in f"{found.err}".replace("\n  ", "; "), found.err
    found = place.call("job", "shaken", "--json")
    assert (found.status, found.row["state"]) == (1, "failed")
    assert "observation" in found.row["error"]
